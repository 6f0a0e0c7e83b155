"""Quality against what it costs: training time at several budgets, evaluations of networks."""

import math
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass

from xbench.analysis import leaderboard
from xbench.analysis.rows import Row, first
from xbench.analysis.selection import crossing, shared
from xbench.analysis.tradeoffs import BUDGET, Curve, Point, alike, joined, make_curve
from xbench.core.errors import UserError
from xbench.core.pairs import Pair

#: Settings that say how often a network is evaluated for an image.
STEPS = ("evaluations", "nfe")
#: Rows that differ in these alone solve the same equation; each solver has a line of its own.
SOLVING = (*STEPS, "solver")


@dataclass(frozen=True)
class Chart:
    """Rows with a cost across and a distance up.

    Attributes:
        cost: column of the cost, `train_seconds` or `nfe`.
        metric: the distance, that which ranks: `ltd` where images are aligned.
        pairs: over which both are taken.
        rows: label → row, of all points.
        curves: rows that differ in one setting, in its order; then single rows (knob "").
        left_out: labels of rows that have not all pairs and numbers, or are left alone so.
    """

    cost: str
    metric: str
    pairs: tuple[Pair, ...]
    rows: Mapping[str, Row]
    curves: tuple[Curve, ...]
    left_out: tuple[str, ...]


def budgets(by_label: Mapping[str, Row], pairs: tuple[Pair, ...] = ()) -> Chart:
    """Rows that differ in their number of training images alone, by the time of their trainings.

    Args:
        by_label: label → row.
        pairs: by default those between groups of domains that all these rows share.

    Raises:
        UserError: no two rows differ so and share a pair.
    """
    trained = {n: r for n, r in _methods(by_label).items() if r.records[0].method.train_images}
    rows = _several(trained, [BUDGET])
    chart = _chart(by_label, rows, "train_seconds", [BUDGET], pairs or _common(rows), single=())
    if not chart.rows:
        raise UserError(
            "no method has finished with two training budgets on the same pairs",
            "expected: rows that differ in the number of training images alone",
            "for example: xbench sweep --method medshift --set budget.factor=1,2,4",
        )
    return chart


def evaluations(
    by_label: Mapping[str, Row], shown: Collection[str], pairs: tuple[Pair, ...] = ()
) -> Chart:
    """Rows that differ in solver and number of evaluations alone, by the latter.

    Args:
        by_label: label → row.
        shown: labels of further rows that are shown.
        pairs: by default all between groups of domains; if no two such rows have them all, those
            that all such rows share.

    Raises:
        UserError: no two rows differ so and share a pair.
    """
    others = leaderboard.other_budgets(by_label)
    usual = {n: r for n, r in _methods(by_label).items() if n not in others or n in shown}
    rows = _several(usual, SOLVING)
    if rows and not pairs:
        every = tuple(crossing(first(rows)))
        whole = {label: row for label, row in rows.items() if row.has(every)}
        pairs = every if _several(whole, SOLVING) else _common(rows)
    single = {label: row for label, row in usual.items() if label in shown or label in rows}
    chart = _chart(by_label, single, "nfe", STEPS, pairs, single)
    if not _several(chart.rows, SOLVING):
        raise UserError(
            "no method has finished with two numbers of network evaluations on the same pairs",
            "expected: rows that differ in solver or number of evaluations alone",
            "for example: xbench sweep --method medshift --set evaluations=4,8,16",
        )
    return chart


def _methods(by_label: Mapping[str, Row]) -> dict[str, Row]:
    """The rows that are no references."""
    return {label: row for label, row in by_label.items() if not row.reference}


def _several(rows: Mapping[str, Row], knobs: Sequence[str]) -> dict[str, Row]:
    """The rows that differ from others in these settings alone."""
    return {label: rows[label] for own in alike(rows.values(), *knobs) for label in own}


def _common(rows: Mapping[str, Row]) -> tuple[Pair, ...]:
    """The pairs between groups of domains that all rows share; if none is, all that they share."""
    pairs = shared(rows.values())
    return tuple(crossing(first(rows), pairs)) if pairs else ()


def _chart(
    by_label: Mapping[str, Row],
    rows: Mapping[str, Row],
    cost: str,
    knobs: Sequence[str],
    pairs: tuple[Pair, ...],
    single: Collection[str],
) -> Chart:
    """A chart of the rows that have these pairs, a cost and a distance; `single` need no curve."""
    metric = leaderboard.ranking_of(by_label).metric
    points = {
        label: Point(label, None, _cost(row, cost, pairs), row.mean(metric, pairs))
        for label, row in rows.items()
        if pairs and row.has(pairs)
    }
    known = {n: rows[n] for n, point in points.items() if math.isfinite(point.x + point.y)}
    lines = joined(known.values(), knobs)
    on_curves = {label for _, own in lines for label in own}
    lines += [("", [label]) for label in known if label in single and label not in on_curves]
    curves = tuple(make_curve(knob, own, known, points) for knob, own in lines)
    drawn = {label: known[label] for _, own in lines for label in own}
    left_out = tuple(label for label in rows if label not in drawn)
    return Chart(cost, metric, pairs, drawn, curves, left_out)


def _cost(row: Row, name: str, pairs: Collection[Pair]) -> float:
    """A column of costs of a row for some pairs: trainings that serve none of them cost nothing."""
    own = [record for record in row.records if (record.source, record.target) in pairs]
    number = leaderboard.cost(own)[name]
    return float(number) if isinstance(number, int | float) else math.nan
