"""Structure against realism: curves along a knob, the Pareto front, and the hypervolume."""

import json
import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace

from xbench.analysis.rows import Row, first
from xbench.core.errors import UserError
from xbench.core.pairs import FLOOR, Pair, parse_pairs
from xbench.core.settings import name_of

#: Metrics for the axis of realism; the first that every row has is taken.
REALISM = ("cfid", "cftd", "fid", "ftd")
STRUCTURE = "ssim"


@dataclass(frozen=True)
class Point:
    """One row: value of its knob (None off a curve), realism (lower is better) and structure."""

    label: str
    value: float | None
    realism: float
    structure: float


@dataclass(frozen=True)
class Curve:
    """Rows of one method that differ in one number, in its order; or a single row.

    Attributes:
        name: label of the rows without the knob.
        knob: the setting that differs; empty for a single row.
        points: the rows.
        reference: whether the row is a reference.
        hypervolume: see `hypervolume`; None where a reference row is missing.
    """

    name: str
    knob: str
    points: tuple[Point, ...]
    reference: bool
    hypervolume: float | None


def curves(by_label: Mapping[str, Row], pairs: Sequence[Pair] = ()) -> tuple[str, list[Curve]]:
    """The metric of realism, one for all rows, and the rows with all pairs as curves.

    A curve joins the rows of one method, version and budget that differ in one number and agree in
    all other settings. A row may be on several curves; a row on none is a curve of its own.

    Args:
        by_label: label → row.
        pairs: the pairs over which means are taken; none for all.

    Raises:
        UserError: no row has all pairs, or no metric of realism has a value in all rows.
    """
    pairs = pairs or parse_pairs((), first(by_label).data.domains)
    rows = {
        label: row
        for label, row in by_label.items()
        if row.has(pairs) and math.isfinite(row.mean(STRUCTURE, pairs))
    }
    if not rows:
        raise UserError(
            "no method has all pairs",
            "expected: at least one method with every pair finished",
            "try: xbench run --method NAME (without --pairs)",
        )
    realism = next(
        (
            name
            for name in REALISM
            if all(math.isfinite(r.mean(name, pairs)) for r in rows.values())
        ),
        None,
    )
    if realism is None:
        raise UserError(
            f"no metric of realism ({', '.join(REALISM)}) has a value in every row",
            "expected: enough test images in every domain, 16 at least",
            "see the reasons in leaderboard.md",
        )
    points = {
        label: Point(label, None, row.mean(realism, pairs), row.mean(STRUCTURE, pairs))
        for label, row in rows.items()
    }
    return realism, [_curve(labels, knob, rows, points) for knob, labels in _lines(rows)]


def _curve(
    labels: Sequence[str], knob: str, rows: Mapping[str, Row], points: Mapping[str, Point]
) -> Curve:
    own = [points[label] for label in labels]
    if knob:
        own = [
            replace(point, value=float(rows[point.label].records[0].method.config[knob]))
            for point in own
        ]
        own.sort(key=lambda point: point.value or 0.0)
    identity, floor = (
        next((p for p in points.values() if name_of(p.label) == n), None)
        for n in ("identity", FLOOR)
    )
    return Curve(
        name=_without(knob, min(labels, key=len)) if knob else labels[0],
        knob=knob,
        points=tuple(own),
        reference=rows[labels[0]].reference,
        hypervolume=hypervolume(own, identity, floor) if identity and floor else None,
    )


def hypervolume(points: Iterable[Point], identity: Point, floor: Point) -> float:
    """Share of the area between the reference rows that a curve dominates, in [0, 1].

    Realism is rescaled so that the identity has 0 and the floor 1 (the share of the gap that is
    closed), structure so that the floor has 0 and the identity 1; values outside are cut off.
    The hypervolume (Zitzler and Thiele 1999, IEEE Trans. Evol. Comput. 3, 257-271) against the
    worst of both references is the area of the union of the rectangles between (0, 0) and each
    point. Either reference alone has 0; 1 would be as real as the target with nothing changed.

    >>> identity, floor = Point("identity", None, 100, 1.0), Point("floor", None, 0, 0.5)
    >>> hypervolume([Point("halfway", None, 50, 0.75)], identity, floor)
    0.25
    """
    scaled = [
        (
            _share(point.realism, identity.realism, floor.realism),
            _share(point.structure, floor.structure, identity.structure),
        )
        for point in points
    ]
    area, reached = 0.0, 0.0
    for x, y in sorted(scaled, reverse=True):
        area += x * max(0.0, y - reached)
        reached = max(reached, y)
    return area


def pareto_front(points: Iterable[Point]) -> list[Point]:
    """The points that no other point surpasses in both numbers, the most real one first."""
    front: list[Point] = []
    for point in sorted(points, key=lambda p: (p.realism, -p.structure)):
        if math.isfinite(point.structure) and (not front or point.structure > front[-1].structure):
            front.append(point)
    return front


def varied(rows: Iterable[Row]) -> list[str]:
    """Settings in which rows of one method differ, the one with the most values first."""
    configs = [row.records[0].method.config for row in rows]
    keys = dict.fromkeys(key for config in configs for key in config)
    counts = {key: len({json.dumps(config.get(key)) for config in configs}) for key in keys}
    several = [key for key, count in counts.items() if count > 1]
    return sorted(several, key=lambda key: -counts[key])


def _lines(rows: Mapping[str, Row]) -> list[tuple[str, list[str]]]:
    """Knob → labels of each curve (see `curves`), method by method; then single rows, knob ""."""
    methods: dict[tuple[object, ...], list[Row]] = {}
    for row in rows.values():
        facts = row.records[0].method
        methods.setdefault((facts.name, facts.version, facts.train_images), []).append(row)
    lines: list[tuple[str, list[str]]] = []
    for own in methods.values():
        knobs = [key for key in varied(own) if _numeric(own, key)]
        joined = [(k, labels) for k in knobs for labels in _alike(own, k) if len(labels) > 1]
        on_curves = {label for _, labels in joined for label in labels}
        lines += [*joined, *(("", [row.label]) for row in own if row.label not in on_curves)]
    return lines


def _alike(rows: Iterable[Row], knob: str) -> list[list[str]]:
    """Labels of the rows that agree in all settings but one."""
    groups: dict[str, list[str]] = {}
    for row in rows:
        config = row.records[0].method.config
        rest = {key: value for key, value in config.items() if key != knob}
        groups.setdefault(json.dumps(rest, sort_keys=True), []).append(row.label)
    return list(groups.values())


def _numeric(rows: Iterable[Row], key: str) -> bool:
    values = [row.records[0].method.config.get(key) for row in rows]
    return all(isinstance(value, int | float) and not isinstance(value, bool) for value in values)


def _without(knob: str, label: str) -> str:
    """A label without one of its settings."""
    name, _, inner = label.partition("[")
    rest = [part for part in inner.removesuffix("]").split(",") if not part.startswith(f"{knob}=")]
    return f"{name}[{','.join(rest)}]" if any(rest) else name


def _share(value: float, worst: float, best: float) -> float:
    """How far a value lies from worst to best, in [0, 1]."""
    if worst == best or not math.isfinite(value):
        return 0.0
    return min(1.0, max(0.0, (value - worst) / (best - worst)))
