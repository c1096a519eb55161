"""Scalars added to the loss."""
