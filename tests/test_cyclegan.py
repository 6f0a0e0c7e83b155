"""CycleGAN: its losses, its history of fakes, its learning rate, its weights on disk."""

from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

from xbench.core.profiles import get_profile
from xbench.datasets.base import Images
from xbench.methods.cyclegan import CycleGAN, CycleGANLearner, History
from xbench.methods.gan import constant_then_linear

CPU = torch.device("cpu")
DOMAINS = ("light", "dark", "middle")


class Greys:
    """Noise around a grey value of each domain's own."""

    def train(self, domain: str) -> Images:
        level = {"light": 0.8, "dark": 0.2, "middle": 0.5}[domain]
        noise = torch.randn(6, 32, 32, generator=torch.Generator().manual_seed(0)) * 0.05
        return Images([((noise + level).clamp(0, 1) * 65535).to(torch.uint16).numpy()])


def method() -> CycleGAN:
    return CycleGAN(CycleGAN.configure(get_profile("smoke")), DOMAINS, 32, CPU)


def losses_with(generator: nn.Module, critic: nn.Module) -> dict[str, float]:
    """All losses of one batch with both generators and both discriminators replaced."""
    learner = CycleGANLearner(method(), Greys(), ("light", "dark"), seed=0)
    learner.networks |= {
        "generator": generator,
        "generator_back": generator,
        "critic": critic,
        "critic_back": critic,
    }
    batch = learner.draw(torch.Generator().manual_seed(1))
    return {name: float(loss) for _, found in learner.losses(batch) for name, loss in found.items()}


class Half(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        return torch.full((len(x), 1, 4, 4), 0.5)


def test_identical_generators_cost_nothing_but_the_discriminators_doubt() -> None:
    losses = losses_with(nn.Identity(), Half())
    assert losses["cycle"] == losses["identity"] == 0
    # Least squares at a score of one half: .25 for each direction.
    assert losses["gan"] == pytest.approx(2 * 0.25)
    assert losses["critic"] == losses["critic_back"] == pytest.approx(0.25)


def test_the_identity_loss_asks_for_targets_to_stay() -> None:
    class Darker(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            return x - 0.1

    losses = losses_with(Darker(), Half())
    # Two directions, each off by .1; weight 10 × .5; twice .1 after a cycle, weight 10.
    assert losses["identity"] == pytest.approx(10 * 0.5 * 0.2, rel=1e-4)
    assert losses["cycle"] == pytest.approx(10 * 0.4, rel=1e-4)


def test_a_history_without_room_returns_what_it_gets() -> None:
    fakes = torch.rand(3, 1, 4, 4)
    assert torch.equal(History(0, 4)(fakes, torch.zeros(3, 2)), fakes)


def test_a_full_history_exchanges_half_of_the_fakes_and_keeps_no_gradient() -> None:
    history = History(2, 4)
    first = torch.rand(2, 1, 4, 4)
    assert torch.equal(history(first, torch.zeros(2, 2)), first)
    fresh = torch.rand(2, 1, 4, 4, requires_grad=True)
    chance = torch.tensor([[0.9, 0.0], [0.1, 0.6]])  # keep; exchange with the second of two
    shown = history(fresh, chance)
    assert not shown.requires_grad
    assert torch.equal(shown[0], fresh[0].detach())
    assert torch.equal(shown[1], first[1])
    assert torch.equal(history.images[1], fresh[1].detach())


def test_the_learning_rate_is_the_official_one() -> None:
    factor = [constant_then_linear(epoch, 200, 100, 100) for epoch in (0, 99, 100, 199)]
    assert factor == pytest.approx([1, 1, 100 / 101, 1 / 101])
    # The same in a training of other length, ten steps to an epoch.
    assert constant_then_linear(1999, 2000, constant=100, falling=100) == pytest.approx(1 / 101)


def test_one_training_serves_both_directions() -> None:
    pairs = [("dark", "light"), ("light", "dark"), ("light", "middle")]
    trainings = method().trainings(pairs)
    assert [t.pairs for t in trainings] == [
        {("light", "dark"), ("dark", "light")},
        {("light", "middle"), ("middle", "light")},
    ]


def test_training_moves_both_domains_and_loads_what_it_saved(tmp_path: Path) -> None:
    trained, loaded = method(), method()
    (training,) = trained.trainings([("light", "dark")])
    training.fit(Greys(), 240, 0, tmp_path, lambda *_: None)
    training.save(tmp_path)
    (other,) = loaded.trainings([("light", "dark")])
    other.load(tmp_path)
    for source, target, expected in (("light", "dark", 0.2), ("dark", "light", 0.8)):
        images = Greys().train(source)[:3]
        result = trained.translate(images, source, target, generators=[])
        assert result.mean().item() == pytest.approx(expected, abs=0.1)
        assert torch.equal(loaded.translate(images, source, target, generators=[]), result)


def test_any_size_comes_back_and_the_batch_does_not_matter() -> None:
    images = torch.rand(2, 1, 30, 37)
    made = method()
    made.adopt(("light", "dark"), made.make_generator().state_dict())
    together = made.translate(images, "light", "dark", generators=[])
    assert together.shape == images.shape
    alone = made.translate(images[1:], "light", "dark", generators=[])
    torch.testing.assert_close(alone, together[1:])


def test_a_pair_that_was_not_trained_is_refused() -> None:
    made = method()
    made.adopt(("light", "dark"), made.make_generator().state_dict())
    with pytest.raises(ValueError, match="not trained for dark → light; pairs: light → dark"):
        made.translate(torch.rand(1, 1, 32, 32), "dark", "light", generators=[])
