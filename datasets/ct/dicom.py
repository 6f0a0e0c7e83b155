"""Reads a series of DICOM slices: sorted by position, without gaps, gantry tilt kept."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from xbench.core.errors import UserError
from xbench.datasets.ct.toolkit import element, header, quiet

#: DICOM elements.
POSITION, ORIENTATION, PIXEL_SPACING = "0020|0032", "0020|0037", "0028|0030"
#: Distances of neighbouring slices may differ by this share of their median.
UNEVEN = 0.1

Vector = NDArray[np.float64]


def read_series(
    files: Sequence[Path],
) -> tuple[NDArray[np.float32], tuple[float, float, float], Vector]:
    """Values `[k, j, i]` (rescaled), spacing (i, j, k) in mm and directions (see `read.Scan`).

    Raises:
        UserError: slices have no position, differ in size or orientation, lie at one position, or
            some are missing.
        RuntimeError: a file is damaged.
    """
    folder = files[0].parent
    with quiet() as sitk:
        readers = [header(sitk, path) for path in files]
        rows, columns, positions = _places(folder, readers)
        normal = np.cross(rows, columns)
        order = np.argsort(positions @ normal, kind="stable")
        step = _step(folder, positions[order], normal)
        size = readers[0].GetSize()
        spacing = _numbers(readers[0], PIXEL_SPACING)
        if len(spacing) != 2:
            raise _unusable(folder, "its slices have no pixel spacing")
        values = np.empty((len(files), size[1], size[0]), np.float32)
        for k, i in enumerate(order):
            readers[i].SetOutputPixelType(sitk.sitkFloat32)
            values[k] = sitk.GetArrayViewFromImage(readers[i].Execute()).reshape(size[1], size[0])
    length = float(np.linalg.norm(step))
    direction = np.stack([rows, columns, step / length], axis=1)
    # DICOM gives the distance of rows (along j) first.
    return values, (spacing[1], spacing[0], length), direction


def _places(folder: Path, readers: list[Any]) -> tuple[Vector, Vector, Vector]:
    """Directions of i and j, and the positions of all slices `[n, 3]`, in patient axes."""
    first = readers[0]
    axes = _numbers(first, ORIENTATION)
    positions = []
    for reader in readers:
        place = _numbers(reader, POSITION)
        if len(place) != 3 or len(axes) != 6:
            raise _unusable(folder, "its slices have no position and orientation")
        if reader.GetSize()[:2] != first.GetSize()[:2]:
            raise _unusable(folder, "its slices differ in size")
        same = np.allclose(_numbers(reader, ORIENTATION), axes, atol=1e-3)
        if not same or _numbers(reader, PIXEL_SPACING) != _numbers(first, PIXEL_SPACING):
            raise _unusable(folder, "its slices differ in orientation or pixel spacing")
        positions.append(place)
    return np.array(axes[:3]), np.array(axes[3:]), np.array(positions)


def _step(folder: Path, positions: Vector, normal: Vector) -> Vector:
    """The step from slice to slice, mm; along the table, so not the normal of a tilted gantry."""
    heights = positions @ normal
    distances = np.diff(heights)
    usual = float(np.median(distances))
    twice = int((distances < 0.01).sum())
    if twice:
        raise _unusable(folder, f"{twice} pairs of slices lie at one position")
    gaps = np.flatnonzero(np.abs(distances - usual) > UNEVEN * usual)
    if len(gaps):
        k = int(gaps[np.argmax(distances[gaps])])
        raise UserError(
            f"slices of {folder} are missing: {distances[k]:.2f} mm lie between those at "
            f"{heights[k]:.2f} and {heights[k + 1]:.2f} mm, elsewhere {usual:.2f} mm",
            "expected: slices at equal distances",
            "copy the whole series into the folder, or take it out",
        )
    step: Vector = (positions[-1] - positions[0]) / (len(positions) - 1)
    return step


def _numbers(reader: Any, key: str) -> list[float]:
    try:
        return [float(part) for part in element(reader, key).split("\\")]
    except ValueError:
        return []


def _unusable(folder: Path, why: str) -> UserError:
    return UserError(
        f"the DICOM series in {folder} is no volume: {why}",
        "expected: parallel slices of one scan, with position, orientation and pixel spacing",
        "export the series again from the archive, or take it out of the folder",
    )
