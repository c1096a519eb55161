"""Tokens, corruption, n-grams: what parts for text share."""
