"""StarGAN: its networks, a label that acts through the border, its losses, its penalty."""

from pathlib import Path
from typing import Any

import pytest
import torch
from pydantic import ValidationError
from torch import Tensor, nn

from xbench.core.profiles import get_profile
from xbench.datasets.base import Images
from xbench.methods.nets.stargan import StarCritic, StarGenerator
from xbench.methods.pairwise import count
from xbench.methods.stargan import StarGAN, StarLearner, gradient_penalty

CPU = torch.device("cpu")
DOMAINS = ("light", "dark", "middle")
HALVES = (slice(0, 4), slice(4, 8))


class Greys:
    """Noise around a grey value of each domain's own."""

    def __init__(self, size: int = 32, number: int = 6) -> None:
        self.size, self.number = size, number

    def train(self, domain: str) -> Images:
        level = {"light": 0.8, "dark": 0.2, "middle": 0.5}[domain]
        generator = torch.Generator().manual_seed(0)
        noise = torch.randn(self.number, self.size, self.size, generator=generator) * 0.05
        return Images([((noise + level).clamp(0, 1) * 65535).to(torch.uint16).numpy()])


def method(domains: tuple[str, ...] = DOMAINS, size: int = 32, **settings: Any) -> StarGAN:
    config = StarGAN.configure(get_profile("smoke"))
    changed = StarGAN.Config.model_validate({**config.model_dump(), **settings})
    return StarGAN(changed, domains, size, CPU)


def fit(made: StarGAN, folder: Path, images: int, data: Greys | None = None) -> None:
    (learning,) = made.trainings([])
    learning.fit(data or Greys(made.size), images, 0, folder, lambda *_: None)


def label_effect(net: nn.Module, size: int = 64) -> float:
    """Mean difference between one image under two labels, in its central half."""
    images = torch.rand(1, 1, size, size, generator=torch.Generator().manual_seed(0)) * 2 - 1
    labels = torch.eye(5)[:2]
    with torch.no_grad():
        one, other = net(images.expand(2, -1, -1, -1), labels)
    inner = slice(size // 4, 3 * size // 4)
    return float((one - other)[:, inner, inner].abs().mean())


def fresh(**settings: Any) -> StarGenerator:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        return StarGenerator(5, width=16, **settings)


def test_parameters_are_as_many_as_published() -> None:
    with torch.device("meta"):
        assert count(StarGenerator(5)) == 8_417_984
        assert count(StarGenerator(5, channels=3)) == 8_430_528
        critics = {size: count(StarCritic(size, 5)) for size in (64, 128, 256, 512)}
        assert count(StarCritic(128, 5, channels=3)) == 44_762_048
        assert count(StarGenerator(5, width=16, blocks=4)) == 383_664
        assert count(StarGenerator(5, width=24, blocks=4)) == 858_120
        assert count(StarCritic(64, 5, width=16, layers=4)) == 183_920
    assert critics == {64: 44_729_280, 128: 44_760_000, 256: 44_882_880, 512: 45_374_400}


def test_standard_and_paper_have_the_official_networks() -> None:
    for profile, critic in (("standard", 44_882_880), ("paper", 45_374_400)):
        size = get_profile(profile).size
        cost = StarGAN(StarGAN.configure(get_profile(profile)), "abcde", size, CPU).cost()
        assert (cost.params, cost.params_training, cost.nfe) == (8_417_984, critic, 1)


def test_the_label_acts_through_the_border_alone() -> None:
    assert label_effect(fresh()) > 1e-2
    assert label_effect(fresh(padding="reflect")) < 1e-5
    # In every norm it needs no border.
    assert label_effect(fresh(inject="adain", padding="reflect")) > 1e-2


def test_the_label_of_the_border_weakens_with_the_image_and_that_of_the_norms_does_not() -> None:
    border, norms = fresh(), fresh(inject="adain")
    assert label_effect(border, 128) < 0.7 * label_effect(border, 64)
    assert label_effect(norms, 128) > 0.9 * label_effect(norms, 64)


def test_permuted_classes_permute_the_outputs() -> None:
    net, order = fresh(), torch.tensor([2, 0, 1, 4, 3])
    images, labels = torch.rand(1, 1, 32, 32).expand(5, -1, -1, -1) * 2 - 1, torch.eye(5)
    with torch.no_grad():
        before = net(images, labels)
        first = net.layers[0].conv.weight  # of the image, then of the five labels
        first[:, 1:] = first[:, 1:][:, order]
        torch.testing.assert_close(net(images, labels), before[order])


def test_training_and_evaluation_are_the_same() -> None:
    net, images, labels = fresh(), torch.rand(2, 1, 32, 32), torch.eye(5)[:2]
    torch.testing.assert_close(net.train()(images, labels), net.eval()(images, labels))


class Plane(nn.Module):
    """A critic that is a plane with gradient `slope`, equal in all pixels."""

    def __init__(self, slope: float) -> None:
        super().__init__()
        self.slope = nn.Parameter(torch.tensor(slope))

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        scores = self.slope * x.sum(dim=(1, 2, 3)) / x[0].numel() ** 0.5
        return scores[:, None, None, None], torch.zeros(len(x), 3)


def test_the_penalty_asks_for_gradients_of_length_1_and_reaches_the_weights() -> None:
    images = torch.rand(4, 1, 8, 8)
    assert float(gradient_penalty(Plane(1.0), images).detach()) == pytest.approx(0, abs=1e-6)
    steep = Plane(3.0)
    penalty = gradient_penalty(steep, images)
    assert float(penalty.detach()) == pytest.approx((3 - 1) ** 2, rel=1e-5)
    (slope,) = torch.autograd.grad(penalty, [steep.slope])
    assert float(slope) == pytest.approx(2 * (3 - 1), rel=1e-5)


class Same(nn.Module):
    """A generator that returns its input."""

    def forward(self, x: Tensor, label: Tensor) -> Tensor:
        return x


def test_losses_of_a_generator_that_changes_nothing() -> None:
    learner = StarLearner(method(critic_steps=3), Greys(), seed=0)
    learner.networks |= {"net": Same(), "critic": Plane(3.0)}
    batch = learner.draw(torch.Generator().manual_seed(1))
    found = list(learner.losses(batch))
    assert [name for name, _ in found] == ["critic"] * 3 + ["net"]
    for _, losses in found[:-1]:
        assert float(losses["critic"].detach()) == pytest.approx(
            0, abs=1e-5
        )  # fakes are the true images
        assert float(losses["penalty"].detach()) == pytest.approx(10 * 4, rel=1e-4)
        assert float(losses["true classes"]) == pytest.approx(float(torch.tensor(3.0).log()))
    last = found[-1][1]
    scores, _ = Plane(3.0)(batch["images"][:, -1])
    assert float(last["gan"].detach()) == pytest.approx(-float(scores.detach().mean()), rel=1e-4)
    assert float(last["cycle"]) == 0


def test_wanted_labels_are_those_of_the_batch_in_another_order() -> None:
    learner = StarLearner(method(), Greys(), seed=0)
    batch = learner.draw(torch.Generator().manual_seed(1))
    assert batch["images"].shape == (8, 2, 1, 32, 32)
    assert torch.equal(batch["labels"].sort(dim=0)[0], batch["wanted"].sort(dim=0)[0])
    assert not torch.equal(batch["labels"], batch["wanted"])
    levels = torch.tensor([0.8, 0.2, 0.5])[batch["labels"]] * 2 - 1
    torch.testing.assert_close(batch["images"].mean((2, 3, 4)), levels, atol=0.05, rtol=0)


def test_losses_of_a_batch_are_the_mean_of_those_of_its_halves() -> None:
    learner = StarLearner(method(), Greys(), seed=0)
    batch = learner.draw(torch.Generator().manual_seed(1))
    halves = [{name: tensor[part] for name, tensor in batch.items()} for part in HALVES]
    runs = [learner.losses(drawn) for drawn in (batch, *halves)]
    for (_, whole), (_, one), (_, other) in zip(*runs, strict=True):
        for name, loss in whole.items():
            torch.testing.assert_close(loss, (one[name] + other[name]) / 2)


def test_one_training_moves_all_domains_and_loads_what_it_saved(tmp_path: Path) -> None:
    trained, loaded = method(), method()
    fit(trained, tmp_path, 8 * 50)
    (one,), (other,) = trained.trainings([]), loaded.trainings([])
    one.save(tmp_path)
    other.load(tmp_path)
    assert one.pairs is None
    for source, target, expected in (("light", "dark", 0.2), ("dark", "light", 0.8)):
        images = Greys().train(source)[:3]
        result = trained.translate(images, source, target, generators=[])
        assert result.mean().item() == pytest.approx(expected, abs=0.1)
        assert torch.equal(loaded.translate(images, source, target, generators=[]), result)


@pytest.mark.parametrize("ema", [0.0, 0.9])
def test_the_average_of_weights_translates_if_there_is_one(ema: float, tmp_path: Path) -> None:
    made = method(ema=ema)
    (learning,) = made.trainings([])
    learners: list[StarLearner] = []
    learning.make_learner = lambda *_: learners.append(StarLearner(made, Greys(), 0)) or learners[0]
    learning.fit(Greys(), 8 * 3, 0, tmp_path, lambda *_: None)
    networks, averages = learners[0].networks, learners[0].averages
    assert set(averages) == ({"net"} if ema else set())
    first = made.net.layers[0].conv.weight
    assert torch.equal(first, averages.get("net", networks["net"]).layers[0].conv.weight)
    assert torch.equal(first, networks["net"].layers[0].conv.weight) == (not ema)


def test_the_strength_blends_the_labels_and_retrains_nothing() -> None:
    made = method()
    images = torch.rand(2, 1, 32, 32)
    drawn: dict[str, list[torch.Generator]] = {"dark": []}
    path = made.translate_path(images, "light", ["dark"], [0, 0.5, 1], generators=drawn)
    kept = made.translate(images, "light", "light", generators=[])
    assert torch.equal(path[0]["dark"], kept)
    assert torch.equal(path[1]["dark"], made.translate(images, "light", "dark", generators=[]))
    assert not torch.equal(path[0.5]["dark"], kept)
    recipes = [method(strength=s).trainings([])[0].recipe for s in (0.5, 1)]
    assert recipes[0] == recipes[1] != method(inject="adain").trainings([])[0].recipe


def test_two_domains_of_one_image_each_and_odd_sides_are_enough(tmp_path: Path) -> None:
    made = method(("light", "dark"), size=34)
    fit(made, tmp_path, 8, Greys(34, number=1))
    for height, width in ((34, 34), (30, 37)):
        images = torch.rand(2, 1, height, width)
        result = made.translate(images, "light", "dark", generators=[])
        assert result.shape == images.shape
        alone = made.translate(images[1:], "light", "dark", generators=[])
        torch.testing.assert_close(alone, result[1:])


@pytest.mark.parametrize("settings", [{"strength": 1.5}, {"strength": -0.1}, {"inject": "film"}])
def test_settings_out_of_range_are_refused(settings: dict[str, Any]) -> None:
    with pytest.raises(ValidationError):
        method(**settings)
