"""C-arm views with random angles, and the plate of the mount in them."""

import math
import random
from dataclasses import dataclass

import torch
from torch import Tensor

from xbench.core.hashing import seed_from
from xbench.datasets.phantom.projection import View

#: View class → (LAO, cranial) angle in degrees. Usual radiographic angles are Towne 30, Caldwell 15
#: and Waters 37 degrees (here 35, which the image does not cut off).
CLASSES = {
    "pa": (0.0, 0.0),
    "caldwell": (0.0, -15.0),
    "towne": (0.0, 30.0),
    "waters": (0.0, -35.0),
    "lateral": (90.0, 0.0),
    "rao": (-30.0, 0.0),
    "lao": (30.0, 10.0),
    "obl60": (60.0, 5.0),
}
#: Range of image sides on the detector (mm).
FIELD_RANGE = (256.0, 278.0)


@dataclass(frozen=True)
class Jitter:
    """Play of both angles and of the roll (degrees), of the isocentre and of the field (mm).

    Our choice: two views of a class are never the same.
    """

    angle: float
    roll: float
    shift: float
    field: tuple[float, float]


NARROW, WIDE = Jitter(6.0, 4.0, 7.0, FIELD_RANGE), Jitter(12.0, 8.0, 10.0, (246.0, 288.0))


def draw_view(series: str, slot: int, play: Jitter = NARROW) -> View:
    """A view of a series; each block of eight slots (0 to 7, 8 to 15, …) has each view class once.

    Args:
        series: name of the series, for instance of a split.
        slot: number of the view in the series.
        play: how far the view may be off its class.
    """
    order = list(CLASSES)
    random.Random(seed_from(series, "classes", slot // len(order))).shuffle(order)
    name = order[slot % len(order)]
    draw = random.Random(seed_from(series, "view", slot)).uniform
    lao, cran = (angle + draw(-play.angle, play.angle) for angle in CLASSES[name])
    center = [middle + draw(-play.shift, play.shift) for middle in (0.0, 4.0, 8.0)]
    return View(
        name,
        lao,
        cran,
        draw(-play.roll, play.roll),
        (center[0], center[1], center[2]),
        draw(*play.field),
    )


def mount_path(head_seed: int, view: View, size: int, play: float = 1.0) -> Tensor:
    """Path through the plate of the phantom's mount in cm `[size, size]`.

    An upright acrylic plate of 3 mm behind the right half of the vault, rotated by about 25 degrees
    so that its straight edges cross the vault both in frontal and in lateral views. With a `play`
    below 1, heads are mounted more alike.
    """
    draw = random.Random(seed_from(head_seed, "mount")).uniform
    focus, rays = view.rays(size)
    angle = math.radians(25 + draw(-6 * play, 6 * play))
    across, along = math.cos(angle), math.sin(angle)
    center = torch.tensor(
        [-105 * along, -105 * across, draw(57 - 9 * play, 57 + 9 * play)], dtype=torch.float64
    )
    frame = torch.tensor(
        [[along, across, 0.0], [across, -along, 0.0], [0.0, 0.0, 1.0]], dtype=torch.float64
    )
    sides = ((1.5, 0.3), (65, 10), (29, 5))
    half = torch.tensor([draw(m - r * play, m + r * play) for m, r in sides], dtype=torch.float64)
    start = frame @ (focus - center)
    slope = rays @ frame.T
    slope = torch.where(slope.abs() < 1e-9, torch.full_like(slope, 1e-9), slope)
    ends = torch.stack([(-half - start) / slope, (half - start) / slope])
    entry = ends.amin(dim=0).amax(dim=-1)
    leave = ends.amax(dim=0).amin(dim=-1)
    chord = (leave - entry).clamp(min=0) * rays.norm(dim=-1)
    path: Tensor = (chord / 10).float()
    return path
