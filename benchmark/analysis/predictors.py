"""Which metric predicts utility: rank correlations over the rows that have both."""

import math
from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from xbench.analysis.leaderboard import without_sweeps
from xbench.analysis.results import Results
from xbench.analysis.rows import Row
from xbench.core.hashing import seed_from
from xbench.core.pairs import Pair
from xbench.metrics.base import METRICS

Array = NDArray[np.float64]

#: Fewer rows say nothing about an order.
LEAST = 4
#: Resamples of rows for an interval.
DRAWS = 2000


class Agreement(NamedTuple):
    """Spearman's rank correlation of a metric with utility over n rows, and its 95 % interval."""

    metric: str
    n: int
    spearman: float
    ci_low: float
    ci_high: float


def rows(results: Results, labels: Sequence[str] = ()) -> dict[str, Row]:
    """Rows with a utility and values of its pairs; by default all but those of sweeps.

    The row `identity`, whose utility is 0 by definition, is none of them.
    """
    by_label, pairs = results.by_label, results.trials.pairs
    chosen = {n: by_label[n] for n in labels} if labels else without_sweeps(by_label)
    return {
        label: row
        for label, row in chosen.items()
        if math.isfinite(row.utility.value)
        and row.records[0].method.name != "identity"
        and row.has(pairs)
    }


def agreements(by_label: Mapping[str, Row], pairs: Sequence[Pair]) -> dict[str, Agreement]:
    """Metric → how it agrees with utility, of metrics that rows have.

    The correlation is that of values as they are: a distance that predicts utility has -1. It is
    NaN for fewer than `LEAST` rows.
    """
    utility = np.array([row.utility.value for row in by_label.values()])
    found = {}
    for name in METRICS:
        values = np.array([row.mean(name, pairs) for row in by_label.values()])
        known = np.isfinite(values)
        if known.any():
            numbers = correlation(values[known], utility[known])
            found[name] = Agreement(name, int(known.sum()), *numbers)
    return found


def correlation(x: Array, y: Array) -> tuple[float, float, float]:
    """Spearman's rank correlation of `[n]` and `[n]`, and its 95 % bootstrap interval over rows.

    No interval where the order is perfect: so would be that of every resample.

    >>> correlation(np.arange(5.0), np.array([1.0, 4.0, 9.0, 16.0, 25.0]))
    (1.0, nan, nan)
    """
    none = math.nan, math.nan
    if len(x) < LEAST:
        return math.nan, *none
    (value,) = _spearman(x[None], y[None])
    if not abs(value) < 1:
        return float(value), *none
    random = np.random.default_rng(seed_from("utility-predictors"))
    drawn = random.integers(len(x), size=(DRAWS, len(x)))
    low, high = np.nanquantile(_spearman(x[drawn], y[drawn]), (0.025, 0.975))
    return float(value), float(low), float(high)


def _spearman(x: Array, y: Array) -> Array:
    """Rank correlations of the lines of `[draws, n]`; NaN where all values are equal."""
    a, b = (pd.DataFrame(part).rank(axis=1).to_numpy() for part in (x, y))
    a, b = (part - part.mean(axis=1, keepdims=True) for part in (a, b))
    size = np.sqrt((a**2).sum(axis=1) * (b**2).sum(axis=1))
    values: Array = np.where(size > 0, (a * b).sum(axis=1) / np.where(size > 0, size, 1), np.nan)
    return values.round(12)
