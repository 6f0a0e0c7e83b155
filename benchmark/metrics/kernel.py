"""Kernel distances between sets of features."""

import numpy as np
from numpy.typing import NDArray
from scipy.spatial.distance import cdist

from xbench.metrics.frechet import Features, feature_matrices

Array = NDArray[np.float64]

# Rows worked on at once: a block of the kernel matrix of 10 000 samples takes 80 MB.
_ROWS = 1024
_CMMD_SIGMA = 10.0


def kernel_distance(a: Features, b: Features) -> float:
    """Squared maximum mean discrepancy of two sets of features, kernel (u·v / d + 1)³.

    The unbiased estimate of Gretton et al. 2012 (JMLR 13, Lemma 6) with the kernel of Bińkowski et
    al. 2018 ("Demystifying MMD GANs", arXiv 1801.01401), over all pairs: no random subsets, so the
    value is the same at every call. Publications often show it times 100 or 1000; this is not.

    Args:
        a: features [N, d], N at least 2, any float type.
        b: features [M, d], M at least 2.

    Returns:
        The distance, a pure number. Unbiased means that it scatters about 0 for sets of one
        distribution: it may be negative.

    Raises:
        ValueError: fewer than 2 samples, different d, features that are not finite, or so large
            that their kernel is not.
    """
    first, second = feature_matrices(a, b, ("a", "b"))
    with np.errstate(over="ignore", invalid="ignore"):
        value = _within(first) + _within(second) - 2 * _across(first, second)
    if not np.isfinite(value):
        raise ValueError("expected features whose cubic kernel is finite, these are too large")
    return value


def cmmd(a: Features, b: Features) -> float:
    """CMMD of two sets of CLIP embeddings of length 1 (Jayasumana et al. 2024, arXiv 2401.09603).

    1000 times the squared maximum mean discrepancy with the kernel exp(-|u - v|² / 200), pairs of a
    sample with itself included. Distances of such embeddings are at most 2, where this kernel is
    nearly linear: it compares mean embeddings, and neither spread nor modes. Two sets of n samples
    of one distribution have about 20 / n · (1 - |mean|²), not 0.

    Args:
        a: features [N, d], N at least 2, any float type.
        b: features [M, d], M at least 2.

    Raises:
        ValueError: fewer than 2 samples, different d, or features that are not finite.
    """
    first, second = feature_matrices(a, b, ("a", "b"))

    def mean(x: Array, y: Array) -> float:
        return float(np.exp(-cdist(x, y, "sqeuclidean") / (2 * _CMMD_SIGMA**2)).mean())

    value = 1000 * (mean(first, first) + mean(second, second) - 2 * mean(first, second))
    return max(0.0, value)  # rounding may leave it just below


def _within(x: Array) -> float:
    """Mean of the kernel over the pairs of different samples of one set."""
    own = (np.einsum("nd,nd->n", x, x) / x.shape[1] + 1) ** 3
    return float((_total(x, x) - own.sum()) / (len(x) * (len(x) - 1)))


def _across(x: Array, y: Array) -> float:
    """Mean of the kernel over all pairs of samples of two sets."""
    return _total(x, y) / (len(x) * len(y))


def _total(x: Array, y: Array) -> float:
    """Sum of the kernel over all pairs."""
    total = 0.0
    for start in range(0, len(x), _ROWS):
        kernel = x[start : start + _ROWS] @ y.T / x.shape[1] + 1
        total += float(np.einsum("nm,nm,nm->", kernel, kernel, kernel))
    return total
