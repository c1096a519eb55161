"""Configurations in, networks out."""
