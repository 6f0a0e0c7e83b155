"""MedShift's latents at several tau, coloured by domain, and the accuracy of a linear probe."""

import math
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import pandas as pd
from matplotlib.axes import Axes
from matplotlib.collections import PathCollection

from xbench.analysis import typeset
from xbench.analysis.figures import style
from xbench.analysis.latents import Array, Embedding, Latents, Separability, embed, separability
from xbench.core.files import write_text


def latents(
    encoded: Latents, title: str, folder: Path, how: Embedding = "umap", to: Path | None = None
) -> list[Path]:
    """A panel per tau and one with the probe's accuracy against tau (the paper's Figure 4).

    Args:
        encoded: what to draw.
        title: of the figure.
        folder: where `latents.png`, `.svg` and `.csv` go, unless `to` names a file.
        how: how latents become points in the plane.
        to: the one file to write.

    Raises:
        UserError: UMAP is not installed.
    """
    accuracies = separability(encoded)
    panels = list(embed(encoded, how))
    columns = min(4, len(panels) + 1)
    lines = math.ceil((len(panels) + 1) / columns)
    names = list(dict.fromkeys(encoded.domains))
    size = style.PAGE * columns / 4, 1.85 * lines + 0.7
    with style.panels(lines, columns, size, len(panels) + 1) as (figure, grid):
        for axes, (tau, points), row in zip(grid.flat, panels, accuracies, strict=False):
            handles = _points(axes, points, encoded.domains, names)
            axes.set_title(f"τ = {tau:g}: probe {row.accuracy:.2f}")
        _accuracy(grid.flat[len(panels)], accuracies)
        figure.legend(
            handles, names, loc="outside lower center", ncols=min(5, len(names)), frameon=False
        )
        kind = {"umap": "UMAP", "pca": "two principal components"}[how]
        figure.suptitle(f"{title}: latents, {kind}", fontsize=8)
        files = style.save_drawing(figure, folder, "latents", to)
    if to is None:
        table = pd.DataFrame([asdict(row) for row in accuracies])
        write_text(folder / "latents.csv", typeset.csv(table))
        files.append(folder / "latents.csv")
    return files


def _points(
    axes: Axes, points: Array, domains: Sequence[str], names: Sequence[str]
) -> list[PathCollection]:
    """Draw a point for each image; returns a handle per domain for the legend."""
    handles: list[PathCollection] = []
    for name, (colour, marker) in zip(names, style.looks(len(names)), strict=True):
        own = points[[domain == name for domain in domains]]
        look: dict[str, Any] = {"color": colour, "marker": marker, "alpha": 0.8}
        handles.append(axes.scatter(own[:, 0], own[:, 1], s=7, linewidths=0, **look))
    axes.set_xticks([])
    axes.set_yticks([])
    for spine in axes.spines.values():
        spine.set_visible(True)
    return handles


def _accuracy(axes: Axes, accuracies: Sequence[Separability]) -> None:
    rows = sorted(accuracies, key=lambda row: row.tau)
    taus = [row.tau for row in rows]
    axes.plot(taus, [row.accuracy for row in rows], "o-", color="0.15", markersize=3.5)
    for row in rows:
        if row.ci_low is not None and row.ci_high is not None:
            axes.plot([row.tau] * 2, [row.ci_low, row.ci_high], color="0.15", linewidth=0.8)
    axes.axhline(rows[0].chance, color="0.5", linestyle="--", linewidth=0.8)
    axes.annotate("chance", (min(taus), rows[0].chance), fontsize=6, va="bottom", color="0.4")
    axes.set(ylim=(0, 1.03), xlabel="τ", title="probe on other heads")
    axes.grid(visible=True)
