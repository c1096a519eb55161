"""Runs in, verdicts out."""
