"""Paired: one network trained on aligned pairs, which no unpaired method may see.

A reference: how much of the gap between two domains does a source image determine? One
label-conditioned U-Net, of MedShift's size, learns the target image from the source image and a
label for the pair of domains, by squared error. Its output is an average over what the source
leaves open, smoother than any image, so noise like the residuals on training pairs is added.
"""

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Literal, NamedTuple, Protocol, cast

import numpy as np
import torch
from safetensors.numpy import load_file, save_file
from torch import Tensor, nn
from torch.nn import functional

from xbench.core.pairs import Pair
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
from xbench.methods.filter import Array, Curve, deviation_curve, gain_map, radial_power
from xbench.methods.training import Batch

#: Training pairs of each pair of domains whose residuals give the grain.
RESIDUALS = 64
#: Images that the network works on at once for these.
CHUNK = 32


class PairedConfig(ConditionalConfig):
    """Network, optimiser, and whether noise is added."""

    codec: Literal["pixel"] = setting("pixel", "train", "what the network works on")
    grain: bool = setting(True, "infer", "add noise like the residuals on the training pairs")


#: Networks and batches are MedShift's; at `paper` on blocks of 8 x 8 pixels for its VAE.
SETTINGS: dict[str, dict[str, Any]] = {
    "smoke": dict(channels=(16, 32), layers=1, attention=(False, False), batch=16),
    "quick": dict(
        channels=(32, 64, 96), layers=1, attention=(False, False, True), batch=16,
        learning_rate=2e-3,
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


class Grain(NamedTuple):
    """Noise of a domain: its deviation by grey value, and gains by ring that colour white noise."""

    deviation: Curve
    gains: Array

    @classmethod
    def fit(cls, predicted: Array, residuals: Array) -> "Grain":
        """The grain of residuals on predictions, both [n, H, W]."""
        deviation = deviation_curve(predicted, np.abs(residuals))
        size = np.maximum(deviation(predicted), 1e-6)
        return cls(deviation, np.sqrt(radial_power(residuals / size)))

    def of(self, predicted: Array, white: Array) -> Array:
        """Noise for predictions [n, H, W], made of standard normal numbers."""
        gains = gain_map(self.gains, *white.shape[1:])
        coloured = np.fft.ifft2(np.fft.fft2(white) * gains / np.sqrt(np.mean(gains**2))).real
        noise: Array = self.deviation(predicted) * coloured
        return noise


class Paired(ConditionalMethod):
    """Predict the target image, and add the grain of its domain."""

    name = "paired"
    about = "a network trained on aligned pairs (reference: never ranked)"
    stochastic = True
    Config = PairedConfig
    config: PairedConfig
    by_profile = SETTINGS
    objective = "aligned-mse-v1"
    #: Set by the training.
    grains: dict[str, Grain]

    def label_count(self) -> int:
        """One label for each source and target, whether or not they differ."""
        return len(self.domains) ** 2

    def make_net(self, device: torch.device) -> nn.Module:
        """See `ConditionalMethod`; a fresh one changes nothing, so that identity is the start."""
        net = super().make_net(device)
        for weight in cast(nn.Module, net.conv_out).parameters():
            nn.init.zeros_(weight)
        return net

    def make_learner(self, data: TrainData, seed: int) -> "PairedLearner":
        """Regression on aligned images."""
        return PairedLearner(self, data, seed)

    def trainings(self, pairs: Sequence[Pair]) -> list[Training]:
        """One network for all pairs, and the grain of all domains."""
        return [PairedTraining(self)]

    @torch.inference_mode()
    def predicted(self, images: Tensor, source: str, target: str) -> Tensor:
        """The output before grain, in [0, 1]."""
        x = self.encode(images)
        places = [self.domains.index(domain) for domain in (source, target)]
        labels = torch.full((len(x),), places[0] * len(self.domains) + places[1], device=x.device)
        change = self.predict(x, torch.zeros_like(labels), labels)
        return self.decode(x + change, images).clamp(0, 1)

    def translate(
        self, images: Tensor, source: str, target: str, *, generators: Sequence[torch.Generator]
    ) -> Tensor:
        """Predict, and draw the grain."""
        predicted = self.predicted(images, source, target)
        if not self.config.grain:
            return predicted
        white = normals(generators, *images.shape[2:]).double().cpu().numpy()
        greys = predicted[:, 0].double().cpu().numpy()
        noisy = greys + self.grains[target].of(greys, white)
        return torch.from_numpy(noisy)[:, None].to(images)


class PairedTraining(ConditionalTraining):
    """The training of the network, then the fit of the grain."""

    method: Paired

    def fit(
        self, data: TrainData, images: int, seed: int, checkpoint: Path, progress: Progress
    ) -> Log:
        """See `Training`; `data` is `AlignedData`."""
        log = super().fit(data, images, seed, checkpoint, progress)
        aligned = {domain: views(data, domain) for domain in self.method.domains}
        self.method.grains = {domain: self._grain(aligned, domain) for domain in aligned}
        return log

    def _grain(self, aligned: Mapping[str, Images], target: str) -> Grain:
        """The grain of a domain, from residuals on training pairs of all sources."""
        truth = evenly_spaced(aligned[target], RESIDUALS)
        predicted = torch.cat(
            [
                self.method.predicted(part.to(self.method.device), source, target).cpu()
                for source in aligned
                if source != target
                for part in evenly_spaced(aligned[source], RESIDUALS).split(CHUNK)
            ]
        )
        residuals = truth.repeat(len(aligned) - 1, 1, 1, 1) - predicted
        return Grain.fit(predicted[:, 0].double().numpy(), residuals[:, 0].double().numpy())

    def save(self, folder: Path) -> None:
        """Write `weights.safetensors` and `grain.safetensors`."""
        super().save(folder)
        arrays: dict[str, Array] = {}
        for domain, grain in self.method.grains.items():
            parts = (*grain.deviation, grain.gains)
            arrays |= {f"{domain}/{n}": part for n, part in enumerate(parts)}
        save_file(arrays, folder / "grain.safetensors")

    def load(self, folder: Path) -> None:
        """Read what `save` wrote."""
        super().load(folder)
        arrays = load_file(folder / "grain.safetensors")
        self.method.grains = {
            domain: Grain(Curve(x, y), gains)
            for domain in self.method.domains
            for x, y, gains in [[arrays[f"{domain}/{part}"] for part in range(3)]]
        }


class PairedLearner(ConditionalLearner):
    """Squared error of source + network(source, pair) against the aligned target."""

    def __init__(self, method: Paired, data: TrainData, seed: int) -> None:
        super().__init__(method, data, seed)
        self.aligned = [views(data, domain) for domain in method.domains]

    def draw(self, generator: torch.Generator) -> Batch:
        """Random pairs of domains, and a random view of each."""
        number, device = len(self.aligned), self.method.device
        shape: dict[str, Any] = dict(size=(self.batch,), generator=generator, device=device)
        source = torch.randint(number, **shape)
        target = (source + torch.randint(1, number, **shape)) % number
        places = torch.randint(len(self.aligned[0]), **shape).tolist()
        data, wanted = (
            torch.stack([self.aligned[d][i] for d, i in zip(domains.tolist(), places, strict=True)])
            for domains in (source, target)
        )
        return {
            "labels": source * number + target,
            "data": self.method.encode(data.to(device)),
            "wanted": self.method.encode(wanted.to(device)),
        }

    def losses(self, batch: Batch) -> Iterator[tuple[str, dict[str, Tensor]]]:
        """Mean squared error."""
        x, labels = batch["data"], batch["labels"]
        change = self.networks["net"](x, torch.zeros_like(labels), class_labels=labels).sample
        yield "net", {"error": functional.mse_loss(x + change.float(), batch["wanted"])}


def views(data: TrainData, domain: str) -> Images:
    """Aligned training images of a domain."""
    return cast(AlignedData, data).paired(domain)
