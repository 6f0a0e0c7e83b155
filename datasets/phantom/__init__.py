"""The digital head phantom, rendered on the spot."""
