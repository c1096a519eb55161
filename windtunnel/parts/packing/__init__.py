"""How documents become sequences."""
