"""Two rows of a leaderboard compared: where they differ, and whether it may be chance."""

import math
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from xbench.analysis.columns import known_metric
from xbench.analysis.differing import View, views
from xbench.analysis.leaderboard import compared
from xbench.analysis.results import Results, read
from xbench.analysis.rows import Row
from xbench.analysis.selection import chosen_pairs
from xbench.core.errors import Unavailable, UserError, unknown
from xbench.core.pairs import Pair, parse_pairs
from xbench.metrics.base import Metric
from xbench.metrics.paired import (
    ALPHA,
    critical_difference,
    friedman,
    group_means,
    holm,
    signed_rank,
)
from xbench.metrics.uncertainty import Interval, bootstrap_mean, jackknife_interval, left_out
from xbench.records.schema import Record, Value
from xbench.records.store import Store

Array = NDArray[np.float64]


@dataclass(frozen=True)
class PairRow:
    """The two rows on one pair, in the metric's unit, averaged over seeds.

    Attributes:
        n: number of images.
        groups: number of group values that are tested; 0 where there is no test.
        difference: a - b, with the 95 % interval over groups.
        p: of Wilcoxon's signed-rank test of the group values.
        p_holm: the same, corrected for the number of pairs tested.
        better: label of the better row where `p_holm` is below `ALPHA`.
        reason: why there is no test.
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
    """Mean ranks over pairs of all rows with these pairs.

    Attributes:
        ranks: label → mean rank, 1 for the best; reference rows are in only if compared.
        pairs: number of pairs.
        p: of Friedman's test that all rows rank alike; too small, since pairs share images.
        critical_difference: Nemenyi's, of mean ranks.
        differ: whether `p` is below `ALPHA` and the two rows differ by more than that.
    """

    ranks: dict[str, float]
    pairs: int
    p: float
    critical_difference: float
    differ: bool


@dataclass(frozen=True)
class Comparison:
    """The result of `compare`: per pair, over all pairs, and in ranks.

    Attributes:
        identity: definition of the metric.
        data: key of the data set.
        aligned: whether targets show the same views as sources.
        bright: whether pictures show bone bright, as the files do.
        difference: mean of a - b over the pairs, with the 95 % interval over groups.
        wins: pairs on which a is better.
        ties: pairs that were tested and show no difference.
        losses: pairs on which b is better.
        ranks: None for a single pair.
        views: the images that differ most.
        notes: what was left out or cannot be tested.
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
    bright: bool
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
    """The difference of two units: value, interval, group values, values without each block."""

    value: float
    interval: Interval | None = None
    parts: Array | None = None
    without: Array | None = None
    reason: str | None = None


#: What rows are compared by: the first of which both have values; else by that of sets.
DEFAULTS = ("ltd", "ssim_ref", "ftd")


def compare(folder: Path, a: str, b: str, metric: str = "", group: str = "") -> Comparison:
    """Compare two rows on all pairs that both have.

    Tests count groups, since images of one group resemble one another. For a metric with a value
    per image, a group's value is the mean over its images, and the interval is `bootstrap_mean`'s.
    For a distance between sets, it is the jackknife pseudo-value of a block of groups (Tukey 1958;
    Efron and Tibshirani 1993, section 11.5), and the interval is the jackknife's.

    Args:
        folder: results of one data set and profile.
        a: label of a finished row.
        b: label of another.
        metric: see `xbench list metrics`; by default one of `DEFAULTS`.
        group: of pairs, see `chosen_pairs`; all by default.

    Raises:
        UserError: an unknown label, metric or group, rows that share no pair with a value, or whose
            images differ.
    """
    named = known_metric(metric) if metric else None
    results = _results(folder, a, b)
    facts = named or known_metric(_default(results.by_label[a], results.by_label[b]))
    notes, record = list(results.notes), results.records[0]
    over = chosen_pairs(record, group) or parse_pairs((), record.data.domains)
    units = _shared([results.by_label[label] for label in (a, b)], facts, notes, over)
    differences = {pair: _difference(*both) for pair, both in units.items()}
    pairs = _pairs(units, differences, (a, b), facts)
    notes += _power(pairs)
    mean = float(np.mean([row.difference for row in pairs]))
    low, high = _mean_interval(mean, units, differences, notes) or (None, None)
    stored = (r.metrics.get(facts.name) for r in results.by_label[a].records)
    identity = next(value.identity for value in stored if value)
    per_image = [facts.name] if facts.per_image else ["ssim_ref", "ssim"]
    return Comparison(
        *(a, b, facts.name, identity, facts.higher_is_better),
        *(record.data.key, record.profile, record.data.split),
        aligned=results.aligned,
        bright=record.data.bone_bright,
        pairs=pairs,
        difference=mean,
        ci_low=low,
        ci_high=high,
        wins=sum(row.better == a for row in pairs),
        ties=sum(row.p is not None and row.better is None for row in pairs),
        losses=sum(row.better == b for row in pairs),
        ranks=_ranks(results.by_label, list(units), (a, b), facts),
        views=views({pair: (x.first, y.first) for pair, (x, y) in units.items()}, per_image),
        notes=notes,
    )


def _default(a: Row, b: Row) -> str:
    """The first default metric with a value of both rows on a pair, or the last one."""
    shared = set(a.pairs) & set(b.pairs)

    def known(name: str) -> bool:
        return any(not math.isnan(a.of_pair(p)[name] + b.of_pair(p)[name]) for p in shared)

    return next((name for name in DEFAULTS if known(name)), DEFAULTS[-1])


def _results(folder: Path, a: str, b: str) -> Results:
    """The results of a folder that has both rows."""
    everything = Store(folder).records()
    results = read(folder, everything)
    labels = results.by_label
    for label in (a, b):
        if label not in labels and label in {record.method.label for record in everything}:
            raise UserError(
                f"the row '{label}' has other data or metric definitions than the newest row",
                f"expected: two rows of {results.records[0].data.key} with the same definitions",
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
    return results


def _shared(
    rows: Sequence[Row], metric: Metric, notes: list[str], pairs: Sequence[Pair]
) -> dict[Pair, Both]:
    """Both rows on each pair with a value of both; notes say why other pairs are left out."""
    reasons: Counter[str] = Counter()
    units: dict[Pair, Both] = {}
    for pair in pairs:
        both = [[r for r in row.records if (r.source, r.target) == pair] for row in rows]
        if not any(both):
            continue
        _same_images([record for own in both for record in own])
        try:
            a, b = (_unit(row.label, r, metric.name) for row, r in zip(rows, both, strict=True))
            units[pair] = a, b
        except Unavailable as empty:
            reasons[str(empty)] += 1
    if not units:
        raise UserError(
            f"'{rows[0].label}' and '{rows[1].label}' share no pair with a value of {metric.name}: "
            + "; ".join(reasons),
            "expected: a pair that both have translated, and a metric that was computed",
            f"see: xbench leaderboard, or try: --metric {'ssim' if metric.paired else 'ftd'}",
        )
    for reason, count in reasons.items():
        notes.append(f"left out {count} {'pair' if count == 1 else 'pairs'}: {reason}")
    return units


def _same_images(records: Sequence[Record]) -> None:
    """Raise a UserError if the records are of different images."""
    one = records[0]
    for other in records:
        if (one.data.ids, one.data.groups) != (other.data.ids, other.data.groups):
            alone = len(set(one.data.ids) ^ set(other.data.ids))
            raise UserError(
                f"'{one.method.label}' and '{other.method.label}' do not show the same images on "
                f"{one.source} → {one.target} ({alone} ids are in one of them only)",
                "expected: rows with the same images in the same order (the floor may show others)",
                "see: xbench leaderboard, and compare two methods",
            )


def _unit(label: str, records: Sequence[Record], metric: str) -> _Unit:
    """A row on one pair, averaged over its seeds; `Unavailable` if a record has no value."""
    if not records:
        raise Unavailable(f"'{label}' has not translated it")
    values: list[Value] = []
    for record in records:
        value = record.metrics.get(metric)
        if value is None or value.value is None:
            why = value.reason if value else "scored before there was this metric"
            raise Unavailable(f"{metric} of '{label}' is empty: {why}")
        values.append(value)
    return _Unit(
        records[0],
        float(np.mean([value.value for value in values])),
        _average([value.per_image for value in values]),
        _average([value.left_out for value in values]),
    )


def _average(lists: Sequence[list[float] | None]) -> Array | None:
    """Mean over seeds of equally long lists; None if one is absent."""
    present = [numbers for numbers in lists if numbers is not None]
    return np.mean(present, axis=0) if len(present) == len(lists) else None


def _difference(a: _Unit, b: _Unit) -> _Difference:
    value, groups = a.value - b.value, a.first.data.groups
    try:
        if a.per_image is not None and b.per_image is not None:
            gap = a.per_image - b.per_image
            interval = bootstrap_mean(gap, groups, 1 - ALPHA)
            without = left_out(lambda rows: float(gap[rows].mean()), groups)
            return _Difference(value, interval, group_means(gap, groups), without)
        rest = left_out(lambda rows: float(len(rows)), groups)
        if a.left_out is None or b.left_out is None:
            raise Unavailable(
                "the records have no values without blocks of groups: the data are not aligned, "
                "or an older version made them"
            )
        without = a.left_out - b.left_out
        interval = jackknife_interval(value, without, groups, 1 - ALPHA)
        # Pseudo-values: a block has as many images as are missing without it.
        ratio = len(groups) / (len(groups) - rest)
        return _Difference(value, interval, ratio * value - (ratio - 1) * without, without)
    except Unavailable as reason:
        return _Difference(value, reason=str(reason))


def _pairs(
    units: Mapping[Pair, Both],
    differences: Mapping[Pair, _Difference],
    labels: tuple[str, str],
    metric: Metric,
) -> list[PairRow]:
    """Values and tests pair by pair."""
    tests = {pair: signed_rank(d.parts) for pair, d in differences.items() if d.parts is not None}
    corrected = dict(zip(tests, holm(list(tests.values())), strict=True))
    rows = []
    for pair, difference in differences.items():
        a, b = units[pair]
        low, high = difference.interval or (None, None)
        ahead = labels[0] if (difference.value > 0) == metric.higher_is_better else labels[1]
        better = ahead if corrected.get(pair, 1) < ALPHA else None
        groups = 0 if difference.parts is None else len(difference.parts)
        rows.append(
            PairRow(
                *(*pair, len(a.first.data.ids), groups, a.value, b.value, difference.value),
                *(low, high, tests.get(pair), corrected.get(pair), better, difference.reason),
            )
        )
    return rows


def _power(rows: Sequence[PairRow]) -> list[str]:
    """Notes where there is no test, or where even the largest difference is not significant."""
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
    mean: float,
    units: Mapping[Pair, Both],
    differences: Mapping[Pair, _Difference],
    notes: list[str],
) -> Interval | None:
    """Interval of the mean over pairs: a group is left out of all pairs at once."""
    groups = [a.first.data.groups for a, _ in units.values()]
    without = [d.without for d in differences.values() if d.without is not None]
    if len(without) < len(differences):  # the pairs say why
        return None
    if any(other != groups[0] for other in groups):
        notes.append("no interval of the mean: the pairs do not show the same groups")
        return None
    return jackknife_interval(mean, np.mean(without, axis=0), groups[0], 1 - ALPHA)


def _ranks(
    by_label: Mapping[str, Row], pairs: Sequence[Pair], two: tuple[str, str], metric: Metric
) -> Ranks | None:
    """Ranks over these pairs of the two rows and all ranked rows with a value on each pair."""
    if len(pairs) < 2:
        return None
    others = {label for label, row in compared(by_label).items() if not row.reference}
    values = {
        label: [row.of_pair(pair)[metric.name] for pair in pairs]
        for label, row in by_label.items()
        if label in others | {*two} and row.has(pairs)
    }
    complete = pd.DataFrame(values).dropna(axis="columns")
    places = complete.rank(axis="columns", ascending=not metric.higher_is_better)
    means = places.mean().sort_values(kind="stable")
    p, critical = friedman(places.to_numpy()), critical_difference(len(means), len(pairs))
    differ = p < ALPHA and abs(means[two[0]] - means[two[1]]) > critical
    ranks = {str(label): float(mean) for label, mean in means.items()}
    return Ranks(ranks, len(pairs), p, critical, bool(differ))
