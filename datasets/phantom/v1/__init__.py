"""Version 1 of the phantom, bit for bit: goes away with its published results."""

from xbench.datasets.phantom.v1.dataset import FirstPhantom

__all__ = ["FirstPhantom"]
