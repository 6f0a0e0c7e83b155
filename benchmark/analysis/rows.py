"""Rows of tables: the records of one label as arrays, with means, intervals and differences."""

import math
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from functools import cached_property, lru_cache
from typing import Literal, NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy.special import stdtrit

from xbench.core.errors import Unavailable
from xbench.core.pairs import Pair
from xbench.metrics.base import METRICS
from xbench.metrics.uncertainty import Interval, left_out, means_left_out
from xbench.records.schema import Record

Array = NDArray[np.float64]
Mark = Literal["", "best", "second"]
Groups = tuple[str, ...]


class Estimate(NamedTuple):
    """A value, and its 95 % interval over groups of images and seeds; NaN where there is none."""

    value: float
    low: float = math.nan
    high: float = math.nan


UNKNOWN = Estimate(math.nan)


class Summary(NamedTuple):
    """Means over some pairs, [metrics] each; NaN where a value they need is missing.

    Attributes:
        mean: over seeds, then over pairs.
        low: lower end of the 95 % interval over groups, and over seeds where there are several.
        high: its upper end.
        over_seeds: standard deviation over seeds.
        without: the mean without each block of groups, [metrics, blocks].
        groups: the group of each image; None where the pairs show different ones.
    """

    mean: Array
    low: Array
    high: Array
    over_seeds: Array
    without: Array
    groups: Groups | None


def clock(record: Record) -> str:
    """What the seconds of a record were measured on: the GPU, or processor and threads."""
    facts = record.provenance
    if facts.gpu:
        return facts.gpu
    count = facts.threads
    threads = f"{count} CPU thread{'s' * (count != 1)}" if count else ""
    return ", ".join(filter(None, (facts.cpu, threads))) or "an unknown machine"


def whole_seeds(records: Sequence[Record]) -> list[Record]:
    """The records of the seeds that have the most pairs, without those of seeds begun."""
    pairs = Counter(record.seed for record in records)
    most = max(pairs.values())
    return [record for record in records if pairs[record.seed] == most]


def timed(records: Sequence[Record]) -> list[Record]:
    """The records from which a row's seconds are taken: whole seeds, from the quickest machine.

    All of them where every seed was made on several machines.
    """
    clocks: dict[int, set[str]] = {}
    for record in records:
        clocks.setdefault(record.seed, set()).add(clock(record))
    kinds: dict[str, list[Record]] = {}
    for record in records:
        if len(clocks[record.seed]) == 1:
            kinds.setdefault(clock(record), []).append(record)

    def seconds(kind: list[Record]) -> float:
        known = [r.seconds["translate"] for r in kind if "translate" in r.seconds]
        return sum(known) / len(known) if known else math.inf

    return min(kinds.values(), key=seconds, default=list(records))


@dataclass(frozen=True)
class Row:
    """The records of one label.

    Seeds are averaged before pairs, so that a pair weighs the same whatever seeds it has. If one
    seed has no value, the mean is NaN, since the mean of the other seeds would be another number.

    Attributes:
        records: all of them, by seed, and within by pair in the order of the domains.
        metrics: the columns of the arrays.
        utility: of its images for other networks (`analysis.utility`), if it is known.
    """

    records: Sequence[Record]
    metrics: tuple[str, ...]
    utility: Estimate = UNKNOWN
    _summaries: dict[tuple[Pair, ...], Summary] = field(default_factory=dict, init=False)

    @cached_property
    def _places(self) -> dict[Pair, list[int]]:
        """Pair → places of its records."""
        places: dict[Pair, list[int]] = {}
        for place, record in enumerate(self.records):
            places.setdefault((record.source, record.target), []).append(place)
        return places

    @cached_property
    def _single(self) -> Array:
        """Values of each record, [records, metrics]."""
        return np.array(
            [
                [_number(record.metrics.get(name)) for name in self.metrics]
                for record in self.records
            ]
        )

    @cached_property
    def _values(self) -> dict[Pair, Array]:
        """Pair → means over seeds, [metrics]."""
        return {pair: self._single[places].mean(axis=0) for pair, places in self._places.items()}

    @cached_property
    def _left_out(self) -> dict[Pair, Array]:
        """Pair → means over seeds without each block of groups, [metrics, blocks]; NaN: unknown."""
        lists = [_without_blocks(record, self.metrics) for record in self.records]
        blocks = max((len(numbers) for line in lists for numbers in line if numbers), default=0)
        unknown = [math.nan] * blocks
        filled = [
            [numbers if numbers and len(numbers) == blocks else unknown for numbers in line]
            for line in lists
        ]
        single = np.array(filled, dtype=np.float64)
        return {pair: single[places].mean(axis=0) for pair, places in self._places.items()}

    @cached_property
    def _groups(self) -> dict[Pair, Groups | None]:
        """Pair → the group of each image; None where seeds show different ones."""
        groups = {
            pair: {tuple(self.records[place].data.groups) for place in places}
            for pair, places in self._places.items()
        }
        return {pair: own.pop() if len(own) == 1 else None for pair, own in groups.items()}

    @property
    def label(self) -> str:
        """The row's name in tables."""
        return self.records[0].method.label

    @property
    def reference(self) -> bool:
        """Whether it is only compared with, and has no rank."""
        return self.records[0].method.reference

    @property
    def pairs(self) -> tuple[Pair, ...]:
        """The pairs that it has."""
        return tuple(self._places)

    def has(self, pairs: Iterable[Pair]) -> bool:
        """Whether it has all of these pairs."""
        return all(pair in self._places for pair in pairs)

    def of_pair(self, pair: Pair) -> dict[str, float]:
        """Metric → mean over the seeds of one pair."""
        return dict(zip(self.metrics, self._values[pair].tolist(), strict=True))

    def least(self, metric: str, pair: Pair) -> float:
        """The least value of any seed on one pair."""
        return float(self._single[self._places[pair], self._column(metric)].min())

    def mean(self, metric: str, pairs: Sequence[Pair]) -> float:
        """Mean over seeds, then over these pairs; NaN where a value is absent."""
        return float(self.summary(pairs).mean[self._column(metric)])

    def interval(self, metric: str, pairs: Sequence[Pair]) -> Interval:
        """95 % interval of the mean over groups and seeds; NaN where there is none."""
        return Interval(*self.spread(metric, pairs)[:2])

    def spread(self, metric: str, pairs: Sequence[Pair]) -> tuple[float, float, float]:
        """Of the mean, both ends of its interval and its deviation over seeds (`SPREADS`)."""
        _, low, high, over_seeds, *_ = self.summary(pairs)
        place = self._column(metric)
        return float(low[place]), float(high[place]), float(over_seeds[place])

    def summary(self, pairs: Sequence[Pair]) -> Summary:
        """All about the means over these pairs, computed once."""
        key = tuple(pairs)
        if key in self._summaries:
            return self._summaries[key]
        mean = np.mean([self._values[pair] for pair in pairs], axis=0)
        without = np.mean([self._left_out[pair] for pair in pairs], axis=0)
        # A group has images in all pairs: it is left out of all of them at once.
        same = {self._groups[pair] for pair in pairs}
        groups = same.pop() if len(same) == 1 else None
        over_seeds, seeds = self._over_seeds(set(pairs))
        reach = half_widths(mean, without, groups)
        if seeds > 1:
            # Groups and seeds are drawn independently: the variances of both means add up.
            reach = np.hypot(reach, stdtrit(seeds - 1, 0.975) * over_seeds / math.sqrt(seeds))
        spans = [METRICS[name].span[0] for name in self.metrics]
        least = np.array([-math.inf if low is None else low for low in spans])
        low, high = np.maximum(mean - reach, least), np.maximum(mean + reach, least)
        summary = Summary(mean, low, high, over_seeds, without, groups)
        return self._summaries.setdefault(key, summary)

    def _over_seeds(self, pairs: set[Pair]) -> tuple[Array, int]:
        """Standard deviation over seeds of the means, and the number of seeds with all pairs.

        The deviations are NaN for fewer than two.

        The mean of a seed with some of the pairs would differ for that reason alone.
        """
        seeds: dict[int, list[Array]] = {}
        for record, values in zip(self.records, self._single, strict=True):
            if (record.source, record.target) in pairs:
                seeds.setdefault(record.seed, []).append(values)
        means = [np.mean(values, axis=0) for values in seeds.values() if len(values) == len(pairs)]
        if len(means) < 2:
            return np.full(len(self.metrics), math.nan), len(means)
        deviations: Array = np.std(means, axis=0, ddof=1)
        return deviations, len(means)

    def _column(self, metric: str) -> int:
        return self.metrics.index(metric)


def _without_blocks(record: Record, metrics: Sequence[str]) -> list[list[float] | None]:
    """Values of a record without each block of groups, for each metric; None: unknown."""
    stored = [record.metrics.get(name) for name in metrics]
    found = [value.left_out if value else None for value in stored]
    means = {
        place: value.per_image
        for place, value in enumerate(stored)
        if value and value.per_image and value.left_out is None
    }
    if means:
        with suppress(Unavailable):  # too few groups
            without = means_left_out(np.array(list(means.values())), record.data.groups)
            for place, numbers in zip(means, without.tolist(), strict=True):
                found[place] = numbers
    return found


def make(
    records: Iterable[Record], utilities: Mapping[str, Estimate] | None = None
) -> dict[str, Row]:
    """Label → row: references first, then methods by label; `utilities` by label are added."""
    known = utilities or {}
    by_label: dict[str, list[Record]] = {}
    for record in sorted(records, key=order):
        by_label.setdefault(record.method.label, []).append(record)
    return {
        label: Row(own, tuple(METRICS), known.get(label, UNKNOWN))
        for label, own in by_label.items()
    }


def first(by_label: Mapping[str, Row]) -> Record:
    """A record of some rows, for what all of them share: data, profile, split."""
    return next(iter(by_label.values())).records[0]


def order(record: Record) -> tuple[object, ...]:
    """References first, then methods by label; pairs in the order of the domains."""
    domains = record.data.domains
    return (
        not record.method.reference,
        record.method.label,
        record.seed,
        domains.index(record.source),
        domains.index(record.target),
    )


def marks(rows: Mapping[str, Row], metric: str, pairs: Sequence[Pair]) -> dict[str, Mark]:
    """Label → `best` or `second` in a column, where the lead is more than chance.

    The leading row is `best` if it differs from every other row. Only then, the next row is
    `second` if it differs from all rows behind it. Two rows differ if the 95 % jackknife interval
    of the difference of their means excludes 0; each block of groups (heads, acquisitions) is left
    out of both rows at once (`metrics.uncertainty`). A marked row differs from each of the others,
    so that the level needs no correction for their number. Reference rows and rows without all
    pairs take no part. Without intervals nothing is marked.

    Args:
        rows: label → row.
        metric: the column.
        pairs: what its means are over.
    """
    sign = -1 if METRICS[metric].higher_is_better else 1
    complete = [row for row in rows.values() if not row.reference and row.has(pairs)]
    known = [row for row in complete if not math.isnan(row.mean(metric, pairs))]
    ranked = sorted(known, key=lambda row: sign * row.mean(metric, pairs))
    marked: dict[str, Mark] = {}
    steps: tuple[Mark, ...] = ("best", "second")
    for place, (mark, row) in enumerate(zip(steps, ranked[:-1], strict=False)):
        if not _differs(row, ranked[place + 1 :], metric, pairs):
            break
        marked[row.label] = mark
    return marked


def _differs(row: Row, others: Sequence[Row], metric: str, pairs: Sequence[Pair]) -> bool:
    """Whether the intervals of a row's differences from other rows all exclude 0."""
    column = row.metrics.index(metric)
    own, theirs = row.summary(pairs), [other.summary(pairs) for other in others]
    shape = own.without[column].shape
    if any(t.groups != own.groups or t.without[column].shape != shape for t in theirs):
        return False
    gaps = np.array([own.mean[column] - t.mean[column] for t in theirs])
    without = np.array([own.without[column] - t.without[column] for t in theirs])
    return bool((np.abs(gaps) > half_widths(gaps, without, own.groups)).all())


def half_widths(values: Array, without: Array, groups: Groups | None) -> Array:
    """Half the 95 % intervals of `uncertainty.jackknife_interval` for many values at once.

    Args:
        values: [values].
        without: the values without each block of groups, [values, blocks].
        groups: the group of each image; None if the values rest on different ones.

    Returns:
        [values]; NaN where groups are too few or unknown, or a value without a block is missing.
    """
    left = _left(groups) if groups else None
    if left is None or len(left) != without.shape[1]:
        return np.full(len(values), math.nan)
    ratio = len(groups or ()) / (len(groups or ()) - left)
    pseudo = ratio * values[:, None] - (ratio - 1) * without
    centre = (pseudo / ratio).sum(axis=1, keepdims=True)
    variance = ((pseudo - centre) ** 2 / (ratio - 1)).mean(axis=1)
    widths: Array = stdtrit(len(left) - 1, 0.975) * np.sqrt(variance)
    return widths


@lru_cache(maxsize=256)
def _left(groups: Groups) -> Array | None:
    """Number of images left without each block of groups; None where groups are too few."""
    try:
        return left_out(lambda images: float(len(images)), groups)
    except Unavailable:
        return None


def _number(value: object) -> float:
    """A stored value; NaN where it is empty or the record has none of this metric."""
    number: float | None = getattr(value, "value", None)
    return math.nan if number is None else number
