"""Which of the sequences drawn are trained on."""
