"""Exact quantiles of long rows, without sorting the rows."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]

_BUCKETS = 4096


def quantiles(rows: Array, levels: Sequence[float]) -> Array:
    """Quantiles of each row with linear interpolation, as `numpy.quantile` gives them.

    For a single level a partition is fastest. For several, values are counted into buckets, which
    says which few of them hold the wanted ranks; only their values are sorted.

    Args:
        rows: [n, P], finite.
        levels: between 0 and 1.

    Returns:
        [n, len(levels)].
    """
    position = np.asarray(levels) * (rows.shape[1] - 1)
    below = np.floor(position).astype(np.intp)
    if len(levels) == 1:
        parted = np.partition(rows, below[0], axis=1)[:, below[0] :]
        low = parted[:, :1]
        high = parted[:, 1:].min(axis=1, keepdims=True) if parted.shape[1] > 1 else low
        single: Array = low + (high - low) * (position - below)
        return single
    ranks = np.unique(np.minimum([below, below + 1], rows.shape[1] - 1))
    found = np.stack([_ordered(row, ranks) for row in rows])
    low = found[:, np.searchsorted(ranks, below)]
    high = found[:, np.searchsorted(ranks, np.minimum(below + 1, rows.shape[1] - 1))]
    result: Array = low + (high - low) * (position - below)
    return result


def _ordered(row: Array, ranks: NDArray[np.intp]) -> Array:
    """The values of the given (ascending) ranks in sorted order."""
    low, high = row.min(), row.max()
    # Rounding keeps the order: a larger value never falls into a lower bucket.
    bucket = ((row - low) / (high - low or 1.0) * _BUCKETS).astype(np.intp)
    ends = np.cumsum(np.bincount(bucket, minlength=_BUCKETS + 1))
    holders = np.unique(np.searchsorted(ends, ranks, side="right"))
    wanted = np.zeros(_BUCKETS + 1, dtype=bool)
    wanted[holders] = True
    values = np.sort(row[wanted[bucket]])
    # Place of each rank among the chosen values: less by all that lies in unwanted buckets.
    counts = np.diff(ends, prepend=0)
    skipped = np.cumsum(np.where(wanted, 0, counts))[np.searchsorted(ends, ranks, side="right")]
    chosen: Array = values[ranks - skipped]
    return chosen
