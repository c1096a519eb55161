"""What turns gradients into updates."""
