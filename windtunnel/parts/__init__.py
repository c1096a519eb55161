"""Techniques and nothing else, one file each: ``parts/SLOT/NAME.py``."""
