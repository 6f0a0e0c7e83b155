"""What single acquisitions of the real domains show at random: wedge filters, a cable, screws.

No source image shows where they are, so masks mark them as unpredictable, and each exposure of a
view draws them again. Shapes and frequencies are our choice.
"""

import math
import random
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn.functional import max_pool2d

from xbench.core.hashing import seed_from

#: Chance of each wedge filter, of a cable, of screws.
WEDGE, CABLE, SCREWS = 0.07, 0.20, 0.25
#: How far a wedge filter reaches in, as a share of the image side; its tilt, degrees; its penumbra
#: and the reach of multi-scale contrast around all structures, px at 256 px.
REACH, TILT, PENUMBRA, MARGIN = (0.03, 0.10), 4.0, 2.0, 6.0
#: Width of a cable and radius of a screw, px at 256 px; their paths, g/cm2 of bone.
CABLE_WIDTH, CABLE_PATH, SCREW_RADIUS, SCREW_PATH = 2.6, 0.9, 3.6, 2.2

Point = tuple[float, float]


@dataclass(frozen=True)
class Acquisition:
    """Structures of one exposure; places are shares of the image side (down, right).

    Attributes:
        wedges: (side from 0 to 3, reach as a share, tilt in degrees) of each wedge filter, a
            half-transparent blade that evens out the brightness.
        cable: ends and middle of its curve, or nothing.
        screws: centre of each.
    """

    wedges: tuple[tuple[int, float, float], ...] = ()
    cable: tuple[Point, ...] = ()
    screws: tuple[Point, ...] = ()

    def wedge(self, size: int) -> Tensor:
        """How far wedge filters cover the image, from 0 to 1, `[size, size]`."""
        across = (torch.arange(size) + 0.5) / size
        penumbra = max(PENUMBRA / 256, 0.7 / size)
        result = torch.ones(size, size)
        for side, reach, tilt in self.wedges:
            slope = math.tan(math.radians(tilt))
            inside = across[:, None] - reach - slope * (across[None, :] - 0.5)
            open_ = (0.5 + inside / penumbra).clamp(0, 1)
            result = result * torch.rot90(open_, side)
        return 1 - result

    def path(self, size: int) -> Tensor:
        """Metal in g/cm2 of bone, `[size, size]`."""
        metal = torch.zeros(size, size)
        if self.cable:
            distance = _distance(_curve(*self.cable), size)
            metal += CABLE_PATH * _profile(distance, CABLE_WIDTH / 2, size)
        for screw in self.screws:
            distance = _distance(torch.tensor([screw]), size)
            metal += SCREW_PATH * _profile(distance, SCREW_RADIUS, size)
        return metal

    def mask(self, size: int) -> Tensor:
        """Where any of it shows, with a margin: bool `[size, size]`."""
        marked = ((self.path(size) > 0.02) | (self.wedge(size) > 0.005)).float()
        margin = max(1, round(MARGIN * size / 256))
        grown = max_pool2d(marked[None, None], 2 * margin + 1, stride=1, padding=margin)
        return grown[0, 0] > 0


def draw_acquisition(name: str) -> Acquisition:
    """The structures of an exposure; `name` says which."""
    draw = random.Random(seed_from("acquisition", name))
    wedges = tuple(
        (side, draw.uniform(*REACH), draw.uniform(-TILT, TILT))
        for side in range(4)
        if draw.random() < WEDGE
    )
    cable: tuple[Point, ...] = ()
    if draw.random() < CABLE:
        # From one side to the next or the opposite one, through any point between.
        ends = [_on_side(side, draw.uniform(0.1, 0.9)) for side in draw.sample(range(4), 2)]
        cable = (ends[0], (draw.uniform(0.15, 0.85), draw.uniform(0.15, 0.85)), ends[1])
    screws: tuple[Point, ...] = ()
    if draw.random() < SCREWS:
        down, right, angle = draw.uniform(0.15, 0.6), draw.uniform(0.2, 0.8), draw.uniform(0, 3.14)
        steps = [(k - 0.5) * draw.uniform(0.06, 0.16) for k in range(2)]
        screws = tuple((down + s * math.sin(angle), right + s * math.cos(angle)) for s in steps)
    return Acquisition(wedges, cable, screws)


def _on_side(side: int, share: float) -> Point:
    return ((0.0, share), (share, 1.0), (1.0, share), (share, 0.0))[side]


def _curve(start: Point, middle: Point, end: Point) -> Tensor:
    """Points of a quadratic Bézier curve, `[n, 2]`."""
    t = torch.linspace(0, 1, 160)[:, None]
    a, b, c = (torch.tensor(point) for point in (start, middle, end))
    return (1 - t) ** 2 * a + 2 * t * (1 - t) * b + t**2 * c


def _distance(points: Tensor, size: int) -> Tensor:
    """Distance to the nearest point in shares of the side, `[size, size]`."""
    axis = (torch.arange(size) + 0.5) / size
    result = torch.full((size, size), math.inf)
    for part in points.split(16):
        down = (axis[None, :] - part[:, :1]) ** 2
        right = (axis[None, :] - part[:, 1:]) ** 2
        result = torch.minimum(result, (down[:, :, None] + right[:, None, :]).amin(0))
    return result.sqrt()


def _profile(distance: Tensor, radius: float, size: int) -> Tensor:
    """1 inside a radius (px at 256 px), with an edge of a pixel; thinner than a pixel it fades."""
    pixels, radius = distance * size, radius * size / 256
    shown = max(radius, 0.5)
    return (shown + 0.5 - pixels).clamp(0, 1) * min(1.0, radius / shown)
