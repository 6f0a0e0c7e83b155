"""Structure against realism: points, knob curves, Pareto front, hypervolume (Figure 3)."""

import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pandas as pd
from matplotlib import pyplot as plt
from matplotlib.axes import Axes
from matplotlib.lines import Line2D

from xbench.analysis.figures.style import (
    MARKERS,
    MOST,
    PAGE,
    REFERENCE_COLOUR,
    REFERENCE_MARKERS,
    Colour,
    chosen_rows,
    colours,
    load,
    paper,
    plain_log,
    save_drawing,
    where,
)
from xbench.analysis.rows import Row, make
from xbench.analysis.tradeoffs import STRUCTURE, Curve, curves, pareto_front
from xbench.core.files import write_text
from xbench.core.pairs import parse_pairs
from xbench.core.settings import name_of
from xbench.metrics.base import METRICS

#: Where a distance of (almost) 0 is drawn.
LEAST = 1e-3


def tradeoff(folder: Path, to: Path | None = None, labels: Sequence[str] = ()) -> list[Path]:
    """Draw all rows, or those of these labels and the references.

    A row is a point; rows that differ in one number alone (a sweep) are a curve. Rows of a sweep
    that are on no curve, as of a grid, are left to the ablation table. The dashed line is the
    Pareto front. Numbers stand in `tradeoff.csv`.

    Raises:
        UserError: no row has all pairs and a measure of realism.
    """
    records = load(folder)
    rows = make(records)
    points = chosen_rows(records, labels)
    if labels:
        rows = {name: row for name, row in rows.items() if name in points or row.reference}
        points = rows
    realism, found = curves(rows)
    found = [curve for curve in found if curve.knob or curve.points[0].label in points]
    files = [] if to else [_numbers(folder / "tradeoff.csv", realism, found)]
    with paper():
        figure, axes = plt.subplots(figsize=(PAGE, 3.9), layout="constrained")
        axes.grid(visible=True)
        axes.set_axisbelow(True)
        _draw(axes, found, rows, realism)
        axes.set_title(where(records[0]), loc="left")
        axes.set_xlabel(f"realism: {METRICS[realism].label} (lower is better, log scale)")
        axes.set_ylabel("structure: SSIM to the source (higher is better)")
        axes.text(0.02, 0.97, "↖ better", transform=axes.transAxes, va="top", color="0.3")
        return [*save_drawing(figure, folder, "tradeoff", to), *files]


def _draw(axes: Axes, found: list[Curve], rows: Mapping[str, Row], realism: str) -> None:
    methods = [curve for curve in found if not curve.reference]
    looks = dict(zip((c.name + c.knob for c in methods), colours(len(methods)), strict=True))
    record = next(iter(rows.values())).records[0]
    plain_log(axes)
    handles: dict[str, Line2D] = {}
    for place, curve in enumerate(methods):
        colour, marker = looks[curve.name + curve.knob], MARKERS[place % len(MARKERS)]
        handles[curve.name + curve.knob] = _line(axes, curve, colour, marker)
        _intervals(axes, curve, rows, realism, colour, parse_pairs((), record.data.domains))
    references = [curve for curve in found if curve.reference]
    left = _left([point.realism for curve in methods for point in curve.points])
    for curve in references:
        marker = REFERENCE_MARKERS.get(name_of(curve.name), "X")
        handles[curve.name + curve.knob] = _line(axes, curve, REFERENCE_COLOUR, marker, left)
    front = pareto_front(p for curve in methods for p in curve.points)
    (dashes,) = axes.plot(
        *([max(p.realism, LEAST) for p in front], [p.structure for p in front]),
        *("--",),
        color="0.25",
        linewidth=0.8,
        drawstyle="steps-post",
        zorder=1,
    )
    axes.margins(x=0.08, y=0.08)
    _leave_out_the_far(axes, found)
    best = sorted(methods, key=lambda c: (-(c.hypervolume or 0), c.name))
    shown = [*best[:MOST], *references]
    texts = [*(_entry(curve) for curve in shown), "Pareto front"]
    marks = [*(handles[curve.name + curve.knob] for curve in shown), dashes]
    title = "hypervolume" if any(c.hypervolume is not None for c in best) else None
    if len(best) > MOST:
        title = f"best {MOST} of {len(best)}, {title or 'by name'}"
    legend = axes.legend(
        marks, texts, title=title, loc="center left", bbox_to_anchor=(1.01, 0.5), frameon=False
    )
    legend.set_alignment("left")


def _leave_out_the_far(axes: Axes, found: Sequence[Curve]) -> None:
    """End the picture right of the identity, if rows lie farther off than what is untranslated."""
    # A row may be on several curves.
    points = list({point.label: point for curve in found for point in curve.points}.values())
    end = 1.2 * next((c.points[0].realism for c in found if c.name == "identity"), math.inf)
    near = [point.structure for point in points if point.realism <= end]
    if len(near) == len(points):
        return
    axes.set_xlim(right=end)
    margin, far = 0.08 * (max(near) - min(near)), len(points) - len(near)
    axes.set_ylim(min(near) - margin, max(near) + margin)
    axes.text(
        *(0.99, 0.02, f"{far} {'row lies' if far == 1 else 'rows lie'} farther off →"),
        transform=axes.transAxes,
        ha="right",
        color="0.3",
        fontsize=7,
    )


def _left(values: Sequence[float]) -> float:
    """Where the picture ends: what is far better than all methods is drawn there."""
    return max(LEAST, min(values, default=LEAST) / 4)


def _line(axes: Axes, curve: Curve, colour: Colour, marker: str, left: float = LEAST) -> Line2D:
    """One curve. Returns what stands for it in the legend."""
    size = 9 if marker == "*" else 6
    for point in curve.points:
        if point.realism < left > LEAST:
            axes.annotate(
                f"← {point.realism:.2g}",
                (left, point.structure),
                xytext=(6, -2.5),
                textcoords="offset points",
                color=colour,
                fontsize=6,
            )
    (line,) = axes.plot(
        [max(point.realism, left) for point in curve.points],
        [point.structure for point in curve.points],
        color=colour,
        linestyle="-" if curve.knob else "",
        marker=marker,
        markersize=size if len(curve.points) == 1 else 4.5,
        markeredgecolor="0.2",
        markeredgewidth=0.4,
        zorder=3,
    )
    if curve.knob:  # its ends tell the direction
        for point in (curve.points[0], curve.points[-1]):
            axes.annotate(
                f"{point.value:g}",
                (max(point.realism, LEAST), point.structure),
                xytext=(4, 3),
                textcoords="offset points",
                fontsize=6,
                color="0.25",
            )
    return line


def _intervals(
    axes: Axes,
    curve: Curve,
    rows: Mapping[str, Row],
    realism: str,
    colour: Colour,
    pairs: Sequence[tuple[str, str]],
) -> None:
    """95 % intervals over groups as thin crosses."""
    for point in curve.points:
        low, high = rows[point.label].interval(realism, pairs)
        bottom, top = rows[point.label].interval(STRUCTURE, pairs)
        x = max(point.realism, LEAST)
        style: dict[str, Any] = {"color": colour, "linewidth": 0.7, "alpha": 0.6, "zorder": 2}
        if math.isfinite(low):
            axes.plot([max(low, LEAST), max(high, LEAST)], [point.structure] * 2, **style)
        if math.isfinite(bottom):
            axes.plot([x, x], [bottom, top], **style)


def _entry(curve: Curve) -> str:
    """A line of the legend: number, name and knob."""
    if curve.reference:
        return f"{curve.name} (reference)"
    number = "" if curve.hypervolume is None else f"{curve.hypervolume:.2f}  "
    return f"{number}{curve.name}" + (f", over {curve.knob}" if curve.knob else "")


def _numbers(path: Path, realism: str, found: list[Curve]) -> Path:
    """All points with their curve, whether they are on the front, and the hypervolume."""
    front = {p.label for p in pareto_front(p for c in found if not c.reference for p in c.points)}
    table = pd.DataFrame(
        [
            {
                "curve": curve.name,
                "knob": curve.knob,
                "method": point.label,
                "value": point.value,
                realism: point.realism,
                STRUCTURE: point.structure,
                "pareto": point.label in front,
                "hypervolume": curve.hypervolume,
            }
            for curve in found
            for point in curve.points
        ]
    )
    write_text(path, table.to_csv(index=False, float_format="%.6g"))
    return path
