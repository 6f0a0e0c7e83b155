"""Finds the head in a coarse volume: its mask without table, its skull, its place, its turn.

All functions take arrays `[z, y, x]` in head axes with cubic voxels of `VOXEL` mm.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

Voxels = NDArray[np.float32]
Mask = NDArray[np.bool_]

#: Side of the coarse voxels, mm.
VOXEL = 2.0
#: HU above which a voxel is tissue (skin, half filled), and bone.
TISSUE_HU, BONE_HU = -400.0, 250.0
#: Opening that parts the head from table and head-holder: plates below 10 mm go.
OPENING = 2
#: What the opening takes from the head itself grows back by this many voxels; in front of the
#: back third of the head (nose, ears; no head-holder there) further.
REGROWTH, FREE_REGROWTH = 3, 12

#: Plausible heads: brain space in the largest slice (cm2; adults about 170), width and length of
#: the skull (mm), share of bone in the head's volume, share of air around it.
BRAIN_RANGE = (40.0, 330.0)
WIDTH_RANGE, LENGTH_RANGE = (80.0, 210.0), (100.0, 260.0)
BONE_RANGE, LEAST_AIR = (0.015, 0.65), 0.05

#: Where the phantom's heads have the vertex of the skull, and the height at which the brain space
#: has half its largest section (mm; means over its heads). CT heads are put alike.
VERTEX_Z, BASE_Z = 117.0, 7.0
#: The middle between forehead and occiput, mm in front of the ear canals (likewise).
MIDDLE_Y = 1.5


@dataclass(frozen=True)
class Skull:
    """What a coarse volume shows.

    Attributes:
        head: the head with its air spaces.
        bone: bone in it.
        brain: for each slice, the largest area that bone encloses, cm2.
        air: air spaces inside the head.
    """

    head: Mask
    bone: Mask
    brain: NDArray[np.float64]
    air: Mask


def find_head(hu: Voxels) -> Mask:
    """The largest connected piece of tissue with its air spaces; no table, no head-holder."""
    tissue = np.pad(hu > TISSUE_HU, 1, mode="edge")
    # Beyond the volume's border tissue goes on: opening must not round the head off there.
    core = ndimage.binary_erosion(tissue, iterations=OPENING, border_value=1)
    labels, count = ndimage.label(core)
    if not count:
        return np.zeros(hu.shape, bool)
    sizes = np.bincount(labels.ravel())
    core = labels == 1 + int(np.argmax(sizes[1:]))
    core = ndimage.binary_dilation(core, iterations=OPENING) & tissue
    head = ndimage.binary_dilation(core, iterations=REGROWTH, mask=tissue)
    rows = np.flatnonzero(core.any(axis=(0, 2)))
    free = tissue.copy()
    free[:, : int(rows[0] + len(rows) / 3)] = False
    head |= ndimage.binary_dilation(core & free, iterations=FREE_REGROWTH, mask=free)
    head = head[1:-1, 1:-1, 1:-1]
    for axis in range(3):
        head = head | _filled(head, axis)
    result: Mask = head
    return result


def _filled(mask: Mask, axis: int) -> Mask:
    """A mask with holes filled in each slice across an axis."""
    slices = np.moveaxis(mask, axis, 0)
    filled = np.stack([ndimage.binary_fill_holes(plane) for plane in slices])
    return np.moveaxis(filled, 0, axis)


def survey(hu: Voxels, head: Mask, cut: tuple[str, ...]) -> Skull:
    """Find bone, brain space and air spaces in a head.

    Args:
        hu: Hounsfield units.
        head: the head's mask.
        cut: sides at which the volume cuts the head off; bone goes on there.
    """
    bone = (hu > BONE_HU) & head
    walls = ((("back" in cut), ("front" in cut)), (("right" in cut), ("left" in cut)))
    areas = [_enclosed(plane, walls) * VOXEL**2 / 100 for plane in bone]
    return Skull(head, bone, np.array(areas), head & (hu < TISSUE_HU))


def _enclosed(plane: Mask, walls: tuple[tuple[bool, bool], ...]) -> int:
    """Pixels of the largest region of a slice `[y, x]` that bone encloses; gaps of 12 mm close."""
    if not plane.any():
        return 0
    gap = 3
    wide = np.pad(plane, gap + 1)
    for axis, ends in enumerate(walls):
        for at, wall in zip((gap, -gap - 1), ends, strict=True):
            if wall:
                np.moveaxis(wide, axis, 0)[at, gap + 1 : -gap - 1] = True
    closed = ndimage.binary_closing(wide, iterations=gap)
    labels, count = ndimage.label(ndimage.binary_fill_holes(closed) & ~wide)
    return int(np.bincount(labels.ravel())[1:].max()) if count else 0


def no_head(skull: Skull) -> str | None:
    """Why a volume shows no head, or None if it is a plausible one."""
    head, bone = skull.head, skull.bone
    if head.mean() > 1 - LEAST_AIR:
        return "there is no air around it"
    share = bone.sum() / max(1, head.sum())
    low, high = BONE_RANGE
    if not low <= share <= high:
        return f"{share:.1%} of it is bone, a head has {low:.1%} to {high:.0%}"
    largest = float(skull.brain.max())
    if not BRAIN_RANGE[0] <= largest <= BRAIN_RANGE[1]:
        return (
            f"bone encloses {largest:.0f} cm2 in its widest slice, a skull {BRAIN_RANGE[0]:.0f} to "
            f"{BRAIN_RANGE[1]:.0f} cm2"
        )
    ring = _ring(skull)
    for name, axis, (low, high) in (("wide", 1, WIDTH_RANGE), ("long", 0, LENGTH_RANGE)):
        size = _span(np.any(ring, axis=1 - axis)) * VOXEL
        if not low <= size <= high:
            return f"its skull is {size:.0f} mm {name}, a head's {low:.0f} to {high:.0f} mm"
    return None


def wrong_turn(skull: Skull, cut: tuple[str, ...]) -> str | None:
    """How the head is turned against its axes: `upside down`, `back to front`, `both` or None.

    Heads end in air at the top, and at the neck they do not; else the brain space must lie in the
    upper half of the skull. Air spaces near the midline (sinuses, nose, mouth) lie in the front.
    Only clear cases count.
    """
    heights = np.flatnonzero(skull.bone.any(axis=(1, 2)))
    weights = skull.brain[heights]
    middle = float((heights * weights).sum() / weights.sum())
    rise = (middle - float(heights[0] + heights[-1]) / 2) / max(1, len(heights))
    ends = ("top" in cut, "bottom" in cut)
    falls = ends == (True, False) or (ends[0] == ends[1] and rise < -0.12)
    (x, y, _), _ = origin(skull, cut)
    reach = round(20 / VOXEL)
    air = skull.air[:, :, max(0, round(x) - reach) : round(x) + reach]
    back = air.sum() * VOXEL**3 > 3000 and np.nonzero(air)[1].mean() < y - 15 / VOXEL
    if falls:
        return "both" if back else "upside down"
    return "back to front" if back else None


def origin(skull: Skull, cut: tuple[str, ...]) -> tuple[tuple[float, float, float], str]:
    """The point of the volume that becomes the origin, and how its height was found.

    x: the middle of the skull's width. y: the middle between forehead and occiput in the widest
    slice. z: below the vertex of the skull; if it is cut off, from the height at which the brain
    space has half its largest section; if that is out of view too, the widest slice is at 45 mm.

    Returns:
        Voxel coordinates (x, y, z) from the outer corner of the first voxel, and the landmark.
    """
    ring = _ring(skull)
    columns, rows = np.flatnonzero(ring.any(axis=0)), np.flatnonzero(ring.any(axis=1))
    x = (columns[0] + columns[-1] + 1) / 2
    y = (rows[0] + rows[-1] + 1) / 2 - MIDDLE_Y / VOXEL
    widest = int(skull.brain.argmax())
    small = np.flatnonzero(skull.brain[:widest] < skull.brain[widest] / 2)
    if "top" not in cut:
        # Some voxels: a single one may be noise.
        there = np.flatnonzero(skull.bone.sum(axis=(1, 2)) * VOXEL**2 > 50)
        return (x, y, there[-1] + 1 - VERTEX_Z / VOXEL), "vertex of the skull"
    if len(small):
        return (x, y, small[-1] + 1 - BASE_Z / VOXEL), "base of the skull, as the vertex is cut off"
    return (x, y, widest + 0.5 - 45 / VOXEL), "widest slice, as vertex and base are cut off"


def _ring(skull: Skull) -> Mask:
    """Bone `[y, x]` in the 10 mm around the slice with the largest brain space."""
    widest = int(skull.brain.argmax())
    reach = round(5 / VOXEL)
    ring: Mask = np.any(skull.bone[max(0, widest - reach) : widest + reach + 1], axis=0)
    return ring


def _span(line: Mask) -> int:
    there = np.flatnonzero(line)
    return int(there[-1] - there[0] + 1) if len(there) else 0
