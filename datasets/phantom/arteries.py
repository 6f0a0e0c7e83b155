"""Cerebral arteries of a head: seeded centre lines with widths.

Axes as in `anatomy`: x to the left, y to the front, z up, mm. Courses and widths are our choice
after the usual anatomy (carotids with siphon, anterior, middle and posterior cerebral arteries,
vertebral, basilar and cerebellar arteries; from 4.4 mm to 0.6 mm wide), tuned by eye. Trunks follow
given points; cortical branches wander over the brain's surface and its middle plane.
"""

import math
import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from xbench.core.hashing import seed_from
from xbench.datasets.phantom.shapes import Vec

Points = NDArray[np.float64]

#: Distance of the points of a centre line, and width of the finest arteries, mm.
STEP, THINNEST = 0.25, 0.6
#: Step length of wandering branches, mm.
_STRIDE = 2.0
#: The brain as in `volume`: two ellipsoids (centre, radii), without their rounded joint.
_BRAIN = (((0, 24, 46), (60, 62, 62)), ((0, -20, 44), (67, 66, 65)))
#: A point from which the whole surface of the brain is visible.
_CENTER = (0.0, 2.0, 45.0)
#: Depth of surface arteries inside the skull, mm.
_DEPTH = 4.0


@dataclass(frozen=True)
class _Trunk:
    """A named artery of the left side: points, widths at its ends, height of its waves (mm)."""

    points: tuple[Vec, ...]
    width: tuple[float, float]
    wave: float = 0.6


# fmt: off
#: Trunks of the left side; the right side has their mirror images.
_TRUNKS = {
    "internal carotid": _Trunk((
        (27, 10, -172), (29, 6, -112), (27, 9, -82), (29, 5, -58), (27, 2, -36), (26, 1, -18),
        (25, 3, -8), (21, 7, -3), (16, 12, 0), (12.5, 12, 6), (11.5, 10.5, 12), (12, 15, 17),
        (12, 22, 17), (11.5, 27.5, 20), (11, 27.5, 25), (11, 23, 28.5), (12, 18, 31), (13, 16, 34),
    ), (4.4, 3.5), 0.5),
    "ophthalmic": _Trunk((
        (11, 27.5, 25), (12.5, 33, 21), (17, 44, 17), (24, 56, 19), (23, 70, 21),
    ), (1.3, 0.8)),
    "anterior cerebral": _Trunk((
        (13, 16, 34), (9, 20, 35.5), (5, 24, 36), (2, 27, 38), (1.8, 34, 40), (1.8, 42, 44),
        (1.8, 47, 51), (1.8, 46, 59), (1.8, 39, 66), (1.8, 27, 71), (1.8, 11, 74), (1.8, -6, 75),
        (1.8, -22, 72), (1.8, -33, 66),
    ), (2.5, 1.0), 0.8),
    "callosomarginal": _Trunk((
        (1.8, 47, 51), (2.2, 54, 58), (2.2, 54, 68), (2.2, 46, 78), (2.2, 32, 85), (2.2, 14, 89),
        (2.2, -6, 91),
    ), (1.6, 1.0), 1.0),
    "middle cerebral": _Trunk((
        (13, 16, 34), (20, 17.5, 35), (27, 18, 33), (33, 19, 32), (37, 20, 33),
    ), (2.9, 2.5), 0.8),
    "superior trunk": _Trunk((
        (37, 20, 33), (40, 23, 38), (41, 20, 45), (41.5, 13, 51), (42, 4, 55),
    ), (2.2, 1.5)),
    "inferior trunk": _Trunk((
        (37, 20, 33), (40, 15, 35), (41.5, 6, 39), (42, -5, 45), (42, -14, 51),
    ), (2.2, 1.5)),
    "anterior temporal": _Trunk((
        (27, 18, 33), (32, 26, 29), (39, 30, 25), (45, 27, 22), (49, 18, 21),
    ), (1.2, 0.7)),
    "vertebral": _Trunk((
        (20, -5, -172), (19, -7, -112), (20, -8, -84), (21, -11, -64), (28, -14, -54),
        (30, -18, -47), (26, -29, -40), (16, -32, -38), (9, -25, -31), (5, -18, -26),
        (0, -14, -22),
    ), (3.4, 2.7)),
    "posterior inferior cerebellar": _Trunk((
        (9, -25, -31), (13, -30, -25), (11, -36, -31), (7, -39, -22), (6, -45, -17), (9, -56, -16),
        (14, -66, -12),
    ), (1.5, 0.7), 0.9),
    "anterior inferior cerebellar": _Trunk((
        (0, -9, -11), (7, -12, -13), (15, -11, -9), (22, -12, -4), (24, -17, -9), (30, -25, -14),
        (35, -38, -13), (31, -52, -17),
    ), (1.2, 0.7), 0.9),
    "superior cerebellar": _Trunk((
        (0, 1, 22), (8, 1, 22), (17, -6, 22), (22, -18, 23), (20, -31, 26), (13, -44, 27),
        (10, -60, 22),
    ), (1.6, 0.8), 0.8),
    "posterior cerebral": _Trunk((
        (0, 3, 26), (6, 6, 27), (13, 3, 28), (20, -5, 29), (23, -15, 31), (19, -27, 34),
        (13, -37, 37), (8, -45, 39),
    ), (2.4, 1.5), 0.8),
    "posterior communicating": _Trunk((
        (11, 23, 28.5), (12.5, 15, 28), (13.5, 9, 28), (13, 3, 28),
    ), (1.3, 1.3), 0.3),
    "posterior temporal": _Trunk((
        (23, -15, 31), (31, -22, 28), (39, -33, 27), (44, -46, 29), (44, -58, 34),
    ), (1.4, 0.7), 0.9),
}
#: Trunks in the middle.
_MIDDLE = {
    "basilar": _Trunk((
        (0, -14, -22), (0, -9, -11), (0, -4, 2), (0, 0, 14), (0, 1, 22), (0, 3, 26),
    ), (3.4, 2.9)),
    "anterior communicating": _Trunk((
        (2, 27, 38), (0, 28, 38.5), (-2, 27, 38),
    ), (1.5, 1.5), 0.1),
}
# fmt: on
#: Branches of the middle cerebral artery: trunk, share of its length where they leave it, (y, z) of
#: the loop's top on the insula and of the exit to the surface, heading there (degrees from front to
#: top), length on the surface, width.
_SYLVIAN = (
    ("superior trunk", 0.30, (28, 44), (33, 40), 20, 38, 1.4),
    ("superior trunk", 0.45, (24, 52), (28, 45), 48, 52, 1.5),
    ("superior trunk", 0.62, (16, 57), (18, 48), 72, 66, 1.5),
    ("superior trunk", 0.85, (7, 61), (8, 51), 95, 72, 1.6),
    ("superior trunk", 1.00, (-3, 62), (-4, 53), 115, 70, 1.5),
    ("inferior trunk", 1.00, (-22, 60), (-24, 56), 138, 60, 1.5),
    ("inferior trunk", 0.95, (-21, 55), (-30, 55), 165, 55, 1.6),
    ("inferior trunk", 0.80, (-14, 49), (-22, 49), 195, 52, 1.4),
    ("inferior trunk", 0.60, (-4, 44), (-8, 43), 222, 42, 1.3),
    ("inferior trunk", 0.35, (9, 38), (8, 37), 252, 30, 1.2),
)
#: Branches in the middle plane: trunk, share of its length, heading, length, width.
_MEDIAL = (
    ("anterior cerebral", 0.38, -8, 40, 1.0),
    ("anterior cerebral", 0.46, 22, 45, 1.1),
    ("callosomarginal", 0.22, 32, 40, 1.1),
    ("callosomarginal", 0.50, 52, 40, 1.1),
    ("callosomarginal", 0.75, 75, 35, 1.1),
    ("callosomarginal", 1.00, 125, 40, 1.0),
    ("anterior cerebral", 0.88, 118, 45, 1.1),
    ("anterior cerebral", 1.00, 150, 45, 1.0),
    ("posterior cerebral", 1.00, 188, 42, 1.2),
    ("posterior cerebral", 0.96, 140, 45, 1.2),
)


@dataclass(frozen=True)
class Artery:
    """Centre line `[n, 3]` in the mean head (a point every `STEP`), and widths at its ends, mm."""

    line: Points
    width: tuple[float, float]

    def at(self, share: float) -> tuple[Vec, float]:
        """Place and width at a share of the length."""
        x, y, z = self.line[round(share * (len(self.line) - 1))].tolist()
        return (x, y, z), self.width[0] + share * (self.width[1] - self.width[0])


class Individual(Protocol):
    """How one head differs from the mean head; see `anatomy.Variation`."""

    @property
    def seed(self) -> int:
        """Of the head."""

    def draw(self, name: str, low: float, high: float) -> float:
        """A uniform random number that depends only on the head and the name."""


def grow(variation: Individual) -> list[Artery]:
    """The arteries of a head, in the frame of the mean head."""
    seed = variation.seed
    arteries: list[Artery] = []
    for side in (1, -1):
        trunks = {name: _follow(variation, name, t, side) for name, t in _TRUNKS.items()}
        arteries += trunks.values()
        arteries += _sylvian_branches(seed, trunks, side)
        arteries += _medial_branches(seed, trunks, side)
    return arteries + [_follow(variation, name, trunk, 1) for name, trunk in _MIDDLE.items()]


def _follow(v: Individual, name: str, trunk: _Trunk, side: int) -> Artery:
    """A trunk of one head: its points moved at random, joined by a smooth curve, made wavy."""
    points = [_place(v, (side * x, y, z)) for x, y, z in trunk.points]
    draw = random.Random(seed_from(v.seed, name, side))
    return Artery(_wave(_smooth(points), trunk.wave, draw), trunk.width)


def _place(v: Individual, point: Vec) -> Vec:
    """A point moved at random for one head, but equally for all arteries that share it.

    Least in the canals of the skull base, more in the brain, most in the neck.
    """
    play = 2.5 if point[2] < -40 else 0.8 if point[2] < 30 else 1.5
    name = "artery " + " ".join(f"{value + 0.0:.1f}" for value in point)
    x, y, z = (c + play * v.draw(f"{name} {i}", -1, 1) for i, c in enumerate(point))
    return x, y, z


def _smooth(points: Sequence[Vec]) -> Points:
    """A Catmull-Rom curve through the points, `[n, 3]` at distances of about `STEP`."""
    p = np.array(points, dtype=np.float64)
    p = np.concatenate([2 * p[:1] - p[1:2], p, 2 * p[-1:] - p[-2:-1]])
    t = np.linspace(0, 1, 12, endpoint=False)[:, None]
    a, b, c, d = (p[i : len(p) - 3 + i, None] for i in range(4))
    curve = b + 0.5 * t * (c - a + t * (2 * a - 5 * b + 4 * c - d + t * (3 * (b - c) + d - a)))
    dense = np.concatenate([curve.reshape(-1, 3), p[-2:-1]])
    along = np.concatenate([[0.0], np.linalg.norm(np.diff(dense, axis=0), axis=1).cumsum()])
    places = np.linspace(0, along[-1], max(2, round(along[-1] / STEP) + 1))
    return np.stack([np.interp(places, along, axis) for axis in dense.T], axis=1)


def _wave(line: Points, height: float, draw: random.Random) -> Points:
    """The line with smooth sideways waves of about `height` mm and unmoved ends."""
    along = np.arange(len(line)) * STEP
    ramp = np.minimum(1, np.minimum(along, along[::-1]) / 8)
    for _ in range(3):
        wave = np.sin(along * 2 * math.pi / draw.uniform(9, 26) + draw.uniform(0, 2 * math.pi))
        way = np.array([draw.gauss(0, 1) for _ in range(3)])
        line = line + 0.5 * height * (ramp * wave)[:, None] * way
    return line


#: Moves a point back onto a surface: (point, normal of the surface), or None beyond its edge.
_Sheet = Callable[[Vec], tuple[Vec, Vec] | None]


def _on_brain(point: Vec) -> tuple[Vec, Vec]:
    """Where the ray from `_CENTER` through a point leaves the brain, and the ray's direction."""
    way = _unit(_sum(point, _CENTER, -1))
    reach = -math.inf
    for center, radii in _BRAIN:
        start = [(h - c) / r for h, c, r in zip(_CENTER, center, radii, strict=True)]
        slope = [w / r for w, r in zip(way, radii, strict=True)]
        a, b = _dot(slope, slope), _dot(slope, start)
        reach = max(reach, (math.sqrt(b * b - a * (_dot(start, start) - 1)) - b) / a)
    return _sum(_CENTER, way, reach - _DEPTH), way


def _convexity(point: Vec) -> tuple[Vec, Vec] | None:
    """The outer surface of the brain; None beyond its edge at skull base and tentorium."""
    place, way = _on_brain(point)
    floor = 36 if place[1] > 38 else 19 if place[1] > -20 else 26
    return (place, way) if place[2] > floor else None


def _medial_face(side: int, point: Vec) -> tuple[Vec, Vec] | None:
    """The inner surface of a hemisphere, which a branch approaches; None outside the brain."""
    edge = math.dist(_on_brain(point)[0], _CENTER)
    inside = math.dist(point, _CENTER) < edge and point[2] > (30 if point[1] > 0 else 27)
    place = (0.8 * point[0] + 0.5 * side, point[1], point[2])
    return (place, (float(side), 0.0, 0.0)) if inside else None


def _sylvian_branches(seed: int, trunks: dict[str, Artery], side: int) -> list[Artery]:
    """Branches from the trunks over the insula, back under the operculum, to the outer surface."""
    tubes = []
    for number, (trunk, share, top, out, heading, length, width) in enumerate(_SYLVIAN):
        draw = random.Random(seed_from(seed, "sylvian", side, number))
        start, widest = trunks[trunk].at(share)
        y0, z0, y1, z1 = (value + draw.uniform(-2, 2) for value in (*top, *out))
        way = [
            start,
            (side * draw.uniform(41, 43.5), (start[1] + y0) / 2, (start[2] + z0) / 2),
            (side * draw.uniform(42, 45), y0, z0),
            (side * draw.uniform(47, 50), (y0 + y1) / 2, (z0 + z1) / 2 - 2),
            _on_brain((side * 60.0, y1, z1))[0],
        ]
        tubes += _branch(way, heading, length, min(width, widest), _convexity, draw)
    return tubes


def _medial_branches(seed: int, trunks: dict[str, Artery], side: int) -> list[Artery]:
    """Branches of the anterior and posterior cerebral arteries between the hemispheres."""
    tubes = []
    for number, (trunk, share, heading, length, width) in enumerate(_MEDIAL):
        draw = random.Random(seed_from(seed, "medial", side, number))
        start, widest = trunks[trunk].at(share * draw.uniform(0.93, 1.0))
        sheet = partial(_medial_face, side)
        tubes += _branch([start], heading, length, min(width, widest), sheet, draw)
    return tubes


def _branch(
    way: list[Vec],
    heading: float,
    length: float,
    width: float,
    sheet: _Sheet,
    draw: random.Random,
) -> list[Artery]:
    """An artery along `way` and then over a sheet (heading in degrees), with its branches."""
    turn = math.radians(heading + draw.uniform(-10, 10))
    course = (0.0, math.cos(turn), math.sin(turn))
    return _tree(way, course, length * draw.uniform(0.8, 1.15), width, sheet, draw, 2)


def _tree(
    way: list[Vec],
    course: Vec,
    length: float,
    width: float,
    sheet: _Sheet,
    draw: random.Random,
    generations: int,
) -> list[Artery]:
    walked = _wander(way[-1], course, length, sheet, draw)
    points = way + [point for point, _, _ in walked]
    if len(points) < 3:
        return []
    end = max(THINNEST, 0.6 * width)
    tubes = [Artery(_wave(_smooth(points), 0.9, draw), (width, end))]
    if generations == 0:
        return tubes
    sign, number = draw.choice((1, -1)), draw.randint(2, 4)
    while number < len(walked) - 3:
        point, normal, ahead = walked[number]
        course = _turned(ahead, _cross(normal, ahead), sign * math.radians(draw.uniform(25, 55)))
        left = _STRIDE * (len(walked) - number) * draw.uniform(0.45, 0.9)
        here = width + (end - width) * number / len(walked)
        thin = max(THINNEST, 0.8 * here)
        tubes += _tree([point], course, left, thin, sheet, draw, generations - 1)
        sign, number = -sign, number + draw.randint(4, 8)
    return tubes


def _wander(
    start: Vec, course: Vec, length: float, sheet: _Sheet, draw: random.Random
) -> list[tuple[Vec, Vec, Vec]]:
    """Points on a sheet, one per `_STRIDE`, each with the normal and the direction there.

    The direction varies about the course with a correlation length of about 10 mm. The line ends
    after `length` mm or at the edge of the sheet.
    """
    result: list[tuple[Vec, Vec, Vec]] = []
    sway, settled = 0.0, sheet(start)
    while settled is not None and len(result) < length / _STRIDE:
        point, normal = settled
        course = _unit(_sum(course, normal, -_dot(course, normal)))
        sway += -0.2 * sway + draw.gauss(0, 0.36)
        ahead = _turned(course, _cross(normal, course), sway)
        result.append((point, normal, ahead))
        settled = sheet(_sum(point, ahead, _STRIDE))
    return result[1:]


def _sum(a: Vec, b: Vec, share: float) -> Vec:
    return a[0] + share * b[0], a[1] + share * b[1], a[2] + share * b[2]


def _dot(a: Sequence[float], b: Sequence[float]) -> float:
    return a[0] * b[0] + a[1] * b[1] + a[2] * b[2]


def _cross(a: Vec, b: Vec) -> Vec:
    return a[1] * b[2] - a[2] * b[1], a[2] * b[0] - a[0] * b[2], a[0] * b[1] - a[1] * b[0]


def _unit(a: Vec) -> Vec:
    return _sum((0.0, 0.0, 0.0), a, 1 / math.hypot(*a))


def _turned(a: Vec, across: Vec, turn: float) -> Vec:
    """The unit vector `a`, rotated by `turn` radians towards an orthogonal unit vector."""
    return _sum(_sum((0.0, 0.0, 0.0), a, math.cos(turn)), across, math.sin(turn))
