"""CUT and FastCUT: one-sided translation by contrasting patches (arXiv 2007.15651).

Follows the official implementation: anti-aliased networks, PatchNCE at five depths of the
encoder, no history of fakes. As in all methods here, images are not augmented by resizing or
flipping, nor by cropping unless `crop` is set; FastCUT's flip equivariance is part of its loss.
"""

from collections.abc import Iterator
from typing import ClassVar, Self

import torch
from pydantic import model_validator
from torch import Tensor, nn

from xbench.core.pairs import Pair
from xbench.core.profiles import Profile
from xbench.methods.base import TrainData, setting
from xbench.methods.gan import CROPPED, QUICK, SMOKE, GanLearner, constant_then_linear, frozen
from xbench.methods.nets.patch import PatchDiscriminator, discriminator_loss, least_squares
from xbench.methods.nets.resnet import ResnetGenerator, init_xavier
from xbench.methods.pairwise import count
from xbench.methods.patchnce import ContrastConfig, ContrastMethod, draw_locations, nce_loss
from xbench.methods.training import Batch


class CUTConfig(ContrastConfig):
    """Settings of CUT; defaults are the official ones."""

    nce: float = setting(1.0, "train", "weight of PatchNCE (FastCUT: 10)", ge=0)
    nce_identity: bool = setting(True, "train", "contrast the target's own images too (CUT)")
    flips: bool = setting(False, "train", "flip-equivariant contrast (FastCUT)")
    constant: int = setting(200, "train", "epochs at full learning rate (FastCUT: 150)", ge=0)
    falling: int = setting(200, "train", "epochs down to 0 (FastCUT: 50)", ge=1)

    @model_validator(mode="after")
    def _something_preserves_the_source(self) -> Self:
        if self.nce == 0:
            raise ValueError("nce must be above 0: nothing else ties output to input")
        return self


#: Smaller networks and larger steps for short runs; `standard` and `paper` are official.
OWN = QUICK | {"blocks": 4, "critic_width": 16}
SETTINGS = {"smoke": SMOKE, "quick": OWN, "medium": OWN | CROPPED}
FAST = dict(nce=10.0, nce_identity=False, flips=True, constant=150, falling=50)


class CUT(ContrastMethod):
    """One training per ordered pair; translating needs only the generator."""

    name = "cut"
    version = 2
    about = "one generator, patchwise contrast of input and output (arXiv 2007.15651)"
    Config = CUTConfig
    config: CUTConfig
    by_profile = SETTINGS
    objective = "cut-v1"

    def make_generator(self) -> ResnetGenerator:
        """CUT's anti-aliased residual generator."""
        config = self.config
        return ResnetGenerator(
            width=config.width,
            blocks=config.blocks,
            antialias=config.antialias,
            kernel=config.kernel,
        )

    def make_critic(self) -> nn.Module:
        """The patch discriminator of the target."""
        config = self.config
        return PatchDiscriminator(
            width=config.critic_width, layers=config.critic_layers, antialias=config.antialias
        )

    def make_learner(self, data: TrainData, pair: Pair, seed: int) -> "CUTLearner":
        """Generator, projector and discriminator."""
        return CUTLearner(self, data, pair, seed)

    def training_params(self) -> int:
        """Discriminator and projector."""
        return count(self.make_critic(), self.make_projector())


class FastCUT(CUT):
    """CUT without the identity term, with stronger contrast and flip equivariance."""

    name = "fastcut"
    version = 2
    about = "CUT without identity term, stronger contrast, flip-equivariant (arXiv 2007.15651)"
    factors: ClassVar = {"quick": 2}

    @classmethod
    def configure(cls, profile: Profile) -> CUTConfig:
        """CUT's networks with FastCUT's losses."""
        return CUTConfig(**{**cls.by_profile.get(profile.name, {}), **FAST})


class CUTLearner(GanLearner):
    """A generator with its projector against a discriminator."""

    method: CUT
    config: CUTConfig
    moves: ClassVar = {"critic": ["critic"], "generator": ["generator", "projector"]}

    def make_networks(self) -> dict[str, nn.Module]:
        """Generator, discriminator and projector."""
        method = self.method
        self.net, self.critic = method.make_generator(), method.make_critic()
        self.projector = method.make_projector()
        made = {"generator": self.net, "critic": self.critic, "projector": self.projector}
        for net in made.values():
            init_xavier(net)
        return made

    def schedule(self, step: int, steps: int) -> float:
        """Constant, then linear to 0."""
        return constant_then_linear(step, steps, self.config.constant, self.config.falling)

    def draw(self, generator: torch.Generator) -> Batch:
        """Unpaired images of both domains, patches to contrast, and flips."""
        batch, positions = super().draw(generator), self.method.positions(self.side)
        batch["patches"] = draw_locations(self.batch, positions, self.config.patches, generator)
        batch["flip"] = torch.rand(self.batch, generator=generator, device=self.device) < 0.5
        return batch

    def losses(self, batch: Batch) -> Iterator[tuple[str, dict[str, Tensor]]]:
        """The discriminator, then generator and projector."""
        config, a, b = self.config, batch["a"], batch["b"]
        flip = batch["flip"]
        given = mirror(a, flip) if config.flips else a
        if config.nce_identity:
            fake, same = self.net(torch.cat([given, b])).chunk(2)
        else:
            fake, same = self.net(given), b[:0]
        right, wrong = self.critic(torch.cat([b, fake.detach().to(b.dtype)])).chunk(2)
        yield "critic", {"critic": discriminator_loss(right, wrong)}

        with frozen(self.critic):
            losses = {"gan": least_squares(self.critic(fake), 1.0)}
        inputs = torch.cat([a, b]) if config.nce_identity else a
        with torch.no_grad():
            keys = self.net.features(inputs, self.method.taps)
        queries = self.net.features(torch.cat([fake, same.to(fake.dtype)]), self.method.taps)
        if config.flips:  # flip back, so that places agree; the target's images were not flipped
            back = torch.cat([flip, torch.zeros_like(flip)])[: len(inputs)]
            queries = [mirror(features, back) for features in queries]
        places = batch["patches"].repeat(len(inputs) // len(a), 1, 1)
        losses["nce"] = config.nce * nce_loss(self.projector, queries, keys, places)
        yield "generator", losses


def mirror(images: Tensor, chosen: Tensor) -> Tensor:
    """Flip the chosen images (`[B]`, bool) left to right."""
    return torch.where(chosen[:, None, None, None], images.flip(-1), images)
