"""Batch in, loss out; one file each."""
