"""ContourDiff: what the network sees of the source, and what follows from it."""

from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor

from xbench.core.profiles import PROFILES
from xbench.datasets.base import Images
from xbench.methods.contourdiff import ContourDiff, ContourLearner, contour
from xbench.methods.sdedit import SDEdit

DOMAINS = ("a", "b", "c")
TINY = {
    "channels": (16, 16),
    "layers": 1,
    "attention": (False, False),
    "batch": 8,
    "factor": 2,
    "evaluations": 6,
}


def disc(inside: float = 0.2, outside: float = 0.8, size: int = 32) -> Tensor:
    """An image `[1, size, size]` of a disc with a little noise."""
    axis = torch.arange(size) - size / 2 + 0.5
    within = axis[:, None] ** 2 + axis**2 < (size / 3) ** 2
    noise = torch.randn(size, size, generator=torch.Generator().manual_seed(0))
    return torch.where(within, inside, outside)[None] + 0.01 * noise


def edges(image: Tensor) -> np.ndarray:
    return contour(image[0].double().numpy(), 1.0, 0.8, 0.9)


def make(domains: tuple[str, ...] = DOMAINS, size: int = 32, **settings: object) -> ContourDiff:
    """A network with random weights, so that all that it sees has an effect."""
    made = ContourDiff(ContourDiff.Config(**TINY | settings), domains, size, torch.device("cpu"))
    generator = torch.Generator().manual_seed(3)
    with torch.no_grad():
        for parameter in made.net.parameters():
            parameter.copy_(torch.randn(parameter.shape, generator=generator) * 0.1)
    return made


def translate(
    made: ContourDiff, images: Tensor, source: str = "a", target: str = "b", first: int = 0
) -> Tensor:
    generators = [torch.Generator().manual_seed(first + i) for i in range(len(images))]
    return made.translate(images, source, target, generators=generators)


class Discs:
    """Training images of discs that differ in brightness by domain."""

    def __init__(self, count: int = 6) -> None:
        self.count = count

    def train(self, domain: str) -> Images:
        inside = 0.2 + 0.2 * DOMAINS.index(domain)
        discs = [disc(inside, 0.8, 32).roll(i, 2) for i in range(self.count)]
        return Images([(torch.cat(discs).clamp(0, 1) * 65535).numpy().astype("uint16")])


# Contours


def test_the_contour_of_a_disc_is_its_circle() -> None:
    found = edges(disc())
    rows, columns = np.nonzero(found)
    radius = np.hypot(rows - 15.5, columns - 15.5)
    assert found.dtype == bool
    assert abs(radius - 32 / 3).max() < 2
    assert len(rows) > 40


@pytest.mark.parametrize(("a", "b"), [(0.3, 0.0), (1.0, 0.2), (0.37, 0.11), (-1.0, 1.0)])
def test_neither_brightness_nor_contrast_nor_inversion_changes_a_contour(
    a: float, b: float
) -> None:
    image = disc().double()
    assert np.array_equal(edges(a * image + b), edges(image))


def test_an_image_of_one_grey_has_no_contour() -> None:
    for grey in (0.0, 0.3, 1.0):
        assert not edges(torch.full((1, 32, 32), grey)).any()


def test_the_blur_grows_with_the_side_of_the_images() -> None:
    small, large = disc(size=32)[None], disc(size=64)[None]
    dense = [make(size=s).contours(x).mean() * s for s, x in ((32, small), (64, large))]
    assert dense[0] == pytest.approx(float(dense[1]), rel=0.15)


# Translation


def test_only_the_contour_and_the_label_matter_at_signal_zero() -> None:
    made = make()
    images = torch.stack([disc(), disc(0.1, 0.5)])
    others = 0.5 * images + 0.3
    assert torch.equal(made.contours(images), made.contours(others))
    result = translate(made, images)
    assert torch.equal(translate(made, others, source="c"), result)
    assert not torch.equal(translate(made, images, target="c"), result)
    assert not torch.allclose(
        translate(make(signal=0.2), others), translate(make(signal=0.2), images)
    )


def test_the_contour_matters() -> None:
    images = torch.stack([disc(), disc().roll(5, 2)])
    result = [translate(make(), x[None]) for x in images]
    assert float((result[0] - result[1]).abs().max()) > 1e-3


def test_without_contour_the_output_is_a_sample_of_the_domain() -> None:
    """The same as without any hint from a network whose weights for contours are zero."""
    made, blind = make(), make()
    with torch.no_grad():
        blind.net.conv_in.weight[:, made.codec.channels :] = 0
    flat = torch.full((2, 1, 32, 32), 0.4)
    assert torch.equal(translate(made, flat), translate(blind, flat))
    image = disc()[None]
    assert torch.equal(translate(blind, image), translate(blind, flat[:1]))
    assert not torch.equal(translate(made, image), translate(made, flat[:1]))


def test_at_full_signal_the_source_is_kept() -> None:
    images = torch.stack([disc(), disc(0.5)])
    torch.testing.assert_close(translate(make(signal=1.0), images), images)


def test_another_seed_gives_another_image() -> None:
    images = disc()[None]
    for eta in (0.0, 1.0):
        made = make(eta=eta)
        assert torch.equal(translate(made, images), translate(made, images))
        assert not torch.equal(translate(made, images), translate(made, images, first=9))


def test_a_batch_equals_its_images_one_by_one() -> None:
    images = torch.stack([disc(), disc(0.5), disc().roll(4, 1)])
    made = make()
    single = torch.cat([translate(made, images[i : i + 1], first=i) for i in range(3)])
    torch.testing.assert_close(translate(made, images), single, atol=1e-4, rtol=1e-4)


def test_odd_sizes_and_large_images_come_back_in_their_own_size() -> None:
    for height, width in ((19, 22), (33, 40)):
        images = torch.rand(2, 1, height, width, generator=torch.Generator().manual_seed(0))
        assert translate(make(), images).shape == images.shape


@pytest.mark.parametrize("solver", ["euler", "midpoint"])
def test_clipping_keeps_the_output_in_the_range_of_images(solver: str) -> None:
    images = disc()[None]
    free, clipped = (translate(make(clip=c, solver=solver), images) for c in (False, True))
    assert float((free - 0.5).abs().max()) > 0.6
    assert float((clipped - 0.5).abs().max()) <= 0.5 + 1e-5
    assert not torch.equal(free, clipped)


# Costs and settings


@pytest.mark.parametrize(
    ("settings", "nfe"),
    [({}, 6), ({"solver": "midpoint"}, 6), ({"solver": "rk4"}, 4), ({"signal": 1.0}, 0)],
)
def test_the_cost_counts_the_calls_that_are_made(settings: dict[str, object], nfe: int) -> None:
    made, calls = make(**settings), []
    made.net.register_forward_pre_hook(lambda *_: calls.append(1))
    translate(made, disc()[None])
    assert len(calls) == made.cost().nfe == nfe


@pytest.mark.parametrize(("profile", "params"), [("quick", 1_808_644), ("paper", 113_672_321)])
def test_the_parameters_are_those_that_were_counted(profile: str, params: int) -> None:
    config = ContourDiff.configure(PROFILES[profile])
    made = ContourDiff(config, tuple("abcde"), PROFILES[profile].size, torch.device("meta"))
    assert made.cost().params == made.cost().params_total == params


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"signal": 1.1}, "less than or equal to 1"),
        ({"signal": -0.1}, "greater than or equal to 0"),
        ({"sigma": 0}, "greater than 0"),
        ({"low": 0.95}, "low must not be above high"),
        ({"contour_dropout": 1}, "less than 1"),
        ({"codec": "vae"}, "pixel"),
    ],
)
def test_settings_out_of_range_are_refused(wrong: dict[str, object], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        ContourDiff.Config(**wrong)


# Training


def learner(made: ContourDiff, data: Discs) -> ContourLearner:
    return ContourLearner(made, data, 0)


def test_every_image_is_drawn_with_its_own_contour() -> None:
    made = make()
    batch = learner(made, Discs()).draw(torch.Generator().manual_seed(0))
    images = made.codec.decode(batch["data"])
    assert torch.equal(batch["hint"], made.hints(made.contours(images)))
    assert set(batch["hint"].unique().tolist()) == {0, 1}
    assert batch["noise"].shape == batch["data"].shape


def test_a_contour_is_looked_for_once(monkeypatch: pytest.MonkeyPatch) -> None:
    made, looked = make(), []
    find = made.contours
    monkeypatch.setattr(made, "contours", lambda images: looked.append(1) or find(images))
    taught = learner(made, Discs(count=2))
    for step in range(20):
        taught.draw(torch.Generator().manual_seed(step))
    assert len(looked) == 2 * len(DOMAINS)


def test_contours_are_dropped_for_the_share_that_is_set() -> None:
    made = make(contour_dropout=0.5, batch=64)
    hints = learner(made, Discs()).draw(torch.Generator().manual_seed(0))["hint"]
    assert 0.3 < float((hints.amax((1, 2, 3)) == 0).float().mean()) < 0.7


def test_its_training_is_not_that_of_the_other_diffusion_models() -> None:
    profile = PROFILES["quick"]
    recipes = [
        cls(cls.configure(profile), DOMAINS, 64, torch.device("cpu")).trainings([])[0].recipe
        for cls in (ContourDiff, SDEdit)
    ]
    assert recipes[0]["objective"] != recipes[1]["objective"]
    assert make(sigma=1.0).trainings([])[0].recipe != make().trainings([])[0].recipe
    free = make(signal=0.4, eta=0.0, clip=False, evaluations=9)
    assert free.trainings([])[0].recipe == make().trainings([])[0].recipe


def test_training_lowers_the_loss(tmp_path: Path) -> None:
    made = make(predicts="v", betas="cosine", learning_rate=3e-3)
    losses: list[float] = []
    made.trainings([])[0].fit(
        Discs(), 60 * 8, 0, tmp_path, lambda done, total, loss: losses.append(loss["denoising"])
    )
    assert sum(losses[-10:]) < 0.75 * sum(losses[:10])


def test_two_domains_of_one_image_each_are_enough(tmp_path: Path) -> None:
    made = make(domains=("a", "b"), ema=0.0)
    made.trainings([])[0].fit(Discs(count=1), 16, 0, tmp_path, lambda *_: None)
    assert translate(made, disc()[None]).isfinite().all()
