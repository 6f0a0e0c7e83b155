"""Power spectra and edge profiles of translations against the true target."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib import pyplot as plt
from matplotlib.axes import Axes
from numpy.typing import NDArray
from scipy import ndimage

from xbench.analysis.figures.style import (
    MARKERS,
    PAGE,
    Colour,
    chosen_rows,
    colours,
    load,
    paper,
    save_drawing,
    translated,
    where,
)
from xbench.analysis.leaderboard import board_of
from xbench.core.errors import UserError
from xbench.core.pairs import parse_pairs
from xbench.core.pixels import from_pixels
from xbench.metrics.physics import COARSE, STEEPEST, edge_sharpness, noise_spectra
from xbench.records.schema import Record
from xbench.records.store import Store

Array = NDArray[np.float64]

#: Rows drawn by default, the best by rank: more lines than these hide one another.
ROWS = 6
#: Pairs drawn by default.
PAIRS = 2
#: Pixels from an edge up to which its profile is drawn, and the step between samples.
REACH, STEP = 5.0, 0.5


def spectra(
    folder: Path,
    chosen: Sequence[str] = (),
    to: Path | None = None,
    labels: Sequence[str] = (),
) -> list[Path]:
    """A line of panels per pair: power spectrum, and mean profile across the steepest edges.

    Source and true target stand beside the translations. The legend has the two numbers that the
    metrics `nps` and `edge_ratio` compare: noise in dB (means of `noise_spectra`) and sharpness
    (of `edge_sharpness`).

    Raises:
        UserError: no translated images are there (published results have none).
    """
    records = load(folder)
    rows = chosen_rows(records, labels)
    ranked = labels or [label for label in board_of(rows).method if label in translated(rows)]
    pairs = parse_pairs(chosen, records[0].data.domains) if chosen else _both_ways(records[0])
    lines = {pair: _sets(folder, records, list(ranked)[:ROWS], pair) for pair in pairs}
    lines = {pair: sets for pair, sets in lines.items() if len(sets) > 2}
    if not lines:
        raise UserError(
            f"there are no translated images of these pairs in {folder / 'images'}",
            "expected: results that xbench run wrote, with their images and those of identity",
            "try: xbench plot spectra --out runs",
        )
    with paper():
        figure, grid = plt.subplots(
            *(len(lines), 2),
            figsize=(PAGE, 2.3 * len(lines) + 0.3),
            squeeze=False,
            layout="constrained",
        )
        for (left, right), ((source, target), sets) in zip(grid, lines.items(), strict=True):
            _panels(left, right, sets)
            left.set_title(f"{source} → {target}", loc="left")
        figure.suptitle(where(records[0]), fontsize=8)
        return save_drawing(figure, folder, "spectra", to)


def power_spectrum(images: Array) -> tuple[Array, Array]:
    """Mean power of images, averaged over directions.

    A periodogram under a Hann window, of the image less its mean: white noise of variance s² has
    the power s² at every frequency.

    Args:
        images: [n, H, W] in [0, 1].

    Returns:
        Frequencies in cycles per pixel, and 10 log10 of the power there.
    """
    height, width = images.shape[1:]
    window = np.outer(np.hanning(height), np.hanning(width))
    centred = images - images.mean(axis=(1, 2), keepdims=True)
    power = np.abs(np.fft.fft2(centred * window)) ** 2 / (window**2).sum()
    frequency = np.hypot(np.fft.fftfreq(height)[:, None], np.fft.fftfreq(width)[None])
    rings = min(height, width) // 2
    ring = np.round(frequency * 2 * rings).astype(int).ravel()
    sums = np.bincount(ring, weights=power.mean(axis=0).ravel())
    means = sums / np.bincount(ring)
    at = np.arange(1, rings + 1)
    return at / (2 * rings), 10 * np.log10(np.maximum(means[at], 1e-12))


def edge_profile(images: Array) -> tuple[Array, Array]:
    """Mean grey across the steepest edges, from dark to bright, with ends at 0 and 1.

    Edges are where `edge_sharpness` finds them: the 2 % of the pixels where the gradient under a
    Gaussian of 2 px is largest. Contrast cancels; values outside [0, 1] are overshoot.

    Args:
        images: [n, H, W] in [0, 1].

    Returns:
        Distances from the edge in pixels, and the profile there.
    """
    at = np.arange(-REACH, REACH + STEP / 2, STEP)
    total = np.zeros(len(at))
    for image in images:
        down, right = (ndimage.gaussian_filter(image, COARSE, order=o) for o in ((1, 0), (0, 1)))
        slope = np.hypot(down, right)
        count = max(1, round(STEEPEST * image.size))
        rows, columns = np.unravel_index(np.argsort(slope, axis=None)[-count:], image.shape)
        steep = np.maximum(slope[rows, columns], 1e-12)
        y = rows[:, None] + at * (down[rows, columns] / steep)[:, None]
        x = columns[:, None] + at * (right[rows, columns] / steep)[:, None]
        total += ndimage.map_coordinates(image, [y, x], order=1, mode="mirror").mean(axis=0)
    ends = total[:3].mean(), total[-3:].mean()
    return at, (total - ends[0]) / max(ends[1] - ends[0], 1e-12)


def _panels(left: Axes, right: Axes, sets: dict[str, Array]) -> None:
    """Both panels of one pair; source and target come first."""
    looks: list[tuple[Colour, str, str]] = [("0.55", "--", ""), ("0", "-", "")]
    looks += [(c, "-", MARKERS[k]) for k, c in enumerate(colours(len(sets) - 2))]
    for (name, images), (colour, line, marker) in zip(sets.items(), looks, strict=True):
        stack = from_pixels(np.round(images * 65535).astype(np.uint16))
        noise, sharp = float(noise_spectra(stack).mean()), float(edge_sharpness(stack).mean())
        style: dict[str, Any] = {
            "color": colour,
            "linestyle": line,
            "marker": marker,
            "markersize": 3,
        }
        heavy = 2.0 if name.startswith("true") else 1.0
        left.plot(*power_spectrum(images), **style, lw=heavy, markevery=4, label=name)
        text = f"{name}: {noise:.1f} dB, {sharp:.2f}"
        right.plot(*edge_profile(images), **style, lw=heavy, markevery=3, label=text)
    left.set(xlabel="spatial frequency (cycles per pixel)", ylabel="power (dB)")
    right.set(xlabel="distance from the edge (pixels)", ylabel="grey, ends at 0 and 1")
    for axes in (left, right):
        axes.grid(visible=True)
    right.legend(
        title="noise, sharpness",
        loc="center left",
        bbox_to_anchor=(1.0, 0.5),
        frameon=False,
        fontsize=6,
        title_fontsize=6,
    )


def _both_ways(record: Record) -> list[tuple[str, str]]:
    """One pair in each direction: the first across groups, and its way back."""
    domains, groups = record.data.domains, record.data.domain_groups
    first = domains[0]
    others = [d for d in domains[1:] if groups[d] != groups[first]] or list(domains[1:])
    return [(first, others[0]), (others[0], first)][:PAIRS]


def _sets(
    folder: Path, records: Sequence[Record], labels: Sequence[str], pair: tuple[str, str]
) -> dict[str, Array]:
    """Name → images [n, H, W] in [0, 1]: source and true target, then the rows' translations."""
    by_unit = {
        (r.method.label, r.source, r.target): r
        for r in sorted(records, key=lambda record: -record.seed)
    }
    found: dict[str, Array] = {}
    for name, domain in zip(("source", "true target"), pair, strict=True):
        for unit, record in by_unit.items():
            if unit[0] == "identity" and unit[1] == domain and name not in found:
                _add(found, name, folder, record)
    if len(found) == 2:
        for label in labels:
            if own := by_unit.get((label, *pair)):
                _add(found, label, folder, own)
    return found


def _add(found: dict[str, Array], name: str, folder: Path, record: Record) -> None:
    """Read the images of a unit; nothing is added where one is missing or damaged."""
    try:
        stack = Store(folder).images_of(record) / 65535
    except (OSError, SyntaxError, ValueError):
        return
    if stack.ndim == 3 and min(stack.shape[1:]) >= 16:
        found[name] = stack
