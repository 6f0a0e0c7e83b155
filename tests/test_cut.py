"""CUT and FastCUT: what their losses see, and that a few steps learn."""

from pathlib import Path

import pytest
import torch

from xbench.core.profiles import get_profile
from xbench.datasets.base import Images
from xbench.methods.cut import CUT, CUTLearner, FastCUT, mirror

CPU = torch.device("cpu")
DOMAINS = ("light", "dark")


class Greys:
    """Noise around a grey value of each domain's own."""

    def train(self, domain: str) -> Images:
        level = {"light": 0.8, "dark": 0.2}[domain]
        noise = torch.randn(6, 32, 32, generator=torch.Generator().manual_seed(0)) * 0.05
        return Images([((noise + level).clamp(0, 1) * 65535).to(torch.uint16).numpy()])


def make(kind: type[CUT], **settings: object) -> CUT:
    config = kind.configure(get_profile("smoke")).model_copy(update=settings)
    return kind(config, DOMAINS, 32, CPU)


@pytest.mark.parametrize("kind", [CUT, FastCUT])
@pytest.mark.parametrize("antialias", [True, False])
def test_training_reaches_the_target_and_ties_output_to_input(
    tmp_path: Path, kind: type[CUT], antialias: bool
) -> None:
    method = make(kind, antialias=antialias, learning_rate=3e-3)
    curves: dict[str, list[float]] = {}

    def progress(done: int, total: int, losses: dict[str, float]) -> None:
        for name, loss in losses.items():
            curves.setdefault(name, []).append(loss)

    (training,) = method.trainings([("light", "dark")])
    training.fit(Greys(), 200, 0, tmp_path, progress)
    result = method.translate(Greys().train("light")[:2], "light", "dark", generators=[])
    assert result.mean().item() < 0.6  # from .8 towards .2, and not yet settled
    assert curves["nce"][-1] < 0.9 * curves["nce"][0]


def test_a_training_serves_one_direction() -> None:
    found = make(CUT).trainings([("light", "dark"), ("dark", "light")])
    assert [training.pairs for training in found] == [{("light", "dark")}, {("dark", "light")}]
    assert found[0].recipe != found[1].recipe


def test_the_discriminator_steps_first_and_the_generator_leaves_it_alone() -> None:
    learner = CUTLearner(make(CUT), Greys(), ("light", "dark"), seed=0)
    steps = learner.losses(learner.draw(torch.Generator().manual_seed(0)))
    name, losses = next(steps)
    assert name == "critic"
    sum(losses.values()).backward()
    assert all(weight.grad is None for weight in learner.net.parameters())
    for weight in learner.critic.parameters():
        weight.grad = None
    name, losses = next(steps)
    assert name == "generator"
    sum(losses.values()).backward()
    assert all(weight.grad is None for weight in learner.critic.parameters())
    assert all(weight.grad is not None for weight in learner.projector.parameters())


def test_mirroring_the_chosen_images_twice_returns_them() -> None:
    images = torch.rand(2, 1, 4, 4)
    chosen = torch.tensor([True, False])
    mirrored = mirror(images, chosen)
    assert torch.equal(mirrored[0], images[0].flip(-1))
    assert torch.equal(mirrored[1], images[1])
    assert torch.equal(mirror(mirrored, chosen), images)


def test_fastcut_differs_from_cut_as_published() -> None:
    cut, fast = (kind.configure(get_profile("paper")) for kind in (CUT, FastCUT))
    assert (cut.nce, cut.nce_identity, cut.flips, cut.constant, cut.falling) == (
        1, True, False, 200, 200,
    )  # fmt: skip
    assert (fast.nce, fast.nce_identity, fast.flips, fast.constant, fast.falling) == (
        10, False, True, 150, 50,
    )  # fmt: skip
