"""Numbers of a model."""
