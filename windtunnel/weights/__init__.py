"""How weights begin and how they are shaped."""
