"""Signed-distance shapes of which the head is made: negative inside, in mm."""

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import partial, reduce
from itertools import pairwise

import torch
from torch import Tensor

Vec = tuple[float, float, float]
#: Lower and upper corner of an axis-aligned box, mm.
Bounds = tuple[Vec, Vec]


def smooth_min(a: Tensor, b: Tensor, width: float) -> Tensor:
    """Union of two shapes by their distances, its joint rounded over `width` mm."""
    blend = (width - (a - b).abs()).clamp(min=0)
    return torch.minimum(a, b) - blend * blend / (4 * width)


def smooth_max(a: Tensor, b: Tensor, width: float) -> Tensor:
    """Intersection of two shapes by their distances, its edge rounded over `width` mm."""
    blend = (width - (a - b).abs()).clamp(min=0)
    return torch.maximum(a, b) + blend * blend / (4 * width)


def rotation(turn: Vec) -> list[list[float]]:
    """Rotation matrix (rows) of rotations about x, then y, then z, in degrees."""
    (sx, cx), (sy, cy), (sz, cz) = (
        (math.sin(math.radians(angle)), math.cos(math.radians(angle))) for angle in turn
    )
    return [
        [cz * cy, cz * sy * sx - sz * cx, cz * sy * cx + sz * sx],
        [sz * cy, sz * sy * sx + cz * cx, sz * sy * cx - cz * sx],
        [-sy, cy * sx, cy * cx],
    ]


def _local(center: Vec, turn: Vec, x: Tensor, y: Tensor, z: Tensor) -> Sequence[Tensor]:
    """Coordinates in the frame of a rotated shape."""
    q = (x - center[0], y - center[1], z - center[2])
    if not any(turn):
        return q
    # The transposed rotation maps a point into the shape's frame.
    columns = zip(*rotation(turn), strict=True)
    return [column[0] * q[0] + column[1] * q[1] + column[2] * q[2] for column in columns]


def _box_bounds(center: Vec, half: Vec, turn: Vec) -> Bounds:
    """Bounds of a (rotated) box."""
    reach = [
        sum(abs(factor) * side for factor, side in zip(row, half, strict=True))
        for row in rotation(turn)
    ]
    low = (center[0] - reach[0], center[1] - reach[1], center[2] - reach[2])
    high = (center[0] + reach[0], center[1] + reach[1], center[2] + reach[2])
    return low, high


@dataclass(frozen=True)
class Ellipsoid:
    """Ellipsoid; its distance is a first-order estimate, exact on the surface."""

    center: Vec
    radii: Vec
    turn: Vec = (0, 0, 0)

    def bounds(self) -> Bounds:
        """Box outside which the distance is positive."""
        return _box_bounds(self.center, self.radii, self.turn)

    def distance(self, x: Tensor, y: Tensor, z: Tensor) -> Tensor:
        """Signed distance in mm at broadcastable coordinates in mm."""
        qx, qy, qz = _local(self.center, self.turn, x, y, z)
        rx, ry, rz = self.radii
        x2, y2, z2 = (qx / rx).square(), (qy / ry).square(), (qz / rz).square()
        inner = x2 + y2 + z2
        outer = x2 / rx**2 + y2 / ry**2 + z2 / rz**2
        scaled = inner.sqrt()
        return scaled * (scaled - 1) / outer.clamp(min=1e-12).sqrt()


@dataclass(frozen=True)
class Tube:
    """Chain of tapered capsules through `points` with one radius per point.

    `squash` scales the cross-section along the axes: (1, 1, 2) is twice as high as wide.
    """

    points: tuple[Vec, ...]
    radii: tuple[float, ...]
    squash: Vec = (1, 1, 1)

    def bounds(self) -> Bounds:
        """See `Ellipsoid`."""
        columns = list(zip(*self.points, strict=True))
        reach = max(self.radii)
        low = [min(column) - reach * s for column, s in zip(columns, self.squash, strict=True)]
        high = [max(column) + reach * s for column, s in zip(columns, self.squash, strict=True)]
        return (low[0], low[1], low[2]), (high[0], high[1], high[2])

    def distance(self, x: Tensor, y: Tensor, z: Tensor) -> Tensor:
        """See `Ellipsoid`."""
        sx, sy, sz = self.squash
        x, y, z = x / sx, y / sy, z / sz
        points = [(px / sx, py / sy, pz / sz) for px, py, pz in self.points]
        ends = enumerate(pairwise(points))
        parts = (self._segment(a, b, self.radii[i : i + 2], x, y, z) for i, (a, b) in ends)
        return reduce(partial(smooth_min, width=1.5), parts)

    @staticmethod
    def _segment(
        a: Vec, b: Vec, radii: tuple[float, ...], x: Tensor, y: Tensor, z: Tensor
    ) -> Tensor:
        """Signed distance of a capsule from `a` to `b` with a radius at each end."""
        ab = (b[0] - a[0], b[1] - a[1], b[2] - a[2])
        square = max(ab[0] ** 2 + ab[1] ** 2 + ab[2] ** 2, 1e-6)
        qx, qy, qz = x - a[0], y - a[1], z - a[2]
        along = ((qx * ab[0] + qy * ab[1] + qz * ab[2]) / square).clamp(0, 1)
        far = (qx - ab[0] * along).square() + (qy - ab[1] * along).square()
        far = (far + (qz - ab[2] * along).square()).sqrt()
        return far - along * (radii[1] - radii[0]) - radii[0]


@dataclass(frozen=True)
class Block:
    """Box with half sides `half` and rounded edges."""

    center: Vec
    half: Vec
    rounding: float = 1.0
    turn: Vec = (0, 0, 0)

    def bounds(self) -> Bounds:
        """See `Ellipsoid`."""
        return _box_bounds(self.center, self.half, self.turn)

    def distance(self, x: Tensor, y: Tensor, z: Tensor) -> Tensor:
        """See `Ellipsoid`."""
        local = _local(self.center, self.turn, x, y, z)
        q = [c.abs() - (side - self.rounding) for c, side in zip(local, self.half, strict=True)]
        outside = (
            q[0].clamp(min=0).square() + q[1].clamp(min=0).square() + q[2].clamp(min=0).square()
        ).sqrt()
        inside = torch.maximum(torch.maximum(q[0], q[1]), q[2]).clamp(max=0)
        return outside + inside - self.rounding


@dataclass(frozen=True)
class Ring:
    """Elliptic ring around the y axis (`axis="y"`, radii x and z) or the z axis (radii x and y)."""

    center: Vec
    radii: tuple[float, float]
    tube: float
    axis: str = "y"
    turn: Vec = (0, 0, 0)

    def bounds(self) -> Bounds:
        """See `Ellipsoid`."""
        a, b = self.radii[0] + self.tube, self.radii[1] + self.tube
        half = (a, self.tube, b) if self.axis == "y" else (a, b, self.tube)
        return _box_bounds(self.center, half, self.turn)

    def distance(self, x: Tensor, y: Tensor, z: Tensor) -> Tensor:
        """See `Ellipsoid`."""
        qx, qy, qz = _local(self.center, self.turn, x, y, z)
        flat, height = (qz, qy) if self.axis == "y" else (qy, qz)
        x2, f2 = (qx / self.radii[0]).square(), (flat / self.radii[1]).square()
        scaled = (x2 + f2).sqrt()
        slope = (x2 / self.radii[0] ** 2 + f2 / self.radii[1] ** 2).clamp(min=1e-12).sqrt()
        radial = scaled * (scaled - 1) / slope
        return (radial.square() + height.square()).sqrt() - self.tube


@dataclass(frozen=True)
class Turned:
    """A shape, rotated about a line to the left through (`y`, `z`), such as the jaw's hinge.

    A positive `angle` (degrees) moves what is in front of the line down.
    """

    shape: "Shape"
    angle: float
    y: float
    z: float

    def bounds(self) -> Bounds:
        """See `Ellipsoid`."""
        (x0, y0, z0), (x1, y1, z1) = self.shape.bounds()
        corners = [self.moved((0, y, z)) for y in (y0, y1) for z in (z0, z1)]
        (_, low_y, low_z), (_, high_y, high_z) = (
            [pick(values) for values in zip(*corners, strict=True)] for pick in (min, max)
        )
        return (x0, low_y, low_z), (x1, high_y, high_z)

    def moved(self, point: Vec) -> Vec:
        """Where a point of the shape comes to lie."""
        s, c = math.sin(math.radians(self.angle)), math.cos(math.radians(self.angle))
        dy, dz = point[1] - self.y, point[2] - self.z
        return point[0], self.y + c * dy + s * dz, self.z - s * dy + c * dz

    def distance(self, x: Tensor, y: Tensor, z: Tensor) -> Tensor:
        """See `Ellipsoid`."""
        s, c = math.sin(math.radians(self.angle)), math.cos(math.radians(self.angle))
        dy, dz = y - self.y, z - self.z
        return self.shape.distance(x, self.y + c * dy - s * dz, self.z + s * dy + c * dz)


Shape = Ellipsoid | Tube | Block | Ring | Turned


def mirrored(shape: Shape) -> Shape:
    """The shape with left and right exchanged."""
    if isinstance(shape, Turned):
        return replace(shape, shape=mirrored(shape.shape))
    if isinstance(shape, Tube):
        return replace(shape, points=tuple((-x, y, z) for x, y, z in shape.points))
    (x, y, z), turn = shape.center, shape.turn
    return replace(shape, center=(-x, y, z), turn=(turn[0], -turn[1], -turn[2]))
