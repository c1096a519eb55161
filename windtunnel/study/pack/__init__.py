"""Packs: studies made ready to be flown on a machine that has neither a network nor the libraries that read a corpus."""
