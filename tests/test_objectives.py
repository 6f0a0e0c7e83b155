"""What each method regresses or contrasts: its loss against the formula, on networks made up here.

A sign, a weight or an end of time that is wrong leaves a loss that falls all the same.
"""

import math
from types import SimpleNamespace
from typing import Any, Literal

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional

from xbench.core.profiles import get_profile
from xbench.datasets.base import Images
from xbench.methods.cut import CUTLearner, FastCUT
from xbench.methods.ddib import DDIB
from xbench.methods.diffusion import DenoisingLearner, DiffusionConfig, make_signal
from xbench.methods.medshift import FlowLearner, MedShift, MedShiftConfig
from xbench.methods.unsb import Unsb

CPU, DOMAINS = torch.device("cpu"), ("a", "b")
TINY = {"channels": (8, 8), "layers": 1, "attention": (False, False), "batch": 4}


class Noise:
    """Training data of two domains."""

    def train(self, domain: str) -> Images:
        generator = torch.Generator().manual_seed(DOMAINS.index(domain))
        return Images(
            [(torch.rand(6, 32, 32, generator=generator) * 65535).numpy().astype("uint16")]
        )


class Constant(nn.Module):
    """A U-Net that answers .25 everywhere and keeps what it was asked."""

    def forward(self, x: Tensor, time: Tensor, *, class_labels: Tensor) -> SimpleNamespace:
        self.asked = x, time, class_labels
        return SimpleNamespace(sample=torch.full_like(x, 0.25))


def losses(learner: Any, batch: dict[str, Tensor]) -> dict[str, float]:
    """All losses of a batch by name."""
    steps = [found for _, found in learner.losses(batch)]
    return {name: float(loss.detach()) for found in steps for name, loss in found.items()}


def test_flow_matching_regresses_from_noise_at_0_to_data_at_1() -> None:
    method = MedShift(MedShiftConfig(**TINY, sigma=0.01), DOMAINS, 32, CPU)
    learner = FlowLearner(method, Noise(), seed=0)
    net = Constant()
    learner.networks["net"] = net
    batch = learner.draw(torch.Generator().manual_seed(0))
    (loss,) = losses(learner, batch).values()
    data, noise, t = batch["data"], batch["noise"], batch["time"][:, None, None, None]
    point, time, labels = net.asked
    # x_t = (1 - (1 - sigma) t) z + t x, whose derivative is x - (1 - sigma) z.
    torch.testing.assert_close(point, noise + t * (data - 0.99 * noise))
    torch.testing.assert_close(time, 1000 * batch["time"])
    assert torch.equal(labels, batch["labels"])
    assert loss == pytest.approx(float((0.25 - data + 0.99 * noise).square().mean()), rel=1e-5)


@pytest.mark.parametrize("predicts", ["epsilon", "v"])
def test_denoising_regresses_what_it_says(predicts: Literal["epsilon", "v"]) -> None:
    config = DDIB.Config(**TINY, predicts=predicts, betas="cosine")
    assert isinstance(config, DiffusionConfig)
    learner = DenoisingLearner(DDIB(config, DOMAINS, 32, CPU), Noise(), seed=0)
    net = Constant()
    learner.networks["net"] = net
    batch = learner.draw(torch.Generator().manual_seed(0))
    (loss,) = losses(learner, batch).values()
    signal = make_signal("cosine")
    expected = []
    for data, noise, level, seen in zip(
        batch["data"], batch["noise"], batch["level"].tolist(), net.asked[0], strict=True
    ):
        # The noisy image is at an angle between data (0) and noise (pi / 2); v is its derivative.
        angle = math.acos(math.sqrt(signal[level]))
        torch.testing.assert_close(seen, math.cos(angle) * data + math.sin(angle) * noise)
        v = math.cos(angle) * noise - math.sin(angle) * data
        expected.append((0.25 - (v if predicts == "v" else noise)).square().mean())
    assert loss == pytest.approx(float(torch.stack(expected).mean()), rel=1e-4)


class Apart(nn.Module):
    """An energy of four patches: how far the two pairs of state and image lie apart."""

    def forward(self, stacks: Tensor, index: Tensor) -> Tensor:
        gap = (stacks[:, :2] - stacks[:, 2:]).abs().mean(dim=(1, 2, 3))
        return gap[:, None, None, None].expand(-1, 1, 2, 2)


class Darker(nn.Module):
    """A generator that takes .1 away."""

    def forward(self, x: Tensor, index: Tensor, z: Tensor) -> Tensor:
        return x - 0.1

    def features(self, x: Tensor, index: Tensor, z: Tensor, taps: Any) -> list[Tensor]:
        return [x]


class Angles(nn.Module):
    """A projector of one tap: grey values as unit vectors."""

    def forward(self, features: list[Tensor], places: Tensor) -> list[Tensor]:
        (image,) = features
        angle = greys(image, places)
        return [torch.stack([angle.cos(), angle.sin()], dim=-1)]


def greys(images: Tensor, places: Tensor) -> Tensor:
    """Pixels `[B, S]`; the features of a real first layer have more places than an image."""
    return images.flatten(1).gather(1, places[:, 0] % images[0].numel())


def test_unsb_moves_little_and_keeps_entropy() -> None:
    method = Unsb(Unsb.configure(get_profile("smoke")), DOMAINS, 32, CPU)
    learner: Any = method.make_learner(Noise(), DOMAINS, seed=0)
    learner.net, learner.energy, learner.projector = Darker(), Apart(), Angles()
    batch = learner.draw(torch.Generator().manual_seed(0))
    k, steps, tau = int(batch["index"][0]), method.config.timesteps, method.config.tau
    assert 0 < k < steps
    found = losses(learner, batch)
    states = learner.roll_out(batch)
    one, two = (torch.cat([states[:, n], states[:, n] - 0.1], dim=1) for n in (0, 1))
    # Of a pair with itself the energies are 0; of two, the log of a sum over four patches.
    other = (one - two).abs().mean(dim=(1, 2, 3)) + math.log(4)
    assert found["energy"] == pytest.approx(float((other + other**2).mean()), rel=1e-4)
    left = (steps - k) / steps
    expected = method.config.bridge * tau * (0.1**2 + left * float(other.mean()))
    assert found["bridge"] == pytest.approx(expected, rel=1e-4)


class Same(nn.Module):
    """A generator that returns its input, which is its only feature."""

    def forward(self, x: Tensor) -> Tensor:
        return x

    def features(self, x: Tensor, taps: Any) -> list[Tensor]:
        return [x]


def test_fastcut_contrasts_the_mirrored_output_with_the_input_as_it_is() -> None:
    method = FastCUT(FastCUT.configure(get_profile("smoke")), DOMAINS, 32, CPU)
    learner: Any = CUTLearner(method, Noise(), DOMAINS, seed=0)
    learner.net, learner.projector = Same(), Angles()
    batch = learner.draw(torch.Generator().manual_seed(0))
    flipped, straight = (
        losses(learner, batch | {"flip": torch.full_like(batch["flip"], flip)})["nce"]
        for flip in (True, False)
    )
    grey = greys(batch["a"], batch["patches"])
    similarity = (grey[:, :, None] - grey[:, None, :]).cos() / 0.07
    own = torch.arange(grey.shape[1]).expand(len(grey), -1)
    expected = method.config.nce * float(functional.cross_entropy(similarity.mT, own))
    assert straight == pytest.approx(expected, rel=1e-4)
    assert flipped == pytest.approx(expected, rel=1e-4)
