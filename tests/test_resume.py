"""Every kind of training, killed after a checkpoint, ends as an undisturbed one."""

from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from xbench.core.profiles import get_profile
from xbench.datasets.base import Images
from xbench.methods import registry, training
from xbench.methods.base import Method, Training

DOMAINS = ("light", "dark")
NAMES = (
    *("medshift", "directflow", "cyclegan", "stargan", "cut", "fastcut", "hierarchyflow", "unsb"),
    *("dsbm", "sdedit"),
)
#: With an average of the generators' weights, which translates in their place.
AVERAGED = ("cyclegan", "cut", "unsb")


class Killed(Exception):
    pass


class Greys:
    """Noise around a grey value of each domain's own."""

    def __init__(self, size: int = 32) -> None:
        self.size = size

    def train(self, domain: str) -> Images:
        level = {"light": 0.8, "dark": 0.2}[domain]
        noise = torch.randn(6, self.size, self.size, generator=torch.Generator().manual_seed(0))
        return Images([((noise * 0.05 + level).clamp(0, 1) * 65535).to(torch.uint16).numpy()])


def make(name: str, size: int = 32, **settings: object) -> Method:
    kind = registry.get(name)
    config = kind.configure(get_profile("smoke"))
    changed = type(config).model_validate({**config.model_dump(), **settings})
    return kind(changed, DOMAINS, size, torch.device("cpu"))


def only_training(method: Method) -> Training:
    (found,) = method.trainings([("light", "dark")])
    return found


def weights(method: Method, folder: Path, steps: int = 4, kill_at: int | None = None) -> dict:
    """Train for some steps and return what was saved; `kill_at` ends it with an exception."""

    def progress(done: int, total: int, losses: object) -> None:
        if kill_at is not None and done > kill_at:
            raise Killed

    folder.mkdir(exist_ok=True)
    learning = only_training(method)
    images = steps * int(method.config.model_dump()["batch"])
    learning.fit(Greys(method.size), images, 3, folder, progress)
    learning.save(folder)
    return load_file(folder / "weights.safetensors")


@pytest.mark.parametrize(
    ("name", "settings"), [*((n, {}) for n in NAMES), *((n, {"ema": 0.9}) for n in AVERAGED)]
)
def test_a_killed_training_ends_as_an_undisturbed_one(
    name: str, settings: dict[str, float], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(training, "CHECKPOINT_SECONDS", 0.0)
    monkeypatch.setattr(training, "CHECKPOINT_SHARE", 0)
    whole = weights(make(name, **settings), tmp_path / "whole")
    with pytest.raises(Killed):
        weights(make(name, **settings), tmp_path / "killed", kill_at=2)
    assert (tmp_path / "killed" / "checkpoint.pt").exists()
    resumed = weights(make(name, **settings), tmp_path / "killed")
    assert whole.keys() == resumed.keys()
    assert all(torch.equal(resumed[key], tensor) for key, tensor in whole.items())


@pytest.mark.parametrize("name", ["medshift", "cyclegan", "ddib"])
def test_chunks_of_a_batch_train_as_the_whole(name: str, tmp_path: Path) -> None:
    # Images and not weights: the normalised layers have biases without effect, whose gradients
    # are rounding errors that Adam scales up.
    images, results = Greys().train("light")[:2], []
    for folder, chunks in (("whole", 1), ("chunks", 2)):
        method = make(name, batch=4, accumulate=chunks)
        weights(method, tmp_path / folder, steps=2)
        results.append(method.translate(images, "light", "dark", generators=[]))
    torch.testing.assert_close(*results, atol=2e-3, rtol=0)


@pytest.mark.parametrize(
    "name", ["cyclegan", "stargan", "cut", "fastcut", "hierarchyflow", "unsb", "medshift"]
)
def test_a_size_that_networks_cannot_halve_is_trained_and_translated(
    name: str, tmp_path: Path
) -> None:
    method = make(name, size=34)
    weights(method, tmp_path, steps=1)
    only_training(method).load(tmp_path)
    images = Greys(34).train("light")[:2]
    generators = [torch.Generator().manual_seed(0) for _ in images]
    result = method.translate(images, "light", "dark", generators=generators)
    assert result.shape == images.shape
    assert result.isfinite().all()


def test_weights_that_are_not_finite_are_never_kept(tmp_path: Path) -> None:
    method = make("cyclegan", learning_rate=1e38)
    with pytest.raises(FloatingPointError):
        weights(method, tmp_path, steps=2)
    assert not (tmp_path / "checkpoint.pt").exists()
