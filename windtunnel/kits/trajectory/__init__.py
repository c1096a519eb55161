"""What parts share that work on episodes of observations and actions."""
