"""Paired: one network trained on aligned pairs, which no unpaired method may see.

A reference: how much of the gap between two domains does a source image determine? One U-Net of
MedShift's size, conditioned on the label of the source, learns the images of all domains at once,
by squared error. It ends with a few convolutions on whole pixels, since blocks of pixels cannot
denoise. Its output is an average over what the source leaves open, smoother than any image, so the
noise that outputs lack on training pairs is added.

Noise with deviation and spectrum of the residuals was tried and is worse: most of a residual is
structure that the network has missed, and structure in a random place is one more error.
"""

from collections.abc import Iterator, Sequence
from itertools import pairwise, permutations
from pathlib import Path
from typing import Any, Literal, Protocol, cast

import numpy as np
import torch
from safetensors.numpy import load_file, save_file
from torch import Tensor, nn
from torch.nn import functional

from xbench.core import compute
from xbench.core.pairs import Pair
from xbench.core.profiles import Profile
from xbench.datasets.base import Images
from xbench.methods.base import (
    Log,
    Progress,
    TrainData,
    Training,
    evenly_spaced,
    normals,
    setting,
)
from xbench.methods.conditional import (
    ConditionalConfig,
    ConditionalLearner,
    ConditionalMethod,
    ConditionalTraining,
)
from xbench.methods.filter import Curve, noise_curve
from xbench.methods.nets.unet import conditional_unet
from xbench.methods.training import Batch

#: Training images at `quick` and `medium`.
LAPTOP = 14_336
#: Maps of features that the U-Net hands on.
FEATURES = 8
#: How much faster than other weights those that keep the source are learned.
KEEP_RATE = 10.0
#: Weight of the fine part of the error.
FINE = 10.0
#: Training views that the grain of each pair of domains is fitted to.
GRAIN = 64
#: Images that the network works on at once for that.
CHUNK = 32


class PairedConfig(ConditionalConfig):
    """Network, optimiser, and whether noise is added."""

    codec: Literal["pixel"] = setting("pixel", "train", "what the network works on")
    width: int = setting(32, "train", "channels of the convolutions on whole pixels", ge=1)
    grain: bool = setting(True, "infer", "add the noise that outputs lack on training pairs")


#: Networks and batches are MedShift's; at `paper` on blocks of 8 x 8 pixels for its VAE.
SETTINGS: dict[str, dict[str, Any]] = {
    "smoke": dict(channels=(16, 32), layers=1, attention=(False, False), batch=16),
    "quick": dict(
        channels=(32, 64, 96), layers=1, attention=(False, False, True), batch=16,
        learning_rate=2e-3,
    ),
    "medium": dict(
        factor=4, width=16, channels=(32, 64, 96), layers=1, attention=(False, False, True),
        batch=16, learning_rate=2e-3,
    ),
    "standard": dict(
        factor=4, channels=(128, 256, 256, 256), attention=(False, False, True, True),
        learning_rate=3e-4,
    ),
    "paper": dict(factor=8, batch=256, attention=(False, False, True)),
}  # fmt: skip


class AlignedData(TrainData, Protocol):
    """Training images of which some are aligned."""

    def paired(self, domain: str) -> Images:
        """Aligned training images: image i shows the same view in every domain."""


class PairedNet(nn.Module):
    """A U-Net on blocks of pixels; convolutions make the images of all domains of its features."""

    def __init__(
        self, unet: nn.Module, width: int, domains: int, factor: int, device: torch.device
    ) -> None:
        super().__init__()
        self.unet, self.factor = unet, factor
        widths = (1 + FEATURES, width, width, domains)
        first, second, last = (
            nn.Conv2d(a, b, 3, padding=1, device=device) for a, b in pairwise(widths)
        )
        # A fresh network changes nothing.
        for weight in last.parameters():
            nn.init.zeros_(weight)
        self.end = nn.Sequential(first, nn.SiLU(), second, nn.SiLU(), last)
        # How much of the source, and so of its noise, each target keeps.
        self.keep = nn.Embedding(domains, domains, device=device)
        nn.init.zeros_(self.keep.weight)

    def forward(self, x: Tensor, labels: Tensor) -> Tensor:
        """Blocks `[B, f², h, w]` and labels `[B]` of sources to images `[B, domains, H, W]`."""
        made = self.unet(x, torch.zeros_like(labels), class_labels=labels).sample
        image, features = (functional.pixel_shuffle(part, self.factor) for part in (x, made))
        kept = image * (1 + KEEP_RATE * self.keep(labels))[..., None, None]
        made_of = torch.cat([image, features.to(image.dtype)], dim=1)
        result: Tensor = kept + self.end(made_of)
        return result


def missing_noise(predicted: Tensor, true: Tensor) -> Curve:
    """Deviation by grey value of the noise that predictions lack, from images [n, 1, H, W]."""
    ours, theirs = (noise_curve(images[:, 0].double().numpy()) for images in (predicted, true))
    return Curve(theirs.x, np.sqrt(np.maximum(theirs.y**2 - ours(theirs.x) ** 2, 0)))


class Paired(ConditionalMethod):
    """Predict the target image, and add grain."""

    name = "paired"
    about = "a network trained on aligned pairs (reference: never ranked)"
    stochastic = True
    Config = PairedConfig
    config: PairedConfig
    by_profile = SETTINGS
    version = 3
    objective = "aligned-mse-v2"
    #: Pair → deviation of its grain by grey value; set by the training.
    grains: dict[Pair, Curve]

    @classmethod
    def profile_images(cls, profile: Profile) -> int:
        """At `quick` and `medium` what two cores do in some minutes."""
        return LAPTOP if profile.name in ("quick", "medium") else profile.train_images

    def make_net(self, device: torch.device) -> nn.Module:
        """See `ConditionalMethod`."""
        config = self.config
        unet = conditional_unet(
            self.codec.channels,
            widths=config.channels,
            layers=config.layers,
            attention=config.attention,
            labels=self.label_count(),
            device=device,
            out_channels=FEATURES * self.codec.channels,
        )
        return PairedNet(unet, config.width, len(self.domains), config.factor, device)

    def make_learner(self, data: TrainData, seed: int) -> "PairedLearner":
        """Regression on aligned images."""
        return PairedLearner(self, data, seed)

    def trainings(self, pairs: Sequence[Pair]) -> list[Training]:
        """One network and the grain of all pairs."""
        return [PairedTraining(self)]

    @torch.inference_mode()
    def predicted(self, images: Tensor, source: str, target: str) -> Tensor:
        """The output before grain, in [0, 1]."""
        x = self.encode(images)
        labels = torch.full((len(x),), self.domains.index(source), device=x.device)
        with compute.autocast(self.computing, x.device):
            made = self.net(x, labels)[:, [self.domains.index(target)]]
        made = functional.pixel_unshuffle(made, self.config.factor)
        return self.decode(made.to(x.dtype), images).clamp(0, 1)

    def translate(
        self, images: Tensor, source: str, target: str, *, generators: Sequence[torch.Generator]
    ) -> Tensor:
        """Predict, and draw the grain."""
        predicted = self.predicted(images, source, target)
        if not self.config.grain:
            return predicted
        white = normals(generators, *images.shape[2:]).double().cpu().numpy()
        greys = predicted[:, 0].double().cpu().numpy()
        noisy = greys + self.grains[source, target](greys) * white
        return torch.from_numpy(noisy)[:, None].to(images)


class PairedTraining(ConditionalTraining):
    """The training of the network, then the fit of the grain."""

    method: Paired

    def fit(
        self, data: TrainData, images: int, seed: int, checkpoint: Path, progress: Progress
    ) -> Log:
        """See `Training`; `data` is `AlignedData`."""
        log = super().fit(data, images, seed, checkpoint, progress)
        domains = self.method.domains
        aligned = {domain: evenly_spaced(views(data, domain), GRAIN) for domain in domains}
        self.method.grains = {
            pair: missing_noise(self._predicted(aligned[pair[0]], pair), aligned[pair[1]])
            for pair in permutations(domains, 2)
        }
        return log

    def _predicted(self, images: Tensor, pair: Pair) -> Tensor:
        device = self.method.device
        parts = [self.method.predicted(x.to(device), *pair).cpu() for x in images.split(CHUNK)]
        return torch.cat(parts)

    def save(self, folder: Path) -> None:
        """Write `weights.safetensors` and `grain.safetensors`."""
        super().save(folder)
        curves = {"/".join(pair): np.stack(curve) for pair, curve in self.method.grains.items()}
        save_file(curves, folder / "grain.safetensors")

    def load(self, folder: Path) -> None:
        """Read what `save` wrote."""
        super().load(folder)
        curves = load_file(folder / "grain.safetensors")
        self.method.grains = {
            pair: Curve(*curves["/".join(pair)]) for pair in permutations(self.method.domains, 2)
        }


class PairedLearner(ConditionalLearner):
    """Squared error of network(source) against the aligned images of all domains.

    The error of fine detail counts more: any linear filter of the error leaves its best answer, the
    conditional mean, as it is, but without one the noise of the source is learned last.
    """

    def __init__(self, method: Paired, data: TrainData, seed: int) -> None:
        super().__init__(method, data, seed)
        self.aligned = [views(data, domain) for domain in method.domains]

    def draw(self, generator: torch.Generator) -> Batch:
        """Random views, each with a random domain as its source."""
        device = self.method.device
        shape: dict[str, Any] = dict(size=(self.batch,), generator=generator, device=device)
        source = torch.randint(len(self.aligned), **shape)
        places = torch.randint(len(self.aligned[0]), **shape).tolist()
        wanted = torch.stack(
            [self.method.encode(images[places].to(device)) for images in self.aligned], dim=1
        )
        return {
            "labels": source,
            "data": wanted[torch.arange(self.batch, device=device), source],
            "wanted": functional.pixel_shuffle(wanted, self.config.factor)[:, :, 0],
        }

    def losses(self, batch: Batch) -> Iterator[tuple[str, dict[str, Tensor]]]:
        """Mean squares of the error and of its fine part."""
        made = self.networks["net"](batch["data"], batch["labels"])
        error = made.float() - batch["wanted"]
        fine = error - functional.avg_pool2d(error, 3, stride=1, padding=1)
        yield "net", {"error": error.square().mean(), "fine": FINE * fine.square().mean()}


def views(data: TrainData, domain: str) -> Images:
    """Aligned training images of a domain."""
    return cast(AlignedData, data).paired(domain)
