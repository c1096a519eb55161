"""Comparisons, calibration and transfer: no files, no clocks."""
