"""Quality against cost (`analysis.costs`): training time, and evaluations of networks."""

import math
import textwrap
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import pandas as pd
from matplotlib import pyplot as plt
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import FixedLocator, FuncFormatter, LogLocator, MaxNLocator, NullLocator

from xbench.analysis import costs, families, typeset
from xbench.analysis.costs import Chart
from xbench.analysis.figures import style
from xbench.analysis.figures.labels import SIZE, label_points
from xbench.analysis.leaderboard import ranked, ranking_of
from xbench.analysis.results import Results
from xbench.analysis.rows import clock, timed
from xbench.analysis.selection import chosen_pairs, crossing
from xbench.analysis.tradeoffs import Curve, Point, without
from xbench.core.files import write_text
from xbench.core.pairs import parse_pairs
from xbench.metrics.base import METRICS
from xbench.metrics.uncertainty import Interval

#: Height of a figure in inches; it is as wide as a paper's column.
HEIGHT = 3.3
#: Letters of a title's line.
WIDTH = 62
#: The cross over a point whose row fails a gate of the ranking.
REFUSED: dict[str, Any] = {"marker": "x", "markersize": 5, "color": "0.1", "markeredgewidth": 0.8}
#: Points whose names still find room.
MANY = 16
#: Distances that span a larger ratio are drawn on a logarithmic axis; times always are.
RATIO = 5


def budget(
    results: Results,
    to: Path | None = None,
    labels: Sequence[str] = (),
    pairs: Sequence[str] = (),
) -> list[Path]:
    """The distance that ranks against training time: a line for each method through its budgets.

    Args:
        results: of a folder.
        to: the one file to write.
        labels: the rows to draw; by default all that differ from others in the budget alone.
        pairs: `SRC:TGT`; by default those between groups of domains that all these rows share.

    Raises:
        UserError: no two rows differ in the budget alone.
    """
    chosen = style.chosen_rows(results, labels)
    rows = chosen if labels else results.by_label
    chart = costs.budgets(rows, chosen_pairs(results.records[0], pairs=pairs))
    return _Drawing(results, chart).save("budget", to)


def evaluations(
    results: Results,
    to: Path | None = None,
    labels: Sequence[str] = (),
    pairs: Sequence[str] = (),
) -> list[Path]:
    """The distance that ranks against evaluations per image: lines through numbers of evaluations.

    Args:
        results: of a folder.
        to: the one file to write.
        labels: the rows to draw; by default these lines, and the rows that may have a rank.
        pairs: `SRC:TGT`; by default all between groups of domains.

    Raises:
        UserError: no two rows differ in solver or number of evaluations alone.
    """
    chosen = style.chosen_rows(results, labels)
    rows = chosen if labels else results.by_label
    usual = {n: r for n, r in ranked(rows).items() if not r.records[0].method.assignments}
    shown = chosen if labels else usual
    chart = costs.evaluations(rows, shown, chosen_pairs(results.records[0], pairs=pairs))
    return _Drawing(results, chart).save("evaluations", to)


@dataclass(frozen=True)
class _Drawing:
    """A chart of some results."""

    results: Results
    chart: Chart

    @cached_property
    def looks(self) -> dict[str, families.Look]:
        """Family → look."""
        return families.looks(self.results.by_label)

    @cached_property
    def refused(self) -> Mapping[str, str]:
        """Label → why a row has no rank, of the drawn ones."""
        refused = ranking_of(self.results.by_label).refused
        return {label: why for label, why in refused.items() if label in self.chart.rows}

    @cached_property
    def points(self) -> dict[str, tuple[Curve, Point]]:
        """Label → curve and point; of a row on several curves the first one that it is usual on."""
        found: dict[str, tuple[Curve, Point]] = {}
        for curve in self.chart.curves:
            for point in curve.points:
                if point.label not in found or point.label == curve.name:
                    found[point.label] = curve, point
        return found

    def save(self, name: str, to: Path | None) -> list[Path]:
        """Draw, and write the picture, and the numbers beside it."""
        folder = self.results.folder
        with style.paper():
            figure, axes = plt.subplots(figsize=(style.COLUMN, HEIGHT), layout="constrained")
            self.draw(figure, axes)
            files = style.save_drawing(figure, folder, name, to, dpi=300)
        if to:
            return files
        path = folder / f"{name}.csv"
        write_text(path, typeset.csv(self.numbers()))
        return [*files, path]

    def draw(self, figure: Figure, axes: Axes) -> None:
        """Everything, the labels last, as they need the final limits."""
        axes.grid(visible=True)
        axes.set_axisbelow(True)
        lines = [self.line(axes, curve) for curve in self.chart.curves if curve.knob]
        bars = [bar for label in self.points for bar in self.mark(axes, label)]
        axes.margins(x=0.08, y=0.08)
        self.across(axes)
        self.up(axes)
        axes.set_title(self.title(), loc="left", fontsize=6.5)
        axes.tick_params(labelsize=6)
        self.legend(figure)
        named = {label: text for label in self.points if (text := self.text(label))}
        places = [(self.points[label][1].x, self.points[label][1].y) for label in named]
        label_points(figure, axes, places, list(named.values()), [*lines, *bars])

    def look(self, label: str) -> families.Look:
        """Colour and marker of a row."""
        return self.looks[self.chart.rows[label].records[0].method.name]

    def interval(self, label: str) -> Interval:
        """95 % interval of a row's distance; NaN where there is none."""
        return self.chart.rows[label].interval(self.chart.metric, self.chart.pairs)

    def line(self, axes: Axes, curve: Curve) -> list[tuple[float, float]]:
        """Draw a curve without markers, dashed where it has other settings; returns its corners."""
        corners = [(point.x, point.y) for point in curve.points]
        colour = self.look(curve.points[0].label).colour
        dash = "--" if curve.knob in costs.STEPS and "[" in curve.name else "-"
        axes.plot(*zip(*corners, strict=True), dash, color=colour, linewidth=0.8, zorder=2)
        return corners

    def mark(self, axes: Axes, label: str) -> Iterator[list[tuple[float, float]]]:
        """Draw a point, filled if it is the usual one, and its interval, whose ends it yields."""
        (_, point), look = self.points[label], self.look(label)
        low, high = self.interval(label)
        if math.isfinite(low):
            bar = [(point.x, low), (point.x, high)]
            axes.plot(*zip(*bar, strict=True), color=look.colour, linewidth=0.5, alpha=0.6)
            yield bar
        size, fill = (4.8, look.colour) if self.usual(label) else (3.6, "white")
        axes.plot(
            *(point.x, point.y, look.marker),
            color=look.colour,
            markersize=size,
            markerfacecolor=fill,
            zorder=3,
        )
        if label in self.refused:
            axes.plot(point.x, point.y, **REFUSED, zorder=4)

    def usual(self, label: str) -> bool:
        """Whether a row has its profile's budget and, where it matters, number of steps."""
        settings = ("images", *(costs.STEPS if self.chart.cost == "nfe" else ()))
        return all(without(setting, label) == label for setting in settings)

    def text(self, label: str) -> str:
        """The name of a row, or that of its line, at the line's usual point or its end.

        Of steps lines have names, and of budgets where there are many.
        """
        curve, _ = self.points[label]
        if curve.knob in costs.STEPS or (curve.knob and len(self.points) > MANY):
            named = any(point.label == curve.name for point in curve.points)
            end = curve.name if named else curve.points[-1].label
            return style.wrapped(curve.name, 24) if label == end else ""
        return style.wrapped(families.short(label, self.results.by_label), 24)

    def across(self, axes: Axes) -> None:
        """The axis of costs."""
        if self.chart.cost == "nfe":
            _doublings(axes, {point.x for _, point in self.points.values()})
            axes.set_xlabel("network evaluations per image", fontsize=7)
            return
        style.plain_log(axes)
        seconds = [point.x for _, point in self.points.values()]
        if max(seconds) <= RATIO * min(seconds):  # there may be no 1, 2 or 5 between them
            axes.xaxis.set_major_locator(MaxNLocator(5))
        machines = {clock(r) for row in self.chart.rows.values() for r in timed(row.records)}
        machine = machines.pop() if len(machines) == 1 else "several machines: do not compare"
        text = f"training time for these pairs (s), log scale\n{textwrap.fill(machine, 60)}"
        axes.set_xlabel(text, fontsize=7)

    def up(self, axes: Axes) -> None:
        """The axis of distances."""
        values = [point.y for _, point in self.points.values()]
        if min(values) > 0 and max(values) > RATIO * min(values):
            axes.set_yscale("log")
            axes.yaxis.set_major_locator(LogLocator(subs=(1.0, 2.0, 5.0), numticks=12))
            axes.yaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
            axes.yaxis.set_minor_locator(NullLocator())
        else:
            axes.yaxis.set_major_locator(MaxNLocator(6))
        label = METRICS[self.chart.metric].label
        axes.set_ylabel(f"{label} (← better)", fontsize=7)

    def title(self) -> str:
        """Data, profile and split, and what means are over."""
        record, pairs = self.results.records[0], self.chart.pairs
        every = parse_pairs((), record.data.domains)
        if pairs == every:
            over = f"all {len(pairs)} pairs"
        elif list(pairs) == crossing(record):
            over = f"the {len(pairs)} pairs between groups of domains"
        else:
            over = ", ".join(f"{source} → {target}" for source, target in pairs)
        text = f"{style.where(self.results)}: {over}"
        if left := len(self.chart.left_out):
            text += f"; {left} {'row' if left == 1 else 'rows'} without them left out"
        return textwrap.fill(text, WIDTH)

    def legend(self, figure: Figure) -> None:
        """What marks mean; names stand at the points."""
        usual = [self.usual(label) for label in self.points]
        what = "budget" if self.chart.cost == "train_seconds" else "number of evaluations"
        dot: dict[str, Any] = {"linestyle": "", "marker": "o", "color": "0.3"}
        entries = {
            f"default {what}": Line2D([], [], **dot, markersize=4.8) if any(usual) else None,
            f"other {what}": Line2D([], [], **dot, markersize=3.6, markerfacecolor="white")
            if not all(usual)
            else None,
            "95 % interval": Line2D([], [], color="0.3", linewidth=0.5, alpha=0.6)
            if any(math.isfinite(self.interval(label).low) for label in self.points)
            else None,
            "no rank: fails a gate": Line2D([], [], linestyle="", **REFUSED)
            if self.refused
            else None,
        }
        shown = {name: mark for name, mark in entries.items() if mark is not None}
        figure.legend(
            list(shown.values()),
            list(shown),
            loc="outside lower center",
            ncols=len(shown) if what == "budget" or len(shown) < 4 else 2,
            fontsize=SIZE,
            frameon=False,
            columnspacing=1.2,
            handletextpad=0.4,
        )

    def numbers(self) -> pd.DataFrame:
        """A line for each point of each curve."""
        chart = self.chart
        ends = [f"{chart.metric}_ci_{end}" for end in ("low", "high")]
        lines = [
            {
                "curve": curve.name,
                "knob": curve.knob,
                "method": point.label,
                "value": point.value,
                "default": self.usual(point.label),
                chart.cost: point.x,
                chart.metric: point.y,
                **dict(zip(ends, self.interval(point.label), strict=True)),
                "refused": self.refused.get(point.label, ""),
                "pairs": " ".join(f"{source}:{target}" for source, target in chart.pairs),
            }
            for curve in chart.curves
            for point in curve.points
        ]
        return pd.DataFrame(lines)


def _doublings(axes: Axes, values: set[float]) -> None:
    """A logarithmic x axis to base 2; if a value is 0, the step from there to 1 is linear."""
    top = math.ceil(math.log2(max(1, *values)))
    ticks = [2.0**power for power in range(top + 1)]
    if min(values) < 1:
        axes.set_xscale("symlog", base=2, linthresh=1, linscale=0.7)
        ticks.insert(0, 0.0)
    else:
        axes.set_xscale("log", base=2)
    axes.xaxis.set_major_locator(FixedLocator(ticks))
    axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
    axes.xaxis.set_minor_locator(NullLocator())
