"""How the weights of a phase begin."""
