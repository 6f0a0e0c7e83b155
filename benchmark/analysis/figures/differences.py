"""The images on which two compared rows differ most, side by side."""

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from xbench.analysis.differing import Panels
from xbench.analysis.figures import style
from xbench.core.pixels import WHITE
from xbench.metrics.base import METRICS

if TYPE_CHECKING:
    from xbench.analysis.compare import Comparison


def differences(result: "Comparison", rows: Sequence[Panels], to: Path) -> Path:
    """Source, both translations, their difference and the true target of each view.

    Args:
        result: of which rows.
        rows: the images.
        to: file to write.
    """
    heads = ["source", f"A: {result.a}", f"B: {result.b}", "|A − B|"]
    heads += ["true target"] * result.aligned
    colours = "gray_r" if result.bright else "gray"
    size = 1.9 * len(heads) + 0.6, 2.15 * len(rows) + 1.1
    with style.panels(len(rows), len(heads), size) as (figure, grid):
        gaps = [np.abs(row.a.astype(float) - row.b) / WHITE for row in rows]
        largest = max(float(np.max(gaps)), 1e-6)
        for line, row, gap in zip(grid, rows, gaps, strict=True):
            view, digits = row.view, METRICS[row.view.metric].decimals
            for axes, image in zip(line, (row.source, row.a, row.b), strict=False):
                style.show_image(axes, image, "not there", colours, top=WHITE)
            style.show_image(line[3], gap, colours="magma", top=largest)
            if result.aligned:
                style.show_image(line[4], row.target, "not there", colours, top=WHITE)
            names = (style.shown(n, 30) for n in (view.source, f"→ {view.target}", view.id))
            line[0].set_ylabel("\n".join(names), fontsize=7)
            line[1].set_xlabel(f"{view.a:.{digits}f}", fontsize=8)
            line[2].set_xlabel(f"{view.b:.{digits}f}", fontsize=8)
        for axes, head in zip(grid[0], heads, strict=True):
            axes.set_title(style.wrapped(head, 20), fontsize=9)
        # Below the last difference, not beside its column: all panels keep the same size.
        place = grid[-1][3].inset_axes((0, -0.1, 1, 0.06))
        bar = figure.colorbar(grid[-1][3].images[0], cax=place, orientation="horizontal")
        bar.set_label("share of the grey range", fontsize=7)
        place.tick_params(labelsize=7)
        label = METRICS[rows[0].view.metric].label
        title = f"Where {label} of A and B differs most ({style.polarity(result.bright)})"
        figure.suptitle(title, fontsize=10)
        return style.save(figure, to)
