"""Curves of learning rates, the steps of small networks, and weights held near where they began."""
