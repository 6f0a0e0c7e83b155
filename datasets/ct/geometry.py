"""Stored axes to head axes (x left, y front, z up), and resampling to cubic voxels."""

from dataclasses import dataclass
from itertools import permutations

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from xbench.core.errors import UserError

Voxels = NDArray[np.float32]
Matrix = NDArray[np.float64]

#: Letter → direction in DICOM's patient axes (left, back, up).
LETTERS = {
    **{"L": (1, 0, 0), "R": (-1, 0, 0), "P": (0, 1, 0)},
    **{"A": (0, -1, 0), "S": (0, 0, 1), "I": (0, 0, -1)},
}
OPPOSITE = dict(zip("LRPASI", "RLAPIS", strict=True))
#: Sides of the head by axis (x, y, z) at its low and high end.
SIDES = (("right", "left"), ("back", "front"), ("bottom", "top"))


@dataclass(frozen=True)
class Box:
    """Cubic voxels: `low` is the outer corner of the first in mm (x, y, z), `shape` (z, y, x)."""

    low: tuple[float, float, float]
    voxel: float
    shape: tuple[int, int, int]


@dataclass(frozen=True)
class Placed:
    """Voxels in head axes.

    Attributes:
        values: `[z, y, x]`.
        steps: columns are the steps in mm from voxel to voxel along x, y and z. Off the diagonal
            they are small, and zero unless the scan was oblique or its gantry tilted.
        The first voxel has its centre at (0, 0, 0) mm.
    """

    values: Voxels
    steps: Matrix

    @property
    def spacing(self) -> tuple[float, float, float]:
        """Voxel sides in mm along z, y and x."""
        x, y, z = np.linalg.norm(self.steps, axis=0)
        return float(z), float(y), float(x)


def code(direction: Matrix) -> str:
    """The letters (L R, P A, S I) towards which the stored axes i, j and k mostly run.

    >>> code(np.diag([-1.0, -1.0, 1.0]))
    'RAS'
    """
    order = _order(direction)
    letters = ["LR", "PA", "SI"]
    return "".join(letters[h][0 if direction[h, n] > 0 else 1] for n, h in enumerate(order))


def from_code(text: str) -> Matrix:
    """Directions (columns, in patient axes) of axes that run towards three letters.

    Raises:
        UserError: they are not one of L and R, one of P and A, and one of S and I.
    """
    letters = text.strip().upper()
    if len(letters) == 3 and all(len(set(pair) & set(letters)) == 1 for pair in ("LR", "PA", "SI")):
        return np.array([LETTERS[letter] for letter in letters], np.float64).T
    raise UserError(
        f"the orientation '{text}' cannot be read",
        "expected: where the axes i, j and k run: one of L R, one of P A, one of S I",
        "for example: --set data.orientation=LPS",
    )


def turned(code: str) -> dict[str, str]:
    """What is wrong with a head → the code that puts it right by half a turn (never mirrored)."""
    pairs = {"upside down": "LRSI", "back to front": "LRPA", "both": "PASI"}
    return {
        what: "".join(OPPOSITE[letter] if letter in flipped else letter for letter in code)
        for what, flipped in pairs.items()
    }


def _order(direction: Matrix) -> tuple[int, ...]:
    """For each stored axis, the patient axis (0, 1, 2) that it runs along."""
    return max(
        permutations(range(3)), key=lambda p: sum(abs(direction[h, n]) for n, h in enumerate(p))
    )


def place(values: Voxels, spacing: tuple[float, float, float], direction: Matrix) -> Placed:
    """Permute and flip stored voxels `[k, j, i]` so that their axes run nearest to head axes."""
    steps = np.diag([1.0, -1.0, 1.0]) @ direction * np.array(spacing)
    order = _order(direction)
    stored = [order.index(axis) for axis in range(3)]
    steps = steps[:, stored]
    # Stored axis n is the array's axis 2 - n.
    values = values.transpose([2 - stored[axis] for axis in (2, 1, 0)])
    for axis in range(3):
        if steps[axis, axis] < 0:
            values = np.flip(values, 2 - axis)
            steps[:, axis] = -steps[:, axis]
    return Placed(values, steps)


def bounds(placed: Placed, voxel: float) -> Box:
    """The box of cubic voxels around a volume."""
    shape = np.array(placed.values.shape[::-1])
    corners = np.array(np.meshgrid(*[(-0.5, n - 0.5) for n in shape])).reshape(3, -1)
    points = placed.steps @ corners
    low, high = points.min(axis=1), points.max(axis=1)
    return box_between(low, high, voxel)


def box_between(low: Matrix, high: Matrix, voxel: float) -> Box:
    """The box of cubic voxels from a corner to about another, mm (x, y, z)."""
    x, y, z = (max(1, round(float(side) / voxel)) for side in high - low)
    return Box((float(low[0]), float(low[1]), float(low[2])), voxel, (z, y, x))


def crop(
    placed: Placed, box: Box, margin: float = 4.0
) -> tuple[Placed, tuple[float, float, float]]:
    """The part of a volume that a box needs, and where its first voxel is in mm (x, y, z)."""
    size = np.array(box.shape[::-1]) * box.voxel
    low = np.array(box.low)
    ends = np.stack([low - margin, low + size + margin], axis=1)
    corners = np.array(np.meshgrid(*ends)).reshape(3, -1)
    indices = np.linalg.solve(placed.steps, corners)
    count = np.array(placed.values.shape[::-1])
    start = np.clip(np.floor(indices.min(axis=1)), 0, count - 1).astype(int)
    stop = np.clip(np.ceil(indices.max(axis=1)) + 1, start + 1, count).astype(int)
    x, y, z = (slice(a, b) for a, b in zip(start, stop, strict=True))
    where = placed.steps @ start
    first = (float(where[0]), float(where[1]), float(where[2]))
    return Placed(placed.values[z, y, x], placed.steps), first


def resample(
    placed: Placed,
    box: Box,
    outside: float,
    first: tuple[float, float, float] = (0.0, 0.0, 0.0),
) -> Voxels:
    """Values at the voxels of a box: blurred to their size if they are coarser, then linear.

    Args:
        placed: the volume.
        box: the voxels to make.
        outside: the value outside the volume.
        first: place of the volume's first voxel centre, mm (x, y, z).
    """
    ratios = [box.voxel / side for side in placed.spacing]
    blur = [0.45 * max(0.0, ratio**2 - 1) ** 0.5 for ratio in ratios]
    values = placed.values
    if max(blur) > 0.1:
        values = ndimage.gaussian_filter(values, blur, mode="nearest", truncate=3)
    inverse = np.linalg.inv(placed.steps)
    matrix = inverse[::-1, ::-1] * box.voxel
    offset = (inverse @ (np.array(box.low) + box.voxel / 2 - np.array(first)))[::-1]
    straight = np.allclose(matrix, np.diag(np.diag(matrix)), atol=1e-9)
    result: Voxels = ndimage.affine_transform(
        values,
        np.diag(matrix) if straight else matrix,
        offset=offset,
        output_shape=box.shape,
        output=np.float32,
        order=1,
        mode="grid-constant",
        cval=outside,
    )
    return result
