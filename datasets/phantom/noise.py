"""Smooth seeded noise as a function of position in mm, for any voxel size."""

import math

import torch
from torch import Tensor


def spline_weights(positions: Tensor, nodes: int) -> Tensor:
    """Cubic B-spline weights `[len(positions), nodes]`; positions are in node spacings."""
    distance = (positions[:, None] - torch.arange(nodes)).abs()
    near = 2 / 3 - distance**2 + distance**3 / 2
    far = (2 - distance).clamp(min=0) ** 3 / 6
    return torch.where(distance < 1, near, far)


#: Standard deviation of a cubic B-spline of white unit noise, per axis, averaged over positions.
_SPLINE_STD = math.sqrt(151 / 315)


class NoiseField:
    """Gaussian noise of a grain size: a cubic B-spline of white noise on a grid of nodes.

    The grid starts at the corner of a box and has a fixed spacing, so that the field is the same
    function of position for every voxel size and every part of the box.
    """

    def __init__(self, seed: int, cell: float, extent: tuple[float, float, float]) -> None:
        """Draw the nodes.

        Args:
            seed: seed of the white noise.
            cell: node spacing in mm (grain size).
            extent: size of the box in mm, (x, y, z).
        """
        self.cell = cell
        shape = [math.ceil(side / cell) + 3 for side in reversed(extent)]
        generator = torch.Generator().manual_seed(seed)
        self.nodes = torch.randn(shape, generator=generator) / _SPLINE_STD**3

    def sample(self, x: Tensor, y: Tensor, z: Tensor) -> Tensor:
        """Values `[z, y, x]` on the grid of three axes given in mm from the box corner.

        The field has zero mean and a standard deviation of about one.
        """
        weights = [
            spline_weights(axis / self.cell + 1, count)
            for axis, count in zip((z, y, x), self.nodes.shape, strict=True)
        ]
        # Planes first, so that a slab computes only with its own nodes.
        rows, columns = self.nodes.shape[1:]
        field = (weights[0] @ self.nodes.reshape(-1, rows * columns)).reshape(-1, columns)
        field = (field @ weights[2].T).reshape(len(z), rows, len(x))
        result: Tensor = weights[1] @ field
        return result

    def at(self, points: Tensor) -> Tensor:
        """Values `[n]` at points `[n, 3]` (x, y, z) in mm from the box corner; as `sample`."""
        z, y, x = (
            spline_weights(points[:, axis] / self.cell + 1, count)
            for axis, count in zip((2, 1, 0), self.nodes.shape, strict=True)
        )
        return torch.einsum("zyx,nz,ny,nx->n", self.nodes.to(points.dtype), z, y, x)
