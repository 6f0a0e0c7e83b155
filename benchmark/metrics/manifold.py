"""Density and coverage of sets of features by balls around nearest neighbours."""

import numpy as np
from numpy.typing import NDArray
from scipy.spatial.distance import cdist

from xbench.core.errors import Unavailable
from xbench.metrics.frechet import Features, feature_matrices

Array = NDArray[np.float64]

#: Neighbours that give the radius of a ball; the paper's choice.
NEIGHBOURS = 5


def coverage(output: Features, target: Features, k: int = NEIGHBOURS) -> float:
    """Share of target samples whose ball holds an output (Naeem et al. 2020, arXiv 2002.09797).

    The ball around a target sample reaches to its k-th nearest neighbour among the other target
    samples, border excluded. Two sets of n samples of one distribution have about 1 - 2⁻ᵏ.

    Args:
        output: features [N, d], any float type.
        target: features [M, d], M above k + 1. The value depends on N / M.
        k: neighbours.

    Returns:
        In [0, 1].

    Raises:
        Unavailable: too few target samples, as where most of them are left out for an interval.
        ValueError: fewer than 2 outputs, different d, or features that are not finite.
    """
    inside = _inside(output, target, k)
    return float(inside.any(axis=0).mean())


def density(output: Features, target: Features, k: int = NEIGHBOURS) -> float:
    """Mean number of target balls that hold an output, over k (arguments as of `coverage`).

    Returns:
        At least 0; about 1 for sets of one distribution, more where outputs crowd together.
    """
    return float(_inside(output, target, k).sum(axis=1).mean() / k)


def _inside(output: Features, target: Features, k: int) -> NDArray[np.bool_]:
    """Whether output i lies in the ball of target j, [N, M]."""
    made, real = feature_matrices(output, target, ("output", "target"))
    if len(real) <= k + 1:
        raise Unavailable(f"{len(real)} target images, balls need more than {k + 1}")
    own = np.partition(cdist(real, real), k, axis=1)[:, k]  # the 0-th nearest is itself
    closer: NDArray[np.bool_] = cdist(made, real) < own
    return closer
