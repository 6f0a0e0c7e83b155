"""Tests of two or more rows that rest on the same groups or pairs."""

import math
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray
from scipy import stats

Array = NDArray[np.float64]

#: Level of all tests; intervals are those of 1 - ALPHA.
ALPHA = 0.05


def group_means(values: Array, groups: Sequence[str]) -> Array:
    """Mean over the images [n] of each group, [groups] in the order of their names."""
    _, index = np.unique(np.asarray(groups, dtype=str), return_inverse=True)
    means: Array = np.bincount(index, weights=values) / np.bincount(index)
    return means


def signed_rank(differences: Array) -> float:
    """Two-sided p of Wilcoxon's signed-rank test, exact for up to 50 differences without ties.

    Zeros are left out, as Wilcoxon did; with nothing else, p is 1.
    """
    # Records keep 6 or 7 digits: what is smaller is the noise of adding up.
    other = np.round(differences, 9)
    other = other[other != 0]
    return float(stats.wilcoxon(other).pvalue) if len(other) else 1.0


def holm(p: Sequence[float]) -> list[float]:
    """p-values corrected for their number (Holm 1979, Scandinavian J. of Statistics 6, 65-70)."""
    corrected = [0.0] * len(p)
    largest = 0.0
    for rank, place in enumerate(sorted(range(len(p)), key=lambda i: p[i])):
        largest = max(largest, min(1.0, (len(p) - rank) * p[place]))
        corrected[place] = largest
    return corrected


def friedman(ranked: Array) -> float:
    """p of Friedman's test that the columns of `[pairs, rows]` rank alike.

    Of two columns it is the sign test, exact; of more, the chi-squared approximation.
    """
    if (ranked == ranked[:, :1]).all():
        return 1.0
    if ranked.shape[1] > 2:
        return float(stats.friedmanchisquare(*ranked.T).pvalue)
    ahead, behind = (int((sign * (ranked[:, 0] - ranked[:, 1]) > 0).sum()) for sign in (1, -1))
    return float(stats.binomtest(ahead, ahead + behind).pvalue)


def critical_difference(rows: int, pairs: int) -> float:
    """Nemenyi's for mean ranks at `ALPHA` (Demšar 2006, J. Machine Learning Research 7, 1-30)."""
    q = stats.studentized_range.ppf(1 - ALPHA, rows, np.inf) / math.sqrt(2)
    return float(q * math.sqrt(rows * (rows + 1) / (6 * pairs)))
