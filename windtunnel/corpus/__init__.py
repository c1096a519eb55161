"""Documents in, better documents out."""
