"""Generators whose moving average translates, for the methods with a network per pair."""

from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file
from torch import Tensor

from xbench.core.profiles import get_profile
from xbench.datasets.base import Images
from xbench.methods.cut import CUT, FastCUT
from xbench.methods.cyclegan import CycleGAN
from xbench.methods.unsb import Unsb, UnsbOfficial

PAIR = ("a", "b")
KINDS = (CycleGAN, CUT, FastCUT, Unsb, UnsbOfficial)
#: The loop's warm-up keeps the decay below this for so few steps: (1 + step) / (10 + step).
STEPS = 6


class Noise:
    """Training images of 32 px."""

    def train(self, domain: str) -> Images:
        pixels = torch.rand(6, 32, 32, generator=torch.Generator().manual_seed(len(domain)))
        return Images([(pixels * 65535).numpy().astype("uint16")])


def make(kind: Any, **settings: object) -> Any:
    config = kind.configure(get_profile("smoke"))
    config = type(config).model_validate({**config.model_dump(), **settings})
    return kind(config, PAIR, 32, torch.device("cpu"))


def trained(made: Any, folder: Path) -> Any:
    """Train for a few steps; returns the log, and leaves the weights in the folder."""
    folder.mkdir()
    (training,) = made.trainings([PAIR])
    log = training.fit(Noise(), STEPS * made.config.batch, 0, folder, lambda *_: None)
    training.save(folder)
    return log


def translated(made: Any) -> Tensor:
    images = Noise().train("a")[:2]
    generators = [torch.Generator().manual_seed(n) for n in range(2)]
    result: Tensor = made.translate(images, *PAIR, generators=generators)
    return result


@pytest.mark.parametrize("kind", KINDS)
def test_the_average_translates_and_training_goes_on_without_it(kind: Any, tmp_path: Path) -> None:
    plain, averaged = make(kind), make(kind, ema=0.9)
    logs = [trained(made, tmp_path / str(k)) for k, made in enumerate((plain, averaged))]
    assert logs[0].curve == logs[1].curve
    assert not torch.equal(translated(plain), translated(averaged))
    again = make(kind, ema=0.9)
    (training,) = again.trainings([PAIR])
    training.load(tmp_path / "1")
    assert torch.equal(translated(again), translated(averaged))


def test_the_average_follows_both_generators_at_the_given_decay(tmp_path: Path) -> None:
    """A decay below that of the warm-up holds from the first step on."""
    plain, averaged = make(CycleGAN), make(CycleGAN, ema=0.05)
    for name, made in (("plain", plain), ("averaged", averaged)):
        trained(made, tmp_path / name)
    last, mean = (load_file(tmp_path / n / "weights.safetensors") for n in ("plain", "averaged"))
    learner = make(CycleGAN, ema=0.05).make_learner(Noise(), PAIR, seed=0)
    assert set(learner.averages) == {"generator", "generator_back"}
    assert learner.ema_decay == 0.05
    assert last.keys() == mean.keys()
    for part in ("generator.", "generator_back."):
        own = [name for name in last if name.startswith(part) and last[name].is_floating_point()]
        # The last weights count 95 %, those of the step before 4.75 %.
        gaps = [float((last[name] - mean[name]).abs().max()) for name in own]
        assert 0 < max(gaps) < 0.01


@pytest.mark.parametrize("decay", [0, 1, -0.5])
def test_a_decay_that_is_none_is_refused(decay: float) -> None:
    with pytest.raises(ValueError, match="ema"):
        make(CUT, ema=decay)
