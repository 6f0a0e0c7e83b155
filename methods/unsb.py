"""UNSB: an unpaired neural Schrödinger bridge (arXiv 2305.15086), one network per ordered pair.

The network predicts the target image from a state between source and target. A translation
alternates between predicting and stepping towards the prediction with a little noise.
"""

import math
from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import ClassVar, Self

import torch
from pydantic import model_validator
from torch import Tensor, nn

from xbench.core.pairs import Pair
from xbench.methods.base import Cost, TrainData, normals, setting
from xbench.methods.gan import CROPPED, QUICK, SMOKE, GanLearner, frozen
from xbench.methods.nets.patch import PatchProjector, discriminator_loss, least_squares
from xbench.methods.nets.resnet import init_xavier
from xbench.methods.nets.unsb import BridgeGenerator, TimedDiscriminator
from xbench.methods.pairwise import count, draw_images
from xbench.methods.patchnce import ContrastConfig, ContrastMethod, draw_locations, nce_loss
from xbench.methods.training import Batch


class UnsbConfig(ContrastConfig):
    """Settings of UNSB; defaults are those of the authors' README and training script."""

    timesteps: int = setting(5, "train", "intervals of the bridge's time grid (official: 5)", ge=2)
    tau: float = setting(0.01, "train", "the bridge's entropy, its noise variance", ge=0)
    gan: float = setting(1.0, "train", "weight of the adversarial loss", ge=0)
    bridge: float = setting(1.0, "train", "weight of the bridge's loss (README; code: 0.1)", ge=0)
    nce: float = setting(1.0, "train", "weight of PatchNCE", ge=0)
    nfe: int = setting(
        5, "infer", "network evaluations: more change more (README: may overdo it)", ge=1
    )

    @model_validator(mode="after")
    def _within_the_grid(self) -> Self:
        if self.nfe > self.timesteps:
            raise ValueError(f"nfe must be at most timesteps, {self.timesteps}")
        return self


#: Smaller networks and larger steps for short runs; `standard` and `paper` are official.
OWN = QUICK | {"blocks": 1, "critic_width": 8}
SETTINGS = {"smoke": SMOKE, "quick": OWN, "medium": OWN | CROPPED}


def time_grid(timesteps: int) -> list[float]:
    """Times 0 = t_0 < … < t_T = 1 of the bridge; the first step is half of the way.

    t_k = (1 + H_{k-1} / H_{T-1}) / 2 with the harmonic numbers H.

    >>> time_grid(3)
    [0.0, 0.5, 0.8333333333333333, 1.0]
    """
    harmonic = [sum(1 / i for i in range(1, n + 1)) for n in range(timesteps)]
    return [0.0, *(0.5 + 0.5 * h / harmonic[-1] for h in harmonic)]


def bridge_step(
    x: Tensor, predicted: Tensor, times: Sequence[float], k: int, tau: float, noise: Tensor
) -> Tensor:
    """The state at t_k, given the one at t_{k-1} and the image predicted from it.

    As in a Brownian bridge, the mean moves the share s = (t_k - t_{k-1}) / (1 - t_{k-1}) of the
    way to the prediction, the variance is tau (t_k - t_{k-1}) (1 - s).

    Args:
        x: state at t_{k-1}, `[..., H, W]`, in [-1, 1] without its noise.
        predicted: the target image predicted from x, same shape.
        times: the time grid.
        k: index of the time to step to, at least 1.
        tau: the bridge's entropy.
        noise: standard normal, same shape.
    """
    delta = times[k] - times[k - 1]
    share = delta / (1 - times[k - 1])
    return (1 - share) * x + share * predicted + math.sqrt(tau * delta * (1 - share)) * noise


class Unsb(ContrastMethod):
    """The network that the paper describes."""

    name = "unsb"
    version = 2
    about = "neural Schrödinger bridge, time-aware as in the paper (arXiv 2305.15086)"
    Config = UnsbConfig
    config: UnsbConfig
    knob = "nfe"
    stochastic = True
    objective = "unsb-v1"
    by_profile = SETTINGS
    #: Whether to compute what the authors' code computes; see `nets/unsb.py`.
    official: ClassVar[bool] = False

    def make_generator(self) -> BridgeGenerator:
        """The generator with fresh weights."""
        config = self.config
        net = BridgeGenerator(
            width=config.width,
            blocks=config.blocks,
            official=self.official,
            antialias=config.antialias,
            kernel=config.kernel,
        )
        net.initialise()
        return net

    def make_helpers(self) -> tuple[TimedDiscriminator, TimedDiscriminator, PatchProjector]:
        """Networks that only training needs: discriminator, energy, projector."""
        config = self.config
        width, layers = config.critic_width, config.critic_layers
        nets = (
            TimedDiscriminator(1, width, layers, self.official, config.antialias),
            # The energy sees two pairs of a state and the image predicted from it.
            TimedDiscriminator(4, width, layers, self.official, config.antialias),
            self.make_projector(),
        )
        for net in nets:
            init_xavier(net)
        return nets

    @property
    def times(self) -> list[float]:
        """The bridge's time grid."""
        return time_grid(self.config.timesteps)

    def make_learner(self, data: TrainData, pair: Pair, seed: int) -> "UnsbLearner":
        """Generator, discriminator, energy and projector of one direction."""
        return UnsbLearner(self, data, pair, seed)

    def cost(self) -> Cost:
        """One evaluation of the generator per prediction."""
        return replace(super().cost(), nfe=self.config.nfe)

    def training_params(self) -> int:
        """Discriminator, energy and projector."""
        return count(*self.make_helpers())

    def transform(
        self, net: nn.Module, images: Tensor, generators: Sequence[torch.Generator]
    ) -> Tensor:
        """Walk the bridge; the result is the last prediction, not the last state."""
        config = self.config
        x = predicted = images
        for k in range(config.nfe):
            if k > 0:
                noise = normals(generators, *images.shape[1:])
                x = bridge_step(x, predicted, self.times, k, config.tau, noise)
            index = torch.full((len(images),), k, device=images.device)
            predicted = net(x, index, normals(generators, 4 * config.width)).float()
        return predicted


#: At `quick` the official network needs more blocks, a wider discriminator and a larger batch than
#: `unsb`: without them it collapsed (`ftd` 1322 on the pairs between synthetic and real; with
#: them 120).
OFFICIAL = QUICK | {"blocks": 3, "critic_width": 16, "batch": 2}


class UnsbOfficial(Unsb):
    """The network of the authors' code, in which the time has no effect."""

    name = "unsb-official"
    version = 2
    about = "UNSB as its authors' code computes it, blind to the time (their issue 29)"
    objective = "unsb-official-v1"
    official = True
    factors: ClassVar = {"quick": 0.5}
    by_profile = SETTINGS | {"quick": OFFICIAL, "medium": OFFICIAL | CROPPED}


class UnsbLearner(GanLearner):
    """The generator of one direction with its projector, a discriminator and an energy.

    Three chains of states run side by side: from source images, from other source images (the
    energy compares the two), and from target images, which should stay as they are.
    """

    method: Unsb
    config: UnsbConfig
    moves: ClassVar = {
        "critic": ["critic"], "energy": ["energy"], "generator": ["generator", "projector"]
    }  # fmt: skip
    epochs = 200

    def make_networks(self) -> dict[str, nn.Module]:
        """Generator, discriminator, energy and projector."""
        self.net = self.method.make_generator()
        self.critic, self.energy, self.projector = self.method.make_helpers()
        return {
            "generator": self.net,
            "critic": self.critic,
            "energy": self.energy,
            "projector": self.projector,
        }

    def draw(self, generator: torch.Generator) -> Batch:
        """Images that start the three chains, the index where they end, all noise, patches."""
        config, number = self.config, self.batch
        source, target = self.near
        crop, positions = self.method.crop, self.method.positions(self.side)
        chains = [
            draw_images(images, number, generator, self.device, crop)
            for images in (source, source, target)
        ]
        start = torch.stack(chains, dim=1)
        k = int(torch.randint(config.timesteps, (1,), generator=generator, device=self.device))

        def normal(*shape: int) -> Tensor:
            return torch.randn(number, *shape, generator=generator, device=self.device)

        return {
            "start": start,
            "index": torch.full((number,), k, device=self.device),
            "noise": normal(k, *start.shape[1:]),
            "z_chain": normal(k, 3, 4 * config.width),
            "z": normal(3, 4 * config.width),
            "z_features": normal(2, 4 * config.width),
            "patches": torch.stack(
                [draw_locations(number, positions, config.patches, generator) for _ in range(2)],
                dim=1,
            ),
        }

    def losses(self, batch: Batch) -> Iterator[tuple[str, dict[str, Tensor]]]:
        """Discriminator, energy, generator, in the official order and on the same predictions."""
        config, index = self.config, batch["index"]
        states = self.roll_out(batch)
        predicted = self.predict(states, index, batch["z"])
        fake, real = predicted[:, 0], batch["start"][:, 2]
        both = torch.cat([real, fake.detach()])
        right, wrong = self.critic(both, index.repeat(2)).chunk(2)
        yield "critic", {"critic": discriminator_loss(right, wrong)}

        same, other = self.energies(states, predicted.detach(), index)
        yield "energy", {"energy": (other + other**2 - same).mean()}

        with frozen(self.critic, self.energy):
            losses = {
                "gan": config.gan * least_squares(self.critic(fake, index), 1.0),
                "bridge": config.bridge * self.bridge_loss(states, predicted, index),
            }
        losses["nce"] = config.nce * self.patch_loss(batch, predicted)
        yield "generator", losses

    @torch.no_grad()
    def roll_out(self, batch: Batch) -> Tensor:
        """States of the three chains at the drawn index, `[B, 3, 1, H, W]`."""
        states, times = batch["start"], self.method.times
        for k in range(1, batch["noise"].shape[1] + 1):
            before = torch.full_like(batch["index"], k - 1)
            predicted = self.predict(states, before, batch["z_chain"][:, k - 1])
            noise = batch["noise"][:, k - 1]
            states = bridge_step(states, predicted, times, k, self.config.tau, noise)
        return states

    def predict(self, states: Tensor, index: Tensor, z: Tensor) -> Tensor:
        """Images `[B, 3, 1, H, W]` predicted from states at indices `[B]` under z `[B, 3, Z]`."""
        chains = states.shape[1]
        flat = states.flatten(0, 1), index.repeat_interleave(chains), z.flatten(0, 1)
        predicted: Tensor = self.net(*flat).float().unflatten(0, (-1, chains))
        return predicted

    def energies(self, states: Tensor, predicted: Tensor, index: Tensor) -> tuple[Tensor, Tensor]:
        """For each image, the energy of its pair with itself and with another image's pair.

        The first is a mean over patches, the second the log of a sum of exponentials. As in the
        official code it is a sum, not a mean, so it depends on the image's size. The official sum
        also runs over the batch, which is the same at the official batch of one.
        """
        one = torch.cat([states[:, 0], predicted[:, 0]], dim=1)
        two = torch.cat([states[:, 1], predicted[:, 1]], dim=1)
        stacks = torch.cat([torch.cat([one, one], dim=1), torch.cat([one, two], dim=1)])
        same, other = self.energy(stacks, index.repeat(2)).float().flatten(1).chunk(2)
        return same.mean(dim=1), other.logsumexp(dim=1)

    def bridge_loss(self, states: Tensor, predicted: Tensor, index: Tensor) -> Tensor:
        """Remaining distance to the prediction, less the entropy of the remaining time."""
        same, other = self.energies(states, predicted, index)
        left = 1 - index / self.config.timesteps
        distance = (states[:, 0] - predicted[:, 0]).square().mean()
        return self.config.tau * (distance - (left * (same - other)).mean())

    def patch_loss(self, batch: Batch, predicted: Tensor) -> Tensor:
        """PatchNCE of source and prediction, and of the target image and its prediction."""
        inputs = batch["start"][:, [0, 2]].flatten(0, 1)
        outputs = predicted[:, [0, 2]].flatten(0, 1)
        # Features are taken at time 0, those of input and output under the same z.
        index = batch["index"].new_zeros(len(inputs))
        z = batch["z_features"].flatten(0, 1)
        with torch.no_grad():
            keys = self.net.features(inputs, index, z, self.method.taps)
        queries = self.net.features(outputs, index, z, self.method.taps)
        return nce_loss(self.projector, queries, keys, batch["patches"].flatten(0, 1))
