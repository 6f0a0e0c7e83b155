"""Perspective line integrals through voxel volumes by shear-warp factorisation.

The slices across the volume's main axis (the one nearest to the viewing direction) are scaled and
shifted onto a reference plane and summed there, as in Lacroute and Levoy's shear-warp rendering;
one homography then maps the plane to the detector. As slices only scale and shift, each of the two
axes in the plane is resampled on its own.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch
import torch.nn.functional as functional
from torch import Tensor

#: Distances in mm from the focus to the isocentre (Azurion FD20, instructions for use) and to the
#: detector, which is near the head: 1195 mm, as in measurements, would cut off the vertex.
SOURCE_ISOCENTRE = 810.0
SOURCE_DETECTOR = 1000.0


@dataclass(frozen=True)
class Volume:
    """Voxel channels `[C, z, y, x]` with cubic voxels of `voxel` mm from `corner` (mm)."""

    data: Tensor
    voxel: float
    corner: tuple[float, float, float]


@dataclass(frozen=True)
class View:
    """A C-arm position.

    Attributes:
        name: view class.
        lao: rotation to the patient's left anterior oblique, degrees; 90 is a lateral view.
        cran: cranial tilt of the beam, degrees; positive for Towne, negative for Caldwell, Waters.
        roll: rotation of the image, degrees.
        isocentre: point of the head in the middle of the image, mm.
        field: side of the square image on the detector, mm.
    """

    name: str
    lao: float
    cran: float
    roll: float
    isocentre: tuple[float, float, float]
    field: float

    def axes(self) -> tuple[Tensor, Tensor, Tensor]:
        """Unit vectors along the beam, to the image's right and to its top, in head axes."""
        a, b, r = (math.radians(angle) for angle in (self.lao, self.cran, self.roll))
        beam = torch.tensor(
            [math.sin(a) * math.cos(b), math.cos(a) * math.cos(b), math.sin(b)],
            dtype=torch.float64,
        )
        level = torch.tensor([math.cos(a), -math.sin(a), 0.0], dtype=torch.float64)
        top = torch.linalg.cross(level, beam)
        right = math.cos(r) * level + math.sin(r) * top
        return beam, right, torch.linalg.cross(right, beam)

    def pixel(self, point: Sequence[float], size: int) -> tuple[float, float]:
        """Row and column of a point of the head (mm); the first pixel's centre is (0, 0)."""
        beam, right, top = self.axes()
        place = torch.tensor(point, dtype=torch.float64)
        offset = place - torch.tensor(self.isocentre, dtype=torch.float64) + SOURCE_ISOCENTRE * beam
        scale = SOURCE_DETECTOR / (offset @ beam) * size / self.field
        middle = (size - 1) / 2
        return float(middle - (offset @ top) * scale), float(middle + (offset @ right) * scale)

    def rays(self, size: int) -> tuple[Tensor, Tensor]:
        """Focus `[3]` and the vectors from it to the pixel centres `[size, size, 3]`, mm."""
        beam, right, top = self.axes()
        focus = torch.tensor(self.isocentre, dtype=torch.float64) - SOURCE_ISOCENTRE * beam
        steps = ((torch.arange(size, dtype=torch.float64) + 0.5) / size - 0.5) * self.field
        rays = SOURCE_DETECTOR * beam - steps[:, None, None] * top + steps[None, :, None] * right
        return focus, rays


@dataclass(frozen=True)
class _Plane:
    """Regular grid of the reference plane along one axis."""

    start: float
    step: float
    count: int


class Projector:
    """Projects one volume from any direction; caches its order of slices for each main axis."""

    def __init__(self, volume: Volume) -> None:
        self.volume = volume
        self._sorted: dict[int, Tensor] = {}

    def project(self, view: View, size: int) -> Tensor:
        """Line integrals `[C, size, size]` in g/cm2 (density times cm)."""
        focus, rays = view.rays(size)
        main = int(view.axes()[0].abs().argmax())
        first, second = (axis for axis in (2, 1, 0) if axis != main)
        extent = self._extent()
        middle = self.volume.corner[main] + extent[main] / 2
        # Where each pixel's ray meets the reference plane through the middle of the volume.
        reach = (middle - focus[main]) / rays[..., main]
        at = [focus[axis] + rays[..., axis] * reach for axis in (first, second)]
        pitch = view.field / size * SOURCE_ISOCENTRE / SOURCE_DETECTOR
        planes = [self._plane(values, pitch) for values in at]
        image = self._shear(main, (first, second), planes, focus, middle)
        # A Gaussian blur prevents aliasing of structures finer than the pixels.
        image = _blur_to(image, pitch, self.volume.voxel, planes[0].step)
        length = rays.norm(dim=-1) / rays[..., main].abs()
        # Millimetres to centimetres.
        scale: Tensor = (length * self.volume.voxel / 10).float()
        return _sample(image, at, planes) * scale

    def _extent(self) -> list[float]:
        return [count * self.volume.voxel for count in reversed(self.volume.data.shape[1:])]

    def _plane(self, values: Tensor, pitch: float) -> _Plane:
        step = max(0.75 * self.volume.voxel, 0.6 * pitch)
        low, high = float(values.min()) - 3 * step, float(values.max()) + 3 * step
        return _Plane(low, step, math.ceil((high - low) / step) + 1)

    def _slices(self, main: int) -> Tensor:
        """The volume as `[slice, first, C, second]`, contiguous."""
        if main not in self._sorted:
            order = {0: (3, 1, 0, 2), 1: (2, 1, 0, 3), 2: (1, 2, 0, 3)}[main]
            self._sorted[main] = self.volume.data.permute(order).contiguous()
        return self._sorted[main]

    def _shear(
        self,
        main: int,
        axes: tuple[int, int],
        planes: list[_Plane],
        focus: Tensor,
        middle: float,
    ) -> Tensor:
        """Sum of the slices on the reference plane, `[C, first, second]`."""
        slices = self._slices(main)
        count, rows, channels, columns = slices.shape
        h = self.volume.voxel
        places = self.volume.corner[main] + (torch.arange(count, dtype=torch.float64) + 0.5) * h
        scale = (places - focus[main]) / (middle - focus[main])
        index, weight = self._taps(axes[0], planes[0], focus, scale, rows)
        table = slices.reshape(count * rows, channels * columns)
        index += torch.arange(count)[:, None, None] * rows
        bags = functional.embedding_bag(
            index.reshape(-1, 3), table, mode="sum", per_sample_weights=weight.reshape(-1, 3)
        )
        # Now the other axis, and the sum over slices with it.
        bags = bags.reshape(count, planes[0].count, channels, columns)
        table = bags.permute(0, 3, 2, 1).reshape(count * columns, channels * planes[0].count)
        index, weight = self._taps(axes[1], planes[1], focus, scale, columns)
        index += torch.arange(count)[:, None, None] * columns
        image = functional.embedding_bag(
            index.transpose(0, 1).reshape(planes[1].count, -1),
            table,
            mode="sum",
            per_sample_weights=weight.transpose(0, 1).reshape(planes[1].count, -1),
        )
        return image.reshape(planes[1].count, channels, planes[0].count).permute(1, 2, 0)

    def _taps(
        self, axis: int, plane: _Plane, focus: Tensor, scale: Tensor, count: int
    ) -> tuple[Tensor, Tensor]:
        """Voxel indices and quadratic B-spline weights `[slices, plane, 3]` along one axis."""
        on_plane = plane.start + torch.arange(plane.count, dtype=torch.float64) * plane.step
        along = focus[axis] + (on_plane[None, :] - focus[axis]) * scale[:, None]
        position = ((along - self.volume.corner[axis]) / self.volume.voxel - 0.5).float()
        nearest = position.round()
        off = position - nearest
        weight = torch.stack([(0.5 - off) ** 2 / 2, 0.75 - off**2, (0.5 + off) ** 2 / 2], dim=-1)
        index = nearest.long()[..., None] + torch.arange(-1, 2)
        inside = (index >= 0) & (index < count)
        return index.clamp_(0, count - 1), weight * inside


def _blur_to(image: Tensor, pitch: float, voxel: float, step: float) -> Tensor:
    """Blur to a total spread of half a pixel, of which voxels cause a part by their width."""
    spread = (0.5 * pitch) ** 2 - (0.64 * voxel) ** 2
    sigma = math.sqrt(max(spread, 0.0)) / step
    return gaussian(image, sigma) if sigma > 0.25 else image


def _sample(image: Tensor, at: list[Tensor], planes: list[_Plane]) -> Tensor:
    """Bicubic values of the reference plane at the detector's pixels."""
    grid = [
        ((2 * ((values - plane.start) / plane.step) + 1) / plane.count - 1).float()
        for values, plane in zip(at, planes, strict=True)
    ]
    where = torch.stack([grid[1], grid[0]], dim=-1)[None]
    result = functional.grid_sample(image[None], where, mode="bicubic", align_corners=False)
    return result[0].clamp_(min=0)


def gaussian(image: Tensor, sigma: float) -> Tensor:
    """Gaussian blur of `[C, H, W]` with mirrored edges; `sigma` in pixels."""
    return gaussian_axis(gaussian_axis(image, sigma).transpose(1, 2), sigma).transpose(1, 2)


def gaussian_axis(image: Tensor, sigma: float) -> Tensor:
    """Gaussian blur of the last axis alone; `sigma` in pixels."""
    reach = max(1, math.ceil(3.5 * sigma))
    offsets = torch.arange(-reach, reach + 1, dtype=torch.float32)
    kernel = torch.exp(-0.5 * (offsets / sigma) ** 2)
    kernel /= kernel.sum()
    return _convolve(image, kernel, reach)


def _convolve(image: Tensor, kernel: Tensor, reach: int) -> Tensor:
    """Convolution along the last axis as a product with a band matrix, mirrored at the edges."""
    width = image.shape[-1]
    taps = torch.arange(width)[:, None] + torch.arange(-reach, reach + 1)
    # Mirror at the outer edges of the pixels as often as the kernel exceeds them.
    taps = taps.remainder(2 * width)
    taps = torch.where(taps < width, taps, 2 * width - 1 - taps)
    matrix = torch.zeros(width, width).scatter_add_(1, taps, kernel.expand(width, -1).contiguous())
    return image @ matrix.T
