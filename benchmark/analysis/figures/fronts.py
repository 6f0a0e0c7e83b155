"""Structure against realism: points, curves, Pareto front, hypervolume (the paper's Figure 3)."""

import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pandas as pd
from matplotlib import pyplot as plt
from matplotlib.axes import Axes
from matplotlib.lines import Line2D

from xbench.analysis.figures import style
from xbench.analysis.results import Results
from xbench.analysis.rows import Row, first
from xbench.analysis.tradeoffs import STRUCTURE, Curve, curves, pareto_front
from xbench.core.files import write_text
from xbench.core.pairs import parse_pairs
from xbench.core.settings import name_of
from xbench.metrics.base import METRICS

#: Smaller distances are drawn here, as the axis is logarithmic.
LEAST = 1e-3


def tradeoff(results: Results, to: Path | None = None, labels: Sequence[str] = ()) -> list[Path]:
    """Draw rows as points, and curves of those that differ in one number (`tradeoffs.curves`).

    References are always drawn; rows of a sweep that are on no curve are left to the ablation
    table. The dashed line is the Pareto front. `tradeoff.csv` has the numbers.

    Raises:
        UserError: no row has all pairs and a metric of realism.
    """
    rows, points = results.by_label, style.chosen_rows(results, labels)
    if labels:
        rows = {name: row for name, row in rows.items() if name in points or row.reference}
        points = rows
    realism, everything = curves(rows)
    drawn = [curve for curve in everything if curve.knob or curve.points[0].label in points]
    files = [] if to else [_numbers(results.folder / "tradeoff.csv", realism, drawn)]
    with style.paper():
        figure, axes = plt.subplots(figsize=(style.PAGE, 3.9), layout="constrained")
        axes.grid(visible=True)
        axes.set_axisbelow(True)
        _draw(axes, drawn, rows, realism)
        axes.set_title(style.where(results), loc="left")
        axes.set_xlabel(f"realism: {METRICS[realism].label} (lower is better, log scale)")
        axes.set_ylabel("structure: SSIM to the source (higher is better)")
        axes.text(0.02, 0.97, "↖ better", transform=axes.transAxes, va="top", color="0.3")
        return [*style.save_drawing(figure, results.folder, "tradeoff", to), *files]


def _draw(axes: Axes, drawn: list[Curve], rows: Mapping[str, Row], realism: str) -> None:
    methods = [curve for curve in drawn if not curve.reference]
    pairs = parse_pairs((), first(rows).data.domains)
    style.plain_log(axes)
    handles: dict[int, Line2D] = {}
    for curve, (colour, marker) in zip(methods, style.looks(len(methods)), strict=True):
        handles[id(curve)] = _line(axes, curve, colour, marker)
        _intervals(axes, curve, rows, realism, colour, pairs)
    references = [curve for curve in drawn if curve.reference]
    # References that are far better than all methods are drawn at the left end.
    left = max(LEAST, min((p.realism for c in methods for p in c.points), default=LEAST) / 4)
    for curve in references:
        marker = style.REFERENCE_MARKERS.get(name_of(curve.name), "X")
        handles[id(curve)] = _line(axes, curve, style.REFERENCE_COLOUR, marker, left)
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
    _leave_out_the_far(axes, drawn)
    best = sorted(methods, key=lambda c: (-(c.hypervolume or 0), c.name))
    shown = [*best[: style.MOST], *references]
    texts = [*(_entry(curve) for curve in shown), "Pareto front"]
    marks = [*(handles[id(curve)] for curve in shown), dashes]
    title = "hypervolume" if any(c.hypervolume is not None for c in best) else None
    if len(best) > style.MOST:
        title = f"best {style.MOST} of {len(best)}, {title or 'by name'}"
    legend = axes.legend(
        marks, texts, title=title, loc="center left", bbox_to_anchor=(1.01, 0.5), frameon=False
    )
    legend.set_alignment("left")


def _leave_out_the_far(axes: Axes, drawn: Sequence[Curve]) -> None:
    """End the picture right of the identity, if there are rows farther from the target."""
    # A row may be on several curves.
    points = list({point.label: point for curve in drawn for point in curve.points}.values())
    end = 1.2 * next((c.points[0].realism for c in drawn if c.name == "identity"), math.inf)
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


def _line(
    axes: Axes, curve: Curve, colour: style.Colour, marker: str, left: float = LEAST
) -> Line2D:
    """Draw one curve and return its handle for the legend; no point lies left of `left`."""
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
    if curve.knob:  # the numbers at its ends show the direction
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
    colour: style.Colour,
    pairs: Sequence[tuple[str, str]],
) -> None:
    """95 % intervals over groups as thin crosses."""
    for point in curve.points:
        low, high = rows[point.label].interval(realism, pairs)
        bottom, top = rows[point.label].interval(STRUCTURE, pairs)
        x = max(point.realism, LEAST)
        look: dict[str, Any] = {"color": colour, "linewidth": 0.7, "alpha": 0.6, "zorder": 2}
        if math.isfinite(low):
            axes.plot([max(low, LEAST), max(high, LEAST)], [point.structure] * 2, **look)
        if math.isfinite(bottom):
            axes.plot([x, x], [bottom, top], **look)


def _entry(curve: Curve) -> str:
    """The text in the legend: hypervolume, name and knob."""
    if curve.reference:
        return f"{curve.name} (reference)"
    number = "" if curve.hypervolume is None else f"{curve.hypervolume:.2f}  "
    return f"{number}{curve.name}" + (f", over {curve.knob}" if curve.knob else "")


def _numbers(path: Path, realism: str, drawn: Sequence[Curve]) -> Path:
    """Write all points with their curve, whether they are on the front, and the hypervolume."""
    front = {p.label for p in pareto_front(p for c in drawn if not c.reference for p in c.points)}
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
            for curve in drawn
            for point in curve.points
        ]
    )
    write_text(path, table.to_csv(index=False, float_format="%.6g"))
    return path
