"""Documents read, split, cleaned and stored."""
