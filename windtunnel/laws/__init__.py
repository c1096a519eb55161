"""Fitted curves over the results of studies, with their uncertainty."""
