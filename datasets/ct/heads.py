"""CT volumes to heads: densities in the phantom's axes, at a chosen voxel size."""

from dataclasses import dataclass
from fnmatch import fnmatchcase
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from scipy import ndimage
from torch import Tensor

from xbench.core.errors import UserError
from xbench.datasets.ct import anatomy, density
from xbench.datasets.ct.calibration import AIR, Calibration, parse, to_hu
from xbench.datasets.ct.find import Source
from xbench.datasets.ct.geometry import (
    SIDES,
    Box,
    Placed,
    bounds,
    box_between,
    code,
    crop,
    from_code,
    place,
    resample,
    turned,
)
from xbench.datasets.ct.read import Scan, read
from xbench.datasets.phantom.volume import CORNER, SOLID_RHO

#: Least area of tissue on a side of the volume for which the head counts as cut off there, mm2.
CUT_AREA = 100.0
#: Training domains of the data set; with a val and a test head, the least number of heads.
DOMAINS = 5


@dataclass(frozen=True)
class CtHead:
    """A head from a CT, in head axes: x left, y front, z up, origin about between the ear canals.

    Attributes:
        name: name of the volume.
        bone: cortical bone in g/cm3, float32 `[z, y, x]`.
        soft: all other tissue, g/cm3: the share of a voxel that is bone is not in it.
        solid: bone of one material as in a simulator's surface model, g/cm3 (its share of the
            voxel times the phantom's `SOLID_RHO`).
        voxel: side of the cubic voxels, mm.
        corner: outer corner of the first voxel, mm (x, y, z).
        cropped: sides at which the volume, or the phantom's box (bottom), cuts the head off: of
            right, left, back, front, bottom, top.
        notes: what a user should know about this head.
        digest: SHA-256 of the values as read; copies of a volume have the same.
    """

    name: str
    bone: Tensor
    soft: Tensor
    solid: Tensor
    voxel: float
    corner: tuple[float, float, float]
    cropped: tuple[str, ...]
    notes: tuple[str, ...]
    digest: str


def check_enough(count: int, folder: Path, shared_heads: bool) -> None:
    """Check that every training domain, val and test can have heads of their own.

    Raises:
        UserError: there are too few.
    """
    least = DOMAINS + 2
    if shared_heads or count >= least:
        return
    raise UserError(
        f"{folder} holds {count} {'head' if count == 1 else 'heads'}: too few for heads of their "
        "own in every training domain, val and test",
        f"expected: at least {least} heads ({DOMAINS} training domains, val, test)",
        "add volumes, or let domains and splits share heads: --set data.shared_heads=true",
    )


def load_head(
    source: Source, *, voxel: float, hu: str | None = None, orientation: str | None = None
) -> CtHead:
    """Read one volume, check it, clean it and turn it into densities.

    Args:
        source: the volume.
        voxel: side of the voxels to make, mm.
        hu: calibration of raw values, see `calibration.parse`; None if they are Hounsfield units.
        orientation: `[PATTERN=]CODE[;…]`: where the stored axes run (`LPS`), if files are wrong.

    Raises:
        UserError: it cannot be used.
    """
    calibrations = parse(hu)
    chosen = _chosen(source.name, orientation)
    scan = read(source)
    digest = scan.digest()
    placed, stored = _in_hu(scan, calibrations, chosen)
    notes = list(scan.notes)
    del scan
    coarse = bounds(placed, anatomy.VOXEL)
    values = resample(placed, coarse, AIR)
    mask = anatomy.find_head(values)
    cut = _cut(placed, coarse, mask)
    skull = anatomy.survey(values, mask, cut)
    _check_head(source, skull, cut, stored, chosen is not None)
    start, landmark = anatomy.origin(skull, cut)
    origin = np.array(coarse.low) + np.array(start) * anatomy.VOXEL
    notes.append(f"height by the {landmark}")
    box, cut = _box(coarse, mask, origin, voxel, cut)
    bone, soft, solid = _channels(placed, box, coarse, mask)
    low = np.round(np.array(box.low) - origin, 3).tolist()
    corner = (low[0], low[1], low[2])
    return CtHead(source.name, bone, soft, solid, voxel, corner, cut, tuple(notes), digest)


def _chosen(name: str, orientation: str | None) -> NDArray[np.float64] | None:
    """Directions of the stored axes that the setting `orientation` gives to a volume, or None."""
    for part in (orientation or "").split(";"):
        pattern, _, letters = part.strip().rpartition("=")
        if letters and fnmatchcase(name, pattern or "*"):
            return from_code(letters)
    return None


def _in_hu(
    scan: Scan, calibrations: tuple[Calibration, ...], chosen: NDArray[np.float64] | None
) -> tuple[Placed, str]:
    """The volume in HU and head axes, and where its stored axes run (`LPS`)."""
    direction = scan.direction if chosen is None else chosen
    placed = place(scan.values, scan.spacing, direction)
    return Placed(to_hu(placed.values, scan.name, calibrations), placed.steps), code(direction)


def _cut(placed: Placed, coarse: Box, mask: anatomy.Mask) -> tuple[str, ...]:
    """Sides at which the volume cuts the head off: its mask reaches that side of the volume."""
    count = np.array(placed.values.shape[::-1])
    sides = []
    for axis, names in enumerate(SIDES):
        others = [other for other in range(3) if other != axis]
        strides = [max(1, int(count[other]) // 128) for other in others]
        grid = [np.arange(0, count[o], n) for o, n in zip(others, strides, strict=True)]
        area = np.prod([placed.steps[o, o] * n for o, n in zip(others, strides, strict=True)])
        points = np.empty((3, grid[0].size * grid[1].size))
        points[others] = np.stack(np.meshgrid(*grid, indexing="ij")).reshape(2, -1)
        for name, at in zip(names, (0, count[axis] - 1), strict=True):
            points[axis] = at
            where = (placed.steps @ points - np.array(coarse.low)[:, None]) / coarse.voxel - 0.5
            inside = ndimage.map_coordinates(mask, where[::-1], order=0, mode="nearest")
            if inside.sum() * area > CUT_AREA:
                sides.append(name)
    return tuple(sides)


def _check_head(
    source: Source, skull: anatomy.Skull, cut: tuple[str, ...], stored: str, chosen: bool
) -> None:
    wrong = anatomy.no_head(skull)
    if wrong:
        raise UserError(
            f"'{source.name}' shows no head: {wrong}",
            "expected: a CT of a head with the vault of the skull, air around it, in HU and mm",
            f"take {source.files[0]} out of the folder, or give hu if its values are not HU",
        )
    turn = None if chosen else anatomy.wrong_turn(skull, cut)
    if turn:
        words = "upside down and back to front" if turn == "both" else turn
        better = turned(stored)[turn]
        raise UserError(
            f"the head in '{source.name}' is {words}, if its axes run towards {stored} as stored",
            "expected: a file whose directions are right, or the setting orientation",
            f"try: --set 'data.orientation={source.name}={better}' (or ={stored} if it is right)",
        )


def _box(
    coarse: Box,
    mask: anatomy.Mask,
    origin: NDArray[np.float64],
    voxel: float,
    cut: tuple[str, ...],
) -> tuple[Box, tuple[str, ...]]:
    """The voxels to make around the head, down to the phantom's lower end, and its cut sides."""
    there = [np.flatnonzero(mask.any(axis=axes)) for axes in ((0, 1), (0, 2), (1, 2))]
    margin = coarse.voxel + voxel
    low = np.array(coarse.low) + np.array([t[0] for t in there]) * coarse.voxel - margin
    high = np.array(coarse.low) + np.array([t[-1] + 1 for t in there]) * coarse.voxel + margin
    floor = origin[2] + CORNER[2]
    if low[2] < floor:
        low[2] = floor
        cut = tuple(side for names in SIDES for side in names if side in (*cut, "bottom"))
    # Whole voxels from the origin, so that a head is sampled alike however its file was cut.
    low = origin + np.floor((low - origin) / voxel) * voxel
    high = low + np.ceil((high - low) / voxel) * voxel
    return box_between(low, high, voxel), cut


def _channels(
    placed: Placed, box: Box, coarse: Box, mask: anatomy.Mask
) -> tuple[Tensor, Tensor, Tensor]:
    """Bone, soft and solid (g/cm3) at the voxels of a box, nothing outside the head's mask."""
    part, first = crop(placed, box)
    # A margin of the width of a voxel keeps the skin's blur.
    reach = 1 + int(box.voxel / coarse.voxel)
    wide = ndimage.binary_dilation(mask, iterations=reach).astype(np.float32)
    middle = np.array(coarse.low) + coarse.voxel / 2
    scale = Placed(wide, np.eye(3) * coarse.voxel)
    keep = resample(scale, box, 0.0, (middle[0], middle[1], middle[2]))

    def channel(values: anatomy.Voxels) -> Tensor:
        made = resample(Placed(values, part.steps), box, 0.0, first)
        made *= keep
        return torch.from_numpy(made)

    bone, soft = (channel(values) for values in density.densities(part.values))
    solid = channel(density.surface(part.values, part.spacing)).mul_(SOLID_RHO)
    return bone, soft, solid
