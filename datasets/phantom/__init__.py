"""Procedural head phantom: the embedded data set."""

from xbench.datasets.phantom.dataset import Phantom, PhantomConfig, ViewTruth

__all__ = ["Phantom", "PhantomConfig", "ViewTruth"]
