"""MedShift: the properties that its equations promise, whatever the weights."""

from pathlib import Path

import pytest
import torch
from torch import Tensor

from xbench.datasets.base import Images
from xbench.methods.medshift import FlowLearner, MedShift, MedShiftConfig

DOMAINS = ("a", "b", "c")
TINY = {"channels": (16, 16), "layers": 1, "attention": (False, False), "batch": 8}


class Noise:
    """Training data of three domains that differ in brightness."""

    def train(self, domain: str) -> Images:
        generator = torch.Generator().manual_seed(DOMAINS.index(domain))
        images = torch.rand(6, 16, 16, generator=generator) * 0.2 + 0.3 * DOMAINS.index(domain)
        return Images([(images * 65535).numpy().astype("uint16")])


def method(**settings: object) -> MedShift:
    """A network with random weights, so that the velocity depends on x, t and label."""
    made = MedShift(MedShiftConfig(**TINY | settings), DOMAINS, 16, torch.device("cpu"))
    generator = torch.Generator().manual_seed(3)
    with torch.no_grad():
        for parameter in made.net.parameters():
            parameter.copy_(torch.randn(parameter.shape, generator=generator) * 0.3)
        # Smooth in time, as a trained field is: the embedding's highest frequency is 1000.
        made.net.time_embedding.linear_1.weight.mul_(0.01)
    return made


@pytest.fixture
def images() -> Tensor:
    return torch.rand(4, 1, 16, 16, generator=torch.Generator().manual_seed(0))


def translate(made: MedShift, images: Tensor, source: str = "a", target: str = "b") -> Tensor:
    return made.translate(images, source, target, generators=[torch.Generator()] * len(images))


def test_tau_one_returns_the_input_exactly(images: Tensor) -> None:
    assert torch.equal(translate(method(tau=1.0), images), images)


@pytest.mark.parametrize("weight", [0.0, 1.0, 2.0])
def test_translating_into_the_own_domain_returns_the_input_as_steps_grow(
    images: Tensor, weight: float
) -> None:
    errors = []
    for steps in (4, 16):
        made = method(
            evaluations=4 * steps * (1 + (weight == 2)),
            guidance_source=weight,
            guidance_target=weight,
        )
        errors.append((translate(made, images, "a", "a") - images).abs().max())
    assert errors[1] < errors[0] / 8  # second order: sixteen times smaller, in the limit
    assert errors[1] < 0.02


def test_there_and_back_again_returns_the_input_as_steps_grow(images: Tensor) -> None:
    made = method(evaluations=64)
    there = made.translate(images, "a", "b", generators=[])
    assert (there - images).abs().max() > 0.01
    assert (made.translate(there, "b", "a", generators=[]) - images).abs().max() < 0.02


def test_without_guidance_the_null_label_plays_no_part(images: Tensor) -> None:
    made = method()
    before = translate(made, images)
    with torch.no_grad():
        made.net.class_embedding.weight[len(DOMAINS)] += 1.0
    assert torch.equal(translate(made, images), before)


def test_at_weight_zero_the_labels_play_no_part(images: Tensor) -> None:
    made = method(guidance_source=0.0, guidance_target=0.0)
    assert torch.equal(translate(made, images, "a", "b"), translate(made, images, "c", "a"))


def test_guidance_extrapolates_from_the_null_velocity(images: Tensor) -> None:
    made = method()
    x = made.encode(images)
    null, plain, double = (made.field("a", w)(x, 0.5) for w in (0.0, 1.0, 2.0))
    torch.testing.assert_close(double, 2 * plain - null, atol=1e-4, rtol=1e-4)


def test_the_batch_changes_nothing(images: Tensor) -> None:
    made = method()
    single = torch.cat([translate(made, images[i : i + 1]) for i in range(len(images))])
    torch.testing.assert_close(translate(made, images), single, atol=1e-5, rtol=1e-5)


def test_all_targets_at_once_equal_one_by_one(images: Tensor) -> None:
    made = method()
    together = made.translate_all(images, "a", ["b", "c"], generators={})
    for target in ("b", "c"):
        assert torch.equal(together[target], translate(made, images, "a", target))


def test_tau_and_guidance_have_an_effect(images: Tensor) -> None:
    plain = translate(method(), images)
    names = ("tau", "guidance_source", "guidance_target", "evaluations")
    for name, value in zip(names, (0.5, 2.0, 2.0, 8), strict=True):
        changed = translate(method(**{name: value}), images)
        assert (changed - plain).abs().max() > 1e-3, name


def test_odd_sizes_come_back_in_their_own_size() -> None:
    images = torch.rand(2, 1, 19, 22)
    assert translate(method(), images).shape == images.shape
    assert torch.equal(translate(method(tau=1.0), images), images)


def test_the_cost_counts_the_calls_that_are_made(images: Tensor) -> None:
    for settings in ({}, {"tau": 0.6}, {"guidance_target": 2.0}, {"solver": "rk4"}, {"tau": 1.0}):
        made = method(**settings)
        assert made.cost().nfe <= 16
        rows = []
        made.net.register_forward_pre_hook(lambda _, inputs, rows=rows: rows.append(len(inputs[0])))
        translate(made, images)
        assert sum(rows) / len(images) == made.cost().nfe
    assert made.cost().params == sum(p.numel() for p in made.net.parameters())


def test_training_reaches_every_label_and_lowers_the_loss(tmp_path: Path) -> None:
    made = MedShift(
        MedShiftConfig(**TINY, learning_rate=3e-3, label_dropout=0.5), DOMAINS, 16,
        torch.device("cpu"),
    )  # fmt: skip
    learner = FlowLearner(made, Noise(), seed=0)
    (_, losses_by_name), *_ = learner.losses(learner.draw(torch.Generator().manual_seed(0)))
    losses_by_name["flow"].backward()
    moved = learner.networks["net"].class_embedding.weight.grad.abs().amax(dim=1)
    assert (moved > 0).all()  # the null label too

    losses: list[float] = []
    made.trainings([])[0].fit(
        Noise(), 60 * 8, 0, tmp_path, lambda done, total, loss: losses.append(loss["flow"])
    )
    assert sum(losses[-10:]) < 0.6 * sum(losses[:10])


def test_what_is_saved_is_what_is_loaded(tmp_path: Path, images: Tensor) -> None:
    made, other = method(), MedShift(MedShiftConfig(**TINY), DOMAINS, 16, torch.device("cpu"))
    made.trainings([])[0].save(tmp_path)
    other.trainings([])[0].load(tmp_path)
    assert torch.equal(translate(made, images), translate(other, images))


def test_channels_last_changes_nothing(tmp_path: Path, images: Tensor) -> None:
    """The order of a network's weights in memory on a GPU."""
    made = method()
    before = translate(made, images)
    made.net.to(memory_format=torch.channels_last)
    assert torch.allclose(translate(made, images), before, atol=1e-5)
    made.trainings([])[0].save(tmp_path)
    other = MedShift(MedShiftConfig(**TINY), DOMAINS, 16, torch.device("cpu"))
    other.trainings([])[0].load(tmp_path)
    assert torch.equal(translate(other, images), before)


def test_inference_settings_do_not_retrain() -> None:
    recipe = method().trainings([])[0].recipe
    for change in ({"tau": 0.5}, {"evaluations": 9}, {"solver": "rk4"}, {"guidance_target": 2.0}):
        assert method(**change).trainings([])[0].recipe == recipe
    assert method(learning_rate=1e-4).trainings([])[0].recipe != recipe
