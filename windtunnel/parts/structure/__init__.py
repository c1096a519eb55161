"""Shapes imposed on the weights while they train."""
