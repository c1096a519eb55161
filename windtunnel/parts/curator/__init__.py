"""Better training documents from training documents."""
