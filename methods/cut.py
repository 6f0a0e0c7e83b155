"""CUT and FastCUT: one-sided translation by contrasting patches (arXiv 2007.15651).

Follows the official implementation: anti-aliased networks, PatchNCE at five depths of the
encoder, no history of fakes. Left out for all methods alike are resize-and-crop jitter and the
flips that only augment; FastCUT's flip equivariance is part of its loss and stays.
"""

from collections.abc import Iterator
from typing import Any, Self

import torch
from pydantic import model_validator
from torch import Tensor, nn

from xbench.core.hashing import seed_from
from xbench.core.pairs import Pair
from xbench.core.profiles import Profile
from xbench.methods.base import TrainData, setting
from xbench.methods.gan import SMOKE, GanConfig, adam, frozen, linear_decay
from xbench.methods.nets.patch import PatchDiscriminator, PatchProjector, least_squares, tell_apart
from xbench.methods.nets.resnet import (
    ResnetGenerator,
    encoder_taps,
    init_xavier,
    tap_channels,
    tap_positions,
)
from xbench.methods.pairwise import PairwiseMethod, count, draw_images
from xbench.methods.patchnce import draw_locations, nce_loss
from xbench.methods.training import Batch, Learner


class CUTConfig(GanConfig):
    """Settings of CUT; defaults are the official ones."""

    antialias: bool = setting(
        True, "train", "blur before dropping pixels (official; costs more time)"
    )
    projection: int = setting(256, "train", "width of the patch vectors (official: 256)", ge=1)
    patches: int = setting(256, "train", "patches contrasted per image (official: 256)", ge=2)
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


#: Smaller networks and larger steps where time is short; `standard` and `paper` are official.
SETTINGS: dict[str, dict[str, Any]] = {
    "smoke": SMOKE,
    "quick": {
        "width": 16,
        "kernel": 3,
        "blocks": 4,
        "critic_width": 16,
        "critic_layers": 2,
        "antialias": False,
        "projection": 64,
        "patches": 64,
        "batch": 1,
        "learning_rate": 2e-3,
    },
}
FAST: dict[str, Any] = {
    "nce": 10.0,
    "nce_identity": False,
    "flips": True,
    "constant": 150,
    "falling": 50,
}


class CUT(PairwiseMethod):
    """One training per ordered pair; the generator alone translates."""

    name = "cut"
    about = "one generator, patchwise contrast of input and output (arXiv 2007.15651)"
    Config = CUTConfig
    config: CUTConfig
    objective = "cut-v1"

    @classmethod
    def configure(cls, profile: Profile) -> CUTConfig:
        """Official networks unless the profile is for a small machine."""
        return CUTConfig(**SETTINGS.get(profile.name, {}))

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

    def make_projector(self) -> PatchProjector:
        """From features of the encoder to vectors that are contrasted."""
        channels = tap_channels(self.taps, width=self.config.width)
        return PatchProjector(channels, self.config.projection)

    @property
    def taps(self) -> tuple[int, ...]:
        """Layers of the generator whose features are contrasted."""
        return encoder_taps(self.config.blocks, self.config.antialias)

    def make_learner(self, data: TrainData, pair: Pair, seed: int) -> Learner:
        """Generator, projector and discriminator."""
        return CUTLearner(self, data, pair, seed)

    def training_params(self) -> int:
        """Discriminator and projector."""
        return count(self.make_critic(), self.make_projector())


class FastCUT(CUT):
    """CUT without the identity term, with stronger contrast and flip equivariance."""

    name = "fastcut"
    about = "CUT without identity term, stronger contrast, flip-equivariant (arXiv 2007.15651)"

    @classmethod
    def configure(cls, profile: Profile) -> CUTConfig:
        """CUT's networks with FastCUT's losses."""
        return CUTConfig(**SETTINGS.get(profile.name, {}) | FAST)


class CUTLearner(Learner):
    """One generator with its projector against one discriminator."""

    def __init__(self, method: CUT, data: TrainData, pair: Pair, seed: int) -> None:
        config = self.config = method.config
        self.device, self.averages, self.taps = method.device, {}, method.taps
        self.positions = tap_positions(
            self.taps, method.padded, method.padded, config.antialias, config.kernel
        )
        self.batch = config.batch
        self.images = [data.train(domain) for domain in pair]
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed_from(seed, "init"))
            self.net = method.make_generator()
            self.critic = method.make_critic()
            self.projector = method.make_projector()
            for made in (self.net, self.critic, self.projector):
                init_xavier(made)
                made.to(self.device)
        self.networks = {
            "generator": self.net,
            "critic": self.critic,
            "projector": self.projector,
        }
        # Adam treats every weight by itself: one for both networks equals one for each.
        self.optimizers = {
            "critic": adam(config.learning_rate, self.critic),
            "generator": adam(config.learning_rate, self.net, self.projector),
        }

    def schedule(self, step: int, steps: int) -> float:
        """Constant, then down to 0."""
        return linear_decay(step, steps, self.config.constant, self.config.falling)

    def draw(self, generator: torch.Generator) -> Batch:
        """Unpaired images of both domains, patches to contrast, and flips."""
        source, target = self.images
        return {
            "a": draw_images(source, self.batch, generator, self.device),
            "b": draw_images(target, self.batch, generator, self.device),
            "patches": draw_locations(self.batch, self.positions, self.config.patches, generator),
            "flip": torch.rand(self.batch, generator=generator, device=self.device) < 0.5,
        }

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
        yield "critic", {"critic": tell_apart(right, wrong)}

        with frozen(self.critic):
            losses = {"gan": least_squares(self.critic(fake), 1.0)}
        inputs = torch.cat([a, b]) if config.nce_identity else a
        with torch.no_grad():
            keys = self.net.features(inputs, self.taps)
        queries = self.net.features(torch.cat([fake, same.to(fake.dtype)]), self.taps)
        if config.flips:  # back, so that places agree; the target's own images were not flipped
            back = torch.cat([flip, torch.zeros_like(flip)])[: len(inputs)]
            queries = [mirror(features, back) for features in queries]
        places = batch["patches"].repeat(len(inputs) // len(a), 1, 1)
        losses["nce"] = config.nce * nce_loss(self.projector, queries, keys, places)
        yield "generator", losses


def mirror(images: Tensor, chosen: Tensor) -> Tensor:
    """Flip the chosen images (`[B]`, bool) left to right."""
    return torch.where(chosen[:, None, None, None], images.flip(-1), images)
