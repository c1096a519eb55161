"""The loop, the budget, checkpoints."""
