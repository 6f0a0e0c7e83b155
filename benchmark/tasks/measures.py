"""How far predictions are from labels, image by image, and what tasks these measures make up."""

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from xbench.datasets.labels import ANGLES, Labels

Array = NDArray[np.float64]
Mask = NDArray[np.bool_]
#: Distances within which a landmark counts as found, mm (ISBI challenges of cephalometry, 2014).
SUCCESS_MM = (2.0, 2.5, 3.0, 4.0)


@dataclass(frozen=True)
class Task:
    """A task and its score: the mean of some measures.

    Attributes:
        name: as for `--tasks`.
        scored: beginnings of names of measures, and the unit of the score; the first that there is.
        decimals: of the score in tables.
        higher_is_better: which way is better.
        about: one line for people.
    """

    name: str
    scored: tuple[tuple[str, str], ...]
    decimals: int
    higher_is_better: bool
    about: str

    def unit(self, measures: Collection[str]) -> str:
        """Unit of the score, given the names of the measures; empty if there is no score."""
        return next((u for start, u in self.scored if _begin(measures, start)), "")

    def values(self, measures: Mapping[str, Sequence[Sequence[float | None]]]) -> Array:
        """The measures that make up the score, from a record: `[seeds, measures, images]`."""
        chosen = next((c for start, _ in self.scored if (c := _begin(measures, start))), [])
        runs = [measures[name] for name in chosen]
        return np.array(runs, dtype=np.float64).swapaxes(0, 1) if runs else np.empty((0, 0, 0))


def _begin(names: Iterable[str], start: str) -> list[str]:
    return [name for name in names if name.startswith(start)]


TASKS = (
    Task("segmentation", (("dice_", "Dice"),), 3, True, "mean Dice of the structures"),
    Task(
        *("landmarks", (("radial_mm", "mm"), ("radial_px", "px")), 2, False),
        "mean radial error of the landmarks",
    ),
    Task("pose", (("angle_", "°"),), 2, False, "mean absolute error of the view angles"),
)


def score(values: Array) -> Array:
    """The score of each seed `[seeds]`: mean over images, then over measures.

    Args:
        values: `[seeds, measures, images]`; NaN where an image does not show what is measured.

    >>> score(np.array([[[1.0, np.nan], [3.0, 5.0]]])).tolist()
    [2.5]
    """
    shown: NDArray[np.bool_] = np.isfinite(values)
    means = np.where(shown, values, 0).sum(axis=2) / np.maximum(shown.sum(axis=2), 1)
    known = np.logical_or.reduce(shown, axis=2)
    total: Array = np.where(known, means, 0).sum(axis=1) / np.maximum(known.sum(axis=1), 1)
    return np.where(np.logical_or.reduce(known, axis=1), total, np.nan)


def measure(found: Labels, true: Labels, mm: Array | None) -> dict[str, Array]:
    """Every measure of n images, `[n]` each; NaN where an image does not show what it measures.

    Args:
        found: predictions.
        true: labels.
        mm: side of a pixel of each image `[n]` in the plane of the isocentre; None if unknown:
            then distances are in px alone.
    """
    values: dict[str, Array] = {}
    for name, masks in true.masks.items():
        pairs = list(zip(found.masks[name], masks, strict=True))
        values[f"dice_{name}"] = np.array([dice(*pair) for pair in pairs])
        surface = np.array([surface_distance(*pair) for pair in pairs])
        values[f"surface_px_{name}"] = surface
        if mm is not None:
            values[f"surface_mm_{name}"] = surface * mm
    if true.landmarks:
        values |= _landmarks(found, true, mm)
    if true.angles is not None:
        assert found.angles is not None
        gap = np.abs((found.angles - true.angles + 180) % 360 - 180)
        values |= {f"angle_{name}": gap[:, k] for k, name in enumerate(ANGLES)}
    return values


def dice(found: Mask, true: Mask) -> float:
    """Dice coefficient of two masks; NaN if the true one is empty.

    >>> dice(np.array([[True, True]]), np.array([[True, False]]))
    0.6666666666666666
    """
    if not true.any():
        return float("nan")
    return float(2 * (found & true).sum() / (found.sum() + true.sum()))


def surface_distance(found: Mask, true: Mask) -> float:
    """Mean distance in px from each outline to the other; NaN if the true mask is empty.

    If nothing was found, it is the diagonal of the image: the worst that there can be.

    >>> square = np.zeros((9, 9), bool)
    >>> square[2:5, 2:5] = True
    >>> surface_distance(np.roll(square, 1, axis=0), square)
    0.5
    """
    from scipy import ndimage

    if not true.any():
        return float("nan")
    if not found.any():
        return float(np.hypot(*true.shape))
    ours, theirs = (mask & ~ndimage.binary_erosion(mask) for mask in (found, true))
    to_theirs = ndimage.distance_transform_edt(~theirs)[ours]
    to_ours = ndimage.distance_transform_edt(~ours)[theirs]
    return float(np.concatenate([to_theirs, to_ours]).mean())


def _landmarks(found: Labels, true: Labels, mm: Array | None) -> dict[str, Array]:
    """Mean radial error, and shares found within `SUCCESS_MM`, over the landmarks of an image."""
    gaps = [found.landmarks[name] - places for name, places in true.landmarks.items()]
    errors = np.linalg.norm(np.stack(gaps), axis=2)  # [landmarks, n], NaN where there is none
    shown = np.isfinite(errors)
    count = np.where(shown.any(axis=0), shown.sum(axis=0), np.nan)
    values = {"radial_px": np.nansum(errors, axis=0) / count}
    if mm is not None:
        values["radial_mm"] = values["radial_px"] * mm
        for bound in SUCCESS_MM:
            values[f"found_{bound:g}mm"] = (errors * mm <= bound).sum(axis=0) / count
    return values
