"""Source × target heat maps of one metric, one panel per row of the leaderboard."""

import math
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.colors import LogNorm, Normalize
from matplotlib.image import AxesImage
from numpy.typing import NDArray

from xbench.analysis.columns import known_metric
from xbench.analysis.figures import style
from xbench.analysis.leaderboard import board_of, ranked, ranking_of
from xbench.analysis.results import Results
from xbench.analysis.rows import Row
from xbench.core.errors import UserError
from xbench.core.pairs import EXPECTED, FLOOR
from xbench.core.settings import name_of
from xbench.metrics.base import METRICS, Metric

#: References that take no part in the scale of colours.
BOUNDS = (FLOOR, EXPECTED)
#: Inches of a panel.
SIDE = 1.3


def pairs(
    results: Results, metric: str = "", to: Path | None = None, labels: Sequence[str] = ()
) -> list[Path]:
    """One colour scale for all panels; references first, then by rank, or in the order of labels.

    The default metric is the one that ranks, or the first that has values where it has none.

    Raises:
        UserError: an unknown metric or label, or a metric without any value.
    """
    rows = style.chosen_rows(results, labels)
    metric = metric or _default(results)
    facts = known_metric(metric)
    order = labels or board_of(rows).sort_values("reference", ascending=False, kind="stable").method
    shown, remark = style.at_most(list(order))
    tables = {label: _table(rows[label], metric) for label in shown}
    # Of few images the floor has no distances: an empty panel says nothing.
    tables = {n: table for n, table in tables.items() if table.notna().any(axis=None)} or tables
    # These differ so much that, with them, all other rows would have one colour.
    others = [table for label, table in tables.items() if name_of(label) not in BOUNDS]
    finite = np.concatenate([table.to_numpy().ravel() for table in others or tables.values()])
    finite = finite[np.isfinite(finite)]
    if not len(finite):
        raise UserError(
            f"{facts.label} is empty in every record",
            "expected: a metric that was computed",
            "see the reason in leaderboard.md, or try: xbench plot pairs --metric "
            + _default(results),
        )
    arrow = "higher" if facts.higher_is_better else "lower"
    columns = min(5, len(tables))
    lines = math.ceil(len(tables) / columns)
    size = SIDE * columns + 0.9, (SIDE + 0.2) * lines + 1.0
    with style.panels(lines, columns, size, len(tables)) as (figure, grid):
        # The brighter, the better.
        colours = "cividis" if facts.higher_is_better else "cividis_r"
        norm = _scale(finite, facts)
        _panels(list(grid.flat), tables, norm, colours, columns, facts.decimals)
        figure.suptitle(
            f"{facts.label} by pair ({arrow} is better): {style.where(results)}{remark}", fontsize=8
        )
        figure.supxlabel("target", fontsize=8)
        figure.supylabel("source", fontsize=8)
        return style.save_drawing(figure, results.folder, f"pairs-{metric}", to)


def _default(results: Results) -> str:
    """The metric that ranks, or FTD, or the first metric that has values."""
    stored = [value for record in results.records for value in record.metrics.items()]
    there = {name for name, value in stored if value.value is not None}
    ranks = ranking_of(ranked(results.by_label)).metric
    return next((name for name in (ranks, "ftd", *METRICS) if name in there), "ftd")


def _table(row: Row, metric: str) -> pd.DataFrame:
    """Sources × targets, NaN where there is no value."""
    domains = row.records[0].data.domains
    table = pd.DataFrame(math.nan, index=domains, columns=domains)
    for source, target in row.pairs:
        table.loc[source, target] = row.of_pair((source, target))[metric]
    return table


def _scale(finite: NDArray[np.float64], metric: Metric) -> Normalize:
    """A logarithmic scale for distances, which span decades; a linear one for other metrics."""
    low, high = float(finite.min()), float(finite.max())
    if metric.higher_is_better or metric.span[0] != 0:
        return Normalize(low, high if high > low else low + 1e-6)
    low = max(low, 1e-3)
    return LogNorm(low, max(high, low * 1.001))


def _panels(
    grid: list[Axes],
    tables: Mapping[str, pd.DataFrame],
    norm: Normalize,
    colours: str,
    columns: int,
    decimals: int,
) -> None:
    domains = [style.shown(str(name), 20) for name in next(iter(tables.values())).columns]
    for place, (axes, (label, table)) in enumerate(zip(grid, tables.items(), strict=False)):
        # Not seaborn's heat map: it draws the whole figure once for each panel.
        _cells(axes, axes.imshow(table, cmap=colours, norm=norm), decimals)
        axes.set_xticks(range(len(domains)), domains)
        axes.set_yticks(range(len(domains)), domains)
        for spine in axes.spines.values():
            spine.set_visible(False)
        axes.set_title(style.wrapped(label, 22), fontsize=7)
        axes.tick_params(labelsize=5.5, length=0)
        axes.tick_params(axis="x", rotation=90)
        axes.tick_params(axis="y", rotation=0)
        if place % columns:
            axes.set_yticks([])
        if place // columns < (len(tables) - 1) // columns:
            axes.set_xticks([])


def _cells(axes: Axes, image: AxesImage, decimals: int) -> None:
    """Write each value into its cell, dark on bright and bright on dark."""
    values = np.ma.filled(np.ma.asarray(image.get_array(), dtype=np.float64), math.nan)
    size = min(5.5, 28 / len(values))
    brightness = np.asarray(image.to_rgba(values))[..., :3] @ (0.2126, 0.7152, 0.0722)
    for (y, x), value in np.ndenumerate(values):
        colour = "0.15" if brightness[y, x] > 0.5 else "white"
        shown = _short(value, decimals)
        text = axes.text(x, y, shown, ha="center", va="center", size=size, color=colour)
        text.set_in_layout(False)  # it lies within its cell; measuring it takes long


def _short(value: float, decimals: int) -> str:
    """A number in few characters, below 1 with so many decimals; nothing for NaN."""
    if not math.isfinite(value):
        return ""
    size = abs(value)
    return f"{value:.{decimals if size < 1 else 2 if size < 10 else 1 if size < 100 else 0}f}"
