"""How weights begin: from nothing, from a folder, from the model of the phase before."""
