"""Hierarchy Flow: its network, the way back, the losses of fixed filters, codes as labels."""

from pathlib import Path
from typing import Any

import pytest
import torch
from pydantic import ValidationError
from torch import Tensor

from xbench.core.profiles import get_profile
from xbench.datasets.base import Images
from xbench.methods.hierarchyflow import HierarchyFlow, HierarchyLearner
from xbench.methods.nets.hierarchy import HierarchyBlock, HierarchyNet, restyled, statistics
from xbench.methods.pairwise import count
from xbench.methods.texture import FilterBank, aligned, content_loss, make_kernels, style_loss

CPU = torch.device("cpu")
DOMAINS = ("light", "dark", "middle")
HALVES = (slice(0, 2), slice(2, 4))


class Greys:
    """Noise around a grey value of each domain's own."""

    def __init__(self, size: int = 32, number: int = 6) -> None:
        self.size, self.number = size, number

    def train(self, domain: str) -> Images:
        level = {"light": 0.8, "dark": 0.2, "middle": 0.5}[domain]
        generator = torch.Generator().manual_seed(0)
        noise = torch.randn(self.number, self.size, self.size, generator=generator) * 0.05
        return Images([((noise + level).clamp(0, 1) * 65535).to(torch.uint16).numpy()])


def method(domains: tuple[str, ...] = DOMAINS, size: int = 32, **settings: Any) -> HierarchyFlow:
    config = HierarchyFlow.configure(get_profile("smoke"))
    changed = HierarchyFlow.Config.model_validate({**config.model_dump(), **settings})
    return HierarchyFlow(changed, domains, size, CPU)


def fit(made: HierarchyFlow, folder: Path, images: int, data: Greys | None = None) -> None:
    (learning,) = made.trainings([])
    learning.fit(data or Greys(made.size), images, 0, folder, lambda *_: None)


def noise(*shape: int, seed: int = 0) -> Tensor:
    return torch.rand(shape, generator=torch.Generator().manual_seed(seed))


@pytest.mark.parametrize(
    ("channels", "widths", "number"),
    [
        (3, (30, 120), 1_017_362),
        (3, (30, 120, 480), 6_304_083),
        (3, (30, 120, 480, 1920), 90_695_764),
        (1, (30, 120), 1_009_570),
        (1, (10, 40), 701_030),
    ],
)
def test_parameters_are_as_many_as_published(
    channels: int, widths: tuple[int, ...], number: int
) -> None:
    with torch.device("meta"):
        assert count(HierarchyNet(5, channels, widths)) == number


def test_the_network_of_paper_is_the_official_one() -> None:
    made = HierarchyFlow(HierarchyFlow.configure(get_profile("paper")), DOMAINS, 512, CPU)
    assert (made.cost().params, made.cost().params_training, made.cost().nfe) == (1_009_570, 0, 1)
    assert made.config.always_shown() == {"loss"}


@pytest.mark.parametrize("weight", [0.5, 0.2, 1.3])
def test_only_the_exact_way_back_inverts_the_way_there(weight: float) -> None:
    errors = {}
    for exact in (True, False):
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(0)
            block = HierarchyBlock(2, 8, 8, exact)
        x = noise(2, 2, 16, 16)
        with torch.no_grad():
            block.weight.fill_(weight)
            stages, features = block.take(x)
            # A style that asks for the statistics that a channel has changes nothing.
            same = restyled(stages, *statistics(stages))
            errors[exact] = float((block.merge(same, features) - x).abs().max())
    assert errors[True] < 1e-5
    assert errors[False] > 0.05


def test_a_style_sets_means_and_deviations() -> None:
    mean, deviation = torch.full((2, 3, 1, 1), 0.4), torch.full((2, 3, 1, 1), 2.0)
    made = restyled(noise(2, 3, 16, 16), mean, deviation)
    torch.testing.assert_close(made.mean((2, 3)), mean[..., 0, 0], atol=1e-5, rtol=0)
    torch.testing.assert_close(made.std((2, 3)), deviation[..., 0, 0], atol=1e-3, rtol=0)


def test_filters_add_up_to_nothing_and_know_their_direction() -> None:
    kernels = make_kernels()[:, 0]
    assert kernels.shape == (20, 11, 11)
    torch.testing.assert_close(kernels[1:].sum((1, 2)), torch.zeros(19), atol=1e-6, rtol=0)
    stripes = (torch.arange(32) * 2.0).sin().expand(1, 1, 32, 32) / 2 + 0.5
    across, along = (FilterBank(noise(4, 1, 32, 32)).responses(x)[0] for x in (stripes, stripes.mT))
    # A gradient to the right; the finer Gabor filters of the first and of the third direction.
    for one, other in ((1, 2), (4, 8), (5, 9)):
        assert across[:, one].std() > 10 * across[:, other].std()
        torch.testing.assert_close(across[:, one], along[:, other].mT, atol=1e-5, rtol=0)


def test_responses_are_standardised_by_the_images_given() -> None:
    images = noise(8, 1, 48, 48) * 0.3
    for level in FilterBank(images)(images):
        torch.testing.assert_close(level.mean((0, 2, 3)), torch.zeros(20), atol=1e-3, rtol=0)
        torch.testing.assert_close(level.std((0, 2, 3)), torch.ones(20), atol=0.05, rtol=0)


def test_equal_images_lose_nothing_and_the_content_ignores_grey_and_contrast() -> None:
    bank = FilterBank(noise(4, 1, 32, 32))
    image = noise(1, 1, 32, 32, seed=1)
    same, flat, other = (bank(x) for x in (image, image / 2 + 0.1, noise(1, 1, 32, 32, seed=2)))
    for level in (1, 2, 3, 4):
        assert content_loss(same, same, level) == style_loss(same, same, 0.2) == 0
        assert content_loss(same, flat, level) < 0.01 < 1 < content_loss(same, other, level)
    assert style_loss(same, other, 0.2) < style_loss(same, flat, 0.2)


def test_the_channels_furthest_in_style_do_not_count() -> None:
    ours, theirs = noise(2, 10, 8, 8), noise(2, 10, 8, 8, seed=1)
    theirs[:, 3] += 100
    theirs[:, 7] *= 50
    gaps = (ours.mean((2, 3)) - theirs.mean((2, 3))).square()
    gaps = gaps + (ours.std((2, 3)) - theirs.std((2, 3))).square()
    inner = [n for n in range(10) if n not in (3, 7)]
    expected = gaps[:, inner].sum() / gaps.numel()
    torch.testing.assert_close(aligned(ours, theirs, 0.2), expected, rtol=1e-3, atol=0)
    torch.testing.assert_close(aligned(ours, theirs, 0), gaps.mean(), rtol=1e-3, atol=0)
    order = torch.randperm(10, generator=torch.Generator().manual_seed(0))
    shuffled = aligned(ours[:, order], theirs[:, order], 0.2)
    torch.testing.assert_close(shuffled, aligned(ours, theirs, 0.2))


def test_content_and_style_come_from_two_domains_and_halves_average_to_the_whole() -> None:
    learner = HierarchyLearner(method(), Greys(), seed=0)
    batch = learner.draw(torch.Generator().manual_seed(1))
    gaps = (batch["content"] - batch["style"]).mean((1, 2, 3)).abs()
    assert (gaps > 0.2).all()
    parts = [batch, *({name: x[half] for name, x in batch.items()} for half in HALVES)]
    whole, one, other = (next(learner.losses(part))[1] for part in parts)
    for name, loss in whole.items():
        torch.testing.assert_close(loss, (one[name] + other[name]) / 2)


def test_one_training_moves_all_domains_and_loads_what_it_saved(tmp_path: Path) -> None:
    trained, loaded = method(), method()
    fit(trained, tmp_path, 4 * 200)
    (one,), (other,) = trained.trainings([]), loaded.trainings([])
    one.save(tmp_path)
    other.load(tmp_path)
    assert one.pairs is None
    for source, target, low, high in (("light", "dark", 0, 0.45), ("dark", "light", 0.55, 1)):
        images = Greys().train(source)[:3]
        result = trained.translate(images, source, target, generators=[])
        assert low < result.mean().item() < high
        assert torch.equal(loaded.translate(images, source, target, generators=[]), result)


def test_codes_are_means_over_training_images_and_the_strength_blends_them(tmp_path: Path) -> None:
    made = method()
    fit(made, tmp_path, 4)
    images = Greys().train("light")[:]
    with torch.no_grad():
        torch.testing.assert_close(made.net.codes[0], made.net.encode(images).mean(0))
    drawn: dict[str, list[torch.Generator]] = {"dark": []}
    path = made.translate_path(images, "light", ["dark"], [0, 0.5, 1], generators=drawn)
    kept = made.translate(images, "light", "light", generators=[])
    assert torch.equal(path[0]["dark"], kept)
    assert torch.equal(path[1]["dark"], made.translate(images, "light", "dark", generators=[]))
    assert not torch.equal(path[0.5]["dark"], path[1]["dark"])
    recipes = [method(strength=s).trainings([])[0].recipe for s in (0.5, 1)]
    assert recipes[0] == recipes[1] != method(back="exact").trainings([])[0].recipe


def test_two_domains_of_one_image_each_and_odd_sides_are_enough(tmp_path: Path) -> None:
    made = method(("light", "dark"), size=34, back="exact")
    fit(made, tmp_path, 4, Greys(34, number=1))
    for height, width in ((34, 34), (30, 37)):
        images = noise(2, 1, height, width)
        result = made.translate(images, "light", "dark", generators=[])
        assert result.shape == images.shape
        alone = made.translate(images[1:], "light", "dark", generators=[])
        torch.testing.assert_close(alone, result[1:])


@pytest.mark.parametrize(
    "settings",
    [{"strength": 1.5}, {"leave_out": 1}, {"widths": (10, 25)}, {"widths": ()}, {"loss": "vgg"}],
)
def test_settings_out_of_range_are_refused(settings: dict[str, Any]) -> None:
    with pytest.raises(ValidationError):
        method(**settings)
