"""Which views are taken of which head: C-arm angles with jitter, drawn by name."""

import math
import random

import torch
from torch import Tensor

from xbench.core.hashing import seed_from
from xbench.datasets.phantom.projection import View

#: View class → (LAO, cranial) angle in degrees. Towne 30, Caldwell 15 and Waters 37 degrees are the
#: radiographic angles quoted in the specification (Waters less by what the image would cut off).
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
#: Jitter of both angles, of the roll, of the isocentre (mm) and the range of image sides on the
#: detector (mm): our choice, so that two views of a class are never the same picture.
ANGLE_JITTER, ROLL_JITTER, SHIFT_JITTER = 6.0, 4.0, 7.0
FIELD_RANGE = (256.0, 278.0)


def draw_view(series: str, slot: int) -> View:
    """The view at a slot of a series.

    Args:
        series: name of the series, for instance of a split; every eight consecutive slots from a
            multiple of eight hold each view class once.
        slot: number of the view within the series.
    """
    order = list(CLASSES)
    random.Random(seed_from(series, "classes", slot // len(order))).shuffle(order)
    name = order[slot % len(order)]
    draw = random.Random(seed_from(series, "view", slot)).uniform
    lao, cran = (angle + draw(-ANGLE_JITTER, ANGLE_JITTER) for angle in CLASSES[name])
    center = [middle + draw(-SHIFT_JITTER, SHIFT_JITTER) for middle in (0.0, 4.0, 8.0)]
    return View(
        name,
        lao,
        cran,
        draw(-ROLL_JITTER, ROLL_JITTER),
        (center[0], center[1], center[2]),
        draw(*FIELD_RANGE),
    )


def mount_path(head_seed: int, view: View, size: int) -> Tensor:
    """Path through the plate of the phantom's mount in cm `[size, size]`.

    An upright acrylic plate of 3 mm stands behind the right half of the vault, turned by about 25
    degrees so that its straight edges cross the vault in frontal and lateral views alike.
    """
    draw = random.Random(seed_from(head_seed, "mount")).uniform
    focus, rays = view.rays(size)
    angle = math.radians(25 + draw(-6, 6))
    across, along = math.cos(angle), math.sin(angle)
    center = torch.tensor([-105 * along, -105 * across, draw(48, 66)], dtype=torch.float64)
    frame = torch.tensor(
        [[along, across, 0.0], [across, -along, 0.0], [0.0, 0.0, 1.0]], dtype=torch.float64
    )
    half = torch.tensor([draw(1.2, 1.8), draw(55, 75), draw(24, 34)], dtype=torch.float64)
    start = frame @ (focus - center)
    slope = rays @ frame.T
    slope = torch.where(slope.abs() < 1e-9, torch.full_like(slope, 1e-9), slope)
    ends = torch.stack([(-half - start) / slope, (half - start) / slope])
    entry = ends.amin(dim=0).amax(dim=-1)
    leave = ends.amax(dim=0).amin(dim=-1)
    chord = (leave - entry).clamp(min=0) * rays.norm(dim=-1)
    path: Tensor = (chord / 10).float()
    return path
