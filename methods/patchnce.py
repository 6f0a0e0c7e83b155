"""PatchNCE (arXiv 2007.15651), the contrastive loss of CUT and UNSB.

A patch of the output must resemble the input's patch at its place more than any other of them.
"""

from collections.abc import Sequence

import torch
from torch import Tensor
from torch.nn import functional

from xbench.methods.nets.patch import PatchProjector


def draw_locations(
    images: int, positions: Sequence[int], patches: int, generator: torch.Generator
) -> Tensor:
    """Distinct random positions `[images, taps, S]`, S = patches or what the smallest tap has.

    Args:
        images: how many images.
        positions: positions at each tap (`tap_positions`).
        patches: patches per image and tap (reference: 256).
        generator: its device is the result's.
    """
    count = min(patches, *positions)
    return torch.stack(
        [
            torch.rand(images, n, generator=generator, device=generator.device).topk(count).indices
            for n in positions
        ],
        dim=1,
    )


def patch_nce(queries: Tensor, keys: Tensor, temperature: float = 0.07) -> Tensor:
    """Mean cross-entropy of telling each query's own key from the other keys of its image.

    Args:
        queries: unit vectors of the output, `[B, S, C]`.
        keys: unit vectors of the input at the same places; no gradient flows into them.
        temperature: divides the cosine similarities.
    """
    with torch.autocast(queries.device.type, enabled=False):
        similarity = queries.float() @ keys.detach().float().transpose(1, 2) / temperature
    own = torch.arange(queries.shape[1], device=queries.device).expand(len(queries), -1)
    return functional.cross_entropy(similarity.flatten(0, 1), own.flatten())


def nce_loss(
    projector: PatchProjector,
    outputs: Sequence[Tensor],
    inputs: Sequence[Tensor],
    locations: Tensor,
    temperature: float = 0.07,
) -> Tensor:
    """PatchNCE averaged over the generator's taps.

    Args:
        projector: maps features to unit vectors.
        outputs: the generator's features of its output, `[B, C, h, w]` for each tap.
        inputs: its features of the input, computed without gradients to save time.
        locations: `[B, taps, S]` from `draw_locations`.
        temperature: divides the cosine similarities.
    """
    with torch.no_grad():
        keys = projector(inputs, locations)
    queries = projector(outputs, locations)
    losses = [patch_nce(q, k, temperature) for q, k in zip(queries, keys, strict=True)]
    return torch.stack(losses).mean()
