"""Rows of tables: the records of one label as arrays, their means, intervals and differences."""

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property, lru_cache
from typing import Literal, NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy.special import stdtrit

from xbench.core.errors import Unavailable
from xbench.core.pairs import Pair
from xbench.metrics.base import METRICS
from xbench.metrics.uncertainty import Interval, left_out
from xbench.records.schema import Record

Array = NDArray[np.float64]
Mark = Literal["", "best", "second"]
Groups = tuple[str, ...]

KINDS = ("ci_low", "ci_high", "sd_seeds")


class Summary(NamedTuple):
    """Means over some pairs, [metrics] each, NaN where they cannot be told.

    Attributes:
        mean: over seeds, then over pairs.
        low: lower end of the 95 % interval over groups.
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
    if gpu := facts.get("gpu"):
        return str(gpu)
    threads = int(facts.get("threads") or 0)
    told = f"{threads} CPU thread{'s' * (threads != 1)}" if threads else ""
    return ", ".join(filter(None, (facts.get("cpu"), told))) or "an unknown machine"


def timed(records: Sequence[Record]) -> list[Record]:
    """The records of a row whose seconds are told: whole seeds, on the machine that was quickest.

    All of them where no seed was made on one machine alone.
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

    Seeds are averaged before pairs, so that a pair weighs the same whatever seeds it has. Where
    one seed lacks a value, the mean is NaN: the others would be another mean.

    Attributes:
        records: all of them, by seed, and within by pair in the order of the domains.
        metrics: the columns of the arrays.
    """

    records: Sequence[Record]
    metrics: tuple[str, ...]

    @cached_property
    def _place(self) -> dict[Pair, int]:
        """Pair → its place in the arrays."""
        pairs = dict.fromkeys((record.source, record.target) for record in self.records)
        return {pair: place for place, pair in enumerate(pairs)}

    @cached_property
    def _of_record(self) -> NDArray[np.intp]:
        """The place of each record's pair."""
        return np.array([self._place[record.source, record.target] for record in self.records])

    @cached_property
    def _summaries(self) -> dict[tuple[Pair, ...], "Summary"]:
        """What was worked out already, by pairs."""
        return {}

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
    def _values(self) -> Array:
        """Means over seeds, [pairs, metrics]."""
        return self._over(self._single)

    @cached_property
    def _left_out(self) -> Array:
        """Means over seeds without each block of groups, [pairs, metrics, blocks]; NaN: unknown."""
        known = [[record.metrics.get(name) for name in self.metrics] for record in self.records]
        lists = [[value.left_out if value else None for value in line] for line in known]
        blocks = max((len(found) for line in lists for found in line if found), default=0)
        unknown = [math.nan] * blocks
        filled = [
            [found if found and len(found) == blocks else unknown for found in line]
            for line in lists
        ]
        return self._over(np.array(filled, dtype=np.float64))

    @cached_property
    def _groups(self) -> list[Groups | None]:
        """The group of each image, for each pair; None where seeds show different ones."""
        found: list[set[Groups]] = [set() for _ in self._place]
        for place, record in zip(self._of_record, self.records, strict=True):
            found[place].add(tuple(record.data.groups))
        return [groups.pop() if len(groups) == 1 else None for groups in found]

    @property
    def label(self) -> str:
        """What the row is called."""
        return self.records[0].method.label

    @property
    def reference(self) -> bool:
        """Whether it is there to be compared with, and not ranked."""
        return self.records[0].method.reference

    @property
    def pairs(self) -> tuple[Pair, ...]:
        """The pairs that it has."""
        return tuple(self._place)

    def has(self, pairs: Iterable[Pair]) -> bool:
        """Whether it has all of these pairs."""
        return all(pair in self._place for pair in pairs)

    def of_pair(self, pair: Pair) -> dict[str, float]:
        """Metric → mean over the seeds of one pair."""
        return dict(zip(self.metrics, self._values[self._place[pair]].tolist(), strict=True))

    def mean(self, metric: str, pairs: Sequence[Pair]) -> float:
        """Mean over seeds, then over these pairs; NaN where a value is absent."""
        return float(self.summary(pairs).mean[self._column(metric)])

    def interval(self, metric: str, pairs: Sequence[Pair]) -> Interval:
        """95 % interval of the mean over groups; NaN where it cannot be told."""
        found, column = self.summary(pairs), self._column(metric)
        return Interval(float(found.low[column]), float(found.high[column]))

    def spread(self, metric: str, pairs: Sequence[Pair], column: str) -> dict[str, float]:
        """`<column>_ci_low`, `_ci_high` and `_sd_seeds` of the mean."""
        found, place = self.summary(pairs), self._column(metric)
        values = (found.low[place], found.high[place], found.over_seeds[place])
        return {f"{column}_{kind}": float(v) for kind, v in zip(KINDS, values, strict=True)}

    def summary(self, pairs: Sequence[Pair]) -> "Summary":
        """Everything about the means over these pairs, worked out once."""
        key = tuple(pairs)
        if key not in self._summaries:
            self._summaries[key] = self._summarise(key)
        return self._summaries[key]

    def _summarise(self, pairs: tuple[Pair, ...]) -> "Summary":
        places = [self._place[pair] for pair in pairs]
        mean = self._values[places].mean(axis=0)
        # A group's images are in all pairs, so that it is left out of all of them at once.
        same = {self._groups[place] for place in places}
        groups = same.pop() if len(same) == 1 else None
        without = self._left_out[places].mean(axis=0)
        reach = half_widths(mean, without, groups)
        low, high = mean - reach, mean + reach
        ends = np.array([METRICS[name].span[0] is not None for name in self.metrics])
        lowest = np.array([METRICS[name].span[0] or 0.0 for name in self.metrics])
        low, high = (np.where(ends, np.maximum(end, lowest), end) for end in (low, high))
        return Summary(mean, low, high, self._over_seeds(set(pairs)), without, groups)

    def _over_seeds(self, pairs: set[Pair]) -> Array:
        """Standard deviation over seeds of the means; NaN unless two seeds have all pairs.

        A seed with some of the pairs only has another mean for that reason alone.
        """
        seeds: dict[int, list[Array]] = {}
        for record, values in zip(self.records, self._single, strict=True):
            if (record.source, record.target) in pairs:
                seeds.setdefault(record.seed, []).append(values)
        means = [np.mean(values, axis=0) for values in seeds.values() if len(values) == len(pairs)]
        if len(means) < 2:
            return np.full(len(self.metrics), math.nan)
        deviations: Array = np.std(means, axis=0, ddof=1)
        return deviations

    def _column(self, metric: str) -> int:
        return self.metrics.index(metric)

    def _over(self, single: Array) -> Array:
        """Means over the seeds of each pair of an array [records, …]."""
        total = np.zeros((len(self._place), *single.shape[1:]))
        np.add.at(total, self._of_record, single)
        counts = np.bincount(self._of_record)
        return total / counts.reshape(-1, *[1] * (single.ndim - 1))


def make(records: Iterable[Record]) -> dict[str, Row]:
    """Label → row: references first, then methods by label."""
    found: dict[str, list[Record]] = {}
    for record in sorted(records, key=order):
        found.setdefault(record.method.label, []).append(record)
    return {label: Row(own, tuple(METRICS)) for label, own in found.items()}


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
    """Which row is best in a column, and which second, as far as the difference is no chance.

    The leading row is marked `best` if it differs from every other one; then, and only then, the
    next is marked `second` if it differs from all behind it. Two rows differ if the 95 % jackknife
    interval of the difference of their means excludes 0: groups (heads, acquisitions) are left out
    of both at once (`metrics.uncertainty`). A row must hold its place against each of the others,
    so that the level needs no correction for their number. Reference rows take no part, nor do
    rows that lack a pair; where intervals cannot be made, nothing is marked.

    Args:
        rows: label → row.
        metric: the column.
        pairs: what its means are over.
    """
    sign = -1 if METRICS[metric].higher_is_better else 1
    able = {
        label: row.mean(metric, pairs)
        for label, row in rows.items()
        if not row.reference and row.has(pairs)
    }
    known = [label for label, value in able.items() if not math.isnan(value)]
    ranked = sorted(known, key=lambda label: sign * able[label])
    found: dict[str, Mark] = {}
    steps: tuple[Mark, ...] = ("best", "second")
    for place, (mark, label) in enumerate(zip(steps, ranked[:-1], strict=False)):
        behind = [rows[other] for other in ranked[place + 1 :]]
        if not _differs(rows[label], behind, metric, pairs):
            break
        found[label] = mark
    return found


def _differs(row: Row, others: Sequence[Row], metric: str, pairs: Sequence[Pair]) -> bool:
    """Whether 0 lies outside the intervals of all differences of a row from others."""
    column = row.metrics.index(metric)
    own, theirs = row.summary(pairs), [other.summary(pairs) for other in others]
    shape = own.without[column].shape
    if any(t.groups != own.groups or t.without[column].shape != shape for t in theirs):
        return False
    gaps = np.array([own.mean[column] - t.mean[column] for t in theirs])
    without = np.array([own.without[column] - t.without[column] for t in theirs])
    return bool((np.abs(gaps) > half_widths(gaps, without, own.groups)).all())


def half_widths(values: Array, without: Array, groups: Groups | None, level: float = 0.95) -> Array:
    """Half the intervals of `uncertainty.jackknife_interval` for many values at once.

    Args:
        values: [values].
        without: the values without each block of groups, [values, blocks].
        groups: the group of each image; None if there is no common one.
        level: probability with which an interval is meant to hold.

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
    widths: Array = stdtrit(len(left) - 1, (1 + level) / 2) * np.sqrt(variance)
    return widths


@lru_cache(maxsize=256)
def _left(groups: Groups) -> Array | None:
    """How many images are left without each block of groups; None where groups are too few."""
    try:
        return left_out(lambda images: float(len(images)), groups)
    except Unavailable:
        return None


def _number(value: object) -> float:
    """A stored value; NaN where it is empty or unknown to the version that wrote the record."""
    number: float | None = getattr(value, "value", None)
    return math.nan if number is None else number
