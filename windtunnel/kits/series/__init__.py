"""What parts share that work on series of numbers in time."""
