"""Structure against realism: curves along a knob, the Pareto front, and one number per curve."""

import json
import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from xbench.analysis.rows import Row
from xbench.core.errors import UserError
from xbench.core.pairs import FLOOR, Pair, parse_pairs
from xbench.core.settings import name_of

#: Metrics for the axis of realism, the best known first.
REALISM = ("cfid", "cftd", "fid", "ftd")
STRUCTURE = "ssim"


@dataclass(frozen=True)
class Point:
    """One row: its knob's value (None without a knob), realism (lower is better) and structure."""

    label: str
    value: float | None
    realism: float
    structure: float


@dataclass(frozen=True)
class Curve:
    """Rows of one method that differ in one number alone, in its order; or a single row.

    `name` is of the method, with what else was changed; `knob` is empty for a single row.
    `hypervolume` (see there) is None where a reference row is missing.
    """

    name: str
    knob: str
    points: tuple[Point, ...]
    reference: bool
    hypervolume: float | None


def curves(by_label: Mapping[str, Row], pairs: Sequence[Pair] = ()) -> tuple[str, list[Curve]]:
    """The metric of realism, and all rows with all pairs as curves: references first.

    One metric for all: never some rows by one, the rest by another.

    Args:
        by_label: label → row.
        pairs: what means are over; none for all.

    Raises:
        UserError: no row has all pairs, or no measure of realism a value in each of them.
    """
    record = next(iter(by_label.values())).records[0]
    pairs = pairs or parse_pairs((), record.data.domains)
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
            f"no measure of realism ({', '.join(REALISM)}) has a value in every row",
            "expected: enough test images in every domain, 16 at least",
            "see the reasons in leaderboard.md",
        )
    points = {
        label: Point(label, None, row.mean(realism, pairs), row.mean(STRUCTURE, pairs))
        for label, row in rows.items()
    }
    return realism, [_curve(labels, knob, rows, points) for knob, labels in _families(rows)]


def _curve(
    labels: Sequence[str], knob: str, rows: Mapping[str, Row], points: Mapping[str, Point]
) -> Curve:
    own = [points[label] for label in labels]
    if knob:
        values = [float(rows[label].records[0].method.config[knob]) for label in labels]
        own = [
            Point(p.label, value, p.realism, p.structure)
            for value, p in sorted(zip(values, own, strict=True), key=lambda item: item[0])
        ]
    identity, floor = (
        next((p for p in points.values() if name_of(p.label) == n), None) for n in BOUNDS
    )
    return Curve(
        name=min(labels, key=len) if not knob else _common(labels, knob),
        knob=knob,
        points=tuple(own),
        reference=rows[labels[0]].reference,
        hypervolume=hypervolume(own, identity, floor) if identity and floor else None,
    )


#: The reference rows between which curves are measured.
BOUNDS = ("identity", FLOOR)


def hypervolume(points: Iterable[Point], identity: Point, floor: Point) -> float:
    """Share of what lies between the reference rows that a curve dominates, in [0, 1].

    Realism is rescaled so that the identity has 0 and the floor 1 (the share of the gap that is
    closed), structure so that the floor has 0 and the identity 1; what lies outside is cut off.
    The hypervolume (Zitzler and Thiele 1999, IEEE Trans. Evol. Comput. 3, 257-271) against the
    worst of both references is the area of the union of the rectangles between (0, 0) and each
    point. Either reference alone has 0; 1 would be as real as the target with nothing changed.
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
    """Points that no other surpasses in both, the most real one first."""
    front: list[Point] = []
    for point in sorted(points, key=lambda p: (p.realism, -p.structure)):
        if math.isfinite(point.structure) and (not front or point.structure > front[-1].structure):
            front.append(point)
    return front


def varied(rows: Iterable[Row]) -> list[str]:
    """Settings in which rows of one method differ, those with the most values first."""
    configs = [row.records[0].method.config for row in rows]
    keys = dict.fromkeys(key for config in configs for key in config)
    counts = {key: len({json.dumps(config.get(key)) for config in configs}) for key in keys}
    several = [key for key, count in counts.items() if count > 1]
    return sorted(several, key=lambda key: -counts[key])


def _families(rows: Mapping[str, Row]) -> list[tuple[str, list[str]]]:
    """Knob → labels of the rows that differ in it alone; the rest one by one, without a knob.

    The number that varies most makes curves wherever it can; others make those that the plain row
    is on, or that rows are on which no curve has yet: of a grid one direction is enough.
    """
    methods: dict[tuple[object, ...], list[Row]] = {}
    for row in rows.values():
        facts = row.records[0].method
        methods.setdefault((facts.name, facts.version, facts.train_images), []).append(row)
    found: list[tuple[str, list[str]]] = []
    for own in methods.values():
        placed: set[str] = set()
        for number, knob in enumerate(key for key in varied(own) if _numeric(own, key)):
            for labels in _alike(own, knob):
                plain = own[0].records[0].method.name in labels
                new = len({*labels} - placed) > 1
                if len(labels) > 1 and (number == 0 or plain or new):
                    found.append((knob, labels))
                    placed |= {*labels}
        found += [("", [row.label]) for row in own if row.label not in placed]
    return found


def _alike(rows: Iterable[Row], knob: str) -> list[list[str]]:
    """Labels of rows that agree in all settings but one."""
    groups: dict[str, list[str]] = {}
    for row in rows:
        config = row.records[0].method.config
        rest = {key: value for key, value in config.items() if key != knob}
        groups.setdefault(json.dumps(rest, sort_keys=True), []).append(row.label)
    return list(groups.values())


def _numeric(rows: Iterable[Row], key: str) -> bool:
    values = [row.records[0].method.config.get(key) for row in rows]
    return all(isinstance(value, int | float) and not isinstance(value, bool) for value in values)


def _common(labels: Sequence[str], knob: str) -> str:
    """The label of a curve: that of its rows without the knob."""
    shortest = min(labels, key=len)
    name, _, inner = shortest.partition("[")
    rest = [part for part in inner.removesuffix("]").split(",") if not part.startswith(f"{knob}=")]
    return f"{name}[{','.join(rest)}]" if any(rest) else name


def _share(value: float, worst: float, best: float) -> float:
    """Where a value lies on the way from worst to best, cut off at both ends."""
    if worst == best or not math.isfinite(value):
        return 0.0
    return min(1.0, max(0.0, (value - worst) / (best - worst)))
