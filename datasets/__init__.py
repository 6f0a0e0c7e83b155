"""Data sets: domains × splits of images."""
