"""Utility against the metrics that are meant to predict it."""

import math
import textwrap
from collections.abc import Mapping, Sequence
from pathlib import Path

import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import LogLocator, NullLocator, ScalarFormatter

from xbench.analysis import families, predictors, typeset
from xbench.analysis.columns import of_metric
from xbench.analysis.figures import style
from xbench.analysis.figures.labels import label_points
from xbench.analysis.results import Results
from xbench.analysis.rows import Row
from xbench.analysis.tables import FOLDER
from xbench.core.errors import UserError
from xbench.core.files import within, write_text
from xbench.metrics.base import METRICS
from xbench.records.utility import AUGMENTED, SOURCE, TARGET

#: The metric of each panel: the first that rows have.
PANELS = (("ltd",), ("fid", "ftd"), ("ssim",), ("psnr_ref",))

#: Ticks of utility where some rows do harm.
HARM = (-10, -5, -2, -1, -0.5, 0, 0.5, 1)


def utility(results: Results, to: Path | None = None, labels: Sequence[str] = ()) -> list[Path]:
    """A panel for each of some metrics: its mean over the pairs of utility, and utility.

    Titles say how the orders of rows agree. A CSV file has that of all metrics.

    Raises:
        UserError: fewer than two rows have both.
    """
    style.chosen_rows(results, labels)
    rows, pairs = predictors.rows(results, labels), results.trials.pairs
    if len(rows) < 2:
        raise UserError(
            f"fewer than two rows in {results.folder} have metrics and a utility",
            "expected: methods with finished pairs, and their records of xbench utility",
            "for example: xbench utility --method medshift,histogram",
        )
    found, heights = predictors.agreements(rows, pairs), _heights(results)
    names = [name for own in PANELS for name in [n for n in own if n in found][:1]]
    columns = 2 if len(names) == 4 else len(names)
    lines = math.ceil(len(names) / columns)
    size = (style.PAGE * columns / max(columns, 2), 2.6 * lines + 0.4)
    with style.panels(lines, columns, size) as (figure, grid):
        for axes, name in zip(grid.flat, names, strict=True):
            _panel(axes, results, rows, name, list(heights.values()))
            axes.set_title(_title(found[name]))
        over = (
            ", ".join(f"{a} → {b}" for a, b in pairs) if len(pairs) < 4 else f"{len(pairs)} pairs"
        )
        text = f"{style.where(results)}: {over}; ρ: rank correlation, 95 % interval"
        text += "; hollow: other training budget" * any(map(families.other_budget, rows))
        figure.suptitle(textwrap.fill(text, 130), fontsize=6.5)
        for axes, name in zip(grid.flat, names, strict=True):
            _label(figure, axes, results, rows, name, heights)
        files = style.save_drawing(figure, results.folder, "utility", to, dpi=300)
    if to:
        return files
    path = within(results.folder, results.folder / FOLDER) / "utility-predictors.csv"
    write_text(path, typeset.csv(pd.DataFrame(found.values())))
    return [*files, path]


def _title(found: predictors.Agreement) -> str:
    """How the orders agree, in words."""
    if found.n < predictors.LEAST:
        return f"too few rows (n = {found.n})"
    if math.isnan(found.spearman):
        return f"no order (n = {found.n})"
    text = f"ρ = {found.spearman:.2f}"
    known = not math.isnan(found.ci_low)
    text += f" ({found.ci_low:.2f} to {found.ci_high:.2f})" if known else " (no interval)"
    return f"{text}, n = {found.n}".replace("-", "−")


def _places(
    results: Results, rows: Mapping[str, Row], metric: str
) -> dict[str, tuple[float, float]]:
    """Label → where its point lies, of rows that have the metric."""
    found = {
        label: (row.mean(metric, results.trials.pairs), row.utility.value)
        for label, row in rows.items()
    }
    return {label: place for label, place in found.items() if math.isfinite(place[0])}


def _heights(results: Results) -> dict[str, float]:
    """The rows that have no images for a metric → their utility."""
    trials, heights = results.trials, {SOURCE: 0.0, TARGET: 1.0}
    if AUGMENTED in trials.rows:
        heights[AUGMENTED] = trials.utility(AUGMENTED, trials.tasks).value
    return {label: height for label, height in heights.items() if math.isfinite(height)}


def _panel(
    axes: Axes, results: Results, rows: Mapping[str, Row], metric: str, heights: Sequence[float]
) -> None:
    """Points with intervals, and lines at some utilities."""
    looks, column = families.looks(results.by_label), of_metric(METRICS[metric])
    axes.grid(visible=True)
    axes.set_axisbelow(True)
    places = _places(results, rows, metric)
    across = [x for x, _ in places.values()]
    if not column.higher_is_better and min(across) > 0:
        style.plain_log(axes)
        if max(across) > 100 * min(across):
            axes.xaxis.set_major_locator(LogLocator())
    for height in heights:
        axes.axhline(height, color="0.5", linewidth=0.6, linestyle="--", zorder=1)
    for label, (x, y) in places.items():
        look = looks[rows[label].records[0].method.name]
        axes.plot([x, x], rows[label].utility[1:], color=look.colour, linewidth=0.5, alpha=0.6)
        axes.plot(
            *(x, y, look.marker),
            color=look.colour,
            markersize=4.5,
            markerfacecolor="white" if families.other_budget(label) else look.colour,
            zorder=3,
        )
    axes.margins(x=0.12, y=0.08)
    if min(y for _, y in places.values()) < -1:
        # Rows that do great harm leave no room for the others on a linear axis.
        axes.set_yscale("symlog", linthresh=1, linscale=2)
        axes.set_yticks(HARM)
        axes.yaxis.set_major_formatter(ScalarFormatter())
        axes.yaxis.set_minor_locator(NullLocator())
    axes.tick_params(labelsize=6)
    axes.set_xlabel(column.head, fontsize=7)
    axes.set_ylabel("utility ↑", fontsize=7)


def _label(
    figure: Figure,
    axes: Axes,
    results: Results,
    rows: Mapping[str, Row],
    metric: str,
    heights: Mapping[str, float],
) -> None:
    """Names beside points, and of the lines."""
    ends, names = axes.get_xlim(), []
    for name, height in heights.items():
        # Its line may lie near that of the source.
        left = name == AUGMENTED
        name_of_line = axes.annotate(
            *(name, (ends[not left], height)),
            xytext=(2 if left else -2, 1),
            textcoords="offset points",
            ha="left" if left else "right",
            va="bottom",
            fontsize=5.5,
            color="0.4",
        )
        names.append(name_of_line)
    places = _places(results, rows, metric)
    texts = [style.wrapped(families.short(label, results.by_label), 24) for label in places]
    spans = {label: rows[label].utility[1:] for label in places}
    bars = [
        [(places[label][0], low), (places[label][0], high)]
        for label, (low, high) in spans.items()
        if math.isfinite(low)
    ]
    figure.draw_without_rendering()  # the layout decides where names are
    for name_of_line in names:
        (left_end, low), (right_end, high) = name_of_line.get_window_extent().get_points()
        middle = [(left_end, (low + high) / 2), (right_end, (low + high) / 2)]
        bars.append([(x, y) for x, y in axes.transData.inverted().transform(middle)])
    label_points(figure, axes, list(places.values()), texts, bars)
