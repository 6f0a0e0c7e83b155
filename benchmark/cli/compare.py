"""`xbench compare A B`: two rows against each other, as a table, sentences and a picture."""

import glob
import sys
import textwrap
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, NamedTuple

import typer

from xbench.cli.answers import answer
from xbench.cli.options import DatasetName, Json, Out, ProfileName, SplitName, To
from xbench.metrics.base import METRICS
from xbench.records.folders import results_folder

if TYPE_CHECKING:
    import numpy as np
    from matplotlib.axes import Axes
    from numpy.typing import NDArray
    from rich.table import Table

    from xbench.analysis.compare import Comparison, PairRow, View

    Pixels = NDArray[np.float64]

#: Letters in a line of a picture's headings.
WIDTH = 20


def compare(
    a: Annotated[str, typer.Argument(help="Label of a finished row, as in the leaderboard.")],
    b: Annotated[str, typer.Argument(help="Label of another.")],
    metric: Annotated[str, typer.Option(help="see: xbench list metrics")] = "ssim_ref",
    dataset: DatasetName = "phantom",
    profile: ProfileName = "quick",
    split: SplitName = "test",
    out: Out = Path("runs"),
    json: Json = False,
    to: To = None,
) -> None:
    """Test where two rows differ, rank them, and show the images on which they differ most."""
    from xbench.analysis import compare as comparing
    from xbench.core.console import make_console

    folder = results_folder(dataset, profile, split, out)
    result = comparing.compare(folder, a, b, metric)
    path, absent = picture(folder, result, to)
    notes = [*result.notes, *([absent] if absent else [])]
    if json:
        answer({**asdict(result), "notes": notes, "picture": str(path) if path else None})
    else:
        make_console().print(table(result))
        for line in sentences(result):
            print(line)
        if path:
            print(path)
    for note in notes:
        print(note, file=sys.stderr)


def table(result: "Comparison") -> "Table":
    """Values, difference and test, pair by pair."""
    from rich.table import Table

    digits = METRICS[result.metric].decimals + 1
    shown = Table(title=_head(result.metric), title_justify="left")
    shown.add_column("source → target", no_wrap=True)
    for head in (result.a, result.b, "difference", "95 % interval", "p", "p (Holm)"):
        shown.add_column(head, justify="right")
    shown.add_column("better")
    for row in result.pairs:
        shown.add_row(
            f"{row.source} → {row.target}",
            f"{row.a:.{digits}f}",
            f"{row.b:.{digits}f}",
            f"{row.difference:+.{digits}f}",
            _interval(row, digits),
            "" if row.p is None else f"{row.p:.2g}",
            "" if row.p_holm is None else f"{row.p_holm:.2g}",
            row.better or "",
        )
    return shown


def sentences(result: "Comparison") -> list[str]:
    """The answer in three sentences: on average, pair by pair, and in ranks."""
    return [_on_average(result), _by_pair(result), _by_rank(result)]


def _on_average(result: "Comparison") -> str:
    metric, digits = METRICS[result.metric], METRICS[result.metric].decimals + 1
    unit = f" {metric.unit}" if metric.unit else ""
    text = (
        f"On average over {_pairs(len(result.pairs))}, {metric.label} of {result.a} minus that of "
        f"{result.b} is {result.difference:+.{digits}f}{unit}"
    )
    if result.ci_low is None or result.ci_high is None:
        return f"{text}; how much of it is chance cannot be told."
    text += f" (95 % interval over groups {_interval(result, digits)})"
    if result.ci_low <= 0 <= result.ci_high:
        return f"{text}, which may be chance."
    better = result.a if (result.difference > 0) == result.higher_is_better else result.b
    return f"{text}: {better} is better."


def _by_pair(result: "Comparison") -> str:
    tested = result.wins + result.ties + result.losses
    if not tested:
        return "No pair could be tested."
    text = (
        f"{result.a} is better on {result.wins} of {_pairs(tested)}, {result.b} on "
        f"{result.losses}; {result.ties} show no difference (Wilcoxon's signed-rank test of "
        "groups, Holm's correction, 5 %)"
    )
    left = len(result.pairs) - tested
    return f"{text}; {left} could not be tested." if left else f"{text}."


def _by_rank(result: "Comparison") -> str:
    ranks = result.ranks
    if ranks is None:
        return "There are no ranks over a single pair."
    own, other = ranks.ranks[result.a], ranks.ranks[result.b]
    found = f"Friedman's test of all of them p = {ranks.p:.2g}"
    return (
        f"Among {len(ranks.ranks)} rows ranked over {_pairs(ranks.pairs)}, {result.a} has mean "
        f"rank {own:.2f} and {result.b} {other:.2f}: the two {'' if ranks.differ else 'do not '}"
        f"differ (by {abs(own - other):.2f}, critical difference {ranks.critical_difference:.2f} "
        f"by Nemenyi; {found})."
    )


def _pairs(count: int) -> str:
    return "1 pair" if count == 1 else f"{count} pairs"


def _interval(row: "PairRow | Comparison", digits: int) -> str:
    if row.ci_low is None or row.ci_high is None:
        return ""
    return f"{row.ci_low:+.{digits}f} to {row.ci_high:+.{digits}f}"


def _head(name: str) -> str:
    metric = METRICS[name]
    arrow = "higher" if metric.higher_is_better else "lower"
    unit = f", {metric.unit}" if metric.unit else ""
    return f"{metric.label} ({arrow} is better{unit})"


class Panels(NamedTuple):
    """Pixels `[H, W]` in [0, 1] of one view; None where an untranslated image is not there."""

    view: "View"
    source: "Pixels | None"
    a: "Pixels"
    b: "Pixels"
    target: "Pixels | None"


def picture(
    folder: Path, result: "Comparison", to: Path | None = None
) -> tuple[Path | None, str | None]:
    """Draw source, both translations, their difference and the true target of each view.

    Args:
        folder: results with `images/`; published ones have none.
        result: what to draw.
        to: PNG to write; by default `compare-A--B-METRIC.png` in the folder.

    Returns:
        The file written, None if no image is there; and a note on what is not there.
    """
    from xbench.core.settings import file_name

    rows = [panels for view in result.views if (panels := _panels(folder, result, view))]
    gone = len(result.views) - len(rows)
    note = None
    if gone:
        note = (
            f"{gone} of the {len(result.views)} images that differ most are not shown: their "
            f"translations are not in {folder / 'images'} (published results have none)"
        )
    if not rows:
        return None, note
    names = "--".join(file_name(label) for label in (result.a, result.b))
    return _draw(result, rows, to or folder / f"compare-{names}-{result.metric}.png"), note


def _panels(folder: Path, result: "Comparison", view: "View") -> Panels | None:
    """The images of a view; None if a translation is not there."""
    from xbench.records.store import Store
    from xbench.records.units import UnitId

    store = Store(folder)

    made = [
        _read(store.images_path(UnitId(label, seed, view.source, view.target)), view.id)
        for label, seed in ((result.a, view.seed_a), (result.b, view.seed_b))
    ]
    if made[0] is None or made[1] is None or made[0].shape != made[1].shape:
        return None
    true = _untranslated(folder, view.target, view.id) if result.aligned else None
    return Panels(view, _untranslated(folder, view.source, view.id), made[0], made[1], true)


def _untranslated(folder: Path, domain: str, image: str) -> "Pixels | None":
    """An image of a domain, as the identity keeps it for any target."""
    for unit in sorted((folder / "images").glob(f"identity/seed0/{glob.escape(domain)}--*")):
        if (pixels := _read(unit, image)) is not None:
            return pixels
    return None


def _read(folder: Path, image: str) -> "Pixels | None":
    """A stored image as `[H, W]` in [0, 1]; None if it is missing or damaged."""
    from xbench.records.images import read_png

    try:
        return read_png(folder / f"{image}.png") / 65535
    except (OSError, SyntaxError, ValueError):
        return None


def _draw(result: "Comparison", rows: Sequence[Panels], path: Path) -> Path:
    import numpy as np
    from matplotlib import pyplot as plt

    from xbench.analysis import figures as plots

    heads = ["source", f"A: {result.a}", f"B: {result.b}", "|A − B|"]
    heads += ["true target"] * result.aligned
    size = (1.9 * len(heads) + 0.6, 2.15 * len(rows) + 1.1)
    figure, grid = plt.subplots(
        len(rows), len(heads), figsize=size, squeeze=False, layout="constrained"
    )
    gaps = [np.abs(row.a - row.b) for row in rows]
    scale = max(float(np.max(gaps)), 1e-6)
    for line, row, gap in zip(grid, rows, gaps, strict=True):
        view, digits = row.view, METRICS[row.view.metric].decimals
        _show(line[0], row.source)
        _show(line[1], row.a).set_xlabel(f"{view.a:.{digits}f}", fontsize=8)
        _show(line[2], row.b).set_xlabel(f"{view.b:.{digits}f}", fontsize=8)
        _show(line[3], gap, "magma", scale)
        if result.aligned:
            _show(line[4], row.target)
        line[0].set_ylabel(f"{view.source}\n→ {view.target}\n{view.id}", fontsize=7)
    for axes, head in zip(grid[0], heads, strict=True):
        axes.set_title("\n".join(textwrap.wrap(head, WIDTH)), fontsize=9)
    # Below the last difference, and not beside its column: all panels stay of one size.
    place = grid[-1][3].inset_axes((0, -0.1, 1, 0.06))
    bar = figure.colorbar(grid[-1][3].images[0], cax=place, orientation="horizontal")
    bar.set_label("share of the grey range", fontsize=7)
    place.tick_params(labelsize=7)
    label = METRICS[rows[0].view.metric].label
    figure.suptitle(f"Where {label} of A and B differs most", fontsize=10)
    return plots.save(figure, path)


def _show(axes: "Axes", pixels: "Pixels | None", colours: str = "gray", top: float = 1) -> "Axes":
    axes.set_xticks([])
    axes.set_yticks([])
    if pixels is None:
        axes.text(0.5, 0.5, "not there", ha="center", va="center", transform=axes.transAxes)
    else:
        axes.imshow(pixels, cmap=colours, vmin=0, vmax=top, interpolation="nearest")
    return axes
