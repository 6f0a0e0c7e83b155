"""What CycleGAN, CUT and UNSB have in common: settings, optimiser, learning-rate schedule."""

import copy
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, ClassVar

import torch
from torch import nn

from xbench.methods.base import MethodConfig, setting
from xbench.methods.pairwise import PairLearner


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
    crop: int | None = setting(
        None, "train", "px of random squares to train on; none: whole images (our choice)", ge=16
    )
    learning_rate: float = setting(2e-4, "train", "Adam's, constant then linear to 0", gt=0)
    ema: float | None = setting(
        None, "train", "decay of the generator's weight average; none: last weights", gt=0, lt=1
    )

    def identity(self) -> dict[str, Any]:
        """All settings; `crop` and `ema` count only if set, as published keys are older."""
        younger = ("crop", "ema")
        values = super().identity()
        return {n: value for n, value in values.items() if value is not None or n not in younger}


#: Settings of CUT and UNSB: all of `smoke`, and what both have at `quick`.
SMOKE: dict[str, Any] = dict(
    width=8, blocks=1, critic_width=8, critic_layers=2, projection=16, patches=16, batch=4
)
QUICK: dict[str, Any] = dict(
    width=16, kernel=3, critic_layers=2, antialias=False, projection=64, patches=64, batch=1,
    learning_rate=2e-3,
)  # fmt: skip
#: At `medium` the networks of `quick` train on squares of 64 px, and translate whole images.
CROPPED: dict[str, Any] = dict(crop=64)


class GanLearner(PairLearner):
    """The optimisers and the learning-rate schedule of all GANs here."""

    #: Optimiser → names of the networks whose weights it moves.
    moves: ClassVar[dict[str, list[str]]]
    #: Epochs at the full learning rate, and as many in which it falls to 0.
    epochs: ClassVar[int]

    def schedule(self, step: int, steps: int) -> float:
        """Constant, then linear to 0."""
        return constant_then_linear(step, steps, self.epochs, self.epochs)

    def make_averages(self) -> dict[str, nn.Module]:
        """Moving averages of the generators, which then translate, where `ema` is set."""
        decay = self.method.config.ema
        if decay is None:
            return {}
        self.ema_decay = decay
        generators = {n: net for n, net in self.networks.items() if n.startswith("generator")}
        return {n: copy.deepcopy(net).requires_grad_(False) for n, net in generators.items()}

    def make_optimizers(self) -> dict[str, torch.optim.Optimizer]:
        """Adam; it treats every weight by itself, so one for two networks equals one for each."""
        rate = self.method.config.learning_rate
        weights = {
            name: [weight for net in nets for weight in self.networks[net].parameters()]
            for name, nets in self.moves.items()
        }
        # The fused form takes 14 % off a step of UNSB's small networks on a CPU.
        return {
            name: torch.optim.Adam(of, lr=rate, betas=(0.5, 0.999), fused=True)
            for name, of in weights.items()
        }


def constant_then_linear(step: int, steps: int, constant: int, falling: int) -> float:
    """Factor on the learning rate: 1 for `constant` epochs, then linear to 0.

    Whatever its budget, a training counts as `constant + falling` epochs of equal length. The
    official rule at epoch e (from 0) is 1 - max(0, e + 1 - constant) / (falling + 1).

    >>> [constant_then_linear(step, 8, 2, 2) for step in (0, 3, 4, 7)]
    [1.0, 1.0, 0.6666666666666667, 0.33333333333333337]
    """
    epoch = step * (constant + falling) // steps
    return 1 - max(0, epoch + 1 - constant) / (falling + 1)


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
