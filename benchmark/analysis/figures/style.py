"""What figures share: which rows they draw, sizes, colours, and files with the same bytes."""

import re
import textwrap
from bisect import bisect_right
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import cache
from itertools import accumulate
from pathlib import Path
from typing import Any
from unicodedata import east_asian_width

import matplotlib
import numpy as np
from numpy.typing import NDArray
from PIL import Image

from xbench.analysis.leaderboard import without_sweeps
from xbench.analysis.results import Results
from xbench.analysis.rows import Row
from xbench.core.errors import UserError, nothing_finished, unknown
from xbench.core.files import atomic
from xbench.core.names import quoted
from xbench.core.pairs import CHEATS, EXPECTED, FLOOR
from xbench.core.settings import name_of

matplotlib.use("Agg")

from matplotlib import pyplot as plt
from matplotlib.axes import Axes
from matplotlib.colors import to_rgb
from matplotlib.figure import Figure
from matplotlib.font_manager import findfont, fontManager, get_font
from matplotlib.text import Text
from matplotlib.ticker import FuncFormatter, LogLocator, NullLocator

#: Red, green and blue, or a grey as text.
Colour = str | tuple[float, float, float]
#: Grey values of one image, `[H, W]`.
Grey = NDArray[np.floating] | NDArray[np.unsignedinteger]

DPI = 150
FONT = "DejaVu Sans"
#: Width of a paper's page in inches.
PAGE = 7.0
#: Width of one of its two columns.
COLUMN = 3.4
MARKERS = "osD^vph<P>Hd"
#: seaborn's palette `colorblind` without its grey; to import seaborn takes half a second.
PALETTE = (
    *("#0173B2", "#DE8F05", "#029E73", "#D55E00", "#CC78BC"),
    *("#CA9161", "#FBAFE4", "#ECE133", "#56B4E9"),
)
#: Rows that one figure shows at most.
MOST = 20
#: Metadata that is left out, since it would differ from day to day or from version to version.
UNDATED = {
    ".png": {"Software": None},
    ".svg": {"Date": None, "Creator": None},
    ".pdf": {"CreationDate": None, "Creator": None, "Producer": None},
}


@contextmanager
def paper() -> Iterator[None]:
    """Fonts for a paper, no TeX in names, and the same SVG ids each time."""
    settings: dict[Any, Any] = {
        **dict.fromkeys(("font.size", "axes.titlesize", "axes.labelsize"), 8),
        **dict.fromkeys(("xtick.labelsize", "ytick.labelsize"), 7),
        **dict.fromkeys(("legend.fontsize", "legend.title_fontsize"), 7),
        **dict.fromkeys(("axes.spines.top", "axes.spines.right"), False),
        **{"axes.linewidth": 0.6, "grid.linewidth": 0.6, "lines.linewidth": 1.2},
        **{"axes.edgecolor": "0.3", "grid.color": "0.9"},
        **{"text.parse_math": False, "text.usetex": False},
        "svg.hashsalt": "xbench",
    }
    with matplotlib.rc_context(settings):
        yield


@contextmanager
def panels(
    lines: int, columns: int, size: tuple[float, float], filled: int | None = None, **options: Any
) -> Iterator[tuple[Figure, Any]]:
    """A figure of lines × columns panels in the style of `paper`.

    Args:
        lines: number of lines of panels.
        columns: number of panels in a line.
        size: of the figure in inches.
        filled: number of panels that are used; the others are hidden.
        options: of `matplotlib.pyplot.subplots`.
    """
    with paper():
        figure, grid = plt.subplots(
            lines, columns, figsize=size, squeeze=False, layout="constrained", **options
        )
        for axes in list(grid.flat)[filled or grid.size :]:
            axes.set_visible(False)
        yield figure, grid


def colours(number: int) -> list[tuple[float, float, float]]:
    """Colours that colour-blind readers can distinguish; the tenth is the first again.

    Grey is for references only.
    """
    return [to_rgb(PALETTE[place % len(PALETTE)]) for place in range(number)]


def looks(number: int) -> list[tuple[Colour, str]]:
    """Colours with markers; 36 of them differ."""
    return [(c, MARKERS[place % len(MARKERS)]) for place, c in enumerate(colours(number))]


def chosen_rows(results: Results, labels: Sequence[str] = ()) -> dict[str, Row]:
    """The rows with these labels, in their order; by default all but those of sweeps.

    Raises:
        UserError: there is no such row, or none at all.
    """
    if not results.records:
        raise nothing_finished(results.folder)
    rows = results.by_label
    for label in labels:
        if label not in rows:
            raise unknown("finished row", label, rows, "see: xbench leaderboard")
    return {label: rows[label] for label in labels} if labels else without_sweeps(rows)


def at_most(labels: Sequence[str]) -> tuple[list[str], str]:
    """The first `MOST` labels, and a remark on the others for the title."""
    left = len(labels) - MOST
    if left <= 0:
        return list(labels), ""
    return list(labels[:MOST]), f" ({MOST} of {len(labels)} rows; choose others with --row)"


def translated(rows: Mapping[str, Row]) -> list[str]:
    """Labels of rows other than the references that are a source or target image, or another's."""
    shown = ("identity", FLOOR, EXPECTED, *CHEATS)
    return [label for label in rows if name_of(label) not in shown]


def where(results: Results) -> str:
    """Data set, profile and split, for titles."""
    record = results.records[0]
    return f"{record.data.label}, {record.profile}, {record.data.split} split"


def polarity(bright: bool) -> str:
    """What a caption says of the grey values."""
    return "bone bright, air dark, as in the files" if bright else "bone dark, air bright"


def shown(text: str, width: int = 0) -> str:
    """A name for a figure: letters that no font has as their numbers, and cut in the middle.

    The ends of long names are kept: patients and running numbers stand there.

    Args:
        text: the name.
        width: letters that it may have, where a Chinese one counts twice; 0 for any number.
    """
    signs = [c if _font_of(c) is not None else f"\\u{ord(c):04x}" for c in text]
    if not width or sum(map(_width, signs)) <= width:
        return "".join(signs)
    half = (width - 1) // 2
    return f"{_start(signs, half)}…{_start(signs[::-1], half, back=True)}"


def _start(signs: Sequence[str], width: int, *, back: bool = False) -> str:
    """As many of the signs as fit, in their order; those of a list that runs `back` too."""
    ends = list(accumulate(map(_width, signs)))
    kept = signs[: bisect_right(ends, width)]
    return "".join(kept[::-1] if back else kept)


def _width(sign: str) -> int:
    return 2 if east_asian_width(sign[0]) in "WF" else len(sign)


@cache
def _font_of(letter: str) -> str | None:
    """The first font with a letter: the usual one, or another of this machine; None without."""
    if not letter.strip():
        return FONT
    # Fonts of last resort have a box for every letter.
    others = {font.name: font.fname for font in fontManager.ttflist if "Last" not in font.name}
    paths = {FONT: findfont(FONT), **dict(sorted(others.items()))}
    return next((n for n, path in paths.items() if _has(path, ord(letter))), None)


def _has(path: str, number: int) -> bool:
    try:
        return bool(get_font(path).get_char_index(number))
    except (OSError, RuntimeError):  # a font that cannot be read
        return False


def _choose_fonts(figure: Figure) -> None:
    """Let every text use the fonts that have its letters."""
    for text in figure.findobj(Text):
        letters = dict.fromkeys(text.get_text()) if isinstance(text, Text) else {}
        fonts = [font for c in letters if ord(c) > 126 and (font := _font_of(c)) and font != FONT]
        if fonts and isinstance(text, Text):
            text.set_fontfamily([FONT, *dict.fromkeys(fonts)])


def wrapped(text: str, width: int) -> str:
    """A label in lines of at most `width` letters, which may end at commas and brackets too."""
    breakable = re.sub(r",(?! )", ", ", shown(text)).replace("[", " [")
    return "\n".join(textwrap.wrap(breakable, width)) or text


def save(figure: Figure, path: Path, dpi: int = DPI) -> Path:
    """Write a PNG, SVG or PDF without a date or version: the same bytes for the same figure.

    Raises:
        UserError: another suffix.
    """
    if path.suffix.lower() not in UNDATED:
        raise UserError(
            f"a figure cannot be written as {path.name}",
            f"expected: a file name that ends in {', '.join(UNDATED)}",
            f"try: --to {quoted(path.with_suffix('.png'))}",
        )
    _choose_fonts(figure)
    with atomic(path) as part, matplotlib.rc_context({"svg.hashsalt": "xbench"}):
        figure.savefig(part, dpi=dpi, metadata=UNDATED[path.suffix.lower()])
        if path.suffix.lower() == ".svg":
            part.write_text(_shortened(part.read_text("utf-8")), "utf-8")
        if path.suffix.lower() == ".png":
            _with_palette(part)
    plt.close(figure)
    return path


def _with_palette(png: Path) -> None:
    """Give a picture 256 colours: half of the size; greys stay as they are."""
    with Image.open(png) as image:
        fewer = image.convert("RGB").quantize(256)
        fewer.save(png, "PNG", optimize=True, dpi=image.info["dpi"])


def _shortened(svg: str) -> str:
    """Coordinates to hundredths of a point: most of a file is outlines of letters.

    >>> _shortened('<path d="M 1.234567 -8.000001 Q 3.5 4" style="stroke-width: 0.125"/>')
    '<path d="M 1.23 -8.00 Q 3.5 4" style="stroke-width: 0.125"/>'
    """
    return re.sub(r' [dxy]="[^"]*"', lambda d: re.sub(r"(\.\d\d)\d+", r"\1", d[0]), svg)


def save_drawing(
    figure: Figure, folder: Path, name: str, to: Path | None, dpi: int = DPI
) -> list[Path]:
    """Write a drawing as PNG and SVG into the folder, or as the one file asked for."""
    if to:
        return [save(figure, to, dpi)]
    png = save(figure, folder / f"{name}.png", dpi)
    figure.set_layout_engine("none")  # all is in its place; to lay out again takes long
    return [png, save(figure, folder / f"{name}.svg", dpi)]


def plain_log(axes: Axes) -> None:
    """A logarithmic x axis with numbers such as 0.1, 20 and 500."""
    axes.set_xscale("log")
    axes.xaxis.set_major_locator(LogLocator(subs=(1.0, 2.0, 5.0), numticks=12))
    axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
    axes.xaxis.set_minor_locator(NullLocator())


def show_image(
    axes: Axes, image: Grey | None, absent: str = "not run", colours: str = "gray", top: float = 255
) -> None:
    """An image of values from 0 to `top`, without axes, or a word where there is none.

    The colours `gray_r` show bone bright.
    """
    axes.set_xticks([])
    axes.set_yticks([])
    for spine in axes.spines.values():
        spine.set_visible(False)
    if image is None:
        axes.text(0.5, 0.5, absent, ha="center", va="center", transform=axes.transAxes)
    else:
        axes.imshow(image, cmap=colours, vmin=0, vmax=top, interpolation="nearest")
