"""Windtunnel: fly pre-training techniques as small models on your own corpus, and learn which of them pays."""
