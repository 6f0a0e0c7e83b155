"""Fréchet distances between sets of features, in float64 and from the features themselves.

Working on feature matrices instead of covariances keeps small samples fast and exact: with centred
rows A and B divided by √(N − 1), Tr √(Σa Σb) is the nuclear norm of A Bᵀ, whatever the rank.
"""

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

Features = Tensor | NDArray[np.floating]
Array = NDArray[np.float64]

# Cut-off of the pseudo-inverse, as part of the largest eigenvalue of the covariance of x.
EIGENVALUE_CUTOFF = 1e-10


def frechet_distance(a: Features, b: Features) -> float:
    """Squared Fréchet distance of the Gaussians fitted to two sets of features.

    |μa − μb|² + Tr(Σa + Σb − 2 √(Σa Σb)), covariances with N − 1 (Heusel et al. 2017).

    Args:
        a: features [N, d], N at least 2, any float type.
        b: features [M, d], M at least 2.

    Returns:
        The distance in squared units of the features, at least 0 and finite.

    Raises:
        ValueError: fewer than 2 samples, different d, or features that are not finite.
    """
    first, second = feature_matrices(a, b, ("a", "b"))
    gap = first.mean(axis=0) - second.mean(axis=0)
    return max(0.0, float(gap @ gap) + _covariance_distance(_centred(first), _centred(second)))


def conditional_frechet_distance(source: Features, target: Features, output: Features) -> float:
    """Conditional Fréchet distance of Soloveitchik et al. (arXiv 2103.11521), with N − 1.

    The mean over the sources x of the squared Fréchet distance between the Gaussian conditionals
    of target y and output h given x:
    |μy − μh|² + Tr[(Cyx − Chx) Cxx⁺ (Cxy − Cxh)] + Tr[Cy|x + Ch|x − 2 √(Cy|x Ch|x)].
    The pseudo-inverse drops eigenvalues up to 1e-10 of the largest. Row i of the three matrices
    is the same view. With N ≤ rank + 1 samples, nothing is left after conditioning and the value
    is no more than a mean square error of features.

    Args:
        source: features of x [N, d], N at least 2, any float type.
        target: features of y [N, d'], aligned with `source`.
        output: features of h [N, d'], the translations of `source`.

    Returns:
        The distance in squared units of the features, at least 0 and finite.

    Raises:
        ValueError: fewer than 2 samples, unequal N, different d', or features that are not finite.
    """
    x, y, h = (
        feature_matrix(features, name)
        for features, name in ((source, "source"), (target, "target"), (output, "output"))
    )
    if not len(x) == len(y) == len(h):
        raise ValueError(
            f"expected as many sources as targets and outputs, got {len(x)}, {len(y)} and {len(h)}"
        )
    if y.shape[1] != h.shape[1]:
        raise ValueError(
            f"expected target and output of one dimension, got {y.shape[1]} and {h.shape[1]}"
        )
    gap = y.mean(axis=0) - h.mean(axis=0)
    y, h = _centred(y), _centred(h)
    # Projecting on the left singular vectors of x is the same as Cxx⁺ between both sides, but
    # never squares the condition number.
    basis = _basis(x)
    y_along, h_along = basis.T @ y, basis.T @ h
    explained = float(np.square(y_along - h_along).sum())
    rest = _covariance_distance(y - basis @ y_along, h - basis @ h_along)
    return max(0.0, float(gap @ gap) + explained + rest)


def feature_matrix(features: Features, name: str) -> Array:
    """Features as a finite float64 matrix [N ≥ 2, d ≥ 1] on the CPU, or a ValueError."""
    if isinstance(features, Tensor):
        features = features.detach().to("cpu", torch.float64).numpy()
    matrix: Array = np.asarray(features, dtype=np.float64)
    if matrix.ndim != 2 or matrix.shape[1] == 0:
        raise ValueError(f"{name}: expected a matrix [N, d] of features, got {list(matrix.shape)}")
    if len(matrix) < 2:
        raise ValueError(f"{name}: expected at least 2 samples, got {len(matrix)}")
    finite = np.isfinite(matrix)
    if not finite.all():
        bad = len(matrix) - int(finite.all(axis=1).sum())
        raise ValueError(
            f"{name}: expected finite features, {bad} of {len(matrix)} samples have NaN or infinity"
        )
    return matrix


def feature_matrices(a: Features, b: Features, names: tuple[str, str]) -> tuple[Array, Array]:
    """Two sets of features as by `feature_matrix`, of one dimension, or a ValueError."""
    first, second = feature_matrix(a, names[0]), feature_matrix(b, names[1])
    if first.shape[1] != second.shape[1]:
        raise ValueError(
            f"expected features of one dimension, got {first.shape[1]} and {second.shape[1]}"
        )
    return first, second


def _centred(matrix: Array) -> Array:
    """Rows minus their mean, divided by √(N − 1): the covariance is then AᵀA."""
    rows: Array = matrix - matrix.mean(axis=0)
    rows /= np.sqrt(len(matrix) - 1)
    return rows


def _covariance_distance(a: Array, b: Array) -> float:
    """Tr(Σa + Σb − 2 √(Σa Σb)) of two centred matrices [N, d] and [M, d]."""
    # N centred rows have rank N − 1 at most, so up to here one covariance is singular.
    if min(len(a), len(b)) <= a.shape[1]:
        root = np.linalg.svd(a @ b.T, compute_uv=False).sum()
    else:
        # With R Rᵀ = Σa, Rᵀ Σb R has the eigenvalues of Σa Σb and is symmetric: they stay real.
        factor = _factor(a.T @ a)
        middle = factor.T @ (b.T @ b) @ factor
        root = np.sqrt(np.linalg.eigvalsh(middle).clip(min=0)).sum()
    return float(np.vdot(a, a) + np.vdot(b, b) - 2 * root)


def _factor(covariance: Array) -> NDArray[np.floating]:
    """A matrix R with R Rᵀ = covariance, [d, d]."""
    try:
        return np.linalg.cholesky(covariance)
    except np.linalg.LinAlgError:  # singular, as where features are constant
        values, vectors = np.linalg.eigh(covariance)
        factor: Array = vectors * np.sqrt(values.clip(min=0))
        return factor


def _basis(x: Array) -> Array:
    """Orthonormal columns [N, r] that span the centred x, without the dropped eigenvalues."""
    left, values, _ = np.linalg.svd(_centred(x), full_matrices=False)
    # Of a constant x at most the rounding of its mean is left, the same in every row; centred
    # features have no part along that direction, so it may stay.
    kept: Array = left[:, values > np.sqrt(EIGENVALUE_CUTOFF) * values[0]]
    return kept
