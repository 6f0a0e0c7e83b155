"""The trade-off of two qualities (`tradeoffs.PLANES`): points, curves of sweeps, Pareto front.

seaborn, which takes half a second to import, is imported only where points are drawn.
"""

import math
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import pandas as pd
from matplotlib import pyplot as plt
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from xbench.analysis import families, typeset
from xbench.analysis.figures import style
from xbench.analysis.figures.labels import SIZE, label_points
from xbench.analysis.leaderboard import ranking_of
from xbench.analysis.results import Results
from xbench.analysis.rows import Row, first
from xbench.analysis.tradeoffs import PLANES, Curve, Plane, Point, curves, pareto_front
from xbench.core.errors import UserError
from xbench.core.files import write_text
from xbench.core.pairs import parse_pairs
from xbench.core.settings import name_of
from xbench.metrics.base import METRICS

#: Smaller distances are drawn here, as the axis is logarithmic.
LEAST = 1e-3
#: Height of the figure in inches; it is as wide as a paper's column.
HEIGHT = 3.5
ANCHOR_COLOUR = "#222222"
FRONT: dict[str, Any] = {"color": "0.25", "linewidth": 0.6}


def tradeoff(
    results: Results, to: Path | None = None, labels: Sequence[str] = (), plane: str = ""
) -> list[Path]:
    """Draw rows as labelled points, and sweeps as lines (`tradeoffs.curves`), on every plane.

    References are always drawn. The dashed line is the Pareto front. A CSV file has the numbers.

    Args:
        results: of a folder.
        to: the one file to write, of the first plane if none is named.
        labels: the rows to draw; by default all but those of sweeps, which are lines.
        plane: name of the only plane to draw.

    Raises:
        UserError: no row has all pairs and the values of the first plane, or of the named one.
    """
    chosen = style.chosen_rows(results, labels)
    if plane or to:
        return _plane(results, chosen, PLANES[plane or next(iter(PLANES))], to, bool(labels))
    paper, *others = PLANES.values()
    files = _plane(results, chosen, paper, None, bool(labels))
    for other in others:
        with suppress(UserError):  # without aligned images there is no true target
            files += _plane(results, chosen, other, None, bool(labels))
    return files


def _plane(
    results: Results, points: dict[str, Row], plane: Plane, to: Path | None, few: bool
) -> list[Path]:
    """Draw one plane; `few`: some rows were chosen, and nothing but references is added."""
    rows = results.by_label
    if few:
        rows = {name: row for name, row in rows.items() if name in points or row.reference}
        points = rows
    realism, everything = curves(rows, plane)
    drawn = [curve for curve in everything if curve.knob or curve.points[0].label in points]
    # Images pasted together from training images would be the best of all.
    refused = ranking_of(results.by_label).refused
    methods = [p for c in drawn if not c.reference for p in c.points if p.label not in refused]
    best = pareto_front(methods)
    path = results.folder / f"{plane.name}.csv"
    files = [] if to else [_numbers(path, realism, plane.up, drawn, best)]
    with style.paper():
        figure, axes = plt.subplots(figsize=(style.COLUMN, HEIGHT), layout="constrained")
        _Drawing(figure, axes, results, rows, points, plane, realism, drawn, best).draw()
        return [*style.save_drawing(figure, results.folder, plane.name, to, dpi=300), *files]


@dataclass(frozen=True)
class _Drawing:
    """One plane.

    Attributes:
        figure: to draw on, with its axes.
        results: of the folder.
        rows: all rows that are on it.
        points: those that are labelled points.
        plane: what it shows.
        realism: metric of the axis across.
        drawn: points and lines.
        best: the Pareto front of the methods that pass the gates of the ranking.
    """

    figure: Figure
    axes: Axes
    results: Results
    rows: Mapping[str, Row]
    points: Mapping[str, Row]
    plane: Plane
    realism: str
    drawn: Sequence[Curve]
    best: Sequence[Point]

    @cached_property
    def looks(self) -> dict[str, families.Look]:
        """Family → look."""
        return families.looks(self.results.by_label)

    @cached_property
    def single(self) -> dict[str, Point]:
        """Label → labelled point; a row may be on several curves."""
        everything = (point for curve in self.drawn for point in curve.points)
        return {point.label: point for point in everything if point.label in self.points}

    @cached_property
    def left(self) -> float:
        """The least distance that is drawn: references far better than all methods lie here."""
        methods = [p.x for curve in self.drawn if not curve.reference for p in curve.points]
        return max(LEAST, min(methods, default=LEAST) / 3)

    def draw(self) -> None:
        """Everything, the labels last, as they need the final limits."""
        axes = self.axes
        axes.grid(visible=True)
        axes.set_axisbelow(True)
        style.plain_log(axes)
        lines = [self.line(curve) for curve in self.drawn if curve.knob]
        front = self.front()
        self.intervals()
        self.scatter()
        axes.margins(x=0.08, y=0.08)
        self.leave_out_the_far()
        axes.set_title(style.where(self.results), loc="left", fontsize=6.5)
        axes.tick_params(labelsize=6)
        axes.set_xlabel(f"realism: {METRICS[self.realism].label}, log scale (← better)", fontsize=7)
        axes.set_ylabel(f"{self.plane.meaning} (better →)", fontsize=7)
        self.legend(corners=len(front))
        (low, high), (bottom, top) = axes.get_xlim(), axes.get_ylim()
        shown = [
            point
            for point in self.single.values()
            if low <= self.x(point) <= high and bottom <= point.y <= top
        ]
        label_points(
            self.figure,
            axes,
            [(self.x(point), point.y) for point in shown],
            [self.text(point) for point in shown],
            [*lines, front],
        )

    def x(self, point: Point) -> float:
        """Where a point lies across."""
        return max(point.x, self.left)

    def family(self, label: str) -> str:
        """The method of a row."""
        return self.rows[label].records[0].method.name

    def text(self, point: Point) -> str:
        """The label of a point."""
        text = style.wrapped(families.short(point.label, self.results.by_label), 24)
        if self.family(point.label) in self.plane.anchors:
            text += " (anchor)"
        return text if point.x >= self.left else f"{text}\n← {point.x:.2g}"

    def line(self, curve: Curve) -> list[tuple[float, float]]:
        """Draw a curve without markers; returns its corners."""
        corners = [(self.x(point), point.y) for point in curve.points]
        colour = self.looks[self.family(curve.points[0].label)].colour
        self.axes.plot(*zip(*corners, strict=True), color=colour, linewidth=0.7, zorder=2)
        return corners

    def front(self) -> list[tuple[float, float]]:
        """Draw the Pareto front; returns its corners."""
        corners = [(self.x(point), point.y) for point in self.best]
        if corners:
            self.axes.plot(
                *zip(*corners, strict=True), "--", **FRONT, drawstyle="steps-post", zorder=1
            )
        return corners

    def intervals(self) -> None:
        """95 % intervals of the labelled points as thin crosses."""
        pairs = parse_pairs((), first(self.rows).data.domains)
        for label, point in self.single.items():
            row, colour = self.rows[label], self.looks[self.family(label)].colour
            look: dict[str, Any] = {"color": colour, "linewidth": 0.5, "alpha": 0.6, "zorder": 2}
            low, high = row.interval(self.realism, pairs)
            bottom, top = row.interval(self.plane.up, pairs)
            if math.isfinite(low) and point.x >= self.left:
                self.axes.plot([max(low, self.left), high], [point.y] * 2, **look)
            if math.isfinite(bottom):
                self.axes.plot([self.x(point)] * 2, [bottom, top], **look)

    def scatter(self) -> None:
        """The points: colour and marker of the family, hollow for another training budget."""
        import seaborn

        labels = list(self.single)
        frame = pd.DataFrame(
            {
                "x": [self.x(point) for point in self.single.values()],
                "y": [point.y for point in self.single.values()],
                "family": [self.family(label) for label in labels],
            }
        )
        anchors = dict.fromkeys(self.plane.anchors, ANCHOR_COLOUR)
        palette = {name: anchors.get(name, look.colour) for name, look in self.looks.items()}
        seaborn.scatterplot(
            frame,
            **{"x": "x", "y": "y", "hue": "family", "style": "family"},
            palette=palette,
            markers={name: look.marker for name, look in self.looks.items()},
            s=22,
            legend=False,
            ax=self.axes,
            zorder=3,
        )
        (marks,) = self.axes.collections
        edges = [palette[name] for name in frame["family"]]
        hollow = map(families.other_budget, labels)
        marks.set(edgecolors=edges, linewidths=0.9)
        marks.set_facecolor(
            ["white" if other else edge for other, edge in zip(hollow, edges, strict=True)]
        )

    def leave_out_the_far(self) -> None:
        """End the picture right of the identity, if there are rows farther from the target."""
        points = [point for curve in self.drawn for point in curve.points]
        end = 1.2 * next((p.x for p in points if name_of(p.label) == "identity"), math.inf)
        near = [point for point in points if point.x <= end]
        if len(near) == len(points):
            return
        end = 1.05 * max(point.x for point in near)  # room for the mark
        self.axes.set_xlim(right=end)
        heights = [point.y for point in near]
        margin = 0.08 * (max(heights) - min(heights))
        self.axes.set_ylim(min(heights) - margin, max(heights) + margin)
        if far := sum(point.x > end for point in self.single.values()):
            self.axes.text(
                *(0.99, 0.02, f"{far} {'row lies' if far == 1 else 'rows lie'} farther off →"),
                transform=self.axes.transAxes,
                ha="right",
                color="0.3",
                fontsize=SIZE,
            )

    def legend(self, corners: int) -> None:
        """What marks mean; names stand at the points, and a front of one corner is no line."""
        names = {self.family(label) for label in self.single}
        methods = [label for label in self.single if not self.rows[label].reference]
        others = [families.other_budget(label) for label in methods]
        dot: dict[str, Any] = {"linestyle": "", "markersize": 4, "color": "0.3"}
        entries = {
            "method": Line2D([], [], marker="o", **dot) if not all(others) else None,
            "other training budget": Line2D([], [], marker="o", markerfacecolor="w", **dot)
            if any(others)
            else None,
            "reference": Line2D([], [], marker="X", **{**dot, "color": families.REFERENCE_COLOUR})
            if any(self.rows[label].reference for label in self.single)
            else None,
            "anchor": Line2D([], [], marker="*", **{**dot, "color": ANCHOR_COLOUR, "markersize": 6})
            if names & set(self.plane.anchors)
            else None,
            "sweep of one setting": Line2D([], [], color="0.3", linewidth=0.7)
            if any(curve.knob for curve in self.drawn)
            else None,
            "Pareto front": Line2D([], [], linestyle="--", **FRONT) if corners > 1 else None,
        }
        shown = {name: mark for name, mark in entries.items() if mark is not None}
        self.figure.legend(
            list(shown.values()),
            list(shown),
            loc="outside lower center",
            ncols=3,
            fontsize=SIZE,
            frameon=False,
        )


def _numbers(
    path: Path, realism: str, up: str, drawn: Sequence[Curve], best: Sequence[Point]
) -> Path:
    """Write all points with their curve, and whether they are on the front."""
    front = {point.label for point in best}
    table = pd.DataFrame(
        [
            {
                "curve": curve.name,
                "knob": curve.knob,
                "method": point.label,
                "value": point.value,
                realism: point.x,
                up: point.y,
                "pareto": point.label in front,
            }
            for curve in drawn
            for point in curve.points
        ]
    )
    write_text(path, typeset.csv(table))
    return path
