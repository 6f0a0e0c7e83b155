"""The form in which networks compute, compiled or not and in which layout: set, or measured.

No GPU is needed: what only a GPU does by itself is set, and cards are made up.
"""

import copy
import os
import shutil
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from xbench.core import forms
from xbench.core.compute import Compute
from xbench.core.forms import Form, Trial
from xbench.datasets.base import Images
from xbench.harness.translation import translate
from xbench.methods import training
from xbench.methods.base import Log
from xbench.methods.identity import Identity

CPU, CUDA = torch.device("cpu"), torch.device("cuda")


class Line(training.Learner):
    """Fits a small network to points."""

    batch = 4

    def __init__(self) -> None:
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(0)
            net = nn.Sequential(nn.Conv2d(1, 3, 3, padding=1), nn.Conv2d(3, 1, 3, padding=1))
        self.networks: dict[str, nn.Module] = {"net": net}
        self.averages: dict[str, nn.Module] = {"net": copy.deepcopy(net)}
        self.optimizers: dict[str, torch.optim.Optimizer] = {
            "net": torch.optim.AdamW(net.parameters(), lr=0.1, fused=True)
        }

    def draw(self, generator: torch.Generator) -> training.Batch:
        return {"x": torch.randn(self.batch, 1, 6, 6, generator=generator)}

    def losses(self, batch: training.Batch) -> Iterator[tuple[str, dict[str, Tensor]]]:
        yield "net", {"loss": (self.networks["net"](batch["x"]) - 1).square().mean()}


class Killed(Exception):
    pass


def line(folder: Path, kill: int = 0, **given: Any) -> tuple[dict[str, Tensor], Log]:
    """The averaged weights after six steps under some settings, and the log."""

    def progress(step: int, *_: object) -> None:
        if step == kill:
            raise Killed

    folder.mkdir(exist_ok=True)
    learner, log = training.train(
        Line,
        images=6 * Line.batch,
        seed=0,
        device=CPU,
        checkpoint=folder,
        progress=progress,
        settings=Compute(**given),
    )
    return learner.averages["net"].state_dict(), log


def broken(*_: object) -> None:
    raise RuntimeError("no compiler here\nmore")


def test_what_cannot_be_compiled_runs_as_it_is(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    plain, _ = line(tmp_path / "plain")
    monkeypatch.setattr(forms, "BACKEND", broken)
    words = r"torch.compile failed for net \(.*\); going on without \(--set compute.compile=off"
    with pytest.warns(UserWarning, match=words):
        same, log = line(tmp_path / "same", compile="on")
    # The step that was tried left nothing behind.
    assert all(torch.equal(plain[key], same[key]) for key in plain)
    assert log.compute == {"precision": "float32", "compile": "off", "channels_last": "off"}


@pytest.mark.parametrize("given", [{"compile": "on"}, {"channels_last": "on"}])
def test_another_form_trains_the_same_up_to_rounding(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, given: dict[str, str]
) -> None:
    """What torch.compile traces is run as it is: making code takes a compiler, and longer."""
    monkeypatch.setattr(forms, "BACKEND", "eager")
    plain, _ = line(tmp_path / "plain")
    other, log = line(tmp_path / "other", **given)
    ((name, _),) = given.items()
    assert log.compute[name] == {"compile": "net", "channels_last": "on"}[name]
    for key, value in plain.items():
        torch.testing.assert_close(other[key], value)


@pytest.mark.parametrize("margin", [2.0, -100.0])
def test_a_measurement_leaves_nothing_behind(
    home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, margin: float
) -> None:
    """As a GPU measures: no form is fast enough, or each is."""
    plain, _ = line(tmp_path / "plain")
    monkeypatch.setattr(forms, "BACKEND", "eager")
    monkeypatch.setattr(forms, "MARGIN", margin)
    monkeypatch.setattr(forms, "open_questions", lambda *_: ["channels_last", "compile"])
    monkeypatch.setattr(torch.cuda, "get_device_name", lambda device: "Card X")
    other, log = line(tmp_path / "measured")
    assert (log.compute["compile"], log.compute["channels_last"]) == (
        ("off", "off") if margin > 0 else ("net", "on")
    )
    assert list((home / "compute").iterdir())
    for key, value in plain.items():
        if margin > 0:
            assert torch.equal(other[key], value)
        torch.testing.assert_close(other[key], value)


@pytest.mark.parametrize("order", [("on", "off"), ("off", "on")])
def test_a_training_goes_on_in_another_form(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, order: tuple[str, str]
) -> None:
    """The moments of its optimiser lie otherwise in memory, and are moved."""
    monkeypatch.setattr(training, "CHECKPOINT_SECONDS", 0.0)
    monkeypatch.setattr(training, "CHECKPOINT_SHARE", 0)
    plain, _ = line(tmp_path / "plain")
    with pytest.raises(Killed):
        line(tmp_path / "killed", kill=4, channels_last=order[0])
    assert (tmp_path / "killed" / "checkpoint.pt").exists()
    other, _ = line(tmp_path / "killed", channels_last=order[1])
    for key, value in plain.items():
        torch.testing.assert_close(other[key], value)


class Little(Identity):
    """One small network, which adds nothing."""

    net: nn.Module

    def busy_networks(self) -> dict[str, nn.Module]:
        return {"net": self.net}

    def translate(self, images: Tensor, *arguments: Any, **more: Any) -> Tensor:
        with torch.inference_mode():
            return images + 0 * self.net(images)


@pytest.mark.parametrize("backend", ["eager", broken])
def test_networks_that_translate_are_compiled_if_they_can_be(
    monkeypatch: pytest.MonkeyPatch, backend: Any
) -> None:
    """Five images, two at once: the last one alone is not worth another compilation."""
    monkeypatch.setattr(forms, "BACKEND", backend)
    pixels = np.arange(5 * 16, dtype=np.uint16).reshape(5, 4, 4)
    method = Little(Identity.Config(), ("a", "b"), 4, CPU)
    method.net, method.computing = nn.Conv2d(1, 1, 3, padding=1), Compute(compile="on")
    with warnings.catch_warnings(record=True) as said:
        warnings.simplefilter("always")
        made = translate(method, Images([pixels]), list("vwxyz"), "a", ["b"], seed=0, batch=2)
    assert np.array_equal(made["b"], pixels)
    assert method.form == Form(compiled=("net",) if backend == "eager" else ())
    assert any("torch.compile failed" in str(w.message) for w in said) == (backend == broken)


@pytest.mark.skipif(
    "XBENCH_REHEARSAL" not in os.environ or not shutil.which("c++"),
    reason="compiles C++ for half a minute; set XBENCH_REHEARSAL=1",
)
def test_compiled_networks_compute_the_same(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A small network, by the compiler that a run would use."""
    monkeypatch.setenv("XBENCH_HOME", str(tmp_path))
    monkeypatch.delenv("TORCHINDUCTOR_CACHE_DIR", raising=False)
    monkeypatch.setattr("torch._inductor.config.compile_threads", 1)
    nets = {"net": nn.Sequential(nn.Linear(3, 4), nn.Tanh())}
    x = torch.rand(2, 3)
    plain = nets["net"](x)
    trial = Trial(lambda: nets["net"](x), CPU, ["net"], [], worth=False)
    assert forms.settle(nets, Compute(compile="on"), trial).compiled == ("net",)
    torch.testing.assert_close(nets["net"](x), plain)
    assert list((tmp_path / "compiled").iterdir())
    with forms.eager(nets):
        assert torch.equal(nets["net"](x), plain)


class Clock:
    """Work on two networks whose time depends on their form alone."""

    def __init__(self, patch: pytest.MonkeyPatch, costs: dict[str, float]) -> None:
        self.nets = {name: nn.Sequential(nn.Conv2d(3, 4, 3)) for name in ("one", "two")}
        self.costs, self.now, self.calls = costs, 0.0, 0
        patch.setattr(forms, "perf_counter", lambda: self.now)
        patch.setattr(torch.cuda, "synchronize", lambda device: None)
        patch.setattr(torch.cuda, "get_device_name", lambda device: "Card X")

    def work(self) -> None:
        self.calls += 1
        weight = self.nets["one"][0].weight
        assert isinstance(weight, Tensor)
        last = weight.is_contiguous(memory_format=torch.channels_last)
        compiled = [n for n, net in self.nets.items() if net._compiled_call_impl is not None]
        self.now += sum((10.0, last * self.costs["last"], *(self.costs[name] for name in compiled)))

    def trial(self, worth: bool = True) -> Trial:
        return Trial(self.work, CUDA, list(self.nets), forms.identity(self.nets), worth)


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("XBENCH_HOME", str(tmp_path / "home"))
    return tmp_path / "home"


@pytest.mark.parametrize(
    ("costs", "chosen"),
    [
        ({"last": -2.0, "one": -3.0, "two": 1.0}, Form(True, ("one",))),
        ({"last": 1.0, "one": 1.0, "two": -1.0}, Form(False, ("two",))),
        ({"last": -0.1, "one": -0.1, "two": 0.0}, Form()),  # too little to count
    ],
)
def test_a_gpu_takes_the_form_that_was_measured_to_be_fastest(
    home: Path, monkeypatch: pytest.MonkeyPatch, costs: dict[str, float], chosen: Form
) -> None:
    clock = Clock(monkeypatch, costs)
    assert forms.settle(clock.nets, Compute(), clock.trial()) == chosen
    compiled = tuple(n for n, net in clock.nets.items() if net._compiled_call_impl is not None)
    assert compiled == chosen.compiled
    # Measured once: afterwards the choice is read, and only what is compiled is tried.
    calls = clock.calls
    assert forms.settle(clock.nets, Compute(), clock.trial()) == chosen
    assert clock.calls == calls + bool(chosen.compiled)


def test_settings_win_over_measurements(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    clock = Clock(monkeypatch, {"last": -2.0, "one": -3.0, "two": -3.0})
    fixed = Compute(compile="off", channels_last="off")
    assert forms.settle(clock.nets, fixed, clock.trial()) == Form()
    assert clock.calls == 0
    some = Compute(compile="off")
    assert forms.settle(clock.nets, some, clock.trial()) == Form(True)
    # A few steps are not worth a measurement.
    assert forms.settle(clock.nets, Compute(), clock.trial(worth=False)) == Form()
