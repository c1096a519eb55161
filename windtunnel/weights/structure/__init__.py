"""Shapes imposed on weights while they train."""
