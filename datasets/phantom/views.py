"""C-arm views with random angles, and the plate of the mount in them."""

import math
import random

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
#: Jitter of both angles, of the roll (degrees) and of the isocentre (mm), and range of image sides
#: on the detector (mm). Our choice: two views of a class are never the same.
ANGLE_JITTER, ROLL_JITTER, SHIFT_JITTER = 6.0, 4.0, 7.0
FIELD_RANGE = (256.0, 278.0)


def draw_view(series: str, slot: int) -> View:
    """A view of a series; each block of eight slots (0 to 7, 8 to 15, …) has each view class once.

    Args:
        series: name of the series, for instance of a split.
        slot: number of the view in the series.
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

    An upright acrylic plate of 3 mm behind the right half of the vault, rotated by about 25 degrees
    so that its straight edges cross the vault both in frontal and in lateral views.
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
