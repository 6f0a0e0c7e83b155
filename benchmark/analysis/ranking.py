"""Which rows have a rank: those that show their own anatomy and are made, not pasted.

Realism alone never ranks: a random training image of the target domain looks real. Three gates ask
whether a row translates, before the ranking column says how well.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from xbench.analysis.rows import Row
from xbench.core.columns import crossed
from xbench.core.pairs import EXPECTED, FLOOR, PAIRED, Pair
from xbench.core.settings import name_of
from xbench.metrics.base import METRICS

#: Least mean of `match`, as a share of what the second exposure (or doing nothing) reaches, and its
#: least value on any pair.
MATCH_SHARE, MATCH_LEAST = 0.9, 0.7
#: How far `copied` may lie above that of the target's own test images.
COPIED_MORE = 0.10
#: Least mean of `ngf` over the pairs between groups of domains, and its least value on any of them.
NGF_MEAN, NGF_LEAST = 0.7, 0.6
#: A mean over pairs of the same value differs from it by rounding.
ROUNDING = 1e-9
#: Why a record has no value of a metric that is younger than it.
NOT_SCORED = "scored before there was this metric; the same xbench run scores stored images again"


@dataclass(frozen=True)
class Ranking:
    """What rows are ranked by, and which have no rank.

    Attributes:
        metric: its mean over the pairs between groups of domains ranks: `ltd`; without aligned
            targets `fid`, or `ftd` where a row has no `fid`.
        refused: label → why the row stands below the ranked ones.
        reason: why no row has a rank; empty where rows have.
        grouped: whether there are two groups of domains; else the mean is over all pairs.
    """

    metric: str
    refused: Mapping[str, str] = field(default_factory=dict)
    reason: str = ""
    grouped: bool = True

    @property
    def column(self) -> str:
        """The column of the leaderboard that ranks."""
        return crossed(self.metric) if self.grouped else self.metric

    @property
    def between(self) -> str:
        """The metric whose mean over the pairs between groups is shown; empty without groups."""
        return self.metric if self.grouped else ""

    @property
    def notes(self) -> list[str]:
        """What stands under the table."""
        if self.reason:
            return [f"no row has a rank: {self.reason}"]
        labels: dict[str, list[str]] = {}
        for label, why in self.refused.items():
            labels.setdefault(why, []).append(label)
        lines = [f"without a rank: {', '.join(own)}: {why}" for why, own in labels.items()]
        if self.metric != "ltd":
            by, instead = METRICS[self.metric].label, METRICS["ltd"].label
            lines.insert(0, f"ranked by {by}: {instead} needs aligned targets")
        return lines


@dataclass(frozen=True)
class _Bounds:
    """Least mean of `match` and largest mean of `copied` that a row may have."""

    match: float
    copied: float


def make(by_label: Mapping[str, Row], cross: Sequence[Pair]) -> Ranking:
    """Test every row on all pairs that it has, whichever pairs a table shows.

    A row with some of the pairs is tested by the bounds on single pairs alone, and has no rank.

    Args:
        by_label: label → row, references too.
        cross: the pairs between groups of domains.
    """
    named = {name_of(label): row for label, row in by_label.items()}
    if absent := [name for name in ("identity", FLOOR) if name not in named]:
        return Ranking("ltd", reason=f"the reference row {absent[0]} is not finished")
    identity, floor = named["identity"], named[FLOOR]
    metric = _metric(identity, floor)
    if math.isnan(identity.mean(metric, identity.pairs)):
        why = _why_empty(identity, metric, identity.pairs)
        return Ranking(metric, reason=f"{why}; rows stand in the order of their names")
    bounds = _bounds(identity, floor, aligned=metric == "ltd")
    if isinstance(bounds, str):
        return Ranking(metric, reason=bounds)
    bounds_of_all = ("identity", FLOOR, EXPECTED, PAIRED)
    tested = {n: row for n, row in by_label.items() if name_of(n) not in bounds_of_all}
    reasons = {
        label: _why_refused(row, identity.pairs, cross, metric, bounds)
        for label, row in tested.items()
    }
    return Ranking(metric, {label: reason for label, reason in reasons.items() if reason})


def _metric(identity: Row, floor: Row) -> str:
    """The first metric of which the references have values, so that no other row decides."""
    if not math.isnan(identity.mean("ltd", identity.pairs)):
        return "ltd"
    both = [row.mean("fid", row.pairs) for row in (identity, floor)]
    return "ftd" if any(map(math.isnan, both)) else "fid"


def _bounds(identity: Row, floor: Row, *, aligned: bool) -> _Bounds | str:
    """The bounds, or why there are none."""
    best = floor if aligned and floor.label == FLOOR else identity
    match, copied = best.mean("match", best.pairs), floor.mean("copied", floor.pairs)
    for row, metric, value in ((best, "match", match), (floor, "copied", copied)):
        if math.isnan(value):
            return f"of '{row.label}' {_why_empty(row, metric, row.pairs)}"
    if best is identity and aligned and match < MATCH_SHARE:
        return (
            f"of the sources {match:.2f} resemble their own target most (match of identity), at "
            f"least {MATCH_SHARE:.2f} are needed: the data are not aligned; "
            "describe them so in dataset.toml (see: xbench data show)"
        )
    return _Bounds(MATCH_SHARE * match, copied + COPIED_MORE)


def _why_refused(
    row: Row, pairs: Sequence[Pair], cross: Sequence[Pair], metric: str, bounds: _Bounds
) -> str:
    """The first gate that a row fails, in words; empty if it passes all."""
    whole = row.has(pairs)
    own = row.pairs
    crossing = [pair for pair in own if pair in cross]
    for name, over in (("match", own), ("copied", own), ("ngf", crossing), (metric, crossing)):
        if over and math.isnan(row.mean(name, over)):
            return _why_empty(row, name, over)
    match, copied = row.mean("match", own), row.mean("copied", own)
    if bad := _below(row, "match", own, bounds.match if whole else 0, MATCH_LEAST):
        return (
            f"anatomy not recognised on {_count(bad)} "
            f"(match {match:.2f}, needed {bounds.match:.2f}; {_worst(row, 'match', bad)})"
        )
    if copied > bounds.copied + ROUNDING:
        return f"pieces of training images (copied {copied:.2f}, allowed {bounds.copied:.2f})"
    if bad := _below(row, "ngf", crossing, NGF_MEAN if whole else 0, NGF_LEAST):
        return (
            f"structure of the source is not kept on {_count(bad)} "
            f"(NGF {row.mean('ngf', crossing):.2f}, needed {NGF_MEAN:.2f}; "
            f"{_worst(row, 'ngf', bad)})"
        )
    return ""


def _below(row: Row, metric: str, pairs: Sequence[Pair], needed: float, least: float) -> list[Pair]:
    """The pairs with a seed below `least`; if the mean is too low, those below the needed mean."""
    if not pairs:
        return []
    limit = least
    if row.mean(metric, pairs) < needed - ROUNDING:
        limit = max(least, needed)
    return [pair for pair in pairs if row.least(metric, pair) < limit - ROUNDING]


def _count(pairs: Sequence[Pair]) -> str:
    return "1 pair" if len(pairs) == 1 else f"{len(pairs)} pairs"


def _worst(row: Row, metric: str, pairs: Sequence[Pair]) -> str:
    source, target = min(pairs, key=lambda pair: row.least(metric, pair))
    return f"{source} → {target}: {row.least(metric, (source, target)):.2f}"


def _why_empty(row: Row, metric: str, pairs: Sequence[Pair]) -> str:
    """Why a mean is NaN: what the first record without a value says."""
    for record in row.records:
        value = record.metrics.get(metric)
        if (record.source, record.target) in pairs and (value is None or value.value is None):
            return f"{METRICS[metric].label} is empty: {value.reason if value else NOT_SCORED}"
    return f"{METRICS[metric].label} is empty"
