"""Training on a mesh of processes: how they are laid out, how a model is sharded over them, and what cannot be."""
