"""Path lengths through the cerebral arteries on the image.

Thin vessels would vanish in voxels, so they are not part of the head's volume. Instead, an artery
is a row of discs that face the focus, and the image sums the areas of the discs. Across a straight
artery this gives the chord 2 sqrt(r^2 - u^2) at a distance u from its axis; at a slant, the chord
divided by the sine of the angle to the ray; along the ray, the length of the artery.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

import numpy as np
import torch
from torch import Tensor

from xbench.datasets.phantom import arteries
from xbench.datasets.phantom.arteries import Points
from xbench.datasets.phantom.projection import SOURCE_DETECTOR, SOURCE_ISOCENTRE, View

#: Magnification of the isocentre on the detector.
MAGNIFICATION = SOURCE_DETECTOR / SOURCE_ISOCENTRE


@dataclass(frozen=True)
class Discs:
    """The arteries of one head as discs.

    Attributes:
        centers: `[n, 3]`, mm.
        radii: `[n]`, mm.
        lengths: length of artery per disc, `[n]`, mm.
    """

    centers: Tensor
    radii: Tensor
    lengths: Tensor


class Scaled(arteries.Individual, Protocol):
    """A head that is a scaled mean head: x by `width`, y by `length`, z by `height` or `face`."""

    @property
    def width(self) -> float:
        """Scale of x."""

    @property
    def length(self) -> float:
        """Scale of y."""

    @property
    def height(self) -> float:
        """Scale of z above the ear canals."""

    @property
    def face(self) -> float:
        """Scale of z below them."""


def scaled(v: Scaled, points: Points) -> Points:
    """Points `[n, 3]` of the mean head in a scaled head, mm."""
    scaled = points * (v.width, v.length, 1.0)
    scaled[:, 2] *= np.where(scaled[:, 2] < 0, v.face, v.height)
    return scaled


def grow(v: arteries.Individual, place: Callable[[Points], Points]) -> Discs:
    """The arteries of a head; `place` moves points `[n, 3]` of the mean head into this head, mm."""
    centers, radii, lengths = [], [], []
    for artery in arteries.grow(v):
        line = place(artery.line)
        lengths.append(np.linalg.norm(np.diff(line, axis=0), axis=1))
        centers.append((line[1:] + line[:-1]) / 2)
        radii.append(np.linspace(*artery.width, len(line) - 1) / 2)
    joined = (np.concatenate(part) for part in (centers, radii, lengths))
    return Discs(*(torch.from_numpy(part) for part in joined))


def project(discs: Discs, view: View, size: int) -> Tensor:
    """Path through the arteries in cm `[size, size]`, summed where they cross.

    An artery thinner than a pixel counts by its share of the pixel, so that sums do not change.
    """
    # Coarse pixels need fewer discs: two per pixel width.
    discs = _thinned(discs, view.field / MAGNIFICATION / size / 2)
    beam, right, top = view.axes()
    focus, _ = view.rays(1)
    offset = discs.centers - focus
    magnify = SOURCE_DETECTOR / (offset @ beam)
    pixels = size / view.field
    column = (offset @ right) * magnify * pixels + (size - 1) / 2
    row = -(offset @ top) * magnify * pixels + (size - 1) / 2
    radius = discs.radii * magnify * pixels
    image = torch.zeros(size * size, dtype=torch.float64)
    reach = radius.clamp(min=0.5).ceil().long()
    for r in reach.unique().tolist():
        some = reach == r
        index, value = _splat(row[some], column[some], radius[some], r, size)
        image.index_add_(0, index, (value * discs.lengths[some, None] / 10).flatten())
    return image.reshape(size, size).float()


def _thinned(discs: Discs, distance: float) -> Discs:
    """Every nth disc, with the length of n, so that they are about `distance` mm apart."""
    every = max(1, int(distance / arteries.STEP))
    groups = torch.arange(len(discs.lengths)) // every
    lengths = torch.zeros(int(groups[-1]) + 1, dtype=torch.float64)
    lengths.index_add_(0, groups, discs.lengths)
    return Discs(discs.centers[::every], discs.radii[::every], lengths)


def _splat(
    row: Tensor, column: Tensor, radius: Tensor, reach: int, size: int
) -> tuple[Tensor, Tensor]:
    """Pixels under discs: flat indices `[n * k]`, and shares `[n, k]` that sum to the disc's area.

    The edge is a ramp of one pixel; a disc narrower than a pixel keeps its position and area.
    """
    steps = torch.arange(-reach, reach + 1)
    down, across = (grid.flatten() for grid in torch.meshgrid(steps, steps, indexing="ij"))
    rows, columns = row.round().long()[:, None] + down, column.round().long()[:, None] + across
    distance = torch.hypot(rows - row[:, None], columns - column[:, None])
    share = (radius.clamp(min=0.5)[:, None] + 0.5 - distance).clamp(0, 1)
    share *= math.pi * radius[:, None] ** 2 / share.sum(dim=1, keepdim=True)
    inside = (rows >= 0) & (rows < size) & (columns >= 0) & (columns < size)
    index = rows.clamp(0, size - 1) * size + columns.clamp(0, size - 1)
    return index.flatten(), share * inside
