"""PatchNCE (arXiv 2007.15651), the contrastive loss of CUT and UNSB, and what these two share.

A patch of the output must be more similar to the input's patch at the same place than to the
input's patches at other places.
"""

from collections.abc import Sequence

import torch
from torch import Tensor
from torch.nn import functional

from xbench.methods.base import setting
from xbench.methods.gan import GanConfig
from xbench.methods.nets.patch import PatchProjector
from xbench.methods.nets.resnet import encoder_taps, tap_channels, tap_positions
from xbench.methods.pairwise import PairwiseMethod


class ContrastConfig(GanConfig):
    """Networks, and the patches that are contrasted."""

    antialias: bool = setting(
        True, "train", "blur before dropping pixels (official; costs more time)"
    )
    projection: int = setting(256, "train", "width of the patch vectors (official: 256)", ge=1)
    patches: int = setting(256, "train", "patches contrasted per image (official: 256)", ge=2)


class ContrastMethod(PairwiseMethod):
    """A method whose generator is trained with PatchNCE."""

    config: ContrastConfig

    @property
    def taps(self) -> tuple[int, ...]:
        """Layers of the generator whose features are contrasted."""
        return encoder_taps(self.config.blocks, self.config.antialias)

    def positions(self, side: int) -> list[int]:
        """Positions at each tap for images of a side."""
        config = self.config
        return tap_positions(self.taps, side, side, config.antialias, config.kernel)

    def make_projector(self) -> PatchProjector:
        """From the generator's features to the vectors that are contrasted."""
        channels = tap_channels(self.taps, width=self.config.width)
        return PatchProjector(channels, self.config.projection)


def draw_locations(
    images: int, positions: Sequence[int], patches: int, generator: torch.Generator
) -> Tensor:
    """Distinct random positions `[images, taps, S]`, S = patches or what the smallest tap has.

    Args:
        images: how many images.
        positions: positions at each tap (`tap_positions`).
        patches: patches per image and tap (reference: 256).
        generator: the result is on its device.
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
    """Mean cross-entropy of recognising each query's own key among all keys of its image.

    Args:
        queries: unit vectors of the output, `[B, S, C]`.
        keys: unit vectors of the input at the same places; they get no gradient.
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
) -> Tensor:
    """PatchNCE averaged over the generator's taps.

    Args:
        projector: maps features to unit vectors.
        outputs: the generator's features of its output, `[B, C, h, w]` for each tap.
        inputs: its features of the input, computed without gradients to save time.
        locations: `[B, taps, S]` from `draw_locations`.
    """
    with torch.no_grad():
        keys = projector(inputs, locations)
    queries = projector(outputs, locations)
    return torch.stack([patch_nce(q, k) for q, k in zip(queries, keys, strict=True)]).mean()
