"""What CycleGAN, CUT and UNSB have in common."""

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import nn

from xbench.methods.base import MethodConfig, setting


class GanConfig(MethodConfig):
    """Networks and optimiser; defaults are those of the official CycleGAN and CUT."""

    width: int = setting(64, "train", "generator's first width (official: 64)", ge=1)
    blocks: int = setting(9, "train", "residual blocks (official: 9 at 256 px)", ge=1)
    kernel: int = setting(
        7, "train", "first and last convolution, odd (official: 7 at 256 px)", ge=1
    )
    critic_width: int = setting(64, "train", "discriminator's first width (official: 64)", ge=1)
    critic_layers: int = setting(
        3, "train", "discriminator's halving layers (official: 3, patches of 70 px)", ge=1
    )
    batch: int = setting(1, "train", "image pairs per step (official: 1)", ge=1)
    learning_rate: float = setting(2e-4, "train", "Adam's, constant then linear to 0", gt=0)


#: The smallest networks of the methods that contrast patches.
SMOKE: dict[str, int] = {
    "width": 8,
    "blocks": 1,
    "critic_width": 8,
    "critic_layers": 2,
    "projection": 16,
    "patches": 16,
    "batch": 4,
}


def linear_decay(step: int, steps: int, constant: int, falling: int) -> float:
    """Factor on the learning rate: 1 for `constant` epochs, then linearly towards 0.

    The training is taken as `constant + falling` epochs of equal length, whatever its budget;
    the official rule at epoch e (from 0) is 1 - max(0, e + 1 - constant) / (falling + 1).
    """
    epoch = step * (constant + falling) // steps
    return 1 - max(0, epoch + 1 - constant) / (falling + 1)


def adam(rate: float, *nets: nn.Module) -> torch.optim.Optimizer:
    """The optimiser of all GANs here: Adam with betas 0.5 and 0.999."""
    weights = [weight for net in nets for weight in net.parameters()]
    # The fused form takes 14 % off a step of UNSB's small networks on a CPU.
    return torch.optim.Adam(weights, lr=rate, betas=(0.5, 0.999), fused=True)


@contextmanager
def frozen(*nets: nn.Module) -> Iterator[None]:
    """No gradients for the weights of these networks; gradients still flow through them."""
    for net in nets:
        net.requires_grad_(False)
    try:
        yield
    finally:
        for net in nets:
            net.requires_grad_(True)
