"""Mixtures: how often each source is drawn."""
