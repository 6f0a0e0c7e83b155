"""MedShift's latents at several tau, coloured by domain, and how well a probe tells them apart."""

import math
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path

import pandas as pd
from matplotlib import pyplot as plt
from matplotlib.axes import Axes
from matplotlib.collections import PathCollection

from xbench.analysis.figures.style import MARKERS, PAGE, colours, paper, save_drawing
from xbench.analysis.latents import Array, Embedding, Latents, Separability, embed, separability
from xbench.core.files import write_text


def latents(
    found: Latents, title: str, folder: Path, how: Embedding = "umap", to: Path | None = None
) -> list[Path]:
    """A panel per tau and one with the probe's accuracy against tau (Figure 4).

    Args:
        found: what to draw.
        title: of the figure.
        folder: where `latents.png`, `.svg` and `.csv` go, unless `to` names a file.
        how: how latents become points in the plane.
        to: file to write.

    Raises:
        UserError: UMAP is not installed.
    """
    told = separability(found)
    panels = list(embed(found, how))
    columns = min(4, len(panels) + 1)
    lines = math.ceil((len(panels) + 1) / columns)
    names = list(dict.fromkeys(found.domains))
    with paper():
        figure, grid = plt.subplots(
            *(lines, columns),
            figsize=(PAGE * columns / 4, 1.85 * lines + 0.7),
            squeeze=False,
            layout="constrained",
        )
        for axes in list(grid.flat)[len(panels) + 1 :]:
            axes.set_visible(False)
        for axes, (tau, points), row in zip(grid.flat, panels, told, strict=False):
            handles = _points(axes, points, found.domains, names)
            axes.set_title(f"τ = {tau:g}: probe {row.accuracy:.2f}")
        _accuracy(grid.flat[len(panels)], told)
        figure.legend(
            handles,
            names,
            loc="outside lower center",
            ncols=min(5, len(names)),
            frameon=False,
        )
        kind = {"umap": "UMAP", "pca": "two principal components"}[how]
        figure.suptitle(f"{title}: latents, {kind}", fontsize=8)
        files = save_drawing(figure, folder, "latents", to)
    if to is None:
        table = pd.DataFrame([asdict(row) for row in told])
        write_text(folder / "latents.csv", table.to_csv(index=False, float_format="%.6g"))
        files.append(folder / "latents.csv")
    return files


def _points(
    axes: Axes, points: Array, domains: Sequence[str], names: Sequence[str]
) -> list[PathCollection]:
    """One image is one point; returns a handle per domain for the legend."""
    handles: list[PathCollection] = []
    for place, (name, colour) in enumerate(zip(names, colours(len(names)), strict=True)):
        own = points[[domain == name for domain in domains]]
        handles.append(
            axes.scatter(
                own[:, 0],
                own[:, 1],
                s=7,
                color=colour,
                marker=MARKERS[place % len(MARKERS)],
                linewidths=0,
                alpha=0.8,
            )
        )
    axes.set_xticks([])
    axes.set_yticks([])
    for spine in axes.spines.values():
        spine.set_visible(True)
    return handles


def _accuracy(axes: Axes, told: Sequence[Separability]) -> None:
    rows = sorted(told, key=lambda row: row.tau)
    taus = [row.tau for row in rows]
    axes.plot(taus, [row.accuracy for row in rows], "o-", color="0.15", markersize=3.5)
    for row in rows:
        if row.ci_low is not None and row.ci_high is not None:
            axes.plot([row.tau] * 2, [row.ci_low, row.ci_high], color="0.15", linewidth=0.8)
    axes.axhline(rows[0].chance, color="0.5", linestyle="--", linewidth=0.8)
    axes.annotate("chance", (min(taus), rows[0].chance), fontsize=6, va="bottom", color="0.4")
    axes.set(ylim=(0, 1.03), xlabel="τ", title="probe on other heads")
    axes.grid(visible=True)
