"""Two qualities against each other: planes, points, curves along a knob, and the Pareto front."""

import json
import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace

from xbench.analysis.rows import Row, first
from xbench.core.errors import UserError
from xbench.core.pairs import EXPECTED, FLOOR, Pair, parse_pairs


@dataclass(frozen=True)
class Plane:
    """What a trade-off is drawn on: a distance across, and a similarity up.

    Attributes:
        name: of its files, and in lists.
        about: what it shows.
        realism: metrics for the axis across (lower is better); the first that every row has.
        up: metric of the axis up (higher is better).
        meaning: what the axis up says.
        anchors: reference rows that bound what a method can reach.
    """

    name: str
    about: str
    realism: tuple[str, ...]
    up: str
    meaning: str
    anchors: tuple[str, ...] = ()


#: Figure 3 of the MedShift paper.
PAPER = Plane(
    *("tradeoff", "structure and realism", ("cfid", "cftd", "fid", "ftd"), "ssim"),
    meaning="structure: SSIM to the source",
)
#: Blau & Michaeli 2018, https://arxiv.org/abs/1711.06077. The floor bounds realism, and the
#: noise-free target (`expected`) distortion; a good method lies between them.
DISTORTION = Plane(
    *("perception-distortion", "distortion and realism", ("ftd",), "psnr_ref"),
    meaning="distortion: PSNR to the true target (dB)",
    anchors=(FLOOR, EXPECTED),
)
PLANES = {plane.name: plane for plane in (PAPER, DISTORTION)}
#: The training images of each network as a setting; no method has one of this name.
BUDGET = "budget.images"


@dataclass(frozen=True)
class Point:
    """One row: value of its knob (None off a curve), realism (lower is better) and similarity."""

    label: str
    value: float | None
    x: float
    y: float


@dataclass(frozen=True)
class Curve:
    """Rows of one method that differ in one number, in its order; or a single row.

    Attributes:
        name: label of the rows without the knob.
        knob: the setting that differs; empty for a single row.
        points: the rows.
        reference: whether the row is a reference.
    """

    name: str
    knob: str
    points: tuple[Point, ...]
    reference: bool


def curves(
    by_label: Mapping[str, Row], plane: Plane = PAPER, pairs: Sequence[Pair] = ()
) -> tuple[str, list[Curve]]:
    """The metric of realism, one for all rows, and the rows with all pairs as curves.

    A curve joins the rows of one method, version and budget that differ in one number and agree in
    all other settings. A row may be on several curves; a row on none is a curve of its own.

    Args:
        by_label: label → row.
        plane: what the rows are drawn on.
        pairs: the pairs over which means are taken; none for all.

    Raises:
        UserError: no row has all pairs and a value of the axis up, or no metric of realism has a
            value in all rows.
    """
    pairs = pairs or parse_pairs((), first(by_label).data.domains)
    complete = {label: row for label, row in by_label.items() if row.has(pairs)}
    if not complete:
        raise UserError(
            "no method has all pairs",
            "expected: at least one method with every pair finished",
            "try: xbench run --method NAME (without --pairs)",
        )
    rows = {n: row for n, row in complete.items() if math.isfinite(row.mean(plane.up, pairs))}
    realism = next(
        (
            name
            for name in plane.realism
            if rows and all(math.isfinite(r.mean(name, pairs)) for r in rows.values())
        ),
        None,
    )
    if realism is None:
        empty = (
            f"no value of {' or '.join(plane.realism)} in every"
            if rows
            else f"no {plane.up} in any"
        )
        raise UserError(
            f"the plane {plane.name} cannot be drawn: {empty} row",
            "expected: enough test images in every domain, 16 at least, and aligned ones for "
            "metrics against the true target",
            "see the reasons in leaderboard.md",
        )
    points = {
        label: Point(label, None, row.mean(realism, pairs), row.mean(plane.up, pairs))
        for label, row in rows.items()
    }
    return realism, [make_curve(knob, labels, rows, points) for knob, labels in _lines(rows)]


def make_curve(
    knob: str, labels: Sequence[str], rows: Mapping[str, Row], points: Mapping[str, Point]
) -> Curve:
    """The curve along a knob of the rows with these labels; of a single row with knob ""."""
    own = [points[label] for label in labels]
    if knob:
        own = [replace(point, value=_number(rows[point.label], knob)) for point in own]
        own.sort(key=lambda point: point.value or 0.0)
    setting = knob.rpartition(".")[2]
    name = without(setting, min(labels, key=len)) if knob else labels[0]
    return Curve(name, knob, tuple(own), rows[labels[0]].reference)


def pareto_front(points: Iterable[Point]) -> list[Point]:
    """The points that no other point surpasses in both numbers, the most real one first."""
    front: list[Point] = []
    for point in sorted(points, key=lambda p: (p.x, -p.y)):
        if math.isfinite(point.y) and (not front or point.y > front[-1].y):
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
        several = joined(own, [key for key in varied(own) if _numeric(own, key)])
        on_curves = {label for _, labels in several for label in labels}
        lines += [*several, *(("", [row.label]) for row in own if row.label not in on_curves)]
    return lines


def joined(rows: Iterable[Row], knobs: Iterable[str]) -> list[tuple[str, list[str]]]:
    """Knob → labels of the rows of one method and version that differ in this knob alone."""
    rows = list(rows)
    return [(k, labels) for k in knobs for labels in alike(rows, k)]


def alike(rows: Iterable[Row], *knobs: str) -> list[list[str]]:
    """Labels of several rows of one method and version that agree in all but these settings.

    Rows that agree in these, too, have two labels where a profile's default has changed: the
    shorter one stands for both.
    """
    groups: dict[str, dict[str, str]] = {}
    for row in rows:
        facts = row.records[0].method
        values = {**facts.config, BUDGET: facts.train_images}
        # A setting that is younger than a record is absent there.
        rest = {key: v for key, v in values.items() if key not in knobs and v is not None}
        own = groups.setdefault(json.dumps([facts.name, facts.version, rest], sort_keys=True), {})
        place = json.dumps([values.get(knob) for knob in knobs])
        own[place] = min(own.get(place, row.label), row.label, key=len)
    return [list(labels.values()) for labels in groups.values() if len(labels) > 1]


def _number(row: Row, knob: str) -> float:
    """The value of a numeric setting of a row."""
    facts = row.records[0].method
    return float((facts.train_images or 0) if knob == BUDGET else facts.config[knob])


def _numeric(rows: Iterable[Row], key: str) -> bool:
    values = [row.records[0].method.config.get(key) for row in rows]
    return all(isinstance(value, int | float) and not isinstance(value, bool) for value in values)


def without(key: str, label: str) -> str:
    """A label without one of its settings.

    >>> without("images", "cut[images=1024]"), without("tau", "medshift[tau=0.6,steps=2]")
    ('cut', 'medshift[steps=2]')
    """
    name, _, inner = label.partition("[")
    rest = [part for part in inner.removesuffix("]").split(",") if not part.startswith(f"{key}=")]
    return f"{name}[{','.join(rest)}]" if any(rest) else name
