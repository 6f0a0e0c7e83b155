"""Distances between contours: edges of output and source, and the outline of dense bone.

Distances are mean surface distances: of the pixels of one contour to the nearest pixel of the other
(exact Euclidean distance transform), capped, and given in pixels of an image of 64 px a side, so
that sizes compare. 0 where there is no contour to measure from, and the cap where there is none to
measure to.
"""

import math
from functools import lru_cache

import numpy as np
import torch
from numpy.typing import NDArray
from scipy import ndimage
from torch import Tensor

from xbench.metrics.filters import blurred, continued, gradients
from xbench.metrics.images import check_images, chunks

Array = NDArray[np.float64]
Contour = NDArray[np.bool_]

MIN_SIZE = 16
#: Side in px to which widths and distances refer.
SIDE = 64
#: Standard deviation of the Gaussian, and the quantile of the gradient above which edges count.
SIGMA, STRONG = 1.5, 0.8
#: Largest distance that counts; also the distance to a contour that is empty.
CAP = 8.0
# Pixels worked on at once: few enough for the cache of a CPU core.
_CHUNK = 2**15
# Pairs of pixels up to which their distances are computed one by one.
_FEW_PAIRS = 2**20


def edge_maps(images: Tensor, inside: Tensor | None = None) -> Tensor:
    """Edge pixels of images (`edge-shift-v1`).

    Zero crossings of the second derivative along the gradient where the gradient is above its .8
    quantile (as Canny 1986, without hysteresis), under a Gaussian of 1.5 px at 64 px; central
    differences, the border continued by its edge.

    Args:
        images: float [n, 1, H, W] in [0, 1], H and W at least 16.
        inside: where images are no padding, bool [n, H, W]; None for everywhere.

    Returns:
        bool [n, H, W]; False everywhere for a constant image.

    Raises:
        ValueError: another shape, values outside [0, 1] or not finite.
    """
    sigma, parts, start = SIGMA * max(images.shape[2:]) / SIDE, [], 0
    for x in chunks(images, MIN_SIZE, "edges", _CHUNK):
        box = None if inside is None else inside[start : start + len(x)].cpu()
        parts.append(_edges(x, sigma, box))
        start += len(x)
    return torch.cat(parts)


def _edges(x: Tensor, sigma: float, inside: Tensor | None) -> Tensor:
    """Edge pixels of images float64 [n, H, W]."""
    if inside is not None:
        x = continued(x, inside)
    down, right = gradients(blurred(x - x[:, :1, :1], sigma, mode="edge"))
    two_down, mixed = gradients(down)
    two_right = gradients(right)[1]
    squares = down.square(), right.square()
    strength = squares[0] + squares[1]
    curvature = squares[0] * two_down + squares[1] * two_right + 2 * mixed * (down * right)
    crossing = torch.zeros_like(curvature, dtype=torch.bool)
    crossing[:, :-1] |= curvature[:, :-1] * curvature[:, 1:] < 0
    crossing[:, :, :-1] |= curvature[:, :, :-1] * curvature[:, :, 1:] < 0
    if inside is None:
        limits = _order_statistic(strength.flatten(1).numpy())
    else:
        crossing &= inside
        rows = zip(strength.numpy(), inside.numpy(), strict=True)
        limits = np.array([_order_statistic(row[own]) for row, own in rows])
    return crossing & (strength > torch.from_numpy(limits)[:, None, None])


def _order_statistic(rows: Array) -> Array:
    """What as many values exceed as exceed the interpolated quantile `STRONG`, along rows."""
    place = int(STRONG * (rows.shape[-1] - 1))
    found: Array = np.partition(rows, place, axis=-1)[..., place]
    return found


def bone_shifts(output: Tensor, masks: Tensor) -> Array:
    """Mean surface distances of dense bone in outputs from true dense bone (`bone-shift-v1`).

    An output's dense bone is its darkest part, as large as the true one, whatever the contrast.

    Args:
        output: float [n, 1, H, W] in [0, 1], H and W at least 16.
        masks: true dense bone, bool [n, H, W].

    Returns:
        Between the outlines, [n], in px at 64 px; 0 where there is no bone.

    Raises:
        ValueError: wrong images, or masks of another shape or type.
    """
    check_images(output, MIN_SIZE, "bone shift")
    if masks.shape != output[:, 0].shape or masks.dtype != torch.bool:
        raise ValueError(
            f"bone shift: expected masks {list(output[:, 0].shape)} of bool, "
            f"got {list(masks.shape)} of {str(masks.dtype).removeprefix('torch.')}"
        )
    pairs = zip(output[:, 0].detach().cpu().double().numpy(), masks.cpu().numpy(), strict=True)
    return np.array(
        [
            surface_distances(_outline(_darkest(grey, mask.sum())), _outline(mask))[0]
            for grey, mask in pairs
        ]
    )


def _darkest(grey: Array, count: int) -> Contour:
    """The darkest pixels of an image, so many; of equal ones the first."""
    dark = np.zeros(grey.size, dtype=bool)
    if count:
        limit = np.partition(grey, count - 1, axis=None)[count - 1]
        dark = grey.ravel() < limit
        dark[np.flatnonzero(grey == limit)[: count - dark.sum()]] = True
    return dark.reshape(grey.shape)


def _outline(region: Contour) -> Contour:
    """Pixels of a region [H, W] with a neighbour outside of it, above, below or beside."""
    inner = region.copy()
    inner[1:] &= region[:-1]
    inner[:-1] &= region[1:]
    inner[:, 1:] &= region[:, :-1]
    inner[:, :-1] &= region[:, 1:]
    border: Contour = region & ~inner
    return border


def surface_distances(a: Contour, b: Contour) -> tuple[float, float, float]:
    """Mean distances over the pixels of both contours [H, W], of the first and of the second.

    The first is the average symmetric surface distance, the others are its one-way parts: how far
    away the other contour is. 0 over no pixels.
    """
    return _means(np.packbits(a).tobytes(), np.packbits(b).tobytes(), a.shape)


# Kept, as metrics of one identity ask for the same contours one after another.
@lru_cache(maxsize=256)
def _means(a: bytes, b: bytes, shape: tuple[int, ...]) -> tuple[float, float, float]:
    first, second = (
        np.unpackbits(np.frombuffer(packed, np.uint8), count=math.prod(shape))
        .reshape(shape)
        .astype(bool)
        for packed in (a, b)
    )
    there, back = _distances(first, second)
    both, one, other = (
        float(part.mean()) if len(part) else 0.0
        for part in (np.concatenate([there, back]), there, back)
    )
    return both, one, other


def _distances(a: Contour, b: Contour) -> tuple[Array, Array]:
    """Distances of the pixels of each contour to the other, capped, in px at 64 px."""
    first, second = np.argwhere(a), np.argwhere(b)
    if not len(first) or not len(second):
        return np.full(len(first), CAP), np.full(len(second), CAP)
    if len(first) * len(second) <= _FEW_PAIRS:
        # All pairs at once: for short contours faster than distance transforms of whole images.
        squares = _squares(first, second)
        there, back = (np.sqrt(squares.min(axis), dtype=np.float64) for axis in (1, 0))
    else:
        there, back = (
            ndimage.distance_transform_edt(~other)[own] for own, other in ((a, b), (b, a))
        )
    scale = SIDE / max(a.shape)
    return np.minimum(there * scale, CAP), np.minimum(back * scale, CAP)


def _squares(a: NDArray[np.integer], b: NDArray[np.integer]) -> NDArray[np.integer]:
    """Squared distances of all pairs of pixels [n, 2] and [m, 2]."""
    # Those of images below 128 px fit into 16 bits.
    kind = np.int16 if max(a.max(), b.max()) < 128 else np.int64
    (down, right), (other_down, other_right) = a.T.astype(kind), b.T.astype(kind)
    squares: NDArray[np.integer] = (down[:, None] - other_down) ** 2
    squares += (right[:, None] - other_right) ** 2
    return squares
