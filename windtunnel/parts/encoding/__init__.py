"""Techniques that fill the slot Encoding, one file each."""
