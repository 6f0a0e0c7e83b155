"""Bridge matching: on Gaussians, whose bridge is known in closed form, and on tiny networks."""

import math
from collections.abc import Callable, Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from safetensors.torch import load_file
from torch import Tensor, nn

from xbench.core.profiles import get_profile
from xbench.datasets.base import Images
from xbench.methods import training
from xbench.methods.dsbm import Drift, Dsbm, DsbmConfig, DsbmLearner, walk

CPU, DOMAINS = torch.device("cpu"), ("a", "b", "c")
TINY = {"channels": (16, 16), "layers": 1, "attention": (False, False), "batch": 8}
SMALL = TINY | {"cache": 3, "cache_steps": 2, "evaluations": 3}
Xbench = Callable[..., Any]


class Greys:
    """Noise around a grey value of each domain's own."""

    def __init__(self, number: int = 6) -> None:
        self.number = number

    def train(self, domain: str) -> Images:
        generator = torch.Generator().manual_seed(DOMAINS.index(domain))
        images = torch.rand(self.number, 16, 16, generator=generator) * 0.2
        images += 0.3 * DOMAINS.index(domain)
        return Images([(images * 65535).numpy().astype("uint16")])


def method(domains: tuple[str, ...] = DOMAINS, **settings: object) -> Dsbm:
    return Dsbm(DsbmConfig(**SMALL | settings), domains, 16, CPU)


def drift_of(covariance: float, sigma: float) -> Drift:
    """E[(x1 - x_t) / (1 - t) | x_t] for unit Gaussians of this covariance, bridged by sigma."""

    def drift(x: Tensor, t: float) -> Tensor:
        a, b = 1 - t, t
        variance = a * a + b * b + 2 * a * b * covariance + sigma**2 * a * b
        return x * (a * covariance + b - variance) / (variance * max(a, 1e-9))

    return drift


def noise_like(x: Tensor) -> Iterator[Tensor]:
    generator = torch.Generator().manual_seed(0)
    while True:
        yield torch.randn(x.shape, generator=generator, dtype=x.dtype)


def walked(x: Tensor, covariance: float, sigma: float, noise: float, steps: int) -> Tensor:
    drift = drift_of(covariance, sigma)  # the same both ways: the problem is symmetric
    return walk(drift, drift, x, steps, sigma, noise, noise_like(x))


@pytest.mark.parametrize(
    ("sigma", "expected"),
    [(1.0, (0.5463, 0.6112, 0.6174, 0.6180)), (0.5, (0.8334, 0.8809, 0.8827, 0.8828))],
)
def test_rounds_approach_the_schroedinger_bridge(sigma: float, expected: tuple[float, ...]) -> None:
    """The covariance of the coupling by round; walking zero noise gives E[x1 | x0 = 1]."""
    covariance = 0.0
    for wanted in expected:
        drift, one = drift_of(covariance, sigma), torch.ones(1, dtype=torch.float64)
        zeros = iter([one * 0] * 4000)
        covariance = float(walk(drift, drift, one, 4000, sigma, 1.0, zeros))
        assert covariance == pytest.approx(wanted, abs=5e-4)
    limit = (math.sqrt(4 + sigma**4) - sigma**2) / 2
    assert covariance == pytest.approx(limit, abs=5e-4)


@pytest.mark.parametrize("noise", [0.0, 0.5, 1.0])
def test_any_share_of_the_noise_keeps_the_marginal(noise: float) -> None:
    x = torch.randn(100_000, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    y = walked(x, covariance=0.618034, sigma=1.0, noise=noise, steps=200)
    assert float(y.std()) == pytest.approx(1, abs=0.02)
    # The ODE maps a unit Gaussian to itself; the SDE forgets as much as the bridge says.
    correlation = float(torch.corrcoef(torch.stack([x, y]))[0, 1])
    least, most = {0.0: (0.999, 1), 0.5: (0.7, 0.95), 1.0: (0.6, 0.64)}[noise]
    assert least < correlation <= most


def test_a_shift_is_walked_exactly_and_the_last_step_adds_no_noise() -> None:
    x = torch.zeros(3)

    def shift(x: Tensor, t: float) -> Tensor:
        return torch.full_like(x, 0.7)

    torch.testing.assert_close(walk(shift, shift, x, 1, 0.1, 1.0, iter([])), x + 0.7)
    drawn = [torch.ones(3), -torch.ones(3)]
    torch.testing.assert_close(walk(shift, shift, x, 3, 0.1, 1.0, iter(drawn)), x + 0.7)


def greys() -> Tensor:
    return torch.rand(2, 1, 16, 16, generator=torch.Generator().manual_seed(0)) * 0.4 + 0.2


def translate(made: Dsbm, seed: int = 0, source: str = "a", target: str = "b") -> Tensor:
    generators = [torch.Generator().manual_seed(seed + n) for n in range(2)]
    return made.translate(greys(), source, target, generators=generators)


def test_the_sde_depends_on_the_seed_and_the_ode_does_not() -> None:
    made = method()
    assert torch.equal(translate(made), translate(made))
    assert not torch.equal(translate(made), translate(made, seed=5))
    made.config = DsbmConfig(**SMALL, noise=0.0)
    assert torch.equal(translate(made), translate(made, seed=5))


def test_a_domain_into_itself_is_left_as_it_is() -> None:
    assert torch.equal(translate(method(), source="b", target="b"), greys())


class Asked(nn.Module):
    """A network that answers .25 and keeps what it was asked."""

    def forward(self, x: Tensor, time: Tensor, *, class_labels: Tensor) -> SimpleNamespace:
        self.asked = x, time, class_labels
        return SimpleNamespace(sample=torch.full_like(x, 0.25))


def test_the_loss_regresses_the_drift_of_bridges() -> None:
    learner = DsbmLearner(method(sigma=0.2), Greys(), seed=0)
    learner.networks["net"] = net = Asked()
    batch = learner.draw(torch.Generator().manual_seed(0))
    ((_, losses),) = learner.losses(batch)
    point, time, labels = net.asked
    start, end, t = batch["start"], batch["end"], batch["time"][:, None, None, None]
    bridge = start + t * (end - start) + 0.2 * (t - t * t).sqrt() * batch["noise"]
    torch.testing.assert_close(point, bridge)
    torch.testing.assert_close(time, 1000 * batch["time"])
    assert torch.equal(labels, batch["labels"])
    error = 0.25 - (end - point) / (1 - t)
    assert losses["bridge"] == pytest.approx(float(((1 - t) * error**2).mean()), rel=1e-4)


def test_a_round_learns_the_way_back_from_made_to_real_images() -> None:
    learner = DsbmLearner(method(rounds=1), Greys(), seed=0)
    learner.prepare(6, 10)
    assert learner.stage == 1
    batch = learner.draw(torch.Generator().manual_seed(0))
    real = {n: Greys().train(domain)[:] * 2 - 1 for n, domain in enumerate(DOMAINS)}
    unshuffled = torch.nn.functional.pixel_shuffle(batch["end"], 2)
    for label, start, end in zip(batch["labels"].tolist(), batch["start"], unshuffled, strict=True):
        _, target = divmod(label, 3)
        assert (real[target] - end).abs().amax(dim=(1, 2, 3)).min() < 1e-6
        assert (start != 0).any()


def test_labels_of_a_domain_with_itself_get_no_gradient() -> None:
    learner = DsbmLearner(method(batch=64), Greys(), seed=0)
    ((_, losses),) = learner.losses(learner.draw(torch.Generator().manual_seed(0)))
    losses["bridge"].backward()
    moved = learner.networks["net"].class_embedding.weight.grad.abs().amax(dim=1) > 0
    assert moved.tolist() == [a != b for a in range(3) for b in range(3)]


def fit(
    folder: Path, made: Dsbm, kill_at: int | None = None, data: Greys | None = None
) -> dict[str, Tensor]:
    """Train for ten steps, six of them before the first round; the saved weights."""

    def progress(done: int, total: int, losses: object) -> None:
        if done == kill_at:
            raise InterruptedError

    folder.mkdir(exist_ok=True)
    (learning,) = made.trainings([])
    learning.fit(data or Greys(), 10 * 8, 3, folder, progress)
    learning.save(folder)
    return load_file(folder / "weights.safetensors")


@pytest.mark.parametrize("kill_at", [3, 7, 8, 9])
def test_a_killed_training_ends_as_an_undisturbed_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, kill_at: int
) -> None:
    whole = fit(tmp_path / "whole", method())
    monkeypatch.setattr(training, "CHECKPOINT_SECONDS", 0.0)
    monkeypatch.setattr(training, "CHECKPOINT_SHARE", 0)
    with pytest.raises(InterruptedError):
        fit(tmp_path / "killed", method(), kill_at=kill_at)
    resumed = fit(tmp_path / "killed", method())
    assert all(torch.equal(resumed[name], tensor) for name, tensor in whole.items())


def test_rounds_change_the_weights_and_inference_does_not_retrain() -> None:
    recipe = method().trainings([])[0].recipe
    assert method(evaluations=9, noise=0.5).trainings([])[0].recipe == recipe
    assert method(rounds=0).trainings([])[0].recipe != recipe
    assert "cache" not in method(rounds=0).trainings([])[0].recipe


def test_two_domains_and_one_image_of_each_are_enough(tmp_path: Path) -> None:
    made = method(("a", "b"))
    fit(tmp_path, made, data=Greys(number=1))
    assert translate(made).shape == greys().shape


def test_the_network_is_medshifts_with_25_labels() -> None:
    config = Dsbm.configure(get_profile("quick"))
    cost = Dsbm(config, tuple("abcde"), 64, torch.device("meta")).cost()
    assert cost.params == cost.params_total == 1_810_052
    assert cost.nfe <= 16


def test_what_it_costs_is_what_it_does() -> None:
    for settings in ({}, {"noise": 0.5}, {"noise": 0.0, "evaluations": 4}):
        made, calls = method(**settings), []
        made.net.register_forward_pre_hook(lambda *_, calls=calls: calls.append(1))
        translate(made)
        assert len(calls) == made.cost().nfe


def test_a_knob_out_of_range_is_refused(xbench: Xbench) -> None:
    result = xbench("run", "--method", "dsbm", "--set", "dsbm.noise=-0.5")
    assert result.code == 2
    assert len(result.err.strip().splitlines()) == 3
