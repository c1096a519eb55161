"""How often each source is drawn."""
