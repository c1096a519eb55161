"""What is measured without training a model."""
