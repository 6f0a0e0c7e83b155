"""Grids of images: translations beside true targets, and the domains of a data set (Figure 2)."""

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from xbench.analysis.figures import style
from xbench.analysis.leaderboard import board_of
from xbench.analysis.results import Results
from xbench.analysis.selection import crossing
from xbench.core.pairs import parse_pairs
from xbench.core.pixels import bone_bright, to_pixels
from xbench.core.settings import name_of
from xbench.records.images import read_strip, spread, without_padding
from xbench.records.schema import Record
from xbench.records.store import Store
from xbench.records.units import UnitId

if TYPE_CHECKING:
    from xbench.datasets.base import Dataset, Images

#: Methods of the usual sheet of samples, and inches of each view.
BEST, SIDE = 6, 1.35


def samples(
    results: Results,
    chosen: Sequence[str] = (),
    to: Path | None = None,
    labels: Sequence[str] = (),
    *,
    difference: bool = False,
) -> Path:
    """Source, translations, and the true target, one line per pair and view.

    By default a pair into each domain, and the best `BEST` plain rows (others where none is plain)
    without references. The 8-bit strips are shown.

    Args:
        results: what to draw.
        chosen: pairs.
        to: file to write.
        labels: rows.
        difference: add |translation − true target| below each line of images.
    """
    rows, left = _rows(results, labels)
    domains = results.records[0].data.domains
    shown = list(parse_pairs(chosen, domains)) if chosen else _pairs_into(results.records[0])
    seeds = {label: results.by_label[label].records[0].seed for label in rows}
    heads = ["source", *rows, "true target" if results.aligned else "another target"]
    step = 2 if difference and results.aligned else 1
    lines = len(shown) * step
    size = SIDE * len(heads) + 0.4, (SIDE + 0.05) * lines + 0.7
    bright = results.records[0].data.bone_bright
    with style.panels(lines, len(heads), size) as (figure, grid):
        store = Store(results.folder)
        for i, (source, target) in enumerate(shown):
            strips = [
                _domain_strip(store, source, domains),
                *(store.strip_path(UnitId(label, seeds[label], source, target)) for label in rows),
                _domain_strip(store, target, domains),
            ]
            pictures = [_view(strip, i) for strip in strips]
            for axes, picture in zip(grid[step * i], pictures, strict=True):
                style.show_image(axes, picture, colours=_colours(bright))
            pair = style.shown(source, 20), style.shown(target, 18)
            grid[step * i][0].set_ylabel("\n→ ".join(pair), fontsize=9)
            if step == 2:
                _differences(grid[2 * i + 1], pictures)
        for axes, title in zip(grid[0], heads, strict=True):
            axes.set_title(style.wrapped(title, 22), fontsize=10)
        figure.supxlabel(style.polarity(bright) + left, fontsize=8)
        if step == 2:
            _difference_scale(figure, list(grid[1::2].flat))
        name = "samples-difference.png" if step == 2 else "samples.png"
        return style.save(figure, to or results.folder / name)


def _rows(results: Results, labels: Sequence[str]) -> tuple[list[str], str]:
    """The labels, or the best plain ones; and a remark on the others.

    Images of one method with another budget look nearly the same.
    """
    if labels:
        return style.at_most(list(style.chosen_rows(results, labels)))
    there = [n for n in style.chosen_rows(results) if not results.by_label[n].reference]
    there = there or style.translated(style.chosen_rows(results))
    order = [label for label in board_of(results.by_label).method if label in there]
    plain = [label for label in order if label == name_of(label)] or order
    left = f"; the best {BEST} of {len(plain)} methods" if len(plain) > BEST else ""
    return plain[:BEST], left


def _differences(line: Sequence[Axes], pictures: Sequence[style.Grey | None]) -> None:
    """Maps of |image − true target| on one scale; the source's shows the whole way to go."""
    target = pictures[-1]
    for axes, picture in zip(line[:-1], pictures[:-1], strict=True):
        style.show_image(axes, None, "")
        if target is not None and picture is not None and picture.shape == target.shape:
            gap = np.abs(picture.astype(float) - target.astype(float)) / 255
            style.show_image(axes, gap, colours="magma", top=0.5)
    line[-1].set_axis_off()
    line[0].set_ylabel("|image −\ntrue target|", fontsize=9)


def _difference_scale(figure: Figure, panels: Sequence[Axes]) -> None:
    """A colour bar in the empty panel below the first true target."""
    image = next((axes.images[0] for axes in panels if axes.images), None)
    empty = next(axes for axes in panels if not axes.axison)
    if image is not None:
        place = empty.inset_axes((0.05, 0.45, 0.9, 0.1))
        bar = figure.colorbar(image, cax=place, orientation="horizontal", extend="max")
        bar.set_label("share of the grey range", fontsize=8)


def _pairs_into(record: Record) -> list[tuple[str, str]]:
    """One pair into each domain, from another group where there are groups."""
    cross = crossing(record)
    chosen = []
    for place, target in enumerate(record.data.domains):
        sources = [source for source, t in cross if t == target]
        if sources:
            chosen.append((sources[place % len(sources)], target))
    return chosen


def _domain_strip(store: Store, domain: str, domains: Sequence[str]) -> Path:
    """Untranslated images: the identity's strip of any pair from that domain."""
    paths = [store.strip_path(UnitId("identity", 0, domain, t)) for t in domains if t != domain]
    return next((path for path in paths if path.exists()), paths[0])


def _view(strip: Path, number: int) -> style.Grey | None:
    """One of a strip's square views; None if the strip is missing or damaged."""
    try:
        picture = read_strip(strip)
    except OSError:
        return None
    views = max(1, picture.shape[1] // picture.shape[0])
    view: style.Grey = np.array_split(picture, views, axis=1)[number % views]
    return view


def contact_sheet(dataset: "Dataset", to: Path, views: int = 6) -> Path:
    """Domains × views of the test split, each domain with its mean and standard deviation."""
    domains = dataset.domains
    ids = {domain: dataset.ids("test", domain) for domain in domains}
    chosen = _alike_many(list(map(len, ids.values())), views)
    views = len(chosen[0])
    size = 2 * views + 1, 2.1 * len(domains) + 0.5
    bright = _bone_bright(dataset)
    with style.panels(len(domains), views, size) as (figure, grid):
        for row, domain, indices in zip(grid, domains, chosen, strict=True):
            images = dataset.images("test", domain)
            values = images[:].numpy()
            inside = values[values < 0.9] if (values < 0.9).any() else values
            for axes, index in zip(row, indices, strict=True):
                style.show_image(axes, _shown(images, index), colours=_colours(bright))
                if domain == domains[0] or not dataset.aligned("test"):
                    axes.set_title(style.shown(ids[domain][index], 26), fontsize=8)
            row[0].set_ylabel(
                f"{style.shown(domain, 26)}\nmean {values.mean():.2f}, std {values.std():.2f}\n"
                f"inside {inside.mean():.2f}",
                fontsize=8,
            )
        figure.supxlabel(f"{style.polarity(bright)}; numbers: bone dark, 0 to 1", fontsize=8)
        return style.save(figure, to)


def _bone_bright(dataset: "Dataset") -> bool:
    """See `pixels.bone_bright`."""
    return bone_bright(getattr(dataset.config, "polarity", None), dataset.domains)


def _colours(bright: bool) -> str:
    return "gray_r" if bright else "gray"


def domains(dataset: "Dataset", to: Path, views: int = 3) -> Path:
    """A column per domain: some views and the distribution of grey values (the paper's Figure 2).

    All columns show the same views where the data set is aligned. The curves of all domains are
    drawn in grey behind each distribution.
    """
    names = dataset.domains
    images = {name: dataset.images("test", name) for name in names}
    chosen = _alike_many(list(map(len, images.values())), views)
    views = len(chosen[0])
    bright = _bone_bright(dataset)
    shades = {name: _greys(images[name][:].numpy())[:: -1 if bright else 1] for name in names}
    highest = max(float(np.sort(shade)[-2]) for shade in shades.values())
    width = max(style.PAGE, 1.15 * len(names))
    size = width, (views + 0.75) * (width - 0.5) / len(names) + 0.6
    heights = [*[1.0] * views, 0.6]
    with style.panels(views + 1, len(names), size, height_ratios=heights) as (figure, grid):
        for column, (name, colour) in enumerate(zip(names, style.colours(len(names)), strict=True)):
            for axes, index in zip(grid[:, column], chosen[column], strict=False):
                style.show_image(axes, _shown(images[name], index), colours=_colours(bright))
            group, head = dataset.domain_groups[name], style.wrapped(style.shown(name, 34), 18)
            grid[0][column].set_title(
                head
                if name.startswith(group) or group == "all"
                else f"{style.wrapped(group, 18)}\n{head}"
            )
            axes = grid[-1][column]
            for shade in shades.values():
                axes.plot(_MIDDLES, shade, color="0.85", linewidth=0.7)
            axes.fill_between(_MIDDLES, shades[name], color=colour, alpha=0.35)
            axes.plot(_MIDDLES, shades[name], color=colour)
            axes.set(xlim=(0, 1), ylim=(0, 1.15 * highest), yticks=[], xticks=[0, 0.5, 1])
        grid[-1][0].set_ylabel("share of pixels")
        figure.supxlabel(f"grey value ({style.polarity(bright)})", fontsize=8)
        return style.save(figure, to)


def _shown(images: "Images", index: int) -> style.Grey:
    """One image in 8 bit, bright where it is padded."""
    pixels = without_padding(to_pixels(images[[index]]), [images.content(index)])
    shown: style.Grey = np.round(pixels[0] / 257)
    return shown


def _alike_many(numbers: Sequence[int], views: int) -> list[list[int]]:
    """Indices of equally many views, `views` at most, of sets with these numbers of images."""
    chosen = [spread(number, views) for number in numbers]
    fewest = min(map(len, chosen))
    return [indices[:fewest] for indices in chosen]


_EDGES = np.linspace(0, 1, 49)
_MIDDLES = (_EDGES[1:] + _EDGES[:-1]) / 2


def _greys(values: "np.ndarray[tuple[int, ...], np.dtype[np.float32]]") -> style.Grey:
    """Share of the pixels in each of 48 bins of grey."""
    counts, _ = np.histogram(values, _EDGES)
    share: style.Grey = counts / counts.sum()
    return share
