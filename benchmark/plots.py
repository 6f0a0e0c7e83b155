"""Figures: views of the records and of the 8-bit strips beside them."""

import math
from collections.abc import Iterator, Sequence
from pathlib import Path

import matplotlib
import numpy as np
import pandas as pd
from PIL import Image

from xbench.datasets.base import Dataset
from xbench.errors import UserError, unknown
from xbench.files import atomic
from xbench.leaderboard import board_table, comparable, cross_group, pair_means
from xbench.metrics.base import METRICS
from xbench.plan import FLOOR, parse_pairs
from xbench.settings import name_of
from xbench.store import Record, Store, Value, spread, strip_path

matplotlib.use("Agg")

from matplotlib import pyplot as plt
from matplotlib.axes import Axes
from matplotlib.colors import LogNorm, Normalize
from matplotlib.figure import Figure

DPI = 150
REFERENCE_COLOUR = "0.45"
REFERENCE_MARKERS = {"identity": "X", FLOOR: "*"}
MARKERS = "osD^vPph<"
#: Metrics for the axis of realism, the best known first.
REALISM = ("cfid", "cftd", "fid", "ftd")


def load(folder: Path) -> list[Record]:
    """The comparable records of a folder.

    Raises:
        UserError: there are none.
    """
    records, _ = comparable(Store(folder).records())
    if not records:
        raise UserError(
            f"there are no finished units in {folder}",
            "expected: records of an earlier run below it",
            "try: xbench run --method medshift",
        )
    return records


def save(figure: Figure, path: Path) -> Path:
    """Write a PNG, the same bytes for the same figure (no date, no version in it)."""
    with atomic(path) as part:
        figure.savefig(part, dpi=DPI, metadata={"Software": None})
    plt.close(figure)
    return path


def tradeoff(folder: Path, to: Path | None = None) -> Path:
    """Structure against realism, one point per method: the paper's Figure 3."""
    import seaborn as sns

    records = load(folder)
    board = board_table(records)
    complete = board.dropna(subset=["ssim"]) if "ssim" in board else board.iloc[:0]
    if complete.empty:
        raise UserError(
            f"no method in {folder} has all pairs",
            "expected: at least one method with every pair finished",
            "try: xbench run --method NAME (without --pairs)",
        )
    # One realism axis for all: never some rows by one metric, the rest by another.
    realism = next((n for n in REALISM if complete[n].notna().all()), None)
    if realism is None:
        raise UserError(
            f"no measure of realism ({', '.join(REALISM)}) has a value in {folder}",
            "expected: enough test images in every domain, 16 at least",
            "see the reasons in leaderboard.md",
        )
    with sns.axes_style("whitegrid"), sns.plotting_context("paper", font_scale=1.2):
        figure, axes = plt.subplots(figsize=(7.6, 4.8), layout="constrained")
        _draw_points(axes, complete, realism)
    record = records[0]
    axes.set_title(f"{record.data.label}, {record.profile}, {record.data.split} split", loc="left")
    return save(figure, to or folder / "tradeoff.png")


def _draw_points(axes: Axes, board: pd.DataFrame, realism: str) -> None:
    import seaborn as sns

    colours = sns.color_palette("colorblind")
    values = board[realism].astype(float).clip(lower=1e-3)
    # In a legend and not beside the points: a dozen names would cover one another. Colour and
    # shape both change from row to row, so that grey prints can be read too.
    for place, (row, value) in enumerate(zip(board.to_dict("records"), values, strict=True)):
        reference = bool(row["reference"])
        axes.scatter(
            value,
            row["ssim"],
            s=160 if name_of(row["method"]) == FLOOR else 90,
            marker=REFERENCE_MARKERS.get(name_of(row["method"]), "X")
            if reference
            else MARKERS[place % len(MARKERS)],
            color=REFERENCE_COLOUR if reference else colours[place % len(colours)],
            edgecolor="white",
            zorder=3,
            label=f"{row['method']} (reference)" if reference else str(row["method"]),
        )
    axes.legend(loc="center left", bbox_to_anchor=(1.01, 0.5), frameon=False)
    axes.set_xscale("log")
    axes.set_xlabel(f"realism: {METRICS[realism].label} (lower is better, log scale)")
    axes.set_ylabel("structure: SSIM to the source (higher is better)")
    axes.text(0.02, 0.97, "↖ better", transform=axes.transAxes, va="top", color="0.3")
    axes.margins(x=0.08, y=0.08)
    axes.spines[["top", "right"]].set_visible(False)


def pairs(folder: Path, metric: str = "ftd", to: Path | None = None) -> Path:
    """Source × target heat maps of one metric, one panel per method, one colour scale."""
    import seaborn as sns

    if metric not in METRICS:
        raise unknown("metric", metric, METRICS, "see: xbench list metrics")
    records = load(folder)
    domains = records[0].data.domains
    tables = {
        label: pd.DataFrame(
            {t: {s: by_pair.get((s, t), {}).get(metric, np.nan) for s in domains} for t in domains}
        )
        for label, by_pair in pair_means(records).items()
    }
    finite = np.concatenate([table.to_numpy().ravel() for table in tables.values()])
    finite = finite[np.isfinite(finite)]
    if not len(finite):
        raise UserError(
            f"{METRICS[metric].label} is empty in every record",
            "expected: a metric that was computed",
            "see the reason in leaderboard.md, or try: xbench plot pairs --metric ftd",
        )
    columns = math.ceil(math.sqrt(len(tables)))
    rows = math.ceil(len(tables) / columns)
    size = (3.2 * columns + 1.2, 3.4 * rows + 1.5)
    figure, grid = plt.subplots(
        rows, columns, figsize=size, squeeze=False, layout="constrained", sharex=True, sharey=True
    )
    for axes in grid.flat[len(tables) :]:
        axes.set_visible(False)
    facts = METRICS[metric]
    # Distances span decades, similarities do not.
    norm = Normalize if facts.higher_is_better else LogNorm
    low = finite.min() if facts.higher_is_better else max(finite.min(), 1e-3)
    for axes, (label, table) in zip(grid.flat, tables.items(), strict=False):
        sns.heatmap(
            table,
            ax=axes,
            norm=norm(low, max(finite.max(), low * 1.001)),
            annot=table.map(_short),
            fmt="",
            cmap="cividis" if facts.higher_is_better else "cividis_r",
            square=True,
            cbar=False,
            annot_kws={"size": 8},
        )
        axes.set_title(label)
        axes.tick_params(labelsize=8, labelbottom=True)
        axes.tick_params(axis="x", rotation=90)
    arrow = "higher" if facts.higher_is_better else "lower"
    record = records[0]
    where = f"{record.data.label}, {record.profile}, {record.data.split} split"
    figure.suptitle(f"{facts.label} by pair ({arrow} is better): {where}")
    figure.supxlabel("target")
    figure.supylabel("source")
    return save(figure, to or folder / f"pairs-{metric}.png")


def _short(value: float) -> str:
    """A number in at most four characters where that is possible."""
    return f"{value:.{2 if abs(value) < 10 else 1 if abs(value) < 100 else 0}f}"


def samples(folder: Path, chosen: Sequence[str] = (), to: Path | None = None) -> Path:
    """Source, every method's translation, and the true target, one row per pair and view."""
    records = load(folder)
    domains = records[0].data.domains
    shown = list(parse_pairs(chosen, domains)) if chosen else _telling_pairs(records[0])
    labels = list(dict.fromkeys(r.method.label for r in sorted(records, key=lambda r: r.finished)))
    labels = [label for label in labels if name_of(label) not in ("identity", FLOOR)]
    seeds = {label: min(r.seed for r in records if r.method.label == label) for label in labels}
    aligned = any(value.value is not None for r in records for value in _paired(r))
    columns = ["source", *labels, "true target" if aligned else "target, another view"]
    figure, grid = plt.subplots(
        len(shown),
        len(columns),
        figsize=(1.75 * len(columns) + 0.4, 1.8 * len(shown) + 0.5),
        squeeze=False,
        layout="constrained",
    )
    for i, (source, target) in enumerate(shown):
        strips = [
            _domain_strip(folder, source, domains),
            *(strip_path(folder, label, seeds[label], source, target) for label in labels),
            _domain_strip(folder, target, domains),
        ]
        pictures = [_view(strip, i) for strip in strips]
        for axes, picture in zip(grid[i], pictures, strict=True):
            _show(axes, picture)
        grid[i][0].set_ylabel(f"{source}\n→ {target}", fontsize=8)
    for axes, title in zip(grid[0], columns, strict=True):
        axes.set_title(title, fontsize=9)
    return save(figure, to or folder / "samples.png")


def _telling_pairs(record: Record) -> list[tuple[str, str]]:
    """One pair into each domain, across the groups where there are groups."""
    cross = cross_group(record)
    domains = record.data.domains
    chosen = []
    for place, target in enumerate(domains):
        sources = [source for source, t in cross if t == target]
        chosen.append((sources[place % len(sources)], target))
    return chosen


def _domain_strip(folder: Path, domain: str, domains: Sequence[str]) -> Path:
    """Untranslated images: the identity's strip of any pair from that domain."""
    paths = [strip_path(folder, "identity", 0, domain, t) for t in domains if t != domain]
    return next((path for path in paths if path.exists()), paths[0])


def _view(strip: Path, number: int) -> np.ndarray | None:
    """One of a strip's square views, None if there is no strip."""
    if not strip.exists():
        return None
    picture = np.asarray(Image.open(strip))
    views = picture.shape[1] // picture.shape[0]
    view: np.ndarray = np.split(picture, views, axis=1)[number % views]
    return view


def _paired(record: Record) -> Iterator[Value]:
    """Values that only aligned data have."""
    return (value for name, value in record.metrics.items() if METRICS[name].paired)


def _show(axes: Axes, picture: np.ndarray | None) -> None:
    axes.set_xticks([])
    axes.set_yticks([])
    for spine in axes.spines.values():
        spine.set_visible(False)
    if picture is None:
        axes.text(0.5, 0.5, "not run", ha="center", va="center", transform=axes.transAxes)
    else:
        axes.imshow(picture, cmap="gray", vmin=0, vmax=255, interpolation="nearest")


def contact_sheet(dataset: Dataset, to: Path, views: int = 6) -> Path:
    """Domains × views of the test split, each domain with its mean and standard deviation."""
    domains = dataset.domains
    ids = {domain: dataset.ids("test", domain) for domain in domains}
    views = min(len(spread(len(names), views)) for names in ids.values())
    figure, grid = plt.subplots(
        len(domains),
        views,
        figsize=(2 * views + 1, 2.1 * len(domains) + 0.3),
        squeeze=False,
        layout="constrained",
    )
    for row, domain in zip(grid, domains, strict=True):
        images = dataset.images("test", domain)
        values = images[:].numpy()
        inside = values[values < 0.9]
        chosen = spread(len(images), views)[:views]
        for axes, index in zip(row, chosen, strict=True):
            _show(axes, np.round(images[index][0].numpy() * 255))
            if domain == domains[0] or not dataset.aligned("test"):
                axes.set_title(ids[domain][index], fontsize=8)
        row[0].set_ylabel(
            f"{domain}\nmean {values.mean():.2f}, std {values.std():.2f}\n"
            f"inside {inside.mean():.2f}",
            fontsize=8,
        )
    return save(figure, to)
