"""The direct flow: on Gaussians, where the field is known, and on tiny networks."""

import math
from collections.abc import Callable
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
from xbench.methods.directflow import DirectFlow, DirectFlowConfig, DirectFlowLearner, transport

CPU, DOMAINS = torch.device("cpu"), ("a", "b", "c")
TINY = {"channels": (16, 16), "layers": 1, "attention": (False, False), "batch": 8}
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


def method(domains: tuple[str, ...] = DOMAINS, **settings: object) -> DirectFlow:
    return DirectFlow(DirectFlowConfig(**TINY | settings), domains, 16, CPU)


class Gaussians(nn.Module):
    """The exact velocity between pixels N(m, s²) of three domains: means and deviations below."""

    means, deviations = (-0.4, 0.1, 0.5), (0.1, 0.3, 0.2)

    def __init__(self, rho: float, sigma: float = 0.0) -> None:
        super().__init__()
        self.rho, self.sigma = rho, sigma

    def forward(self, x: Tensor, time: Tensor, *, class_labels: Tensor) -> SimpleNamespace:
        t, (a, b) = float(time[0]) / 1000, divmod(int(class_labels[0]), 3)
        s, r = self.deviations[a], self.deviations[b]
        bridge = self.sigma**2 * t * (1 - t)
        variance = ((1 - t) * s) ** 2 + (t * r) ** 2 + 2 * t * (1 - t) * self.rho * s * r + bridge
        slope = t * r * r - (1 - t) * s * s + (1 - 2 * t) * (self.rho * s * r + self.sigma**2 / 2)
        mean = (1 - t) * self.means[a] + t * self.means[b]
        return SimpleNamespace(sample=self.means[b] - self.means[a] + slope / variance * (x - mean))


def between_gaussians(net: nn.Module, **settings: object) -> DirectFlow:
    made = method(**settings)
    made.net = net
    return made


def greys() -> Tensor:
    return torch.rand(4, 1, 16, 16, generator=torch.Generator().manual_seed(0)) * 0.4 + 0.2


def translate(made: DirectFlow, images: Tensor, source: str = "a", target: str = "b") -> Tensor:
    return made.translate(images, source, target, generators=[])


@pytest.mark.parametrize(("rho", "sigma"), [(0.0, 0.0), (0.7, 0.0), (0.0, 0.3), (1.0, 0.0)])
def test_between_gaussians_the_flow_shifts_and_stretches(rho: float, sigma: float) -> None:
    net = Gaussians(rho, sigma)
    x = greys() * 2 - 1
    wanted = net.means[1] + net.deviations[1] / net.deviations[0] * (x - net.means[0])
    made = between_gaussians(net, evaluations=2 if rho == 1 else 128)
    torch.testing.assert_close(translate(made, greys()), (wanted + 1) / 2, atol=2e-3, rtol=0)


def test_one_step_of_euler_gives_every_input_the_same_output() -> None:
    """What an independent coupling does at t = 0, and why no such default is here."""
    made = between_gaussians(Gaussians(rho=0.0), solver="euler", evaluations=1)
    assert translate(made, greys()).std() < 1e-6
    assert DirectFlowConfig().solver == "midpoint"


def test_there_and_back_returns_the_input_to_the_order_of_the_solver() -> None:
    errors = []
    for steps in (8, 16, 32):
        made = between_gaussians(Gaussians(rho=0.5), evaluations=2 * steps, grid=1.0)
        back = translate(made, translate(made, greys()), "b", "a")
        errors.append(float((back - greys()).abs().max()))
    assert errors[2] < 1e-3
    assert math.log2(errors[0] / errors[2]) > 2 * 1.8


def test_the_knob_runs_from_the_source_to_the_target() -> None:
    made = between_gaussians(Gaussians(rho=1.0))
    path = made.translate_path(greys(), "a", ["b"], [0.0, 0.5, 1.0], generators={"b": []})
    start, middle, end = (path[value]["b"] for value in (0.0, 0.5, 1.0))
    torch.testing.assert_close(start, greys())
    torch.testing.assert_close(middle, (start + end) / 2, atol=1e-4, rtol=0)
    assert torch.equal(end, translate(made, greys()))


def test_a_domain_into_itself_is_left_as_it_is() -> None:
    assert torch.equal(translate(method(), greys(), "b", "b"), greys())


def test_transport_never_costs_more_than_the_order_as_drawn_and_sorts_numbers() -> None:
    generator = torch.Generator().manual_seed(0)
    for _ in range(20):
        start, end = (torch.rand(8, 1, 4, 4, generator=generator) for _ in range(2))
        order = transport(start, end)
        assert order.sort().values.tolist() == list(range(8))
        assert (start - end[order]).square().sum() <= (start - end).square().sum()
    line, other = (torch.rand(9, 1, generator=generator) for _ in range(2))
    coupled = other[transport(line, other)]
    assert torch.equal(coupled[line[:, 0].argsort()], other.sort(dim=0).values)


def test_images_are_coupled_inside_each_pair_of_domains() -> None:
    independent, coupled = (
        DirectFlowLearner(method(coupling="ot", groups=2), Greys(), seed=0) for _ in range(2)
    )
    independent.config = DirectFlowConfig(**TINY)
    batch = coupled.draw(torch.Generator().manual_seed(1))
    labels = batch["labels"].reshape(2, 4)
    assert (labels == labels[:, :1]).all()
    halves = (batch[name].chunk(2) for name in ("start", "end"))
    for label, start, end in zip(labels[:, 0], *halves, strict=True):
        source, target = divmod(int(label), 3)
        assert source != target
        for images, domain in ((start, source), (end, target)):
            assert (images + 1).mean() / 2 == pytest.approx(0.3 * domain + 0.1, abs=0.02)
        best = end[transport(start, end)]
        assert (start - end).square().sum() == pytest.approx(float((start - best).square().sum()))
    singles = independent.draw(torch.Generator().manual_seed(1))["labels"]
    assert len(singles.unique()) > 2


@pytest.mark.parametrize("sigma", [0.0, 0.1])
def test_the_loss_regresses_the_velocity_of_straight_paths(sigma: float) -> None:
    learner = DirectFlowLearner(method(sigma=sigma), Greys(), seed=0)
    asked = []

    class Zero(nn.Module):
        def forward(self, *inputs: Tensor, class_labels: Tensor) -> SimpleNamespace:
            asked.append((*inputs, class_labels))
            return SimpleNamespace(sample=torch.zeros_like(inputs[0]))

    learner.networks["net"] = Zero()
    batch = learner.draw(torch.Generator().manual_seed(0))
    ((_, losses),) = learner.losses(batch)
    point, time, labels = asked[0]
    start, end, t = batch["start"], batch["end"], batch["time"][:, None, None, None]
    torch.testing.assert_close(point, start + t * (end - start) + sigma * batch["noise"])
    torch.testing.assert_close(time, 1000 * batch["time"])
    assert torch.equal(labels, batch["labels"])
    assert losses["flow"] == pytest.approx(float((end - start).square().mean()), rel=1e-5)


def test_labels_of_a_domain_with_itself_get_no_gradient() -> None:
    learner = DirectFlowLearner(method(batch=64), Greys(), seed=0)
    ((_, losses),) = learner.losses(learner.draw(torch.Generator().manual_seed(0)))
    losses["flow"].backward()
    moved = learner.networks["net"].class_embedding.weight.grad.abs().amax(dim=1) > 0
    assert moved.tolist() == [a != b for a in range(3) for b in range(3)]


def fit(
    folder: Path, made: DirectFlow, kill_at: int | None = None, data: Greys | None = None
) -> dict[str, Tensor]:
    """Train for eight steps; the saved weights."""

    def progress(done: int, total: int, losses: object) -> None:
        if done == kill_at:
            raise InterruptedError

    folder.mkdir(exist_ok=True)
    (learning,) = made.trainings([])
    learning.fit(data or Greys(), 8 * 8, 3, folder, progress)
    learning.save(folder)
    return load_file(folder / "weights.safetensors")


@pytest.mark.parametrize("kill_at", [2, 4, 6])
@pytest.mark.parametrize("settings", [{"coupling": "ot"}, {"reflow": 1}])
def test_a_killed_training_ends_as_an_undisturbed_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, settings: dict[str, Any], kill_at: int
) -> None:
    whole = fit(tmp_path / "whole", method(**settings))
    monkeypatch.setattr(training, "CHECKPOINT_SECONDS", 0.0)
    monkeypatch.setattr(training, "CHECKPOINT_SHARE", 0)
    with pytest.raises(InterruptedError):
        fit(tmp_path / "killed", method(**settings), kill_at=kill_at)
    resumed = fit(tmp_path / "killed", method(**settings))
    assert all(torch.equal(resumed[name], tensor) for name, tensor in whole.items())


def test_a_reflow_learns_from_what_the_flow_of_half_the_steps_makes() -> None:
    learner = DirectFlowLearner(method(reflow=1), Greys(), seed=0)
    batches = []
    for step in (3, 4):
        learner.prepare(step, 8)
        batches.append(learner.draw(torch.Generator().manual_seed(0)))
    assert torch.equal(batches[0]["start"], batches[1]["start"])
    # A fresh network's velocity is small: its images are nearly the sources.
    gap = [(batch["end"] - batch["start"]).abs().mean() for batch in batches]
    assert 0 < gap[1] < gap[0]
    torch.testing.assert_close(
        batches[1]["end"], learner.flowed(batches[1]["start"], batches[1]["labels"])
    )


def test_two_domains_and_one_image_of_each_are_enough(tmp_path: Path) -> None:
    made = method(("a", "b"), coupling="ot")
    fit(tmp_path, made, data=Greys(number=1))
    assert translate(made, greys()[..., :13, :11]).shape == (4, 1, 13, 11)


@pytest.mark.parametrize(("profile", "params"), [("quick", 1_810_052), ("medium", 1_816_976)])
def test_the_network_is_medshifts_with_25_labels(profile: str, params: int) -> None:
    config = DirectFlow.configure(get_profile(profile))
    cost = DirectFlow(config, tuple("abcde"), 64, torch.device("meta")).cost()
    assert cost.params == cost.params_total == params
    assert cost.nfe <= 16


def test_what_it_costs_is_what_it_does() -> None:
    for settings in ({}, {"stop": 0.5}, {"solver": "rk4"}, {"stop": 0.0}):
        made, calls = method(**settings), []
        made.net.register_forward_pre_hook(lambda *_, calls=calls: calls.append(1))
        translate(made, greys())
        assert len(calls) == made.cost().nfe


def test_a_knob_out_of_range_is_refused(xbench: Xbench) -> None:
    result = xbench("run", "--method", "directflow", "--set", "directflow.stop=1.5")
    assert result.code == 2
    assert len(result.err.strip().splitlines()) == 3
