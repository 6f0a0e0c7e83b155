"""The training loop: killed and resumed it ends with the same weights."""

from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

from xbench.methods import training

STEPS = 40


class Line:
    """Fits a line to points of a known one."""

    def __init__(self) -> None:
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(0)
            self.net = nn.Linear(1, 1)
        self.modules: dict[str, nn.Module] = {"net": self.net}
        self.optimizers: dict[str, torch.optim.Optimizer] = {
            "net": torch.optim.AdamW(self.net.parameters(), lr=0.3)
        }

    def step(self, step: int, generator: torch.Generator) -> dict[str, Tensor]:
        x = torch.randn(16, 1, generator=generator)
        loss = (self.net(x) - (2 * x + 1)).square().mean()
        self.optimizers["net"].zero_grad()
        loss.backward()
        self.optimizers["net"].step()
        return {"loss": loss.detach()}


class Killed(Exception):
    pass


def train(folder: Path, kill_at: int | None = None) -> tuple[Tensor, list[float]]:
    def progress(done: int, total: int, losses: object) -> None:
        if kill_at is not None and done > kill_at:
            raise Killed

    folder.mkdir(exist_ok=True)
    learner, log = training.train(
        Line, steps=STEPS, seed=5, device=torch.device("cpu"), checkpoint=folder, progress=progress
    )
    return learner.modules["net"].weight.detach(), log.curve["loss"]


@pytest.fixture(autouse=True)
def _always_save(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(training, "CHECKPOINT_SECONDS", 0.0)


def test_a_killed_training_ends_as_an_undisturbed_one(tmp_path: Path) -> None:
    weight, curve = train(tmp_path / "whole")
    with pytest.raises(Killed):
        train(tmp_path / "killed", kill_at=17)
    again, resumed_curve = train(tmp_path / "killed")
    assert torch.equal(weight, again)
    assert curve == resumed_curve
    assert curve[-1] < 0.05 * curve[0]


@pytest.mark.parametrize("damage", ["cut short", "one bit flipped"])
def test_a_damaged_checkpoint_is_moved_aside_and_training_starts_anew(
    tmp_path: Path, damage: str
) -> None:
    weight, _ = train(tmp_path / "whole")
    with pytest.raises(Killed):
        train(tmp_path / "killed", kill_at=17)
    path = tmp_path / "killed" / "checkpoint.pt"
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content[:500] if damage == "cut short" else content)
    with pytest.warns(UserWarning, match="checkpoint.pt is damaged"):
        again, _ = train(tmp_path / "killed")
    assert torch.equal(weight, again)
    assert (tmp_path / "killed" / "checkpoint.pt.corrupt").exists()


def test_the_learning_rate_rises_then_falls_to_zero() -> None:
    factors = [training.warmup_cosine(step, 100) for step in range(100)]
    assert factors[0] == pytest.approx(0.2)
    assert max(factors) == 1
    assert factors.index(1.0) in (4, 5)
    assert factors[-1] < 0.001
    assert factors[5:] == sorted(factors[5:], reverse=True)


def test_the_average_follows_the_weights() -> None:
    average, module = nn.Linear(1, 1), nn.Linear(1, 1)
    nn.init.zeros_(average.weight)
    nn.init.ones_(module.weight)
    training.update_average(average, module, step=0, decay=0.999)
    assert average.weight.item() == pytest.approx(0.9)  # warm-up: decay 1/10
    training.update_average(average, module, step=10**6, decay=0.999)
    assert average.weight.item() == pytest.approx(0.9 + 0.1 * 0.001)
