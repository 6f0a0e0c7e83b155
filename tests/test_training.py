"""The training loop: killed and resumed it ends with the same weights."""

import copy
import math
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import torch
from accelerate import Accelerator
from accelerate.state import AcceleratorState
from torch import Tensor, nn

from xbench.core.errors import UserError
from xbench.methods import training

STEPS = 40


class Line(training.Learner):
    """Fits a line to points of a known one."""

    batch = 16

    def __init__(self, accumulate: int = 1, poison_at: int | None = None) -> None:
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(0)
            self.net = nn.Linear(1, 1)
        self.accumulate, self.poison_at, self.drawn = accumulate, poison_at, 0
        self.networks: dict[str, nn.Module] = {"net": self.net}
        self.averages: dict[str, nn.Module] = {"net": copy.deepcopy(self.net)}
        self.optimizers: dict[str, torch.optim.Optimizer] = {
            "net": torch.optim.AdamW(self.net.parameters(), lr=0.3)
        }

    def draw(self, generator: torch.Generator) -> training.Batch:
        self.drawn += 1
        x = torch.randn(16, 1, generator=generator)
        return {"x": x / 0 if self.drawn == self.poison_at else x}

    def losses(self, batch: training.Batch) -> Iterator[tuple[str, dict[str, Tensor]]]:
        x = batch["x"]
        yield "net", {"loss": (self.net(x) - (2 * x + 1)).square().mean()}


class Killed(Exception):
    pass


def train(
    folder: Path, kill_at: int | None = None, make: Callable[[], training.Learner] = Line
) -> tuple[Tensor, list[float]]:
    def progress(done: int, total: int, losses: object) -> None:
        if kill_at is not None and done > kill_at:
            raise Killed

    folder.mkdir(exist_ok=True)
    learner, log = training.train(
        make,
        images=STEPS * Line.batch,
        seed=5,
        device=torch.device("cpu"),
        checkpoint=folder,
        progress=progress,
    )
    return learner.averages["net"].weight.detach(), log.curve["loss"]


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


def test_a_process_may_train_on_one_device_after_another(tmp_path: Path) -> None:
    weight, _ = train(tmp_path / "alone")
    AcceleratorState._reset_state(reset_partial_state=True)
    Accelerator(cpu=True, mixed_precision="bf16")  # as a training on a GPU leaves it
    again, _ = train(tmp_path / "after")
    assert torch.equal(weight, again)


@pytest.mark.parametrize("damage", ["cut short", "one bit flipped"])
def test_a_damaged_checkpoint_is_moved_aside_and_training_starts_again(
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
    training.update_average(average, module, step=0, ema_decay=0.999)
    assert average.weight.item() == pytest.approx(0.9)  # warm-up: decay 1/10
    training.update_average(average, module, step=10**6, ema_decay=0.999)
    assert average.weight.item() == pytest.approx(0.9 + 0.1 * 0.001)


def test_accumulated_chunks_train_as_the_whole_batch(tmp_path: Path) -> None:
    whole, _ = train(tmp_path / "whole")
    chunks, _ = train(tmp_path / "chunks", make=lambda: Line(accumulate=4))
    assert torch.allclose(whole, chunks, atol=1e-5)


def test_a_loss_that_is_not_finite_stops_the_training(tmp_path: Path) -> None:
    with pytest.raises(FloatingPointError, match="'loss' is nan at step 20 of 40"):
        train(tmp_path / "poisoned", make=lambda: Line(poison_at=20))


class Leap(Line):
    """Its last update leads beyond all numbers, which no loss sees any more."""

    def schedule(self, step: int, steps: int) -> float:
        return math.inf if step == steps - 1 else 1.0


def test_weights_that_are_not_finite_stop_the_training(tmp_path: Path) -> None:
    with pytest.raises(FloatingPointError, match="weights of 'net' are not finite after step 40"):
        train(tmp_path / "leap", make=Leap)


class Duel(Line):
    """Two optimisers: the second one must see what the first one did."""

    def __init__(self) -> None:
        super().__init__()
        self.rival = nn.Linear(1, 1)
        self.networks["rival"] = self.rival
        self.optimizers["rival"] = torch.optim.SGD(self.rival.parameters(), lr=0.5)
        self.seen: list[tuple[float, float]] = []

    def schedule(self, step: int, steps: int) -> float:
        return 1.0

    def losses(self, batch: training.Batch) -> Iterator[tuple[str, dict[str, Tensor]]]:
        before = self.net.weight.item()
        yield from super().losses(batch)
        self.seen.append((before, self.net.weight.item()))
        gap = self.rival.weight - self.net.weight.detach()
        yield "rival", {"gap": gap.square().sum(), "bias": self.rival.bias.square().sum()}


def test_optimisers_step_one_after_the_other(tmp_path: Path) -> None:
    duels: list[Duel] = []

    def make() -> Duel:
        duels.append(Duel())
        return duels[-1]

    _, curve = train(tmp_path / "duel", make=make)
    assert all(before != after for before, after in duels[0].seen)
    # At this rate a step on (r - w)² ends at r = w: the rival saw the line's new weight.
    assert duels[0].rival.weight.item() == pytest.approx(duels[0].net.weight.item())
    assert len(curve) == STEPS


def test_a_batch_that_cannot_be_shared_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="a batch of 16 cannot be shared"):
        train(tmp_path / "odd", make=lambda: Line(accumulate=3))
