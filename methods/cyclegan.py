"""CycleGAN: two generators held together by cycle consistency (arXiv 1703.10593).

Follows the official implementation: least-squares losses on 70-pixel patches, identity loss, a
history of earlier fakes. As in all methods here, images are not augmented by resizing or flipping,
nor by cropping unless `crop` is set.
"""

from collections.abc import Iterator
from typing import Any, ClassVar

import torch
from torch import Tensor, nn

from xbench.core.pairs import Pair
from xbench.methods.base import TrainData, setting
from xbench.methods.gan import CROPPED, GanConfig, GanLearner, frozen
from xbench.methods.nets.patch import PatchDiscriminator, discriminator_loss, least_squares
from xbench.methods.nets.resnet import ResnetGenerator, init_normal
from xbench.methods.pairwise import PairwiseMethod, count
from xbench.methods.training import Batch


class CycleGANConfig(GanConfig):
    """Settings of CycleGAN; defaults are the official ones."""

    accumulate: int = setting(1, "resources", "chunks in which a batch is worked off", ge=1)
    cycle: float = setting(10.0, "train", "weight of the cycle loss", ge=0)
    identity_weight: float = setting(
        0.5, "train", "weight of the identity loss, times the cycle's", ge=0
    )
    buffer: int = setting(50, "train", "earlier fakes kept per direction", ge=0)


#: Smaller networks and larger steps for short runs; `standard` and `paper` are official.
QUICK: dict[str, Any] = dict(
    width=16, kernel=3, blocks=4, critic_width=16, critic_layers=2, batch=2, learning_rate=1e-3
)
SETTINGS: dict[str, dict[str, Any]] = {
    "smoke": dict(width=8, blocks=1, critic_width=8, critic_layers=2, batch=4),
    "quick": QUICK,
    "medium": QUICK | CROPPED,
}


class CycleGAN(PairwiseMethod):
    """One training per unordered pair of domains; translating needs only the generator."""

    name = "cyclegan"
    version = 2
    about = "two generators, cycle consistency, patch discriminators (arXiv 1703.10593)"
    Config = CycleGANConfig
    config: CycleGANConfig
    by_profile = SETTINGS
    factors: ClassVar = {"quick": 2}
    objective = "cyclegan-v1"
    both_ways = True

    def make_generator(self) -> nn.Module:
        """CycleGAN's residual generator."""
        return ResnetGenerator(
            width=self.config.width, blocks=self.config.blocks, kernel=self.config.kernel
        )

    def make_discriminator(self) -> nn.Module:
        """The patch discriminator of one domain."""
        return PatchDiscriminator(width=self.config.critic_width, layers=self.config.critic_layers)

    def make_learner(self, data: TrainData, pair: Pair, seed: int) -> "CycleGANLearner":
        """Both generators and discriminators."""
        return CycleGANLearner(self, data, pair, seed)

    def training_params(self) -> int:
        """The other generator and two discriminators."""
        return count(self.make_generator()) + 2 * count(self.make_discriminator())


class CycleGANLearner(GanLearner):
    """Generators a → b (`generator`) and b → a (`generator_back`) against two discriminators."""

    method: CycleGAN
    config: CycleGANConfig
    moves: ClassVar = {part: [part, f"{part}_back"] for part in ("generator", "critic")}
    epochs = 100

    def __init__(self, method: CycleGAN, data: TrainData, pair: Pair, seed: int) -> None:
        super().__init__(method, data, pair, seed)
        self.accumulate = method.config.accumulate

    def make_networks(self) -> dict[str, nn.Module]:
        """Both generators, both discriminators, and a history of fakes for each of these."""
        method = self.method
        made = {
            "generator": method.make_generator(),
            "generator_back": method.make_generator(),
            "critic": method.make_discriminator(),
            "critic_back": method.make_discriminator(),
        }
        for net in made.values():
            init_normal(net)
        for name in ("history", "history_back"):
            made[name] = History(self.config.buffer, self.side)
        return made

    def draw(self, generator: torch.Generator) -> Batch:
        """Unpaired images of both domains, and random numbers for the histories."""
        batch = super().draw(generator)
        for name in ("history", "history_back"):
            batch[name] = torch.rand(self.batch, 2, generator=generator, device=self.device)
        return batch

    def losses(self, batch: Batch) -> Iterator[tuple[str, dict[str, Tensor]]]:
        """Both generators, then both discriminators."""
        a, b, nets, config = batch["a"], batch["b"], self.networks, self.config
        forth, back = nets["generator"], nets["generator_back"]
        # Translation and identity in one call: instance norm keeps the images apart.
        fake_b, same_b = forth(torch.cat([a, b])).chunk(2)
        fake_a, same_a = back(torch.cat([b, a])).chunk(2)
        with frozen(nets["critic"], nets["critic_back"]):
            fooled = least_squares(nets["critic"](fake_b), 1.0)
            fooled = fooled + least_squares(nets["critic_back"](fake_a), 1.0)
        cycle = distance(back(fake_b), a) + distance(forth(fake_a), b)
        same = distance(same_b, b) + distance(same_a, a)
        yield (
            "generator",
            {
                "gan": fooled,
                "cycle": config.cycle * cycle,
                "identity": config.cycle * config.identity_weight * same,
            },
        )
        losses = {}
        for end, real, fake in (("", b, fake_b), ("_back", a, fake_a)):
            old = nets[f"history{end}"](fake.detach(), batch[f"history{end}"])
            scores = nets[f"critic{end}"](torch.cat([real, old.to(real.dtype)]))
            right, wrong = scores.chunk(2)
            losses[f"critic{end}"] = discriminator_loss(right, wrong)
        yield "critic", losses


class History(nn.Module):
    """Earlier fakes: the discriminator sees an old one half of the time."""

    images: Tensor
    filled: Tensor

    def __init__(self, length: int, size: int) -> None:
        super().__init__()
        self.register_buffer("images", torch.zeros(length, 1, size, size))
        self.register_buffer("filled", torch.zeros((), dtype=torch.long))

    @torch.no_grad()
    def forward(self, fakes: Tensor, chance: Tensor) -> Tensor:
        """Exchange some of the fakes `[B, 1, H, W]` for stored ones.

        Args:
            fakes: new images.
            chance: `[B, 2]` in [0, 1): whether to exchange a fake, and for which stored one.
        """
        shown = fakes.clone()
        for row, (exchange, which) in enumerate(chance.tolist()):
            filled, length = int(self.filled), len(self.images)
            if filled < length:
                self.images[filled] = fakes[row]
                self.filled += 1
            elif length and exchange < 0.5:
                slot = int(which * length)
                shown[row] = self.images[slot]
                self.images[slot] = fakes[row]
        return shown


def distance(one: Tensor, other: Tensor) -> Tensor:
    """Mean absolute difference, in float32."""
    return (one.float() - other).abs().mean()
