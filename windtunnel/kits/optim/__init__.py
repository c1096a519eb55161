"""Curves of learning rates, and weights held near where they began."""
