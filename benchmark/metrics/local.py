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
    """Mean distance of the outline of dense bone from the true one, in px at 64 px."""
    return _bone_shifts(output, masks)


@bones("bone shift mm", unit="mm")
def bone_shift_mm(output: "Tensor", masks: "Tensor") -> "Tensor":
    """Mean distance of the outline of dense bone from the true one, in mm at the isocentre."""
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
    """Local texture distance to the aligned target: is it this image in that domain?"""
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
    """Share of outputs that are most alike to their own anatomy, not to another head's."""
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
    """Likeness of fine detail to the most similar training image, cell by cell: 1 is a copy."""
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
    """Agreement of gradient directions of output and source, whatever their contrast."""
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
    """Agreement of gradient directions with their signs: negative where greys are inverted."""
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
    """Mean distance between edges of output and source, in px at 64 px."""
    return _edge_shifts(output, source, 0)


@edges("edges lost", blind_to=("identity", *NOISE, "grey curve", "inverted"))
def edges_lost(output: Any, source: Any, context: Context) -> Any:
    """Mean distance of the edges of the source from those of the output, in px at 64 px."""
    return _edge_shifts(output, source, 2)


@edges("edges invented", blind_to=(*SAME_ANATOMY, "inverted", "constant"))
def edges_invented(output: Any, source: Any, context: Context) -> Any:
    """Mean distance of the edges of the output from those of the source, in px at 64 px."""
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
    """Learned perceptual distance of output and source, as the paper's table has it."""
    from xbench.metrics.lpips import lpips

    return lpips(output, source)
