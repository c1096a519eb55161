"""Packings: how documents become sequences."""
