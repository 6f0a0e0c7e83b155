"""What settings reached on the val split: the choice of `xbench tune`."""

import math
from pathlib import Path

import pandas as pd
from matplotlib.axes import Axes

from xbench.analysis import tuning as trials
from xbench.analysis.columns import of_metric
from xbench.analysis.figures import style
from xbench.metrics.base import METRICS


def tuning(folder: Path, to: Path | None = None) -> list[Path]:
    """A panel for each setting of each method: the values tried, and the mean of the metric.

    The chosen value is filled; the profile's has a dashed line. One line of panels for a method.

    Raises:
        UserError: nothing was tuned.
    """
    table = trials.load(folder)
    methods = list(dict.fromkeys(table["method"]))
    columns = int(table.groupby("method")["setting"].nunique().max())
    size = (style.PAGE * max(columns, 2) / 4, 1.5 * len(methods) + 0.5)
    with style.panels(len(methods), columns, size, sharey="row") as (figure, grid):
        for line, name in zip(grid, methods, strict=True):
            own = table[table["method"] == name]
            settings = list(dict.fromkeys(own["setting"]))
            for axes, setting in zip(line, settings, strict=False):
                _panel(axes, own[own["setting"] == setting])
                axes.set_title(f"{name}: {setting}")
            for axes in line[len(settings) :]:
                axes.set_visible(False)
            line[0].set_ylabel(of_metric(METRICS[own["metric"].iloc[0]]).head)
        pairs = ", ".join(str(n) for n in dict.fromkeys(table["pairs"]))
        where = f"{folder.parent.name}, {folder.name}, val split, mean of {pairs} pairs"
        figure.suptitle(f"{where}; filled: chosen, dashed: default then", fontsize=7)
        return style.save_drawing(figure, folder, "tuning", to)


def _panel(axes: Axes, own: pd.DataFrame) -> None:
    """The values in their order, at equal distances: some are words."""
    places = range(len(own))
    half = (own["ci_high"] - own["ci_low"]) / 2
    for place, mean, width, chosen, default in zip(
        places, own["mean"], half, own["chosen"], own["default"], strict=True
    ):
        if default:
            axes.axvline(place, color="0.6", linestyle="--", linewidth=0.8)
        axes.errorbar(
            place,
            mean,
            yerr=None if math.isnan(width) else width,
            marker="o",
            markersize=4,
            color=style.PALETTE[0],
            markerfacecolor=style.PALETTE[0] if chosen else "white",
            linewidth=0.8,
        )
    axes.plot(places, own["mean"], color=style.PALETTE[0], linewidth=0.8, zorder=0)
    texts = [trials.shown(value) for value in own["value"]]
    axes.set_xticks(places, texts, fontsize=6, rotation=45 if len(texts) > 4 else 0)
    if own["mean"].max() > 10 * own["mean"].min():
        axes.set_yscale("log")
    axes.set_xlim(-0.5, len(own) - 0.5)
    axes.grid(axis="y")
