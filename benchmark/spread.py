"""How far to trust a mean over pairs: its interval over groups, its deviation over seeds."""

import math
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from xbench.methods.base import Pair
from xbench.metrics.base import METRICS, Unavailable
from xbench.metrics.uncertainty import jackknife_interval
from xbench.store import Record

#: The mean of `ftd` over the pairs between groups of domains.
CROSS = "ftd_cross"
KINDS = ("ci_low", "ci_high", "sd_seeds")
COLUMNS = [f"{name}_{kind}" for name in (*METRICS, CROSS) for kind in KINDS]


def of_means(records: Sequence[Record], cross: Sequence[Pair]) -> dict[str, float]:
    """`<metric>_ci_low`, `_ci_high` and `_sd_seeds` of the means over the pairs of one row."""
    found: dict[str, float] = {}
    for name in METRICS:
        found |= _spread(name, name, records)
    between = [record for record in records if (record.source, record.target) in cross]
    return found | _spread("ftd", CROSS, between)


def _spread(metric: str, column: str, records: Sequence[Record]) -> dict[str, float]:
    low, high = _interval(metric, records)
    return {f"{column}_ci_low": low, f"{column}_ci_high": high} | {
        f"{column}_sd_seeds": _over_seeds(metric, records)
    }


def _interval(metric: str, records: Sequence[Record]) -> tuple[float, float]:
    """95 % interval of the mean over units whose images belong to the same groups.

    A group's images are in all pairs, so that it is left out of all of them at once.
    """
    nothing = (math.nan, math.nan)
    if not records or any(r.data.groups != records[0].data.groups for r in records):
        return nothing
    values = [record.metrics.get(metric) for record in records]
    parts = [(v.value, v.left_out) for v in values if v and v.value is not None and v.left_out]
    if len(parts) < len(records):
        return nothing
    # Seeds are averaged first, as in the table: a pair weighs the same whatever seeds it has.
    pairs: dict[Pair, list[tuple[float, list[float]]]] = {}
    for record, part in zip(records, parts, strict=True):
        pairs.setdefault((record.source, record.target), []).append(part)
    value = float(np.mean([np.mean([v for v, _ in same]) for same in pairs.values()]))
    without: NDArray[np.float64] = np.mean(
        [np.mean([left for _, left in same], axis=0) for same in pairs.values()], axis=0
    )
    lowest = METRICS[metric].span[0]
    try:
        return jackknife_interval(
            value,
            without,
            records[0].data.groups,
            lowest=-math.inf if lowest is None else lowest,
        )
    except Unavailable:
        return nothing


def _over_seeds(metric: str, records: Sequence[Record]) -> float:
    """Standard deviation over seeds of the means over pairs; NaN for a single complete seed."""
    seeds: dict[int, list[float]] = {}
    for record in records:
        value = record.metrics.get(metric)
        known = value is not None and value.value is not None
        seeds.setdefault(record.seed, []).append(value.value if known else math.nan)  # type: ignore[union-attr,arg-type]
    # A seed with some of the pairs only has another mean for that reason alone.
    number = len({(record.source, record.target) for record in records})
    means = [np.mean(values) for values in seeds.values() if len(values) == number]
    return float(np.std(means, ddof=1)) if len(means) > 1 else math.nan
