"""Which rows have a rank: those that show their own anatomy and are made, not pasted.

Realism alone never ranks: a random training image of the target domain looks real. Three gates ask
whether a row translates, before the ranking column says how well.
"""

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field

from xbench.analysis.rows import Row
from xbench.core.columns import RANKING, crossed
from xbench.core.pairs import FLOOR, Pair
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
    """

    metric: str
    refused: Mapping[str, str] = field(default_factory=dict)
    reason: str = ""

    @property
    def column(self) -> str:
        """The column of the leaderboard that ranks."""
        return crossed(self.metric)

    @property
    def notes(self) -> list[str]:
        """What stands under the table."""
        if self.reason:
            return [f"no row has a rank: {self.reason}"]
        labels: dict[str, list[str]] = {}
        for label, why in self.refused.items():
            labels.setdefault(why, []).append(label)
        return [f"without a rank: {', '.join(own)}: {why}" for why, own in labels.items()]


@dataclass(frozen=True)
class _Bounds:
    """Least mean of `match` and largest mean of `copied` that a row may have."""

    match: float
    copied: float


def make(by_label: Mapping[str, Row], pairs: Sequence[Pair], cross: Sequence[Pair]) -> Ranking:
    """Test every row that has all pairs.

    Args:
        by_label: label → row, references too.
        pairs: of the table.
        cross: those of them that lie between groups of domains.
    """
    rows = {label: row for label, row in by_label.items() if row.has(pairs)}
    metric = _metric(rows, cross)
    bounds = _bounds(rows, pairs, aligned=metric == "ltd")
    if isinstance(bounds, str):
        return Ranking(metric, reason=bounds)
    tested = {n: row for n, row in rows.items() if name_of(n) not in ("identity", FLOOR)}
    reasons = {n: _why_refused(row, pairs, cross, metric, bounds) for n, row in tested.items()}
    return Ranking(metric, {label: reason for label, reason in reasons.items() if reason})


def _metric(rows: Mapping[str, Row], cross: Sequence[Pair]) -> str:
    known = {
        metric: [not math.isnan(row.mean(metric, cross)) for row in rows.values()]
        for metric in RANKING
    }
    if any(known["ltd"]):
        return "ltd"
    return "fid" if rows and all(known["fid"]) else "ftd"


def _bounds(rows: Mapping[str, Row], pairs: Sequence[Pair], *, aligned: bool) -> _Bounds | str:
    """The bounds, or why there are none."""
    named = {name_of(label): row for label, row in rows.items()}
    if absent := [name for name in ("identity", FLOOR) if name not in named]:
        return f"the reference row {absent[0]} is not finished"
    identity, floor = named["identity"], named[FLOOR]
    best = floor if aligned and floor.label == FLOOR else identity
    match, copied = best.mean("match", pairs), floor.mean("copied", pairs)
    for row, metric, value in ((best, "match", match), (floor, "copied", copied)):
        if math.isnan(value):
            return f"of '{row.label}' {_why_empty(row, metric, pairs)}"
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
    for name, over in (("match", pairs), ("copied", pairs), ("ngf", cross), (metric, cross)):
        if math.isnan(row.mean(name, over)):
            return _why_empty(row, name, over)
    match, copied = row.mean("match", pairs), row.mean("copied", pairs)
    ngf = row.mean("ngf", cross)
    if bad := list(_below(row, "match", pairs, match, bounds.match, MATCH_LEAST)):
        return (
            f"anatomy not recognised on {_count(bad)} "
            f"(match {match:.2f}, needed {bounds.match:.2f}; {_worst(row, 'match', bad)})"
        )
    if copied > bounds.copied + ROUNDING:
        return f"pieces of training images (copied {copied:.2f}, allowed {bounds.copied:.2f})"
    if bad := list(_below(row, "ngf", cross, ngf, NGF_MEAN, NGF_LEAST)):
        return (
            f"structure of the source is not kept on {_count(bad)} "
            f"(NGF {ngf:.2f}, needed {NGF_MEAN:.2f}; {_worst(row, 'ngf', bad)})"
        )
    return ""


def _below(
    row: Row, metric: str, pairs: Sequence[Pair], mean: float, needed: float, least: float
) -> Iterator[Pair]:
    """The pairs below `least`, and if the mean is too low those below the needed mean, too."""
    limit = max(least, needed) if mean < needed - ROUNDING else least
    return (pair for pair in pairs if row.of_pair(pair)[metric] < limit - ROUNDING)


def _count(pairs: Sequence[Pair]) -> str:
    return "1 pair" if len(pairs) == 1 else f"{len(pairs)} pairs"


def _worst(row: Row, metric: str, pairs: Sequence[Pair]) -> str:
    source, target = min(pairs, key=lambda pair: row.of_pair(pair)[metric])
    return f"{source} → {target}: {row.of_pair((source, target))[metric]:.2f}"


def _why_empty(row: Row, metric: str, pairs: Sequence[Pair]) -> str:
    """Why a mean is NaN: what the first record without a value says."""
    for record in row.records:
        value = record.metrics.get(metric)
        if (record.source, record.target) in pairs and (value is None or value.value is None):
            return f"{METRICS[metric].label} is empty: {value.reason if value else NOT_SCORED}"
    return f"{METRICS[metric].label} is empty"
