"""The built-in metrics that compare images place by place, after those of `definitions`."""

from functools import partial
from typing import TYPE_CHECKING, Any

from xbench.metrics.base import Context, metric
from xbench.metrics.definitions import MOVED, NOISE, SAME_ANATOMY, TURNED

if TYPE_CHECKING:
    from torch import Tensor

described = partial(metric, kind="described")
bones = partial(
    metric,
    against="masks",
    identity="bone-shift-v1",
    span=(0, None),
    decimals=2,
    min_side=16,
    in_tables=False,
    blind_to=("identity", *NOISE, "grey curve"),
)


def _bone_shifts(output: "Tensor", masks: "Tensor") -> "Tensor":
    import torch

    from xbench.metrics.contours import bone_shifts

    return torch.from_numpy(bone_shifts(output, masks))


@bones("bone shift", unit="px")
def bone_shift(output: "Tensor", masks: "Tensor") -> "Tensor":
    """Mean distance of the outline of dense bone from the true one, in px at 64 px.

    The darkest pixels of the output, as many as the mask has, are its bone. The mean distance
    between the outlines of both, in both directions, capped at 8 px.
    """
    return _bone_shifts(output, masks)


@bones("bone shift mm", unit="mm")
def bone_shift_mm(output: "Tensor", masks: "Tensor") -> "Tensor":
    """Mean distance of the outline of dense bone from the true one, in mm at the isocentre.

    As `bone_shift`, times the size of a pixel at the isocentre.
    """
    return _bone_shifts(output, masks)


def _local_descriptors(
    images: "Tensor", inside: "Tensor | None", counts: "Tensor | None" = None
) -> "Tensor":
    from xbench.metrics.cells import LEAST_COUNTS, local_descriptors, without

    return without(without(local_descriptors(images), inside), counts, LEAST_COUNTS)


@described(
    "LTD",
    against="target",
    describe=_local_descriptors,
    scaled=True,
    identity="ltd-v1",
    span=(0, None),
    min_side=32,
)
def ltd(output: Any, target: Any, context: Context) -> Any:
    """Local texture distance to the aligned target: is it this image in that domain?

    The image is cut into 8 × 8 cells. Each has 11 descriptors: mean, deviation, mean signed x-
    and y-gradient, mean gradient magnitude, deviation of the Laplacian, logarithms of the
    deviations of two bands (x − G₁x, G₁x − G₂x), the .1 and .9 quantile, log ratio of the
    squared x- and y-gradients. Each is divided by its deviation over the cells of the training
    images. The value is the mean over cells and descriptors of the squared difference between
    output and target. Cells with padding, or with more than a quarter of pixels that no source
    determines, are left out.
    """
    from xbench.metrics.cells import local_texture_distance

    return local_texture_distance(output, target, context.deviations())


def _gradient_maps(
    images: "Tensor", inside: "Tensor | None", counts: "Tensor | None" = None
) -> "Tensor":
    from xbench.metrics.gradients import gradient_maps

    return gradient_maps(images, inside, counts)


@described(
    "match",
    against="anatomy",
    describe=_gradient_maps,
    identity="match-v1",
    higher_is_better=True,
    span=(0, 1),
    min_n=16,
    min_groups=3,
    min_side=16,
    blind_to=(*SAME_ANATOMY, "inverted"),
)
def match(output: Any, reference: Any, context: Context) -> Any:
    """Share of outputs that are most alike to their own anatomy, not to another head's.

    Likeness is the correlation of gradient magnitudes under a Gaussian of side / 64 px. An
    output counts 1 if no target image of another group (head, patient) is more alike to it than
    its own target, else 0. Without aligned targets the sources take their place.
    """
    from xbench.metrics.gradients import matches

    return matches(output, reference, context.groups)


def _local_residuals(images: "Tensor", inside: "Tensor | None") -> "Tensor":
    from xbench.metrics.cells import local_residuals, without

    return without(local_residuals(images), inside)


@described(
    "copied",
    against="training",
    describe=_local_residuals,
    identity="copied-v1",
    span=(0, 1),
    min_side=32,
    in_tables=False,
    blind_to=(
        *SAME_ANATOMY,
        *TURNED,
        *MOVED,
        "other head",
        "cells swapped",
        "inverted",
        "constant",
    ),
)
def copied(output: Any, training: Any, context: Context) -> Any:
    """Likeness of fine detail to the most similar training image, cell by cell: 1 is a copy.

    The residual x − G₁x of each of 8 × 8 cells is correlated with the same cell of every
    training image of the target domain; the largest correlation, averaged over cells. Compare
    it with what the target's own test images reach (the floor).
    """
    from xbench.metrics.cells import largest_correlations

    return largest_correlations(output, training)


@metric(
    "NGF",
    against="source",
    identity="ngf-v1",
    higher_is_better=True,
    span=(0, 1),
    min_side=16,
    in_tables=False,
    blind_to=(*SAME_ANATOMY, "inverted"),
)
def ngf(output: "Tensor", source: "Tensor") -> "Tensor":
    """Agreement of gradient directions of output and source, whatever their contrast.

    Normalised gradient fields n = ∇I / √(|∇I|² + e²), e the mean gradient magnitude of the
    image, under a Gaussian of side / 32 px (Haber and Modersitzki 2006): Σ (na·nb)² / √(Σ |na|⁴
    Σ |nb|⁴). 1 for images that differ in contrast alone.
    """
    from xbench.metrics.gradients import gradient_agreement

    return gradient_agreement(output, source, signed=False)


@metric(
    "NGF signed",
    against="source",
    identity="ngf-v1",
    higher_is_better=True,
    span=(-1, 1),
    min_side=16,
    in_tables=False,
    blind_to=SAME_ANATOMY,
)
def ngf_signed(output: "Tensor", source: "Tensor") -> "Tensor":
    """Agreement of gradient directions with their signs: negative where greys are inverted.

    Σ na·nb / √(Σ |na|² Σ |nb|²) of the fields of `ngf`.
    """
    from xbench.metrics.gradients import gradient_agreement

    return gradient_agreement(output, source, signed=True)


def _edge_maps(images: "Tensor", inside: "Tensor | None") -> "Tensor":
    from xbench.metrics.contours import edge_maps

    return edge_maps(images, inside)


edges = partial(
    described,
    against="source",
    describe=_edge_maps,
    identity="edge-shift-v1",
    unit="px",
    span=(0, 8),
    decimals=2,
    min_side=16,
    in_tables=False,
)


def _edge_shifts(output: Any, source: Any, part: int) -> Any:
    import numpy as np

    from xbench.metrics.contours import surface_distances

    return np.array([surface_distances(*pair)[part] for pair in zip(output, source, strict=True)])


@edges("edge shift", blind_to=(*SAME_ANATOMY, "inverted"))
def edge_shift(output: Any, source: Any, context: Context) -> Any:
    """Mean distance between edges of output and source, in px at 64 px.

    Edges are zero crossings along the gradient where it is above its .8 quantile, under a
    Gaussian of 1.5 px at 64 px. The mean of `edges_lost` and `edges_invented`, weighted by the
    number of edge pixels.
    """
    return _edge_shifts(output, source, 0)


@edges("edges lost", blind_to=("identity", *NOISE, "grey curve", "inverted"))
def edges_lost(output: Any, source: Any, context: Context) -> Any:
    """Mean distance of the edges of the source from those of the output, in px at 64 px.

    From each edge pixel of the source to the nearest one of the output, capped at 8 px.
    """
    return _edge_shifts(output, source, 2)


@edges("edges invented", blind_to=(*SAME_ANATOMY, "inverted", "constant"))
def edges_invented(output: Any, source: Any, context: Context) -> Any:
    """Mean distance of the edges of the output from those of the source, in px at 64 px.

    From each edge pixel of the output to the nearest one of the source, capped at 8 px.
    """
    return _edge_shifts(output, source, 1)


@metric(
    "LPIPS",
    against="source",
    identity="lpips-alex-v0.1",
    weights="lpips",
    span=(0, None),
    min_side=31,
    in_tables=False,
)
def lpips(output: "Tensor", source: "Tensor") -> "Tensor":
    """Learned perceptual distance of output and source, as the paper's table has it.

    Squared differences of normalised features of AlexNet at five depths, weighted by the
    authors' heads, version 0.1 (Zhang et al. 2018).
    """
    from xbench.metrics.lpips import lpips

    return lpips(output, source)
