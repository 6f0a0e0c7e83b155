"""A class-conditional U-Net: diffusers' `UNet2DModel`."""

import math
from collections.abc import Sequence

import torch
from torch import nn


def conditional_unet(
    channels: int,
    *,
    widths: Sequence[int],
    layers: int,
    attention: Sequence[bool],
    labels: int,
    device: torch.device,
    out_channels: int | None = None,
) -> nn.Module:
    """A U-Net from `[B, channels, H, W]`, times `[B]` and class labels `[B]` to the same shape.

    Args:
        channels: of the input.
        widths: even widths per level; every level but the last halves height and width.
        layers: residual blocks per level going down (one more going up).
        attention: whether a level has self-attention.
        labels: number of class labels, the null label included.
        device: where the weights lie; `meta` for counting only.
        out_channels: of the output; by default those of the input.
    """
    from diffusers import UNet2DModel

    net: nn.Module = UNet2DModel(
        in_channels=channels,
        out_channels=out_channels or channels,
        block_out_channels=tuple(widths),
        layers_per_block=layers,
        down_block_types=[f"{'Attn' * level}DownBlock2D" for level in attention],
        up_block_types=[f"{'Attn' * level}UpBlock2D" for level in reversed(attention)],
        norm_num_groups=_groups(math.gcd(*widths)),
        attention_head_dim=32,
        add_attention=any(attention),
        num_class_embeds=labels,
    )
    return net.to(device)


def _groups(width: int) -> int:
    """The largest number of groups, up to 32, with two or more channels in each.

    Groups of one channel would erase each channel's mean.

    >>> _groups(32), _groups(256)
    (16, 32)
    """
    return max(n for n in range(1, 33) if width % n == 0 and (2 * n <= width or n == 1))
