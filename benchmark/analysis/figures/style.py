"""What all figures share: rows to draw, sizes, colours, and files that are the same each time."""

import textwrap
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import matplotlib
import numpy as np
from numpy.typing import NDArray

from xbench.analysis.leaderboard import comparable, ranked
from xbench.analysis.rows import Row, make
from xbench.core.errors import UserError, nothing_finished, unknown
from xbench.core.files import atomic
from xbench.core.pairs import FLOOR
from xbench.core.settings import name_of
from xbench.records.schema import Record
from xbench.records.store import Store

matplotlib.use("Agg")

from matplotlib import pyplot as plt
from matplotlib.axes import Axes
from matplotlib.colors import to_rgb
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, LogLocator, NullLocator

#: Red, green and blue, or a grey as text.
Colour = str | tuple[float, float, float]
Pixels = NDArray[np.floating] | NDArray[np.uint8]

DPI = 150
#: Inches: one column of a paper, and its full width.
PAGE = 7.0
REFERENCE_COLOUR = "0.45"
REFERENCE_MARKERS = {"identity": "X", FLOOR: "*"}
MARKERS = "osD^vph<P>Hd"
#: seaborn's palette `colorblind` without its grey. To import seaborn, and scipy.stats with it,
#: takes half a second.
PALETTE = (
    *("#0173B2", "#DE8F05", "#029E73", "#D55E00", "#CC78BC"),
    *("#CA9161", "#FBAFE4", "#ECE133", "#56B4E9"),
)
#: Rows that one figure can show.
MOST = 20
#: Metadata that would differ from day to day or from version to version.
UNDATED = {
    ".png": {"Software": None},
    ".svg": {"Date": None, "Creator": None},
    ".pdf": {"CreationDate": None, "Creator": None, "Producer": None},
}


@contextmanager
def paper() -> Iterator[None]:
    """Fonts for a paper's column, no TeX in names, and SVG ids that are the same each time."""
    settings: dict[Any, Any] = {
        "font.size": 8,
        "axes.titlesize": 8,
        "axes.labelsize": 8,
        "xtick.labelsize": 7,
        "ytick.labelsize": 7,
        "legend.fontsize": 7,
        "legend.title_fontsize": 7,
        "axes.linewidth": 0.6,
        "axes.edgecolor": "0.3",
        "axes.spines.top": False,
        "axes.spines.right": False,
        "grid.color": "0.9",
        "grid.linewidth": 0.6,
        "lines.linewidth": 1.2,
        "text.parse_math": False,
        "svg.hashsalt": "xbench",
    }
    with matplotlib.rc_context(settings):
        yield


def colours(number: int) -> list[tuple[float, float, float]]:
    """Colours that colour-blind readers can tell apart, again from the start after nine.

    Grey is left to references.
    """
    return [to_rgb(PALETTE[place % len(PALETTE)]) for place in range(number)]


def load(folder: Path) -> list[Record]:
    """The comparable records of a folder.

    Raises:
        UserError: there are none.
    """
    records, _ = comparable(Store(folder).records())
    if not records:
        raise nothing_finished(folder)
    return records


def chosen_rows(records: Sequence[Record], labels: Sequence[str]) -> dict[str, Row]:
    """The rows with these labels, in their order; none means all but those of sweeps.

    Raises:
        UserError: there is no such row.
    """
    rows = make(records)
    for label in labels:
        if label not in rows:
            raise unknown("finished row", label, rows, "see: xbench leaderboard")
    return {label: rows[label] for label in labels} if labels else ranked(rows)


def at_most(labels: Sequence[str]) -> tuple[list[str], str]:
    """As many labels as a figure can show, and what to say of the others."""
    left = len(labels) - MOST
    if left <= 0:
        return list(labels), ""
    return list(labels[:MOST]), f" ({MOST} of {len(labels)} rows; choose others with --row)"


def translated(rows: dict[str, Row]) -> list[str]:
    """Labels of rows other than identity and floor."""
    return [label for label in rows if name_of(label) not in ("identity", FLOOR)]


def where(record: Record) -> str:
    """Data set, profile and split, for titles."""
    return f"{record.data.label}, {record.profile}, {record.data.split} split"


def wrapped(text: str, width: int) -> str:
    """A label in lines of at most so many letters, broken at commas and brackets too."""
    breakable = text.replace(",", ", ").replace("[", " [")
    return "\n".join(textwrap.wrap(breakable, width)) or text


def save(figure: Figure, path: Path) -> Path:
    """Write a PNG, SVG or PDF, the same bytes for the same figure (no date, no version in it).

    Raises:
        UserError: another suffix.
    """
    if path.suffix.lower() not in UNDATED:
        raise UserError(
            f"a figure cannot be written as {path.name}",
            f"expected: a file name that ends in {', '.join(UNDATED)}",
            f"try: --to {path.with_suffix('.png')}",
        )
    with atomic(path) as part, matplotlib.rc_context({"svg.hashsalt": "xbench"}):
        figure.savefig(part, dpi=DPI, metadata=UNDATED[path.suffix.lower()])
    plt.close(figure)
    return path


def save_drawing(figure: Figure, folder: Path, name: str, to: Path | None) -> list[Path]:
    """Write lines and points as PNG and SVG, or the one file asked for."""
    if to:
        return [save(figure, to)]
    png = save(figure, folder / f"{name}.png")
    figure.set_layout_engine("none")  # everything has its place now
    return [png, save(figure, folder / f"{name}.svg")]


def plain_log(axes: Axes, *, both: bool = False) -> None:
    """A logarithmic x axis (or both) with numbers such as 0.1, 20 and 500."""
    plain = FuncFormatter(lambda value, _: f"{value:g}")
    axes.set_xscale("log")
    if both:
        axes.set_yscale("log")
    for axis in (axes.xaxis, axes.yaxis)[: 1 + both]:
        axis.set_major_locator(LogLocator(subs=(1.0, 2.0, 5.0), numticks=12))
        axis.set_major_formatter(plain)
        axis.set_minor_locator(NullLocator())


def show_image(axes: Axes, picture: Pixels | None, absent: str = "not run") -> None:
    """A grey image 0 … 255 without axes, or a word where there is none."""
    axes.set_xticks([])
    axes.set_yticks([])
    for spine in axes.spines.values():
        spine.set_visible(False)
    if picture is None:
        axes.text(0.5, 0.5, absent, ha="center", va="center", transform=axes.transAxes)
    else:
        axes.imshow(picture, cmap="gray", vmin=0, vmax=255, interpolation="nearest")
