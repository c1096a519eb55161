"""Plain functions that several parts share, by subject."""
