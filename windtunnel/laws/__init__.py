"""Verdicts at several scales in, forecast out."""
