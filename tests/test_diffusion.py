"""The diffusion family: what its equations promise, on toy domains whose denoiser is exact."""

import math
from collections.abc import Iterator
from itertools import pairwise, repeat
from pathlib import Path

import pytest
import torch
from torch import Tensor

from xbench.core.profiles import PROFILES
from xbench.datasets.base import Images
from xbench.methods import ode
from xbench.methods.cyclediffusion import CycleDiffusion, record
from xbench.methods.ddib import DDIB
from xbench.methods.diffusion import (
    DiffusionMethod,
    Schedule,
    descend,
    endless_noise,
    make_signal,
    read,
    toward,
)
from xbench.methods.flow import signal_of, time_of
from xbench.methods.sdedit import SDEdit, sdedit

DOMAINS = ("a", "b", "c")
TINY = {
    "channels": (16, 16),
    "layers": 1,
    "attention": (False, False),
    "batch": 8,
    "evaluations": 8,
}
METHODS: tuple[type[DiffusionMethod], ...] = (SDEdit, DDIB, CycleDiffusion)
LINEAR, COSINE = make_signal("linear"), make_signal("cosine")
#: Of SDEdit and CycleDiffusion with the official strengths .5 and .85 of linear betas.
SDEDIT, CYCLE = time_of(0.0786), time_of(0.00067)


def gaussian(mean: float, std: float) -> ode.Field:
    """The exact velocity of a domain whose pixels are normal, each by itself."""

    def velocity(x: Tensor, t: float) -> Tensor:
        variance = (t * std) ** 2 + (1 - t) ** 2
        clean = mean + t * std**2 / variance * (x - t * mean)
        noise = (1 - t) / variance * (x - t * mean)
        return clean - noise

    return velocity


def unit(count: int, seed: int) -> Tensor:
    """Unit noise, float64."""
    return torch.randn(count, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def noises(count: int, seed: int = 1) -> Iterator[Tensor]:
    """Unit noises without end."""
    return (unit(count, seed + 1000 * k) for k, _ in enumerate(repeat(None)))


def correlation(x: Tensor, y: Tensor) -> float:
    return float(torch.corrcoef(torch.stack([x, y]))[0, 1])


SOURCE, TARGET = gaussian(-0.4, 0.3), gaussian(0.5, 0.2)
IMAGE = -0.4 + 0.3 * unit(2000, 0)
#: The map between the two domains that keeps each pixel's place among the others.
AFFINE = 0.5 + 0.2 / 0.3 * (IMAGE + 0.4)


def bridged(steps: int, target: ode.Field = TARGET, solver: ode.Solver = "euler") -> Tensor:
    """The image, encoded into noise and decoded."""
    times = ode.times(0.0, steps, 1.5)
    return ode.integrate(target, ode.integrate(SOURCE, IMAGE, times, solver), times[::-1], solver)


def replayed(target: ode.Field, seed: int = 1, eta: float = 0.1) -> Tensor:
    times = ode.times(CYCLE, 1000)[::-1]
    recorded = record(SOURCE, "euler", times, IMAGE, eta, noises(len(IMAGE), seed))
    return descend(target, "euler", times, next(recorded), eta, recorded)


# Noise levels


def test_the_signal_is_that_of_the_published_schedules() -> None:
    # At strength s the official codes start from level 1000 s - 1.
    for strength, left in {0.1: 0.897, 0.3: 0.396, 0.5: 0.0786, 1.0: 4.04e-5}.items():
        assert LINEAR[round(1000 * strength) - 1] == pytest.approx(left, rel=1e-2)
    for level in (99, 499, 899):
        shape = [math.cos((t + 0.008) / 1.008 * math.pi / 2) ** 2 for t in ((level + 1) / 1000, 0)]
        assert COSINE[level] == pytest.approx(shape[0] / shape[1], rel=1e-3)


@pytest.mark.parametrize(
    ("signal", "linear", "cosine"),
    [(0.897, 0.1, 0.202), (0.659, 0.2, 0.392), (0.1952, 0.4, 0.706), (0.0786, 0.5, 0.818)],
)
def test_one_signal_is_another_level_of_each_schedule(
    signal: float, linear: float, cosine: float
) -> None:
    """The official strengths of linear betas, and their equals of cosine betas."""
    for betas, share in (("linear", linear), ("cosine", cosine)):
        level = Schedule(betas).level(time_of(signal))  # type: ignore[arg-type]
        assert (level + 1) / 1000 == pytest.approx(share, abs=1e-3)


def test_times_between_levels_have_levels_between_and_the_ends_count_as_the_last() -> None:
    schedule = Schedule("linear")
    for level in (0, 17, 500, 999):
        time = time_of(LINEAR[level])
        assert schedule.level(time) == pytest.approx(level, abs=1e-6)
        assert signal_of(schedule.time(level)) == pytest.approx(LINEAR[level], rel=1e-6)
    between = time_of(math.sqrt(LINEAR[500] * LINEAR[501]))
    assert 500 < schedule.level(between) < 501
    assert (schedule.level(1.0), schedule.level(0.0)) == (0, 999)


def test_labels_name_a_level_in_both_words() -> None:
    assert SDEdit.Config(signal=0.4).in_other_words() == {"signal": "tau=0.449"}


@pytest.mark.parametrize("predicts", ["epsilon", "v"])
def test_either_kind_of_prediction_is_read_as_image_and_noise(predicts: str) -> None:
    image, noise, a = unit(9, 0), unit(9, 1), LINEAR[300]
    velocity = math.sqrt(a) * noise - math.sqrt(1 - a) * image
    seen = math.sqrt(a) * image + math.sqrt(1 - a) * noise
    output = velocity if predicts == "v" else noise
    parts = read(output, seen, a, predicts)  # type: ignore[arg-type]
    torch.testing.assert_close(parts.clean, image)
    torch.testing.assert_close(parts.noise, noise)


@pytest.mark.parametrize("eta", [0.0, 0.3, 1.0])
def test_an_euler_step_is_that_of_diffusers_ddim_scheduler(eta: float) -> None:
    """In its own scale, x sqrt(t² + (1 - t)²), on its own levels."""
    from diffusers import DDIMScheduler

    scheduler = DDIMScheduler(clip_sample=False, timestep_spacing="trailing")
    scheduler.set_timesteps(20)
    levels = scheduler.timesteps.tolist()
    x, output, noise = unit(9, 0), unit(9, 1), unit(9, 2)
    for level, lower in pairwise([*levels, -1]):
        expected = scheduler.step(output, level, x, eta=eta, variance_noise=noise).prev_sample
        t, later = time_of(LINEAR[level]), time_of(LINEAR[lower]) if lower >= 0 else 1.0
        parts = read(output, x, LINEAR[level], "epsilon")
        velocity = parts.clean - parts.noise
        mean, sigma = toward(x / unscaled(t), velocity, t, later, eta)
        found = (mean + sigma * noise) * unscaled(later)
        torch.testing.assert_close(found, expected, atol=1e-4, rtol=1e-4)


def unscaled(t: float) -> float:
    """How much larger a diffusion model's noisy image is than the path's: 1 / (alpha + sigma)."""
    return 1 / math.hypot(t, 1 - t)


def test_every_image_draws_from_its_own_generator() -> None:
    like = torch.zeros(2, 1, 4, 4)
    both = endless_noise(like, [torch.Generator().manual_seed(s) for s in (0, 1)])
    alone = endless_noise(like[1:], [torch.Generator().manual_seed(1)])
    for _ in range(3):
        assert torch.equal(next(both)[1:], next(alone))


# DDIB


@pytest.mark.parametrize(("solver", "order"), [("euler", 1), ("midpoint", 2), ("heun", 2)])
def test_between_normal_domains_ddib_nears_the_affine_map_with_the_order_of_its_solver(
    solver: ode.Solver, order: int
) -> None:
    errors = [float((bridged(n, TARGET, solver) - AFFINE).abs().max()) for n in (50, 100, 200)]
    for coarse, fine in pairwise(errors):
        assert math.log2(coarse / fine) > order - 0.3
    assert errors[2] < 0.02


def test_the_code_of_ddib_is_unit_noise() -> None:
    code = ode.integrate(SOURCE, IMAGE, ode.times(0.0, 200, 1.5), "midpoint")
    assert float(code.mean()) == pytest.approx(0, abs=0.05)
    assert float(code.std()) == pytest.approx(1, abs=0.05)


# SDEdit


def edited(
    tau: float,
    image: Tensor = IMAGE,
    seed: int = 1,
    eta: float = 1.0,
    solver: ode.Solver = "euler",
) -> Tensor:
    times = ode.times(tau, 500)[::-1]
    return sdedit(TARGET, solver, times, image, eta, noises(len(image), seed))


def test_sdedit_keeps_the_more_of_its_input_the_more_signal_there_is() -> None:
    assert torch.equal(edited(1.0), IMAGE)
    kept = [correlation(edited(time_of(a)), IMAGE) for a in (0.9, 0.66, 0.4, 0.004)]
    assert kept == sorted(kept, reverse=True)
    assert kept[0] > 0.3
    assert abs(kept[-1]) < 0.05


def test_sdedit_without_signal_does_not_depend_on_its_input() -> None:
    assert float((edited(0.0, -IMAGE) - edited(0.0)).abs().max()) < 1e-3


@pytest.mark.parametrize("eta", [0.0, 1.0])
@pytest.mark.parametrize("solver", ["euler", "midpoint"])
def test_sdedit_reaches_the_targets_distribution(eta: float, solver: ode.Solver) -> None:
    result = edited(time_of(0.004), eta=eta, solver=solver)
    assert float(result.mean()) == pytest.approx(0.5, abs=0.02)
    assert float(result.std()) == pytest.approx(0.2, abs=0.02)


def test_sdedit_differs_by_seed() -> None:
    assert float((edited(SDEDIT, seed=2) - edited(SDEDIT, seed=1)).abs().mean()) > 0.05


# CycleDiffusion


def test_the_recorded_noises_are_unit_where_the_model_knows_the_image() -> None:
    def knows(x: Tensor, t: float) -> Tensor:
        return (IMAGE - x) / (1 - t)

    times = ode.times(CYCLE, 20)[::-1]
    recorded = torch.stack(list(record(knows, "euler", times, IMAGE, 0.1, noises(len(IMAGE)))))
    assert recorded.shape == (len(times) - 1, len(IMAGE))
    assert (recorded[1:].std(dim=1) - 1).abs().max() < 0.06


@pytest.mark.parametrize("eta", [0.1, 1.0])
def test_cyclediffusion_into_the_own_domain_returns_the_input(eta: float) -> None:
    # Up to the last step, which has no noise to replay.
    assert float((replayed(SOURCE, eta=eta) - IMAGE).abs().mean()) < 0.03


def test_cyclediffusion_reaches_the_targets_distribution_and_keeps_the_order() -> None:
    result = replayed(TARGET, eta=1.0)
    assert float(result.mean()) == pytest.approx(0.5, abs=0.02)
    assert float(result.std()) == pytest.approx(0.2, abs=0.02)
    assert correlation(result, IMAGE) > 0.95


def test_cyclediffusion_differs_by_seed() -> None:
    assert float((replayed(TARGET, seed=2) - replayed(TARGET, seed=1)).abs().mean()) > 0.01


# The methods


class Noise:
    """Training data of three domains that differ in brightness."""

    def train(self, domain: str) -> Images:
        generator = torch.Generator().manual_seed(DOMAINS.index(domain))
        images = torch.rand(6, 16, 16, generator=generator) * 0.2 + 0.3 * DOMAINS.index(domain)
        return Images([(images * 65535).numpy().astype("uint16")])


def make(cls: type[DiffusionMethod], **settings: object) -> DiffusionMethod:
    """A network with random weights, so that what it predicts depends on x, level and label."""
    made = cls(cls.Config(**TINY | settings), DOMAINS, 16, torch.device("cpu"))
    generator = torch.Generator().manual_seed(3)
    with torch.no_grad():
        for parameter in made.net.parameters():
            parameter.copy_(torch.randn(parameter.shape, generator=generator) * 0.1)
    return made


def seeded(*seeds: int) -> list[torch.Generator]:
    return [torch.Generator().manual_seed(seed) for seed in seeds]


def translate(
    made: DiffusionMethod, images: Tensor, source: str = "a", target: str = "b", first: int = 0
) -> Tensor:
    generators = seeded(*range(first, first + len(images)))
    return made.translate(images, source, target, generators=generators)


@pytest.fixture
def images() -> Tensor:
    return torch.rand(3, 1, 16, 16, generator=torch.Generator().manual_seed(0))


@pytest.mark.parametrize("cls", METHODS)
def test_a_batch_of_two_equals_two_singles(cls: type[DiffusionMethod], images: Tensor) -> None:
    made = make(cls)
    single = torch.cat([translate(made, images[i : i + 1], first=i) for i in range(len(images))])
    torch.testing.assert_close(translate(made, images), single, atol=1e-4, rtol=1e-4)


@pytest.mark.parametrize("cls", METHODS)
def test_the_seed_matters_where_the_method_is_stochastic(
    cls: type[DiffusionMethod], images: Tensor
) -> None:
    made = make(cls)
    same = torch.equal(translate(made, images), translate(made, images, first=9))
    assert same != made.stochastic
    assert torch.equal(translate(made, images), translate(made, images))


@pytest.mark.parametrize("cls", METHODS)
def test_all_targets_at_once_equal_one_by_one(cls: type[DiffusionMethod], images: Tensor) -> None:
    made = make(cls)
    together = made.translate_all(
        images, "a", ["b", "c"], generators={name: seeded(0, 1, 2) for name in ("b", "c")}
    )
    for target, result in together.items():
        torch.testing.assert_close(result, translate(made, images, "a", target))
    assert not torch.equal(together["b"], together["c"])


@pytest.mark.parametrize("cls", METHODS)
def test_at_full_signal_the_input_is_kept(cls: type[DiffusionMethod], images: Tensor) -> None:
    assert cls.knob is not None
    settings = {cls.knob: 1.0} | ({"refine": 1.0} if cls is CycleDiffusion else {})
    torch.testing.assert_close(translate(make(cls, **settings), images), images)


@pytest.mark.parametrize("cls", METHODS)
def test_odd_sizes_come_back_in_their_own_size(cls: type[DiffusionMethod]) -> None:
    images = torch.rand(2, 1, 19, 22)
    assert translate(make(cls), images).shape == images.shape


@pytest.mark.parametrize(
    ("cls", "settings", "nfe"),
    [
        (SDEdit, {"evaluations": 10, "signal": 0.4}, 10),
        (SDEdit, {"evaluations": 10, "solver": "rk4"}, 8),
        (DDIB, {"evaluations": 12}, 12),
        (DDIB, {"evaluations": 16, "solver": "midpoint", "signal": 0.5}, 16),
        (DDIB, {"evaluations": 1, "solver": "heun"}, 4),
        (CycleDiffusion, {"evaluations": 16, "solver": "midpoint", "refine": 1.0}, 14),
        (CycleDiffusion, {"evaluations": 16, "refine": 0.9}, 7 + 6 + 2),
        (CycleDiffusion, {"signal": 1.0, "refine": 1.0}, 0),
    ],
)
def test_the_cost_counts_the_calls_that_are_made(
    cls: type[DiffusionMethod], settings: dict[str, object], nfe: int, images: Tensor
) -> None:
    made, calls = make(cls, **settings), []
    made.net.register_forward_pre_hook(lambda *_: calls.append(1))
    translate(made, images)
    assert len(calls) == made.cost().nfe == nfe
    assert made.cost().params == sum(p.numel() for p in made.net.parameters())


def test_sdedit_never_sees_the_source_domain(images: Tensor) -> None:
    made = make(SDEdit)
    assert torch.equal(translate(made, images, "a", "b"), translate(made, images, "c", "b"))


def test_eta_zero_is_refused() -> None:
    with pytest.raises(ValueError, match="eta"):
        CycleDiffusion.Config(eta=0)


@pytest.mark.parametrize("profile", PROFILES)
def test_the_three_methods_share_one_training(profile: str) -> None:
    recipes = [
        cls(cls.configure(PROFILES[profile]), DOMAINS, 64, torch.device("cpu"))
        .trainings([])[0]
        .recipe
        for cls in METHODS
    ]
    assert recipes[0] == recipes[1] == recipes[2]


def test_inference_settings_do_not_retrain() -> None:
    recipe = make(SDEdit).trainings([])[0].recipe
    assert make(SDEdit, signal=0.1, evaluations=9, grid=2.0).trainings([])[0].recipe == recipe
    assert make(CycleDiffusion, eta=0.5, refine=1.0).trainings([])[0].recipe == recipe
    for change in ({"betas": "cosine"}, {"predicts": "v"}, {"learning_rate": 1e-4}):
        assert make(SDEdit, **change).trainings([])[0].recipe != recipe


def test_paper_has_the_parameters_of_the_official_ddpm_besides_the_labels() -> None:
    made = SDEdit(SDEdit.configure(PROFILES["paper"]), DOMAINS, 512, torch.device("meta"))
    assert made.cost().params == 113_668_609 + len(DOMAINS) * 4 * 128


@pytest.mark.parametrize("predicts", ["epsilon", "v"])
def test_training_lowers_the_loss(predicts: str, tmp_path: Path) -> None:
    made = make(SDEdit, predicts=predicts, betas="cosine", learning_rate=3e-3)
    losses: list[float] = []
    made.trainings([])[0].fit(
        Noise(), 60 * 8, 0, tmp_path, lambda done, total, loss: losses.append(loss["denoising"])
    )
    assert sum(losses[-10:]) < 0.75 * sum(losses[:10])


def test_what_one_method_saves_another_loads(tmp_path: Path, images: Tensor) -> None:
    made, other = make(DDIB), DDIB(DDIB.Config(**TINY), DOMAINS, 16, torch.device("cpu"))
    make(SDEdit).trainings([])[0].save(tmp_path)
    other.trainings([])[0].load(tmp_path)
    assert torch.equal(translate(made, images), translate(other, images))
