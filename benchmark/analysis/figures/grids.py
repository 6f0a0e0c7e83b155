"""Grids of images: translations beside true targets, and the domains of a data set (Figure 2)."""

from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
from matplotlib import pyplot as plt
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from PIL import Image

from xbench.analysis.figures.style import (
    PAGE,
    Pixels,
    at_most,
    chosen_rows,
    colours,
    load,
    paper,
    save,
    show_image,
    translated,
    wrapped,
)
from xbench.analysis.leaderboard import cross_group
from xbench.core.pairs import parse_pairs
from xbench.core.settings import name_of
from xbench.datasets.base import Dataset
from xbench.metrics.base import METRICS
from xbench.records.images import spread
from xbench.records.schema import Record, Value
from xbench.records.store import Store
from xbench.records.units import UnitId


def samples(
    folder: Path,
    chosen: Sequence[str] = (),
    to: Path | None = None,
    labels: Sequence[str] = (),
    *,
    difference: bool = False,
) -> Path:
    """Source, every method's translation, and the true target, one row per pair and view.

    Args:
        folder: results; their 8-bit strips are shown.
        chosen: pairs as `SRC:TGT`; by default one into each domain.
        to: file to write.
        labels: rows to show; by default all plain ones that are no references (others where no
            row is plain), the oldest first.
        difference: add |translation − true target| below each row of images.
    """
    records = load(folder)
    domains = records[0].data.domains
    shown = list(parse_pairs(chosen, domains)) if chosen else _telling_pairs(records[0])
    if labels:
        rows = list(chosen_rows(records, labels))
    else:
        oldest = sorted(records, key=lambda record: record.finished)
        there = translated(chosen_rows(records, ()))
        order = dict.fromkeys(record.method.label for record in oldest)
        rows = [label for label in order if label in there]
        # What has another budget differs too little from the plain row to be seen here.
        rows = [label for label in rows if label == name_of(label)] or rows
    rows, _ = at_most(rows)
    seeds = {label: min(r.seed for r in records if r.method.label == label) for label in rows}
    aligned = any(value.value is not None for r in records for value in _paired(r))
    heads = ["source", *rows, "true target" if aligned else "target, another view"]
    step = 2 if difference and aligned else 1
    with paper():
        figure, grid = plt.subplots(
            *(len(shown) * step, len(heads)),
            figsize=(1.75 * len(heads) + 0.4, 1.8 * len(shown) * step + 0.5),
            squeeze=False,
            layout="constrained",
        )
        strip_path = Store(folder).strip_path
        for i, (source, target) in enumerate(shown):
            strips = [
                _domain_strip(folder, source, domains),
                *(strip_path(UnitId(label, seeds[label], source, target)) for label in rows),
                _domain_strip(folder, target, domains),
            ]
            pictures = [_view(strip, i) for strip in strips]
            for axes, picture in zip(grid[step * i], pictures, strict=True):
                show_image(axes, picture)
            grid[step * i][0].set_ylabel(f"{source}\n→ {target}", fontsize=9)
            if step == 2:
                _differences(grid[2 * i + 1], pictures)
        for axes, title in zip(grid[0], heads, strict=True):
            axes.set_title(wrapped(title, 22), fontsize=10)
        if step == 2:
            _difference_scale(figure, list(grid[1::2].flat))
        return save(
            figure, to or folder / ("samples-difference.png" if step == 2 else "samples.png")
        )


def _differences(line: Sequence[Axes], pictures: Sequence[Pixels | None]) -> None:
    """Maps of |image − true target| on one scale; the source's tells how far there is to go."""
    target = pictures[-1]
    for axes, picture in zip(line[:-1], pictures[:-1], strict=True):
        show_image(axes, None, "")
        if target is not None and picture is not None and picture.shape == target.shape:
            gap = np.abs(picture.astype(float) - target.astype(float)) / 255
            axes.imshow(gap, cmap="magma", vmin=0, vmax=0.5, interpolation="nearest")
    line[-1].set_axis_off()
    line[0].set_ylabel("|image −\ntrue target|", fontsize=9)


def _difference_scale(figure: Figure, panels: Sequence[Axes]) -> None:
    """A colour bar in the empty place below the first true target."""
    image = next((axes.images[0] for axes in panels if axes.images), None)
    empty = next(axes for axes in panels if not axes.axison)
    if image is not None:
        place = empty.inset_axes((0.05, 0.45, 0.9, 0.1))
        bar = figure.colorbar(image, cax=place, orientation="horizontal", extend="max")
        bar.set_label("share of the grey range", fontsize=8)


def _telling_pairs(record: Record) -> list[tuple[str, str]]:
    """One pair into each domain, across the groups where there are groups."""
    cross = cross_group(record)
    chosen = []
    for place, target in enumerate(record.data.domains):
        sources = [source for source, t in cross if t == target]
        if sources:
            chosen.append((sources[place % len(sources)], target))
    return chosen


def _domain_strip(folder: Path, domain: str, domains: Sequence[str]) -> Path:
    """Untranslated images: the identity's strip of any pair from that domain."""
    paths = [
        Store(folder).strip_path(UnitId("identity", 0, domain, t)) for t in domains if t != domain
    ]
    return next((path for path in paths if path.exists()), paths[0])


def _view(strip: Path, number: int) -> Pixels | None:
    """One of a strip's square views, None if there is no strip or it is damaged."""
    try:
        with Image.open(strip, formats=["PNG"]) as file:
            picture = np.asarray(file)
    except (OSError, SyntaxError, ValueError):
        return None
    views = max(1, picture.shape[1] // picture.shape[0])
    view: Pixels = np.array_split(picture, views, axis=1)[number % views]
    return view


def _paired(record: Record) -> Iterator[Value]:
    """Values that only aligned data have."""
    return (v for name, v in record.metrics.items() if name in METRICS and METRICS[name].paired)


def contact_sheet(dataset: Dataset, to: Path, views: int = 6) -> Path:
    """Domains × views of the test split, each domain with its mean and standard deviation."""
    domains = dataset.domains
    ids = {domain: dataset.ids("test", domain) for domain in domains}
    views = min(len(spread(len(names), views)) for names in ids.values())
    with paper():
        figure, grid = plt.subplots(
            *(len(domains), views),
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
                show_image(axes, np.round(images[index][0].numpy() * 255))
                if domain == domains[0] or not dataset.aligned("test"):
                    axes.set_title(ids[domain][index], fontsize=8)
            row[0].set_ylabel(
                f"{domain}\nmean {values.mean():.2f}, std {values.std():.2f}\n"
                f"inside {inside.mean():.2f}",
                fontsize=8,
            )
        return save(figure, to)


def domains(dataset: Dataset, to: Path, views: int = 3) -> Path:
    """A column per domain: some views, and how grey values are distributed (Figure 2).

    Views are the same in all columns where the data set is aligned. The curve of the other
    domains stands behind each distribution, to compare with.
    """
    names = dataset.domains
    images = {name: dataset.images("test", name) for name in names}
    views = min(views, *(len(found) for found in images.values()))
    shades = {name: _greys(images[name][:].numpy()) for name in names}
    highest = max(float(np.sort(shade)[-2]) for shade in shades.values())
    width = max(PAGE, 1.15 * len(names))
    with paper():
        figure, grid = plt.subplots(
            *(views + 1, len(names)),
            figsize=(width, (views + 0.75) * (width - 0.5) / len(names) + 0.6),
            height_ratios=[*[1.0] * views, 0.6],
            squeeze=False,
            layout="constrained",
        )
        for column, (name, colour) in enumerate(zip(names, colours(len(names)), strict=True)):
            for axes, index in zip(grid[:, column], spread(len(images[name]), views), strict=False):
                show_image(axes, np.round(images[name][index][0].numpy() * 255))
            group = dataset.domain_groups[name]
            head = wrapped(name, 18)
            grid[0][column].set_title(
                head if name.startswith(group) or group == "all" else f"{group}\n{head}"
            )
            axes = grid[-1][column]
            for shade in shades.values():
                axes.plot(_MIDDLES, shade, color="0.85", linewidth=0.7)
            axes.fill_between(_MIDDLES, shades[name], color=colour, alpha=0.35)
            axes.plot(_MIDDLES, shades[name], color=colour)
            axes.set(xlim=(0, 1), ylim=(0, 1.15 * highest), yticks=[], xticks=[0, 0.5, 1])
        grid[-1][0].set_ylabel("share of pixels")
        figure.supxlabel("grey value (air bright, bone dark)", fontsize=8)
        return save(figure, to)


_EDGES = np.linspace(0, 1, 49)
_MIDDLES = (_EDGES[1:] + _EDGES[:-1]) / 2


def _greys(values: "np.ndarray[tuple[int, ...], np.dtype[np.float32]]") -> Pixels:
    """Share of the pixels in each of 48 bins of grey."""
    counts, _ = np.histogram(values, _EDGES)
    share: Pixels = counts / counts.sum()
    return share
