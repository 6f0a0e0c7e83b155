"""Two rows of a leaderboard against each other: where they differ, and whether it may be chance."""

import math
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import permutations
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from scipy.stats import rankdata

from xbench.analysis.leaderboard import comparable, pair_means, ranked
from xbench.analysis.rows import make
from xbench.core.errors import Unavailable, UserError, unknown
from xbench.core.pairs import Pair
from xbench.metrics.base import METRICS, Metric
from xbench.metrics.paired import (
    ALPHA,
    critical_difference,
    friedman,
    group_means,
    holm,
    signed_rank,
)
from xbench.metrics.uncertainty import Interval, bootstrap_mean, jackknife_interval, left_out
from xbench.records.schema import Record
from xbench.records.store import Store

Array = NDArray[np.float64]

#: Images that are shown.
VIEWS = 5


@dataclass(frozen=True)
class PairRow:
    """The two rows on one pair, in the metric's unit, averaged over seeds.

    `n` images and `groups` group values (0: no test, for this `reason`) tell whether a - b is
    `better` for one of them: `p` is of Wilcoxon's signed-rank test, `p_holm` is corrected for the
    number of pairs tested, and below `ALPHA` the better row is named.
    """

    source: str
    target: str
    n: int
    groups: int
    a: float
    b: float
    difference: float
    ci_low: float | None
    ci_high: float | None
    p: float | None
    p_holm: float | None
    better: str | None
    reason: str | None


@dataclass(frozen=True)
class Ranks:
    """Mean ranks over pairs of all rows that have these pairs, 1 for the best.

    `p` is of Friedman's test that all rank alike (pairs share images and domains, so that it says
    more than as many independent data sets would). The two rows differ where it finds a difference
    and theirs is larger than Nemenyi's critical one. Reference rows count only if compared.
    """

    ranks: dict[str, float]
    pairs: int
    p: float
    critical_difference: float
    differ: bool


@dataclass(frozen=True)
class View:
    """An image on which the two rows differ much, in the lowest seed of each."""

    source: str
    target: str
    id: str
    metric: str
    a: float
    b: float
    seed_a: int
    seed_b: int


@dataclass(frozen=True)
class Comparison:
    """What `compare` found: per pair, over the pairs, in ranks, and the most telling images.

    `difference` is the mean of a - b over the pairs. `wins` counts the pairs on which a is better,
    `losses` those on which b is, `ties` those that were tested and show no difference. Of `aligned`
    data, targets show the views of the sources.
    """

    a: str
    b: str
    metric: str
    identity: str
    higher_is_better: bool
    data: str
    profile: str
    split: str
    aligned: bool
    pairs: list[PairRow]
    difference: float
    ci_low: float | None
    ci_high: float | None
    wins: int
    ties: int
    losses: int
    ranks: Ranks | None
    views: list[View]
    notes: list[str]


@dataclass(frozen=True)
class _Unit:
    """One row on one pair: the record of its lowest seed, and values averaged over seeds."""

    first: Record
    value: float
    per_image: Array | None
    left_out: Array | None


Both = tuple[_Unit, _Unit]


@dataclass(frozen=True)
class _Difference:
    """Of two units: value, interval, group values, and values without each block of groups."""

    value: float
    interval: Interval | None = None
    parts: Array | None = None
    without: Array | None = None
    reason: str | None = None


def compare(folder: Path, a: str, b: str, metric: str = "ssim_ref") -> Comparison:
    """Compare two rows on all pairs that both have.

    Images of one group resemble one another, so that groups are what the tests count. Of a metric
    with a value for each image, a group's value is the mean over its images, and the interval is
    `bootstrap_mean`'s. Of a distance between sets, it is the jackknife pseudo-value of a block of
    groups (Tukey 1958; Efron and Tibshirani 1993, section 11.5) and the interval the jackknife's.

    Args:
        folder: results of one data set and profile.
        a: label of a finished row.
        b: label of another.
        metric: see `xbench list metrics`.

    Raises:
        UserError: an unknown label or metric, rows that share no pair with a value, or whose
            images differ.
    """
    if metric not in METRICS:
        raise unknown("metric", metric, METRICS, "see: xbench list metrics")
    facts = METRICS[metric]
    records, notes = _records(folder, a, b)
    units = _shared(records, (a, b), facts, notes)
    found = {pair: _difference(*both) for pair, both in units.items()}
    rows = _rows(units, found, (a, b), facts)
    notes += _power(rows)
    mean = float(np.mean([row.difference for row in rows]))
    low, high = _mean_interval(mean, units, found, notes) or (None, None)
    first = records[0]
    return Comparison(
        *(a, b, metric, facts.identity, facts.higher_is_better),
        *(first.data.key, first.profile, first.data.split),
        aligned=any(
            value.value is not None
            for record in records
            for name, value in record.metrics.items()
            if name in METRICS and METRICS[name].paired
        ),
        pairs=rows,
        difference=mean,
        ci_low=low,
        ci_high=high,
        wins=sum(row.better == a for row in rows),
        ties=sum(row.p is not None and row.better is None for row in rows),
        losses=sum(row.better == b for row in rows),
        ranks=_ranks(records, list(units), (a, b), facts),
        views=_views(units, facts),
        notes=notes,
    )


def _records(folder: Path, a: str, b: str) -> tuple[list[Record], list[str]]:
    """The comparable records of a folder that has both rows, and what was left out."""
    everything = Store(folder).records()
    records, notes = comparable(everything)
    labels = {record.method.label for record in records}
    for label in (a, b):
        if label not in labels and label in {record.method.label for record in everything}:
            raise UserError(
                f"the row '{label}' has other data or metric definitions than the newest row",
                f"expected: two rows made with {records[0].data.key} and the same definitions",
                "try: the xbench run that made it once more",
            )
        if label not in labels:
            raise unknown("finished row", label, sorted(labels), "see: xbench leaderboard")
    if a == b:
        raise UserError(
            f"'{a}' is compared with itself",
            "expected: labels of two rows",
            "see: xbench leaderboard",
        )
    return records, notes


def _shared(
    records: Sequence[Record], labels: tuple[str, str], metric: Metric, notes: list[str]
) -> dict[Pair, Both]:
    """Both rows on each pair where both have a value; a note tells of others."""
    lacking: Counter[str] = Counter()
    units: dict[Pair, Both] = {}
    for pair in permutations(records[0].data.domains, 2):
        rows = [
            [r for r in records if (r.method.label, r.source, r.target) == (label, *pair)]
            for label in labels
        ]
        if not rows[0] and not rows[1]:
            continue
        _same_images([*rows[0], *rows[1]])
        try:
            own, other = (_unit(*row, metric.name) for row in zip(labels, rows, strict=True))
            units[pair] = own, other
        except Unavailable as empty:
            lacking[str(empty)] += 1
    if not units:
        raise UserError(
            f"'{labels[0]}' and '{labels[1]}' share no pair with a value of {metric.name}: "
            + "; ".join(lacking),
            "expected: a pair that both have translated, and a metric that was computed",
            f"see: xbench leaderboard, or try: --metric {'ssim' if metric.paired else 'ftd'}",
        )
    for reason, count in lacking.items():
        notes.append(f"left out {count} {'pair' if count == 1 else 'pairs'}: {reason}")
    return units


def _same_images(records: Sequence[Record]) -> None:
    """Refuse to compare translations of different images."""
    first = records[0]
    for other in records:
        if (first.data.ids, first.data.groups) != (other.data.ids, other.data.groups):
            alone = len(set(first.data.ids) ^ set(other.data.ids))
            raise UserError(
                f"'{first.method.label}' and '{other.method.label}' do not show the same images on "
                f"{first.source} → {first.target} ({alone} ids are in one of them only)",
                "expected: rows with the same images in the same order (the floor may show others)",
                "see: xbench leaderboard, and compare two methods",
            )


def _unit(label: str, records: Sequence[Record], metric: str) -> _Unit:
    """A row on one pair, averaged over its seeds.

    Raises:
        Unavailable: there is no record, or one has no value.
    """
    if not records:
        raise Unavailable(f"'{label}' has not translated it")
    values, numbers = [record.metrics.get(metric) for record in records], []
    for value in values:
        if value is None or value.value is None:
            why = value.reason if value else "scored before there was this metric"
            raise Unavailable(f"{metric} of '{label}' is empty: {why}")
        numbers.append(value.value)
    return _Unit(
        min(records, key=lambda record: record.seed),
        float(np.mean(numbers)),
        _average([value.per_image for value in values if value]),
        _average([value.left_out for value in values if value]),
    )


def _average(lists: Sequence[list[float] | None]) -> Array | None:
    """Mean over seeds of equally long lists; None if one is absent."""
    present = [numbers for numbers in lists if numbers is not None]
    mean: Array = np.mean(present or [[]], axis=0)
    return mean if len(present) == len(lists) else None


def _difference(own: _Unit, other: _Unit) -> _Difference:
    """Value, interval and group values of the difference of two units."""
    value, groups = own.value - other.value, own.first.data.groups
    try:
        if own.per_image is not None and other.per_image is not None:
            gap = own.per_image - other.per_image
            interval = bootstrap_mean(gap, groups, 1 - ALPHA)
            without = left_out(lambda rows: float(gap[rows].mean()), groups)
            return _Difference(value, interval, group_means(gap, groups), without)
        rest = left_out(lambda rows: float(len(rows)), groups)
        if own.left_out is None or other.left_out is None:
            raise Unavailable(
                "the records have no values without blocks of groups: the data are not aligned, "
                "or an older version made them"
            )
        without = own.left_out - other.left_out
        interval = jackknife_interval(value, without, groups, 1 - ALPHA)
        # Pseudo-values: the rows of a block are those that are missing without it.
        ratio = len(groups) / (len(groups) - rest)
        return _Difference(value, interval, ratio * value - (ratio - 1) * without, without)
    except Unavailable as reason:
        return _Difference(value, reason=str(reason))


def _rows(
    units: dict[Pair, Both],
    found: dict[Pair, _Difference],
    labels: tuple[str, str],
    metric: Metric,
) -> list[PairRow]:
    """Values and tests pair by pair."""
    tests = {pair: signed_rank(d.parts) for pair, d in found.items() if d.parts is not None}
    corrected = dict(zip(tests, holm(list(tests.values())), strict=True))
    rows = []
    for pair, difference in found.items():
        own, other = units[pair]
        low, high = difference.interval or (None, None)
        ahead = labels[0] if (difference.value > 0) == metric.higher_is_better else labels[1]
        rows.append(
            PairRow(
                *pair,
                n=len(own.first.data.ids),
                groups=0 if difference.parts is None else len(difference.parts),
                a=own.value,
                b=other.value,
                difference=difference.value,
                ci_low=low,
                ci_high=high,
                p=tests.get(pair),
                p_holm=corrected.get(pair),
                better=ahead if corrected.get(pair, 1) < ALPHA else None,
                reason=difference.reason,
            )
        )
    return rows


def _power(rows: Sequence[PairRow]) -> list[str]:
    """A note where there is no test, or too few groups for any difference to be found."""
    tested = [row.groups for row in rows if row.groups]
    notes = [f"no test: {r}" for r in dict.fromkeys(row.reason for row in rows) if r]
    least = len(tested) * 2.0 ** (1 - max(tested, default=0))
    if tested and least >= ALPHA:
        notes.append(
            f"{max(tested)} groups cannot show a difference on {len(tested)} pairs: the smallest "
            f"p that they can give is {min(1.0, least):.2g} after the correction"
        )
    return notes


def _mean_interval(
    mean: float, units: dict[Pair, Both], found: dict[Pair, _Difference], notes: list[str]
) -> Interval | None:
    """Interval of the mean over pairs: a group is left out of all of them at once."""
    groups = [own.first.data.groups for own, _ in units.values()]
    without = [d.without for d in found.values() if d.without is not None]
    if len(without) < len(found):  # the pairs say why
        return None
    if any(other != groups[0] for other in groups):
        notes.append("no interval of the mean: the pairs do not show the same groups")
        return None
    return jackknife_interval(mean, np.mean(without, axis=0), groups[0], 1 - ALPHA)


def _ranks(
    records: Sequence[Record], pairs: Sequence[Pair], two: tuple[str, str], metric: Metric
) -> Ranks | None:
    """Ranks over these pairs of all ranked rows, and the two, that have a value on each."""
    if len(pairs) < 2:
        return None
    rows = ranked(make(records))
    others = {label for label, row in rows.items() if not row.reference}
    complete: dict[str, list[float]] = {}
    for label, by_pair in pair_means(records).items():
        row = [by_pair.get(pair, {}).get(metric.name, math.nan) for pair in pairs]
        if label in others | {*two} and not np.isnan(row).any():
            complete[label] = row
    values = np.array(list(complete.values())).T
    places = rankdata(-values if metric.higher_is_better else values, axis=1)
    means = dict(zip(complete, places.mean(axis=0).tolist(), strict=True))
    p, critical = friedman(places), critical_difference(len(means), len(pairs))
    differ = p < ALPHA and abs(means[two[0]] - means[two[1]]) > critical
    in_order = dict(sorted(means.items(), key=lambda item: item[1]))
    return Ranks(in_order, len(pairs), p, critical, differ)


def _views(units: dict[Pair, Both], metric: Metric) -> list[View]:
    """Images with the largest differences of a metric that has a value for each image."""
    views: list[View] = []
    for name in [metric.name] if metric.kind == "per image" else ["ssim_ref", "ssim"]:
        for (source, target), (own, other) in units.items():
            a, b = (unit.first.metrics.get(name) for unit in (own, other))
            if a and b and a.per_image and b.per_image:
                seeds = own.first.seed, other.first.seed
                values = zip(own.first.data.ids, a.per_image, b.per_image, strict=True)
                views += [View(source, target, i, name, x, y, *seeds) for i, x, y in values]
        if views:
            break
    return sorted(views, key=lambda view: -abs(view.a - view.b))[:VIEWS]
