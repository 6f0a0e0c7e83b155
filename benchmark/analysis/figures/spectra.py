"""Power spectra and edge profiles of translations against the true target."""

from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from numpy.typing import NDArray

from xbench.analysis.figures import style
from xbench.analysis.leaderboard import board_of
from xbench.analysis.results import Results
from xbench.core.errors import UserError
from xbench.core.pairs import Pair, parse_pairs
from xbench.core.pixels import WHITE, Pixels, from_pixels
from xbench.records.schema import Record
from xbench.records.store import Store

Array = NDArray[np.float64]

#: Rows drawn at most, the best by rank: more lines would hide one another.
ROWS = 6
#: Distance in pixels up to which an edge's profile is drawn, and the step between samples.
REACH, STEP = 5.0, 0.5


def spectra(
    results: Results, chosen: Sequence[str] = (), to: Path | None = None, labels: Sequence[str] = ()
) -> list[Path]:
    """A line of panels per pair: power spectrum, and mean profile across the steepest edges.

    Source and true target are drawn with the translations. The legend has the two numbers that the
    metrics `nps` and `edge_ratio` compare: noise in dB (means of `noise_spectra`) and sharpness
    (means of `edge_sharpness`).

    By default, the best rows are drawn, and a pair in each direction.

    Raises:
        UserError: there are no translated images (published results have none).
    """
    rows, first = style.chosen_rows(results, labels), results.records[0]
    ranked = labels or [label for label in board_of(rows).method if label in style.translated(rows)]
    pairs = parse_pairs(chosen, first.data.domains) if chosen else _both_ways(first)
    lines = {pair: _sets(results, list(ranked)[:ROWS], pair) for pair in pairs}
    lines = {pair: sets for pair, sets in lines.items() if len(sets) > 2}
    if not lines:
        raise UserError(
            f"there are no translated images of these pairs in {results.folder / 'images'}",
            "expected: results that xbench run wrote, with their images and those of identity",
            "try: xbench plot spectra --out runs",
        )
    with style.panels(len(lines), 2, (style.PAGE, 2.3 * len(lines) + 0.3)) as (figure, grid):
        for (left, right), ((source, target), sets) in zip(grid, lines.items(), strict=True):
            _panels(left, right, sets)
            left.set_title(f"{source} → {target}", loc="left")
        figure.suptitle(style.where(results), fontsize=8)
        return style.save_drawing(figure, results.folder, "spectra", to)


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

    Edges are those of `edge_sharpness`: the 2 % of the pixels with the largest gradient under a
    Gaussian of 2 px. Contrast cancels; values outside [0, 1] are overshoot.

    Args:
        images: [n, H, W] in [0, 1].

    Returns:
        Distances from the edge in pixels, and the profile there.
    """
    from scipy import ndimage

    from xbench.metrics.physics import COARSE, STEEPEST

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


def _panels(left: Axes, right: Axes, sets: Mapping[str, Pixels]) -> None:
    """Both panels of one pair; source and target come first."""
    from xbench.metrics.physics import edge_sharpness, noise_spectra

    looks: list[tuple[style.Colour, str, str]] = [("0.55", "--", ""), ("0", "-", "")]
    looks += [(colour, "-", marker) for colour, marker in style.looks(len(sets) - 2)]
    for (name, pixels), (colour, line, marker) in zip(sets.items(), looks, strict=True):
        images, stack = pixels / WHITE, from_pixels(pixels)
        noise, sharp = float(noise_spectra(stack).mean()), float(edge_sharpness(stack).mean())
        look: dict[str, Any] = {"color": colour, "ls": line, "marker": marker, "markersize": 3}
        heavy = 2.0 if name.startswith("true") else 1.0
        left.plot(*power_spectrum(images), **look, lw=heavy, markevery=4, label=name)
        text = f"{name}: {noise:.1f} dB, {sharp:.2f}"
        right.plot(*edge_profile(images), **look, lw=heavy, markevery=3, label=text)
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


def _both_ways(record: Record) -> list[Pair]:
    """One pair in each direction: the first between two groups, and its way back."""
    domains, groups = record.data.domains, record.data.domain_groups
    first = domains[0]
    others = [d for d in domains[1:] if groups[d] != groups[first]] or list(domains[1:])
    return [(first, others[0]), (others[0], first)]


def _sets(results: Results, labels: Sequence[str], pair: Pair) -> dict[str, Pixels]:
    """Name → images: source and true target, then translations of the rows' lowest seeds."""
    sets: dict[str, Pixels] = {}
    identity = results.by_label.get("identity")
    for name, domain in zip(("source", "true target"), pair, strict=True):
        untranslated = [r for r in identity.records if r.source == domain] if identity else []
        sets |= _first_set(results.folder, name, untranslated)
    if len(sets) < 2:
        return {}
    for label in labels:
        own = [r for r in results.by_label[label].records if (r.source, r.target) == pair]
        sets |= _first_set(results.folder, label, own[:1])
    return sets


def _first_set(folder: Path, name: str, records: Sequence[Record]) -> dict[str, Pixels]:
    """The name → the images of the first unit whose images are whole; empty if there is none."""
    for record in records:
        with suppress(OSError, SyntaxError, ValueError):
            pixels = Store(folder).images_of(record)
            if pixels.ndim == 3 and min(pixels.shape[1:]) >= 16:
                return {name: pixels}
    return {}
