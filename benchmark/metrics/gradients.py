"""Gradients of images: normalised gradient fields (`ngf`), and whose anatomy is shown (`match`).

Both see where grey values change and in which direction, and hardly how much: they compare images
of domains that differ in contrast. Images are float [n, 1, H, W] in [0, 1], H and W at least 16;
other shapes, values outside [0, 1] or not finite raise a ValueError. Results are float64.
"""

from collections.abc import Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from xbench.metrics.filters import blurred, continued, gradients
from xbench.metrics.images import check_images, chunks

Array = NDArray[np.float64]

MIN_SIZE = 16
#: Standard deviations of the Gaussians, as shares of the side (the longer one).
NGF_SIGMA, MATCH_SIGMA = 1 / 32, 1 / 64
#: Edge parameter of NGF: gradients far below this multiple of their mean count as flat.
ETA = 1.0
# Pixels worked on at once: few enough for the cache of a CPU core.
_CHUNK = 2**15


def gradient_agreement(a: Tensor, b: Tensor, *, signed: bool, sigma: float | None = None) -> Tensor:
    """Cosine of the normalised gradient fields of image pairs (`ngf-v1`).

    Fields n = grad I / √(|grad I|² + e²) with e = η · mean |grad I| of the image itself, so that
    its contrast cancels (Haber and Modersitzki 2006); central differences under a Gaussian, the
    border continued by its edge. Unsigned: Σ (n_a · n_b)² / √(Σ |n_a|⁴ Σ |n_b|⁴), in [0, 1], which
    inverted greys leave alone. Signed: Σ n_a · n_b / √(Σ |n_a|² Σ |n_b|²), in [-1, 1], which they
    turn negative. Both are 1 for equal images and for images that differ in contrast alone.

    Args:
        a: images.
        b: images of the same shape.
        signed: which of the two.
        sigma: of the Gaussian in px; side / 32 by default.

    Returns:
        [n]; 0 where an image is constant.
    """
    if a.shape != b.shape:
        raise ValueError(f"expected pairs of images, got {list(a.shape)} and {list(b.shape)}")
    sigma = max(a.shape[2:]) * NGF_SIGMA if sigma is None else sigma
    (down_a, right_a, share_a, norm_a), (down_b, right_b, share_b, norm_b) = (
        _normalised(images, sigma) for images in (a, b)
    )
    product, shares = down_a * down_b + right_a * right_b, share_a * share_b
    if signed:
        above, sums = product * shares.sqrt(), (norm_a, norm_b)
    else:
        above, sums = product.square() * shares, (norm_a.square(), norm_b.square())
    below = (sums[0].sum((1, 2)) * sums[1].sum((1, 2))).sqrt()
    return torch.where(below > 0, above.sum((1, 2)) / torch.where(below > 0, below, 1.0), 0.0)


def _normalised(images: Tensor, sigma: float) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Gradients [n, H, W] downward and rightward, 1 / (|grad I|² + e²), and |n|²."""
    check_images(images, 3, "normalised gradient fields")
    x = images[:, 0].detach().cpu().double()
    # Less a pixel, so that the gradients of constant images are exactly 0.
    down, right = gradients(blurred(x - x[:, :1, :1], sigma, mode="edge"))
    squares = down.square() + right.square()
    length = squares + (ETA * squares.sqrt().mean((1, 2), keepdim=True)).square_()
    share = torch.where(length > 0, length, 1.0).reciprocal_()
    return down, right, share, squares * share


def gradient_maps(
    images: Tensor, inside: Tensor | None = None, counts: Tensor | None = None
) -> Tensor:
    """Gradient magnitudes under a Gaussian of side / 64 px, less their mean, of length 1.

    Args:
        images: see above.
        inside: where images are no padding, bool [n, H, W]; None for everywhere. Padding counts
            as average.
        counts: the pixels to compare, bool [n, H, W]; None for all. The others are NaN.

    Returns:
        [n, H · W]; zeros for a constant image. Products of rows are correlations.
    """
    sigma = max(images.shape[2:]) * MATCH_SIGMA
    parts = list(chunks(images, MIN_SIZE, "match", _CHUNK))
    boxes = inside.cpu().split(len(parts[0])) if inside is not None else (None,) * len(parts)
    maps = torch.cat([_magnitudes(x, sigma, box) for x, box in zip(parts, boxes, strict=True)])
    return maps if counts is None else torch.where(counts.flatten(1), maps, torch.nan)


def _magnitudes(x: Tensor, sigma: float, inside: Tensor | None = None) -> Tensor:
    """Rows of `gradient_maps` of images float64 [n, H, W]."""
    if inside is not None:
        x = continued(x, inside)
    # Less a pixel, so that the gradients of constant images are exactly 0.
    down, right = gradients(blurred(x - x[:, :1, :1], sigma))
    magnitude = down.square_().add_(right.square_()).sqrt_().flatten(1)
    if inside is None:
        magnitude -= magnitude.mean(1, keepdim=True)
    else:
        own = inside.flatten(1).double()
        magnitude -= (magnitude * own).sum(1, keepdim=True) / own.sum(1, keepdim=True)
        magnitude *= own
    length = magnitude.norm(dim=1, keepdim=True)
    magnitude /= torch.where(length > 0, length, 1.0)
    return magnitude


def matches(output: Array, reference: Array, groups: Sequence[str]) -> Array:
    """Whether each output shows its own anatomy (`match-v1`, with pixels to leave out `match-v2`).

    Args:
        output: `gradient_maps` of outputs, [n, p]; pixels that are NaN in either image are left
            out of a correlation.
        reference: of the aligned target images (or of the sources), [n, p].
        groups: head, patient or acquisition of each.

    Returns:
        1 where no reference image of another group correlates more with the output than its own
        one, else 0, [n]; 0 for a constant output.
    """
    likeness = _correlations(torch.from_numpy(output), torch.from_numpy(reference)).numpy()
    own = np.diagonal(likeness)
    _, members = np.unique(np.asarray(groups, dtype=str), return_inverse=True)
    others = np.where(members[:, None] == members[None], -np.inf, likeness).max(axis=1)
    # A constant image shows no anatomy, though it is like no other reference either.
    shown: Array = np.where((others <= own) & np.nan_to_num(output).any(axis=1), 1.0, 0.0)
    return shown


def _correlations(a: Tensor, b: Tensor) -> Tensor:
    """Correlations of rows, [n, m], over the pixels that are NaN in neither of the two."""
    own, theirs = ~a.isnan(), ~b.isnan()
    # Products in torch, as those of NumPy start threads of their own.
    if own.all() and theirs.all():
        return a @ b.T  # rows of `gradient_maps` are normalised
    a, b, own, theirs = a.nan_to_num(), b.nan_to_num(), own.to(a), theirs.to(a)
    number = (own @ theirs.T).clamp(min=1)
    sum_a, sum_b = a @ theirs.T, own @ b.T
    product = a @ b.T - sum_a * sum_b / number
    squares_a = a.square() @ theirs.T - sum_a.square() / number
    squares_b = own @ b.square().T - sum_b.square() / number
    return product / (squares_a * squares_b).clamp(min=1e-30).sqrt()
