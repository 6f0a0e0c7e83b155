"""Turns a seeded head of signed-distance shapes into voxels.

Bone channels (g/cm3): `dens` is bone with its tables, marrow, teeth and texture, as in a real head;
`solid` is what a simulator's surface model has of it: one material, filled, without thin structures
and with rounded edges. Coarser channels: `tissue` is the soft tissue that a simulator shows, g/cm3
times its share; `plastic` is the envelope of the head, g/cm3, in which a real phantom is cast;
`orbits`, `sinuses` and `teeth` are occupancies, for masks.
"""

import math
from bisect import bisect
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from xbench.core.hashing import seed_from
from xbench.datasets.phantom import anatomy
from xbench.datasets.phantom.anatomy import Bone, Cavity, Variation
from xbench.datasets.phantom.noise import NoiseField
from xbench.datasets.phantom.projection import Volume, gaussian_axis
from xbench.datasets.phantom.shapes import (
    Bounds,
    Ellipsoid,
    Shape,
    Vec,
    smooth_max,
    smooth_min,
)
from xbench.datasets.phantom.vessels import scaled

BONE_CHANNELS = ("dens", "solid")
SOFT_CHANNELS = ("tissue", "plastic", "orbits", "sinuses", "teeth")
#: Lower corner and size of the box that holds the head, mm (x, y, z).
CORNER = (-104.0, -122.0, -135.0)
EXTENT = (208.0, 256.0, 281.0)
#: Density of the bone of one material, g/cm3 (our choice), and of marrow-filled vault.
SOLID_RHO, DIPLOE_RHO = 1.25, 0.55
#: Soft tissue (ICRU 44), fat and hair or a cap, g/cm3; the last is our choice.
MUSCLE_RHO, FAT_RHO, HAIR_RHO = 1.06, 0.95, 0.25
#: Rms of the distortions with a grain of 24 mm; those of 70 mm differ by head, mm.
FINE_BEND = 0.4
#: A simulator's mesh: bone is blurred by this many mm, and the middle of the ramp is its surface.
MESH_MM = 1.6
#: Voxels of a slab; temporaries of about this size fit into the processor's cache.
_SLAB_VOXELS = 150_000


@dataclass(frozen=True)
class Head:
    """A head: channels of bone, and those of soft tissue and masks at a coarser resolution."""

    bone: Volume
    soft: Volume
    landmarks: dict[str, Vec]


def _field(seed: int, name: str, cell: float) -> NoiseField:
    """A noise field of the head's box."""
    return NoiseField(seed_from(seed, name), cell, EXTENT)


def _bend_fields(seed: int) -> list[tuple[NoiseField, NoiseField]]:
    """Coarse and fine distortions along x, y and z."""
    return [(_field(seed, f"bend {a}", 70.0), _field(seed, f"fine bend {a}", 24.0)) for a in "xyz"]


class _Fields:
    """The noise fields of one head, drawn once and sampled per slab."""

    def __init__(self, seed: int) -> None:
        self.bend = _bend_fields(seed)
        self.thickness = _field(seed, "thickness", 45.0)
        self.impressions = _field(seed, "impressions", 15.0)
        self.grooves = _field(seed, "grooves", 26.0)
        self.density = _field(seed, "density", 38.0)
        self.mottle = _field(seed, "mottle", 2.6)
        self.coarse_mottle = _field(seed, "coarse mottle", 7.0)
        self.fat = _field(seed, "fat", 32.0)


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
        # Distortions make the geometric shapes look natural, and each skull one of its own.
        self.reach = 3 * math.hypot(variation.bend, FINE_BEND) + 1.5
        self.x, self.y, self.z = (
            axis + variation.bend * coarse.sample(*self.axes) + FINE_BEND * fine.sample(*self.axes)
            for axis, (coarse, fine) in zip(grid, fields.bend, strict=True)
        )

    def window(self, bounds: Bounds, margin: float) -> tuple[slice, slice, slice] | None:
        """Index ranges (z, y, x) of voxels within `margin` mm of bounds; None if there are none."""
        ranges = []
        margin += self.reach
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


def make_head(variation: Variation, voxel: float) -> Head:
    """Build a head.

    Args:
        variation: the head; equal seeds give equal heads.
        voxel: side of the bone voxels in mm; those of other channels have at least 2.5 mm.
    """
    fields = _Fields(variation.seed)
    early = anatomy.skull_base() + anatomy.face(variation)
    spaces = anatomy.cavities(variation)
    late = anatomy.jaw(variation) + anatomy.neck(variation)
    fine = anatomy.inside_nose(variation)
    teeth = anatomy.teeth(variation)

    def bone(slab: _Slab) -> Tensor:
        dens, solid = _vault(slab, variation, fields)
        for part in early:
            _add_bone(slab, part, variation, dens, solid)
        for space in spaces:
            _cut(slab, space, dens, solid)
        for part in late + teeth:
            _add_bone(slab, part, variation, dens, solid)
        for part in fine:
            _add_bone(slab, part, variation, dens)
        dens *= variation.bone * (1 + 0.05 * fields.density.sample(*slab.axes))
        return torch.stack([dens, solid])

    def soft(slab: _Slab) -> Tensor:
        return _soft(slab, variation, fields, spaces, teeth)

    coarse = max(2.5, voxel)
    bones = _by_slabs(bone, variation, fields, voxel)
    bones[1] = SOLID_RHO * _mesh(bones[1], voxel)
    return Head(
        Volume(bones, voxel, CORNER),
        Volume(_by_slabs(soft, variation, fields, coarse), coarse, CORNER),
        _landmarks(variation),
    )


def _mesh(solid: Tensor, voxel: float) -> Tensor:
    """Occupancy `[z, y, x]` of a surface model: what is thinner than its resolution is lost."""
    sigma = math.sqrt(max(MESH_MM**2 - (0.4 * voxel) ** 2, 0.0)) / voxel
    if sigma > 0.2:
        for _ in range(3):
            solid = gaussian_axis(solid, sigma).permute(2, 0, 1)
    return ((solid - 0.35) / 0.3).clamp_(0, 1)


def placed(v: Variation, points: NDArray[np.float64]) -> NDArray[np.float64]:
    """Points `[n, 3]` of the mean head in a head, mm: scaled as it is, moved by its distortions."""
    moved = scaled(v, points)
    scale = np.repeat([[v.width, v.length, v.height]], len(points), axis=0)
    scale[points[:, 2] < 0, 2] = v.face
    at = torch.from_numpy(moved - np.array(CORNER))
    shifts = [
        v.bend * coarse.at(at) + FINE_BEND * fine.at(at) for coarse, fine in _bend_fields(v.seed)
    ]
    result: NDArray[np.float64] = moved - scale * torch.stack(shifts, dim=1).numpy()
    return result


def _landmarks(v: Variation) -> dict[str, Vec]:
    """Landmarks of this head in mm."""
    named = anatomy.landmarks(v)
    places = placed(v, np.array(list(named.values()), dtype=np.float64))
    return {name: (x, y, z) for name, (x, y, z) in zip(named, places.tolist(), strict=True)}


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
    diploe = (DIPLOE_RHO * variation.marrow * (1 + 0.6 * mottle)).clamp_(0.15, 1.6)
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


def _add_bone(
    slab: _Slab, part: Bone, variation: Variation, dens: Tensor, solid: Tensor | None = None
) -> None:
    window = slab.window(part.shape.bounds(), slab.h)
    if window is None:
        return
    distance = slab.distance(part.shape, window)
    full = slab.occupancy(distance)
    marrow = slab.occupancy(distance + part.cortex)
    core = part.core * variation.marrow if part.core < 0.7 else part.core
    rho = part.rho * full - (part.rho - core) * marrow
    dens[window] = torch.maximum(dens[window], rho)
    if solid is not None:
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
    if not space.fine:
        solid[window] *= keep


def _soft(
    slab: _Slab, v: Variation, fields: _Fields, spaces: list[Cavity], teeth: list[Bone]
) -> Tensor:
    """`SOFT_CHANNELS` of a slab, `[5, z, y, x]`."""
    brain = _brain(slab)
    scalp = v.vault_mm + v.tissue("scalp", 4.0, 10.0, 6.0)
    envelope = brain - scalp
    for shape, blend in anatomy.soft_shapes(v):
        _join(slab, envelope, shape, blend)
    plastic = slab.occupancy(envelope)
    for shape, blend in anatomy.muscles(v):
        _join(slab, envelope, shape, blend)
    tissue = slab.occupancy(envelope)
    lean = slab.occupancy(envelope + v.tissue("fat", 2.0, 8.0, 5.0))
    tissue = FAT_RHO * (tissue - lean) + MUSCLE_RHO * lean
    tissue *= 1 + 0.04 * fields.fat.sample(*slab.axes)
    tissue *= _share(slab, v, brain)
    tissue += _hair(slab, v, envelope)
    masks = [torch.zeros_like(brain) for _ in range(3)]
    for space in spaces:
        window = slab.window(space.shape.bounds(), slab.h)
        if window is None:
            continue
        inside = slab.occupancy(slab.distance(space.shape, window))
        if space.air:
            tissue[window] *= 1 - inside
            plastic[window] *= 1 - inside
        if space.kind:
            mask = masks[("orbits", "sinuses").index(space.kind)]
            mask[window] = torch.maximum(mask[window], inside)
    for tooth in teeth:
        window = slab.window(tooth.shape.bounds(), slab.h)
        if window is not None:
            inside = slab.occupancy(slab.distance(tooth.shape, window))
            masks[2][window] = torch.maximum(masks[2][window], inside)
    # The orbit is open to the front: what lies before the rim is not inside.
    masks[0] *= slab.occupancy(slab.y - 84)
    return torch.stack([tissue, plastic, *masks])


def _join(slab: _Slab, envelope: Tensor, shape: Shape, blend: float) -> None:
    window = slab.window(shape.bounds(), blend + slab.h)
    if window is not None:
        part = slab.distance(shape, window)
        envelope[window] = smooth_min(envelope[window], part, blend)


def _share(slab: _Slab, v: Variation, brain: Tensor) -> Tensor:
    """Share of the soft tissue that a simulator shows: brain, scalp, face, neck, one for each head.

    Means are our choice; regions join softly.
    """
    within = torch.sigmoid((-brain - 2) / 3)
    low = torch.sigmoid((-30 - slab.z + 0.4 * slab.y) / 8)
    front = torch.sigmoid((slab.y - 30) / 8) * torch.sigmoid((24 - slab.z) / 8)
    share = torch.full_like(brain, v.share("scalp", 0.62))
    share += front * (v.share("face", 0.26) - share)
    share += low * (v.share("neck", 0.42) - share)
    share += within * (v.share("brain", 0.10) - share)
    return share


def _hair(slab: _Slab, v: Variation, envelope: Tensor) -> Tensor:
    """Hair or a cap around the vault, on some heads."""
    thick = v.tissue("hair", -8.0, 8.0, 0.0)
    if thick <= 1.0:
        return torch.zeros_like(envelope)
    layer = slab.occupancy(envelope - thick) - slab.occupancy(envelope)
    edge = torch.sigmoid((slab.z - 22 + 0.35 * slab.y) / 4)
    return HAIR_RHO * layer.clamp_(min=0) * edge
