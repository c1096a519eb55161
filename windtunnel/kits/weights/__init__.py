"""Growing, masking, factoring and sharing weights."""
