"""UNSB: the bridge's equations, whatever the network predicts, and one small training."""

from pathlib import Path

import pytest
import torch
from pydantic import ValidationError
from torch import Tensor, nn

from xbench.datasets.base import Images
from xbench.methods.unsb import Unsb, UnsbConfig, UnsbOfficial, bridge_step, time_grid

DOMAINS = ("a", "b", "c")
TINY = {
    "width": 8,
    "blocks": 1,
    "critic_width": 8,
    "critic_layers": 2,
    "projection": 8,
    "patches": 8,
    "batch": 2,
}


class Noise:
    """Training data of three domains that differ in brightness."""

    def train(self, domain: str) -> Images:
        generator = torch.Generator().manual_seed(DOMAINS.index(domain))
        images = torch.rand(6, 32, 32, generator=generator) * 0.2 + 0.3 * DOMAINS.index(domain)
        return Images([(images * 65535).numpy().astype("uint16")])


class Predicting(nn.Module):
    """Stands in for a generator: predicts its input times `keep` plus `value`."""

    def __init__(self, keep: float, value: float) -> None:
        super().__init__()
        self.keep, self.value = keep, value

    def forward(self, x: Tensor, index: Tensor, z: Tensor) -> Tensor:
        return x * self.keep + self.value


def method(kind: type[Unsb] = Unsb, **settings: object) -> Unsb:
    return kind(UnsbConfig(**TINY | settings), DOMAINS, 32, torch.device("cpu"))


def generators(*seeds: int) -> list[torch.Generator]:
    return [torch.Generator().manual_seed(seed) for seed in seeds]


@pytest.fixture
def images() -> Tensor:
    return torch.rand(2, 1, 32, 32, generator=torch.Generator().manual_seed(0))


@pytest.mark.parametrize(
    ("timesteps", "expected"),
    [
        (3, [0, 0.5, 0.833333, 1]),
        (4, [0, 0.5, 0.772727, 0.909091, 1]),
        (5, [0, 0.5, 0.74, 0.86, 0.94, 1]),
        (6, [0, 0.5, 0.718978, 0.828467, 0.901460, 0.956204, 1]),
    ],
)
def test_the_time_grid_is_the_papers(timesteps: int, expected: list[float]) -> None:
    assert time_grid(timesteps) == pytest.approx(expected, abs=1e-6)


def test_a_step_moves_and_spreads_as_a_brownian_bridge_does() -> None:
    times, nothing, something = time_grid(5), torch.zeros(1), torch.ones(1)
    shares = [float(bridge_step(nothing, something, times, k, 0, nothing)) for k in range(1, 5)]
    spreads = [float(bridge_step(nothing, nothing, times, k, 0.01, something)) for k in range(1, 5)]
    assert shares == pytest.approx([0.5, 0.48, 0.461538, 0.571429], abs=1e-6)
    assert spreads == pytest.approx([0.05, 0.035327, 0.025420, 0.018516], abs=1e-6)
    for k, spread in enumerate(spreads, start=1):
        d, r = times[k] - times[k - 1], 1 - times[k - 1]
        assert spread**2 == pytest.approx(0.01 * d * (r - d) / r, abs=1e-8)


def test_without_entropy_an_identity_returns_the_image_for_every_nfe(images: Tensor) -> None:
    for nfe in range(1, 6):
        made = method(tau=0.0, nfe=nfe)
        result = made.transform(Predicting(1, 0), images, generators(0, 1))
        torch.testing.assert_close(result, images)


def test_states_approach_a_constant_prediction_as_the_times_say(images: Tensor) -> None:
    times, x = time_grid(5), images
    target = torch.full_like(images, -0.3)
    for k in range(1, 6):
        x = bridge_step(x, target, times, k, 0, torch.zeros_like(x))
        torch.testing.assert_close(x, target + (images - target) * (1 - times[k]))


def test_one_evaluation_does_not_see_the_bridges_noise(images: Tensor) -> None:
    results = [
        made.transform(made.generator(("a", "b")), images, generators(0, 1))
        for made in seeded_methods({"tau": 0.0, "nfe": 1}, {"tau": 0.1, "nfe": 1})
    ]
    assert torch.equal(*results)
    later = [
        made.transform(made.generator(("a", "b")), images, generators(0, 1))
        for made in seeded_methods({"tau": 0.0, "nfe": 2}, {"tau": 0.1, "nfe": 2})
    ]
    assert not torch.equal(*later)


def seeded_methods(*settings: dict[str, float]) -> list[Unsb]:
    """Methods of these settings with the same weights."""
    made = []
    for chosen in settings:
        made.append(method(**chosen))
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(0)
            made[-1].adopt(("a", "b"), made[-1].make_generator().state_dict())
    return made


def test_equal_seeds_give_equal_images_and_a_batch_equals_singles(images: Tensor) -> None:
    [made] = seeded_methods({"tau": 0.1})
    together = made.translate(images, "a", "b", generators=generators(5, 6))
    alone = [
        made.translate(images[i : i + 1], "a", "b", generators=generators(5 + i)) for i in range(2)
    ]
    torch.testing.assert_close(together, torch.cat(alone), atol=1e-5, rtol=0)
    other = made.translate(images, "a", "b", generators=generators(5, 7))
    torch.testing.assert_close(other[0], together[0], atol=1e-5, rtol=0)
    assert (other[1] - together[1]).abs().max() > 1e-3


def test_translations_stay_within_the_range_at_any_size() -> None:
    [made] = seeded_methods({})
    x = torch.rand(1, 1, 37, 42, generator=torch.Generator().manual_seed(0))
    result = made.translate(x, "a", "b", generators=generators(0))
    assert result.shape == x.shape
    assert result.min() >= 0
    assert result.max() <= 1


def test_a_path_over_the_knob_equals_separate_translations(images: Tensor) -> None:
    [made] = seeded_methods({"tau": 0.1})
    drawn = {"b": generators(1, 2)}
    path = made.translate_path(images, "a", ["b"], [1, 3, 5], generators=drawn)
    single = made.translate(images, "a", "b", generators=generators(1, 2))
    assert torch.equal(path[5]["b"], single)
    assert not torch.equal(path[1]["b"], path[3]["b"])


def test_it_refuses_more_evaluations_than_the_grid_has() -> None:
    with pytest.raises(ValidationError, match="at most"):
        UnsbConfig(timesteps=3, nfe=4)


def test_it_counts_networks_and_evaluations() -> None:
    cost = method(UnsbOfficial, width=64, blocks=9, critic_width=64, critic_layers=3,
                  projection=256, nfe=3).cost()  # fmt: skip
    assert cost.params == 14_671_873
    assert cost.params_total == 6 * cost.params
    assert cost.params + cost.params_training == 21_516_803
    assert cost.nfe == 3


def test_only_training_settings_and_the_kind_are_in_the_recipe() -> None:
    def recipe(made: Unsb) -> object:
        [training] = made.trainings([("a", "b")])
        return training.recipe

    assert recipe(method()) == recipe(method(nfe=1))
    assert recipe(method()) != recipe(method(tau=0.1))
    assert recipe(method()) != recipe(method(UnsbOfficial))


@pytest.mark.parametrize("kind", [Unsb, UnsbOfficial])
def test_training_moves_every_network_and_is_kept(
    kind: type[Unsb], tmp_path: Path, images: Tensor
) -> None:
    made = method(kind, batch=2)
    [training] = made.trainings([("a", "b")])
    log = training.fit(Noise(), 6, 0, tmp_path, lambda *_: None)
    assert set(log.curve) == {"critic", "energy", "gan", "bridge", "nce"}
    training.save(tmp_path)
    again = method(kind)
    [copy] = again.trainings([("a", "b")])
    copy.load(tmp_path)
    results = [m.translate(images, "a", "b", generators=generators(0, 1)) for m in (made, again)]
    assert torch.equal(*results)


def test_each_loss_moves_its_own_networks_only() -> None:
    learner = method().make_learner(Noise(), ("a", "b"), seed=0)
    moved = {"critic": ["critic"], "energy": ["energy"], "generator": ["generator", "projector"]}
    for name, losses in learner.losses(learner.draw(torch.Generator().manual_seed(0))):
        for optimizer in learner.optimizers.values():
            optimizer.zero_grad()
        sum(losses.values()).backward()
        touched = {
            net
            for net, module in learner.networks.items()
            if any(w.grad is not None and w.grad.any() for w in module.parameters())
        }
        assert touched == set(moved[name])


def test_two_chunks_have_the_losses_of_the_whole_batch() -> None:
    learner = method(batch=2).make_learner(Noise(), ("a", "b"), seed=0)
    batch = learner.draw(torch.Generator().manual_seed(3))
    whole = [losses for _, losses in learner.losses(batch)]
    parts = [
        [losses for _, losses in learner.losses({k: v[i : i + 1] for k, v in batch.items()})]
        for i in range(2)
    ]
    for one, *halves in zip(whole, *parts, strict=True):
        for name, loss in one.items():
            torch.testing.assert_close(loss, (halves[0][name] + halves[1][name]) / 2)


def test_the_bridge_runs_as_far_as_drawn() -> None:
    learner = method(tau=0.0).make_learner(Noise(), ("a", "b"), seed=0)
    reached = set()
    for seed in range(20):
        batch = learner.draw(torch.Generator().manual_seed(seed))
        k = int(batch["index"][0])
        reached.add(k)
        moved = (learner.roll_out(batch) - batch["start"]).abs().amax(dim=(1, 2, 3, 4))
        assert bool((moved > 0).all()) == (k > 0)
    assert reached == {0, 1, 2, 3, 4}
