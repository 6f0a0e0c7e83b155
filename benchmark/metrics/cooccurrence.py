"""Properties of grey-level co-occurrence matrices (Haralick), with scikit-image's conventions."""

import math

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]
Counts = NDArray[np.intp]

LEVELS = 32
DISTANCES = (1, 2, 4)
PROPERTIES = ("contrast", "dissimilarity", "homogeneity", "energy", "correlation", "entropy")

_INDEX = np.arange(LEVELS, dtype=np.float64)
_GAP = np.abs(_INDEX[:, None] - _INDEX)
_WEIGHTS = np.stack([_GAP**2, _GAP, 1 / (1 + _GAP**2)], axis=-1).reshape(-1, 3)


def co_occurrence(levels: Counts) -> Array:
    """Properties of the symmetric, normalised matrices, averaged over four angles.

    Args:
        levels: images [n, H, W] of whole numbers from 0 to 31, H and W above 4.

    Returns:
        [n, 18]: the six `PROPERTIES` for each of the `DISTANCES`.
    """
    count = len(levels)
    # Row of the matrix, and an own block of the histogram for each image of the chunk.
    rows = levels * LEVELS + (LEVELS**2 * np.arange(count))[:, None, None]
    found: dict[tuple[int, int], Array] = {}
    means = []
    for distance in DISTANCES:
        diagonal = round(distance / math.sqrt(2))
        offsets = ((0, distance), (diagonal, diagonal), (distance, 0), (diagonal, -diagonal))
        for offset in offsets:
            if offset not in found:
                found[offset] = _properties(_pair_counts(rows, levels, *offset))
        means.append(np.mean([found[offset] for offset in offsets], axis=0))
    return np.concatenate(means, axis=1)


def entropy_bits(counts: Counts) -> Array:
    """Entropy in bits of the histograms along the last axis."""
    total = counts.sum(axis=-1)
    terms = (counts * np.log(np.maximum(counts, 1))).sum(axis=-1)  # 0 log 0 = 0
    bits: Array = (np.log(total) - terms / total) / math.log(2)
    return np.maximum(bits, 0)  # rounding leaves -1e-15 where one bin holds everything


def _pair_counts(rows: Counts, levels: Counts, down: int, right: int) -> Counts:
    """How often each pair of levels lies at an offset, in either order: [n, 32, 32]."""
    count, height, width = levels.shape
    first = rows[:, : height - down, max(0, -right) : width - max(0, right)]
    second = levels[:, down:, max(0, right) : width + min(0, right)]
    pairs = np.bincount((first + second).ravel(), minlength=count * LEVELS**2)
    square = pairs.reshape(count, LEVELS, LEVELS)
    return square + square.transpose(0, 2, 1)


def _properties(counts: Counts) -> Array:
    """The six properties of symmetric counts [n, 32, 32], [n, 6]."""
    probability = counts / counts.sum(axis=(1, 2))[:, None, None]
    flat = probability.reshape(len(counts), -1)
    contrast, dissimilarity, homogeneity = (flat @ _WEIGHTS).T
    energy = np.sqrt(np.einsum("np,np->n", flat, flat))
    marginal = probability.sum(axis=1)
    spread = _INDEX - (marginal @ _INDEX)[:, None]
    variance = (marginal * spread**2).sum(axis=1)
    # Of a symmetric matrix: contrast = E(i - j)² = 2 (variance - covariance).
    single = np.sqrt(variance) < 1e-15  # one level only: 1, as scikit-image has it
    correlation = 1 - contrast / (2 * np.where(single, 1, variance))
    correlation[single] = 1
    entropy = entropy_bits(counts.reshape(len(counts), -1))
    return np.column_stack([contrast, dissimilarity, homogeneity, energy, correlation, entropy])
