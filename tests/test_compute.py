"""How networks compute: precision, form, images on the device; it changes no key and is recorded.

No GPU is needed: what only a GPU does by itself is asked for, and cards are made up.
"""

import copy
import json
import os
import shutil
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import load_file
from torch import Tensor, nn

from xbench.core import compute, forms
from xbench.core.compute import Compute
from xbench.core.errors import UserError
from xbench.core.forms import Form, Trial
from xbench.core.pixels import from_pixels
from xbench.core.profiles import get_profile
from xbench.datasets.base import Images
from xbench.datasets.resident import Resident, resident
from xbench.harness import batches, verify
from xbench.harness.translation import translate
from xbench.methods import registry, training
from xbench.methods.base import Log
from xbench.methods.identity import Identity
from xbench.methods.medshift import FlowLearner
from xbench.plugins.conformance.bench import DOMAINS, PAIRS, Bench

Xbench = Callable[..., Any]
CPU, CUDA = torch.device("cpu"), torch.device("cuda")
PAIR = ("--profile", "smoke", "--pairs", "synthetic_low:real_normal")
RUN = ("run", "--method", "medshift", *PAIR, "--set", "budget.images=16")


def settings(**given: object) -> list[str]:
    return [word for k, v in given.items() for word in ("--set", f"compute.{k}={v}")]


@pytest.mark.parametrize(
    ("setting", "words"),
    [
        ("compute.precison=float32", "did you mean compute.precision?"),
        ("compute.precision=float16", "'auto', 'bfloat16' or 'float32'"),
        ("compute.compile=yes", "'auto', 'on' or 'off'"),
        ("compute.batch=0", "greater than or equal to 1"),
        ("comput.batch=8", "did you mean compute?"),
    ],
)
def test_a_wrong_setting_is_a_mistake_of_the_user(xbench: Xbench, setting: str, words: str) -> None:
    result = xbench(*RUN, "--set", setting)
    assert result.code == 2
    assert words in result.err
    assert len(result.err.strip().splitlines()) == 3


def test_one_sweep_computes_alike(xbench: Xbench) -> None:
    grid = ("--set", "tau=0.3,0.6", "--set", "compute.batch=2,4")
    result = xbench("sweep", "--method", "medshift", *PAIR, *grid)
    assert result.code == 2
    assert "computed alike" in result.err


def test_records_say_how_networks_computed_and_keys_do_not(
    xbench: Xbench, monkeypatch: pytest.MonkeyPatch
) -> None:
    given = settings(precision="bfloat16", channels_last="on", batch=5)
    assert xbench(*RUN, *given).code == 0
    (path,) = Path("runs").rglob("records/medshift*/*/*.json")
    found = {"precision": "bfloat16", "compile": "off", "channels_last": "on"}
    trained = {f"training {name}": value for name, value in found.items()}
    assert json.loads(path.read_text())["provenance"]["compute"] == {**found, **trained}
    plan = json.loads(xbench(*RUN, "--dry-run", "--json").out)
    assert all(unit["done"] for unit in plan["units"])
    # Verified in the record's precision; where there is none, within bounds that are reported.
    check = translation(xbench("verify", path, "--json"))
    assert check["outcome"] == "same"
    assert "precision" not in check["note"]
    monkeypatch.setattr(verify, "lacks_bfloat16", lambda device: True)
    check = translation(xbench("verify", path, "--json"))
    assert check["outcome"] == "same"
    assert "another precision (bfloat16 and float32)" in check["note"]
    assert "up to 6554, mean 655" in check["note"]


def translation(result: Any) -> dict[str, str]:
    checks = {check["check"]: check for check in json.loads(result.out)}
    return checks["translation"]  # type: ignore[no-any-return]


def test_by_default_a_cpu_computes_as_ever_and_older_records_are_verified(
    xbench: Xbench, finished: Path, tmp_path: Path
) -> None:
    """Earlier versions did not write how networks computed."""
    shutil.copytree(finished, tmp_path / "runs/phantom/smoke")
    path = next((tmp_path / "runs").rglob("records/medshift*/*/*.json"))
    record = json.loads(path.read_text())
    made = record["provenance"].pop("compute")
    assert made["precision"] == made["training precision"] == "float32"
    assert {v for name, v in made.items() if "precision" not in name} == {"off"}
    path.write_text(json.dumps(record))
    assert translation(xbench("verify", path, "--json"))["outcome"] == "same"


def trained(name: str, folder: Path, **given: Any) -> dict[str, Tensor]:
    """The weights of a method after two steps under some settings."""
    bench = Bench(registry.get(name), get_profile("smoke"), CPU)
    method = bench.make()
    method.computing = Compute(**given)
    (one,) = method.trainings(PAIRS[:1])
    folder.mkdir()
    batch: int = method.config.batch  # type: ignore[attr-defined]
    log = one.fit(bench.visible(DOMAINS), 2 * batch, 0, folder, lambda *_: None)
    one.save(folder)
    assert log.compute["precision"] == "float32"
    return load_file(folder / "weights.safetensors")


def equal(one: dict[str, Tensor], other: dict[str, Tensor]) -> bool:
    return all(torch.equal(one[key], other[key]) for key in one)


@pytest.mark.parametrize(
    "name", ["medshift", "cyclegan", "hierarchyflow", "stargan", "dsbm", "contourdiff"]
)
def test_images_on_the_device_train_the_same_weights(name: str, tmp_path: Path) -> None:
    plain = trained(name, tmp_path / "plain")
    near = trained(name, tmp_path / "near", resident="on")
    assert equal(plain, near)


def test_every_grey_value_is_the_same_on_the_device() -> None:
    greys = np.arange(65536, dtype=np.uint16).reshape(256, 16, 16)
    images = [Images([greys[:100], greys[100:]]), Images([greys[::-1].copy()])]
    store = Resident(images, CPU)
    rows = torch.arange(512)
    assert torch.equal(store.at(rows), from_pixels(np.concatenate([greys, greys[::-1]])))


def test_a_choice_by_domain_and_chance_is_that_of_images() -> None:
    sizes = (3, 7)
    images = [Images([np.full((n, 4, 4), 0, np.uint16)]) for n in sizes]
    for number, own in enumerate(images):
        own.parts[0][:] = (100 * number + np.arange(sizes[number]))[:, None, None]
    store = Resident(images, CPU)
    domains, chance = torch.tensor([0, 1, 1, 0]), torch.tensor([0.999, 0.5, 0.0, 1 / 3])
    found = [round(float(v) * 65535) for v in store.choose(domains, chance)[:, 0, 0, 0]]
    assert found == [2, 103, 100, 1]


def test_images_of_other_values_stay_where_they_are() -> None:
    class Bright(Images):
        def __getitem__(self, index: Any) -> Tensor:
            return super().__getitem__(index) ** 0.7

    pixels = np.zeros((2, 4, 4), np.uint16)
    wanted = Compute(resident="on")
    assert resident([Bright([pixels])], wanted, CPU) is None
    assert resident([Images([pixels]), Images([pixels[:, :2]])], wanted, CPU) is None
    assert resident([Images([pixels])], Compute(), CPU) is None
    assert resident([Images([pixels])], wanted, CPU) is not None


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
    assert equal(plain, same)
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


class Counting(Identity):
    """Notes how many images it is given."""

    seen: list[int]
    least = 10**6

    def translate(self, images: Tensor, *arguments: Any, **more: Any) -> Tensor:
        self.seen.append(len(images))
        if len(images) > self.least:
            raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB")
        return images.clone()


def counted(least: int = 10**6, **given: Any) -> tuple[Counting, dict[str, Any]]:
    """A method that has translated 40 images, eight at once unless the settings differ."""
    pixels = np.arange(40 * 16, dtype=np.uint16).reshape(40, 4, 4)
    method = Counting(Identity.Config(), ("a", "b"), 4, CPU)
    method.seen, method.least, method.computing = [], least, Compute(**given)
    names = [str(number) for number in range(40)]
    made = translate(method, Images([pixels]), names, "a", ["b"], seed=0, batch=8)
    assert np.array_equal(made["b"], pixels)
    return method, made


def test_a_batch_grows_into_the_room_that_there_is(monkeypatch: pytest.MonkeyPatch) -> None:
    class Room:
        def watch(self) -> None:
            pass

        def holds(self, worked: int) -> int:
            return 5 * worked // 2

    monkeypatch.setattr(
        batches, "room_of", lambda method: None if method.computing.batch else Room()
    )
    assert counted()[0].seen == [8, 16, 16]
    assert counted(batch=10)[0].seen == [10, 10, 10, 10]
    with pytest.warns(UserWarning, match="going on with batches of 8"):
        assert counted(least=8)[0].seen == [8, 16, 8, 8, 8, 8]


def test_a_card_measures_its_room(monkeypatch: pytest.MonkeyPatch) -> None:
    """1 GB for each image, 50 GB free on the card, 14 more that torch holds and does not use."""
    gigabytes = {"memory_allocated": 2, "max_memory_allocated": 10, "memory_reserved": 16}
    for name, value in gigabytes.items():
        monkeypatch.setattr(torch.cuda, name, lambda device, value=value: int(value * 1e9))
    monkeypatch.setattr(torch.cuda, "reset_peak_memory_stats", lambda device: None)
    monkeypatch.setattr(torch.cuda, "mem_get_info", lambda device: (int(50e9), int(80e9)))
    room = batches.Room(CUDA)
    room.watch()
    assert room.holds(8) == int(batches.SHARE * 64)


def test_bfloat16_is_refused_where_a_gpu_lacks_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_bf16_supported", lambda including_emulation: False)
    monkeypatch.setattr(torch.cuda, "get_device_name", lambda device: "Card X")
    assert compute.precision(Compute(), CUDA) == torch.float32
    with pytest.raises(UserError, match="Card X has no bfloat16"):
        compute.check(Compute(precision="bfloat16"), CUDA)
    compute.check(Compute(precision="bfloat16"), CPU)


PLUGIN = """
import os

import torch
from xbench.methods.identity import Identity


class Full(Identity):
    name = "full"
    error = torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 9.00 GiB")

    def translate(self, images, source, target, *, generators):
        if source == "real_low" and "NO_CARD" in os.environ:
            raise self.error
        return images.clone()


class Lost(Full):
    name = "lost"
    error = RuntimeError("CUDA error: device has fallen off the bus")
"""


def test_what_a_card_cannot_do_is_recorded_and_resumed(
    xbench: Xbench, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of two units one has failed, the other is done; later the one is done, too."""
    Path("card.py").write_text(PLUGIN)
    monkeypatch.setenv("NO_CARD", "1")
    pairs = "synthetic_low:real_normal,real_low:real_normal"
    methods = "card.py:Full,card.py:Lost"
    command = ("run", "--method", methods, "--profile", "smoke", "--pairs", pairs)
    assert xbench(*command).code == 1
    for name, words in {
        "full": "ran out while one image of 32 × 32 px was translated",
        "lost": "The GPU failed. See: xbench doctor",
    }.items():
        (failure,) = Path("runs").rglob(f"failed/{name}/*/*.json")
        assert words in json.loads(failure.read_text())["traceback"]
        assert len(list(Path("runs").rglob(f"records/{name}/*/*.json"))) == 1
    monkeypatch.delenv("NO_CARD")
    assert xbench(*command, "--retry-failed").code == 0
    for name in ("full", "lost"):
        assert len(list(Path("runs").rglob(f"records/{name}/*/*.json"))) == 2
        assert not list(Path("runs").rglob(f"failed/{name}/*/*.json"))


def test_a_training_without_room_says_what_to_do(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def losses(*_: object) -> Iterator[None]:
        raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 9.00 GiB")
        yield

    monkeypatch.setattr(FlowLearner, "losses", losses)
    with pytest.raises(UserError) as caught:
        trained("medshift", tmp_path / "full")
    assert "ran out while training on 16 images at once" in str(caught.value)
    assert "--set METHOD.accumulate=2" in str(caught.value)
