"""Turns a seeded head of signed-distance shapes into voxels of density.

Channels (g/cm3): `dens` is bone with its tables, marrow and texture, as in a real head; `solid` is
the same bone of one material, as in a simulator's surface model (and in bone masks); `soft` is the
envelope of the head, including bone, without air spaces.
"""

import math
from bisect import bisect
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from xbench.core.hashing import seed_from
from xbench.datasets.phantom.noise import NoiseField
from xbench.datasets.phantom.projection import Volume
from xbench.datasets.phantom.shapes import Bounds, Ellipsoid, Shape, smooth_max, smooth_min
from xbench.datasets.phantom.v1 import anatomy
from xbench.datasets.phantom.v1.anatomy import Bone, Cavity, Variation

#: Bone channels.
CHANNELS: tuple[str, ...] = ("dens", "solid")
#: Lower corner and size of the box that holds the head, mm (x, y, z).
CORNER = (-90.0, -110.0, -131.0)
EXTENT = (180.0, 238.0, 258.0)
#: Soft tissue: 1.06 (ICRU 44), lowered for the fat of skin and orbits (our choice).
SOFT_RHO = 1.03
#: Density of the bone of one material (our choice: denser than any mean of cortex and marrow).
SOLID_RHO = 1.6
#: Voxels of a slab; temporaries of about this size fit into the processor's cache.
_SLAB_VOXELS = 150_000


@dataclass(frozen=True)
class Head:
    """A head: bone channels (`dens`, `solid`), and soft tissue at a coarser resolution."""

    bone: Volume
    soft: Volume
    channels: tuple[str, ...]


class _Fields:
    """The noise fields of one head, drawn once and sampled per slab."""

    def __init__(self, seed: int) -> None:
        def noise(name: str, cell: float) -> NoiseField:
            return NoiseField(seed_from(seed, name), cell, EXTENT)

        self.bend = [(noise(f"bend {a}", 70.0), noise(f"fine bend {a}", 24.0)) for a in "xyz"]
        self.thickness = noise("thickness", 45.0)
        self.impressions = noise("impressions", 15.0)
        self.grooves = noise("grooves", 26.0)
        self.density = noise("density", 38.0)
        self.mottle = noise("mottle", 2.6)
        self.coarse_mottle = noise("coarse mottle", 7.0)


class _Slab:
    """A range of z planes, with distorted coordinates in the frame of the mean head."""

    def __init__(self, variation: Variation, fields: _Fields, h: float, planes: range) -> None:
        nx, ny = (math.ceil(side / h) for side in EXTENT[:2])
        self.h = h
        # Axes in mm from the box corner (for the noise), then in head coordinates.
        spans = (range(nx), range(ny), planes)
        self.axes = tuple((torch.arange(s.start, s.stop) + 0.5) * h for s in spans)
        x, y, z = (axis + low for axis, low in zip(self.axes, CORNER, strict=True))
        lower = torch.where(z < 0, z / variation.face, z / variation.height)
        self.head_axes = (x / variation.width, y / variation.length, lower)
        grid = (
            self.head_axes[0][None, None, :],
            self.head_axes[1][None, :, None],
            self.head_axes[2][:, None, None],
        )
        self._ticks = [axis.tolist() for axis in self.head_axes]
        # Distortions of 0.8 and 0.4 mm rms make the geometric shapes look natural.
        self.x, self.y, self.z = (
            axis + 0.8 * coarse.sample(*self.axes) + 0.4 * fine.sample(*self.axes)
            for axis, (coarse, fine) in zip(grid, fields.bend, strict=True)
        )

    def window(self, bounds: Bounds, margin: float) -> tuple[slice, slice, slice] | None:
        """Index ranges (z, y, x) of voxels within `margin` mm of bounds; None if there are none."""
        ranges = []
        # Four millimetres cover the distortions (3 standard deviations of their sum are 2.7 mm).
        margin += 4.0
        for axis, low, high in zip(self._ticks, *bounds, strict=True):
            start, stop = bisect(axis, low - margin), bisect(axis, high + margin)
            if start >= stop:
                return None
            ranges.append(slice(start, stop))
        return ranges[2], ranges[1], ranges[0]

    def occupancy(self, distance: Tensor) -> Tensor:
        """Share of each voxel inside a surface: a ramp of 1.4 voxels (sharper ones cause rings)."""
        return (0.5 - distance / (1.4 * self.h)).clamp_(0, 1)

    def distance(self, shape: Shape, where: tuple[slice, slice, slice]) -> Tensor:
        """Distance of a shape in a window."""
        return shape.distance(self.x[where], self.y[where], self.z[where])


def make_head(seed: int, voxel: float, channels: tuple[str, ...] = CHANNELS) -> Head:
    """Build the head of a seed.

    Args:
        seed: the head; equal seeds give equal heads.
        voxel: side of the bone voxels in mm; those of soft tissue have at least 2.5 mm.
        channels: the bone channels to make, of `dens` and `solid`.
    """
    variation, fields = Variation(seed), _Fields(seed)
    early = anatomy.skull_base() + anatomy.face(variation)
    spaces = anatomy.cavities(variation)
    late = anatomy.inside_nose(variation) + anatomy.jaw(variation)
    late += anatomy.neck(variation) + anatomy.teeth(variation)

    def bone(slab: _Slab) -> Tensor:
        dens, solid = _vault(slab, variation, fields)
        for part in early:
            _add_bone(slab, part, dens, solid)
        for space in spaces:
            _cut(slab, space, dens, solid)
        for part in late:
            _add_bone(slab, part, dens, solid)
        dens *= 1 + 0.05 * fields.density.sample(*slab.axes)
        made = {"dens": dens, "solid": solid.mul_(SOLID_RHO)}
        return torch.stack([made[name] for name in channels])

    def soft(slab: _Slab) -> Tensor:
        return _soft(slab, variation, fields, spaces)

    coarse = max(2.5, voxel)
    return Head(
        Volume(_by_slabs(bone, variation, fields, voxel), voxel, CORNER),
        Volume(_by_slabs(soft, variation, fields, coarse), coarse, CORNER),
        channels,
    )


def _by_slabs(
    make: Callable[[_Slab], Tensor], variation: Variation, fields: _Fields, h: float
) -> Tensor:
    """Voxel channels of the whole box, made slab by slab."""
    nx, ny, nz = (math.ceil(side / h) for side in EXTENT)
    step = max(4, _SLAB_VOXELS // (nx * ny))
    slabs = (range(z, min(z + step, nz)) for z in range(0, nz, step))
    return torch.cat([make(_Slab(variation, fields, h, planes)) for planes in slabs], dim=1)


def _brain(slab: _Slab) -> Tensor:
    """Distance to the brain cavity: rounded vault, curved floor, three fossae."""
    whole = (slice(None),) * 3
    front = slab.distance(Ellipsoid((0, 24, 46), (60, 62, 62)), whole)
    back = slab.distance(Ellipsoid((0, -20, 44), (67, 66, 65)), whole)
    x, y = slab.head_axes[0].abs()[None, :], slab.head_axes[1][:, None]
    # The floor: middle fossa, orbital roofs in front of it, nothing behind the petrous ridges.
    ridge = torch.sigmoid((y - (8 - 0.55 * x)) / 3)
    orbit = torch.sigmoid((y - 34) / 3)
    middle = 9 + 6 * torch.exp(-(((x - 34) / 12) ** 2))
    anterior = 23 + 9 * torch.exp(-(((x - 31) / 15) ** 2))
    floor = ridge * ((1 - orbit) * middle + orbit * anterior) - (1 - ridge) * 60
    slope_y, slope_x = torch.gradient(floor, spacing=slab.h)
    steep = (1 + slope_x**2 + slope_y**2).sqrt()
    brain = smooth_max(smooth_min(front, back, 30), (floor - slab.z) / steep, 6)
    fossae = [Ellipsoid((0, -42, 6), (48, 38, 33))]
    fossae += [Ellipsoid((side * 36, 20, 14), (22, 28, 21)) for side in (-1, 1)]
    for fossa in fossae:
        window = slab.window(fossa.bounds(), 14)
        if window:
            brain[window] = smooth_min(brain[window], slab.distance(fossa, window), 8)
    return brain


def _bump(slab: _Slab, center: tuple[float, float, float], radii: tuple[float, ...]) -> Tensor:
    """A Gaussian bump in head coordinates, on both sides."""
    x, y, z = slab.head_axes
    parts = [
        torch.exp(-(((axis - c) / r) ** 2))
        for axis, c, r in zip((x.abs(), y, z), center, radii, strict=True)
    ]
    return parts[2][:, None, None] * parts[1][:, None] * parts[0]


def _vault_thickness(slab: _Slab, variation: Variation, fields: _Fields) -> Tensor:
    """Thickness of the vault in mm: thin temples, thick inion and glabella."""
    thick = 1 + 0.12 * fields.thickness.sample(*slab.axes)
    thick *= 1 - 0.42 * _bump(slab, (66, 12, 24), (30, 34, 24))
    thick *= variation.vault_mm
    # The floor of the posterior fossa and other parts below the brain are thin.
    low = torch.sigmoid((0 - slab.head_axes[2]) / 5)[:, None, None]
    thick *= 1 - 0.55 * low
    thick += 3.0 * _bump(slab, (0, -92, 6), (16, 18, 12))
    thick += 3.5 * _bump(slab, (0, 90, 30), (22, 18, 13))
    return thick.clamp_(min=1.5)


def _vault(slab: _Slab, variation: Variation, fields: _Fields) -> tuple[Tensor, Tensor]:
    """Vault and base plate around the brain: two tables with diploe between, sutures."""
    brain = _brain(slab)
    outer = brain - _vault_thickness(slab, variation, fields)
    grooves = (1 - fields.grooves.sample(*slab.axes).abs() / 0.12).clamp_(min=0)
    inner = brain - 0.5 * fields.impressions.sample(*slab.axes) - 1.1 * grooves
    full = slab.occupancy(outer)
    hollow = slab.occupancy(inner)
    solid = (full - hollow).clamp_(min=0)
    # Tables of 1.5 and 1.3 mm; differences of ramps have the same mass at any voxel size.
    tables = full - slab.occupancy(outer + 1.5)
    tables += slab.occupancy(inner - 1.3) - hollow
    tables = torch.minimum(tables.clamp_(min=0), solid)
    # Marrow mottle in patches: a coarse field scales the fine one.
    patch = fields.coarse_mottle.sample(*slab.axes)
    mottle = 0.13 * patch
    if slab.h < 2.0:
        mottle += 0.2 * (1 + 0.6 * patch).clamp_(0, 2) * fields.mottle.sample(*slab.axes)
    diploe = (1.0 + mottle).clamp_(0.5, 1.6)
    dens = diploe * solid + (1.92 - diploe) * tables
    return dens * _sutures(slab, patch), solid


def _sutures(slab: _Slab, noise: Tensor) -> Tensor:
    """Factor of density along the coronal, lambdoid and sagittal sutures; `noise` bends them."""
    wiggle = 1.3 * noise
    coronal = slab.y - 22 - 0.25 * (slab.z - 60) + wiggle
    lambdoid = 0.8 * slab.y + 0.6 * (slab.z - 62) + 71 - 0.35 * slab.x.abs() + wiggle
    sagittal = slab.x + wiggle
    width = max(0.9, 0.7 * slab.h)
    depth = 0.32 * 0.9 / width
    result = torch.ones_like(coronal)
    upper = slab.z > 40
    for line, where in (
        (coronal, upper),
        (lambdoid, slab.y < -30),
        (sagittal, upper & (slab.y > -62) & (slab.y < 24)),
    ):
        near = (1 - (line / (2 * width)).square()).clamp_(min=0)
        result -= depth * near * where
    return result.clamp_(min=0.4)


def _add_bone(slab: _Slab, part: Bone, dens: Tensor, solid: Tensor) -> None:
    window = slab.window(part.shape.bounds(), slab.h)
    if window is None:
        return
    distance = slab.distance(part.shape, window)
    full = slab.occupancy(distance)
    marrow = slab.occupancy(distance + part.cortex)
    rho = part.rho * full - (part.rho - part.core) * marrow
    dens[window] = torch.maximum(dens[window], rho)
    solid[window] = torch.maximum(solid[window], full)


def _cut(slab: _Slab, space: Cavity, dens: Tensor, solid: Tensor) -> None:
    window = slab.window(space.shape.bounds(), space.wall + slab.h)
    if window is None:
        return
    distance = slab.distance(space.shape, window)
    if space.wall:
        wall = slab.occupancy(distance - space.wall)
        wall *= slab.occupancy(slab.y[window] - space.open_y)
        dens[window] = torch.maximum(dens[window], 1.7 * wall)
        solid[window] = torch.maximum(solid[window], wall)
    keep = 1 - slab.occupancy(distance)
    dens[window] *= keep
    solid[window] *= keep


def _soft(slab: _Slab, variation: Variation, fields: _Fields, spaces: list[Cavity]) -> Tensor:
    """Density of the head's envelope `[1, z, y, x]` without air spaces."""
    scalp = variation.vault_mm + variation.draw("scalp", 5.0, 7.0)
    envelope = _brain(slab) - scalp
    for shape, blend in anatomy.soft_shapes(variation):
        window = slab.window(shape.bounds(), blend + slab.h)
        if window is not None:
            part = slab.distance(shape, window)
            envelope[window] = smooth_min(envelope[window], part, blend)
    soft = slab.occupancy(envelope)
    # A layer of skin and fat of 5 mm is lighter (.95 instead of 1.05 g/cm3).
    soft -= 0.08 * (soft - slab.occupancy(envelope + 5.0))
    soft *= SOFT_RHO * (1 + 0.01 * fields.density.sample(*slab.axes))
    for space in spaces:
        window = slab.window(space.shape.bounds(), slab.h) if space.air else None
        if window is not None:
            soft[window] *= 1 - slab.occupancy(slab.distance(space.shape, window))
    return soft[None]
