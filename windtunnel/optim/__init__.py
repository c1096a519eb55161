"""Optimizers, schedules and after-step rules."""
