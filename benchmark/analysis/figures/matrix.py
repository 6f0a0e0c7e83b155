"""Source × target heat maps of one metric, one panel per row of the leaderboard."""

import math
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import pandas as pd
from matplotlib import pyplot as plt
from matplotlib.axes import Axes
from matplotlib.colors import LogNorm, Normalize
from matplotlib.image import AxesImage

from xbench.analysis.figures.style import (
    at_most,
    chosen_rows,
    load,
    paper,
    save_drawing,
    where,
    wrapped,
)
from xbench.analysis.leaderboard import board_of
from xbench.analysis.rows import Row
from xbench.core.errors import UserError, unknown
from xbench.core.pairs import FLOOR
from xbench.core.settings import name_of
from xbench.metrics.base import METRICS

#: Inches of a panel.
SIDE = 1.3


def pairs(
    folder: Path, metric: str = "ftd", to: Path | None = None, labels: Sequence[str] = ()
) -> list[Path]:
    """One colour scale for all panels; references first, then by rank, or these labels.

    Raises:
        UserError: an unknown metric or label, or a metric without any value.
    """
    if metric not in METRICS:
        raise unknown("metric", metric, METRICS, "see: xbench list metrics")
    records = load(folder)
    rows = chosen_rows(records, labels)
    ranked = (
        labels or board_of(rows).sort_values("reference", ascending=False, kind="stable").method
    )
    shown, remark = at_most(list(ranked))
    domains = records[0].data.domains
    tables = {label: _table(rows[label], metric, domains) for label in shown}
    # The floor is so far from all others that its values would leave them one colour.
    others = [table for label, table in tables.items() if name_of(label) != FLOOR]
    finite = np.concatenate([table.to_numpy().ravel() for table in others or tables.values()])
    finite = finite[np.isfinite(finite)]
    if not len(finite):
        raise UserError(
            f"{METRICS[metric].label} is empty in every record",
            "expected: a metric that was computed",
            "see the reason in leaderboard.md, or try: xbench plot pairs --metric ftd",
        )
    facts = METRICS[metric]
    arrow = "higher" if facts.higher_is_better else "lower"
    with paper():
        columns = min(5, len(tables))
        lines = math.ceil(len(tables) / columns)
        figure, grid = plt.subplots(
            *(lines, columns),
            figsize=(SIDE * columns + 0.9, (SIDE + 0.2) * lines + 1.0),
            squeeze=False,
            layout="constrained",
        )
        # The brighter, the better.
        colours = "cividis" if facts.higher_is_better else "cividis_r"
        _panels(list(grid.flat), tables, _scale(finite, metric), colours, columns)
        figure.suptitle(
            f"{facts.label} by pair ({arrow} is better): {where(records[0])}{remark}", fontsize=8
        )
        figure.supxlabel("target", fontsize=8)
        figure.supylabel("source", fontsize=8)
        return save_drawing(figure, folder, f"pairs-{metric}", to)


def _table(row: Row, metric: str, domains: Sequence[str]) -> pd.DataFrame:
    """Sources × targets, NaN where there is no value."""
    there = {pair: row.of_pair(pair).get(metric, math.nan) for pair in row.pairs}
    values = [[there.get((s, t), math.nan) for t in domains] for s in domains]
    return pd.DataFrame(values, index=list(domains), columns=list(domains))


def _scale(finite: "np.ndarray[tuple[int], np.dtype[np.float64]]", metric: str) -> Normalize:
    """Distances span decades, similarities do not; values that fall below 0 neither."""
    low, high = float(finite.min()), float(finite.max())
    if METRICS[metric].higher_is_better or METRICS[metric].span[0] != 0:
        return Normalize(low, high if high > low else low + 1e-6)
    low = max(low, 1e-3)
    return LogNorm(low, max(high, low * 1.001))


def _panels(
    grid: list[Axes],
    tables: Mapping[str, pd.DataFrame],
    norm: Normalize,
    colours: str,
    columns: int,
) -> None:
    for axes in grid[len(tables) :]:
        axes.set_visible(False)
    domains = [str(name) for name in next(iter(tables.values())).columns]
    for place, (axes, (label, table)) in enumerate(zip(grid, tables.items(), strict=False)):
        # Not seaborn's heat map: it draws the whole figure once for each panel.
        _cells(axes, axes.imshow(table, cmap=colours, norm=norm))
        axes.set_xticks(range(len(domains)), domains)
        axes.set_yticks(range(len(domains)), domains)
        for spine in axes.spines.values():
            spine.set_visible(False)
        axes.set_title(wrapped(label, 22), fontsize=7)
        axes.tick_params(labelsize=5.5, length=0)
        axes.tick_params(axis="x", rotation=90)
        axes.tick_params(axis="y", rotation=0)
        if place % columns:
            axes.set_yticks([])
        if place // columns < (len(tables) - 1) // columns:
            axes.set_xticks([])


def _cells(axes: Axes, image: AxesImage) -> None:
    """Write each value into its cell, dark on bright and bright on dark."""
    values = np.ma.filled(np.ma.asarray(image.get_array(), dtype=np.float64), math.nan)
    size = min(5.5, 28 / len(values))
    brightness = np.asarray(image.to_rgba(values))[..., :3] @ (0.2126, 0.7152, 0.0722)
    for (y, x), value in np.ndenumerate(values):
        colour = "0.15" if brightness[y, x] > 0.5 else "white"
        text = axes.text(x, y, _short(value), ha="center", va="center", size=size, color=colour)
        text.set_in_layout(False)  # it lies within its cell; to measure it takes long


def _short(value: float) -> str:
    """A number in at most four characters where that is possible; nothing for none."""
    if not math.isfinite(value):
        return ""
    return f"{value:.{2 if abs(value) < 10 else 1 if abs(value) < 100 else 0}f}"
