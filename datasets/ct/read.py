"""Reads one stored volume: voxels, spacing and directions, checked."""

import gzip
import hashlib
import math
import struct
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from xbench.core.errors import UserError
from xbench.datasets.ct.dicom import read_series
from xbench.datasets.ct.find import Source
from xbench.datasets.ct.toolkit import header, quiet

Voxels = NDArray[np.float32]
Matrix = NDArray[np.float64]

#: Sides of a voxel in mm that a CT scanner can make.
SPACING_RANGE = (0.1, 10.0)
#: A head needs at least this many voxels and this many mm along each axis; whole bodies are longer
#: than the most mm.
LEAST_VOXELS, LEAST_MM, MOST_MM = 12, 60.0, 700.0


@dataclass(frozen=True)
class Scan:
    """A volume as stored.

    Attributes:
        name: name of the source.
        values: raw values `[k, j, i]`, float32; a DICOM rescale is applied.
        spacing: mm along i, j and k.
        direction: columns are the directions of i, j and k in DICOM's patient axes (left, back,
            up). They are not perpendicular if the gantry was tilted.
        notes: what a user should know.
    """

    name: str
    values: Voxels
    spacing: tuple[float, float, float]
    direction: Matrix
    notes: tuple[str, ...] = ()

    def digest(self) -> str:
        """SHA-256 of the values: two copies of a volume have the same in any format."""
        return hashlib.sha256(np.ascontiguousarray(self.values).data).hexdigest()


def read(source: Source) -> Scan:
    """Read one volume.

    Raises:
        UserError: it cannot be read, is no single volume, or its spacing, size or values cannot be
            those of a head.
    """
    try:
        if source.dicom and len(source.files) > 1:
            values, spacing, direction = read_series(source.files)
            notes: list[str] = []
        else:
            values, spacing, direction, notes = _read_file(source.files[0])
    except (RuntimeError, OSError, EOFError, struct.error) as error:
        reason = str(error).strip().splitlines()[-1] if str(error).strip() else type(error).__name__
        raise UserError(
            f"{source.files[0]} cannot be read: {reason}",
            "expected: a whole volume as scanners and converters write it",
            "convert it again, or take it out of the folder",
        ) from error
    _check_size(source, values.shape[::-1], spacing)
    _check_values(source, values)
    return Scan(source.name, values, spacing, direction, tuple(notes))


def _read_file(path: Path) -> tuple[Voxels, tuple[float, float, float], Matrix, list[str]]:
    with quiet() as sitk:
        reader = header(sitk, path)
        size = reader.GetSize()
        if reader.GetNumberOfComponents() > 1 or len([n for n in size if n > 1]) != 3:
            raise UserError(
                f"{path} is no single volume: its shape is "
                f"{' × '.join(map(str, (*size, reader.GetNumberOfComponents())))}",
                "expected: one value per voxel, three axes",
                "save one phase of it as a volume of its own, or take it out of the folder",
            )
        stored = _nifti_spacing(path)
        if stored is not None:
            _check_spacing(Source(path.name, (path,)), stored)
        reader.SetOutputPixelType(sitk.sitkFloat32)
        image = reader.Execute()
        notes = [] if _has_position(path, image) else [_no_position(image.GetSpacing())]
        # A fourth axis of one volume is dropped.
        n = image.GetDimension()
        direction = np.array(image.GetDirection(), np.float64).reshape(n, n)[:3, :3]
        spacing = tuple(float(side) for side in image.GetSpacing()[:3])
        values = sitk.GetArrayFromImage(image)
    values = values.reshape(values.shape[-3:])
    return values, (spacing[0], spacing[1], spacing[2]), direction, notes


def _nifti_spacing(path: Path) -> tuple[float, float, float] | None:
    """`pixdim` of a NIfTI-1 header, which SimpleITK replaces by 1 where it is 0; else None."""
    if not path.name.lower().endswith((".nii", ".nii.gz")):
        return None
    opener: Any = gzip.open if path.name.lower().endswith(".gz") else open
    with opener(path, "rb") as file:
        start = file.read(348)
    order = next((o for o in "<>" if struct.unpack(o + "i", start[:4])[0] == 348), None)
    if order is None:
        return None
    sides = struct.unpack(order + "3f", start[80:92])
    return (abs(sides[0]), abs(sides[1]), abs(sides[2]))


def _has_position(path: Path, image: Any) -> bool:
    """False if spacing, origin and directions are the defaults of a file without any."""
    forms = [
        image.GetMetaData(f"{f}form_code") for f in "qs" if image.HasMetaDataKey(f"{f}form_code")
    ]
    if forms:
        return any(form != "0" for form in forms)
    n = image.GetDimension()
    default = image.GetSpacing() == (1.0,) * n and image.GetOrigin() == (0.0,) * n
    return not (default and image.GetDirection() == tuple(np.eye(n).ravel()))


def _no_position(spacing: tuple[float, ...]) -> str:
    sides = " × ".join(f"{side:g}" for side in spacing[:3])
    return (
        f"the file does not say where its voxels lie: taken as {sides} mm with the axes of its "
        "format; check that the head has its size and is upright"
    )


def _check_spacing(source: Source, spacing: tuple[float, ...]) -> None:
    low, high = SPACING_RANGE
    if all(math.isfinite(side) and low <= side <= high for side in spacing):
        return
    raise UserError(
        f"the voxels of {source.files[0]} measure {' × '.join(f'{s:g}' for s in spacing)} mm",
        f"expected: a spacing of {low:g} to {high:g} mm along each axis, in mm",
        "write the scanner's spacing into the file, or take it out of the folder",
    )


def _check_size(source: Source, counts: tuple[int, ...], spacing: tuple[float, ...]) -> None:
    sides = [count * side for count, side in zip(counts, spacing, strict=True)]
    many = min(counts) >= LEAST_VOXELS
    if many:
        _check_spacing(source, spacing)
    if many and min(sides) >= LEAST_MM and max(sides) <= MOST_MM:
        return
    much = "large" if many and min(sides) >= LEAST_MM else "small"
    voxels, mm = " × ".join(map(str, counts)), " × ".join(f"{side:.0f}" for side in sides)
    raise UserError(
        f"the volume of {source.files[0]} is too {much} for a head: {voxels} voxels, {mm} mm",
        f"expected: at least {LEAST_VOXELS} voxels or slices along each axis, and "
        f"{LEAST_MM:.0f} to {MOST_MM:.0f} mm",
        "save the head alone with all of its slices, or take the file out of the folder",
    )


def _check_values(source: Source, values: Voxels) -> None:
    """Check that all values are finite, and that no slices are blank amid the others."""
    broken = values.size - int(np.isfinite(values).sum())
    if broken:
        raise UserError(
            f"{broken} of {values.size} values of {source.files[0]} are not finite (nan or inf)",
            "expected: a number in every voxel",
            "put -1000 (air) where nothing was measured, or take it out of the folder",
        )
    holes = _holes(values)
    if holes:
        raise UserError(
            f"slices {', '.join(map(str, holes[:5]))}{'…' if len(holes) > 5 else ''} of "
            f"{source.files[0]} are blank: {len(holes)} holes in the volume",
            "expected: a volume without missing slices",
            "convert it again from all slices, or take it out of the folder",
        )


def _holes(values: Voxels) -> list[int]:
    """Slices of one value between two with contrast (air before and behind a head has none)."""
    contrast = np.array([float(plane.std()) for plane in values])
    filled = np.flatnonzero(contrast > 0.25 * np.median(contrast))
    blank = np.flatnonzero(contrast == 0)
    holes = []
    for k in blank:
        before, after = filled[filled < k], filled[filled > k]
        if len(before) and len(after) and (contrast[before[-1] : after[0] + 1] > 0).sum() == 2:
            holes.append(int(k))
    return holes
