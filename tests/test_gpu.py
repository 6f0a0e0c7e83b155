"""What must hold on a GPU: `pytest -m gpu`, skipped where there is no CUDA.

    pytest -m gpu                              on a GPU
    XBENCH_GPU_REHEARSAL=1 pytest -m gpu       the same on the CPU, so that the code is known to run

`-m gpu` alone leaves CUDA switched on (see `conftest.py`). In a rehearsal the "device" is the CPU,
so equal numbers are asked for where a GPU is given room, and memory that cannot run out is made to.

Other numbers are drawn on a GPU than on a CPU. So a training on the device is given the batches
that the one on the CPU drew, and translations the CPU's noise.
"""

import gc
import json
import os
import subprocess
import sys
import warnings
import weakref
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import load_file
from torch import Tensor, nn

from xbench.core.errors import UserError
from xbench.core.isolation import undisturbed
from xbench.core.pixels import from_pixels
from xbench.core.profiles import get_profile
from xbench.datasets import registry as datasets
from xbench.datasets.base import Images
from xbench.datasets.resident import Resident
from xbench.harness.translation import fix_numerics, translate
from xbench.methods import base, registry, training
from xbench.methods.base import Log, Method, Training
from xbench.methods.identity import Identity
from xbench.metrics import extractors
from xbench.metrics.base import METRICS
from xbench.plugins.conformance.bench import DOMAINS, PAIRS, Bench
from xbench.scoring.scorer import Scorer

pytestmark = pytest.mark.gpu

Xbench = Callable[..., Any]

CPU = torch.device("cpu")
REHEARSAL = bool(os.environ.get("XBENCH_GPU_REHEARSAL"))
STEPS = 2
#: References among them: what they take from training images must be the same on every device.
METHODS = [n for n in registry.BUILT_IN if n not in ("floor", "expected", "shuffle", "vae")]
TRAINED = [n for n in METHODS if n not in ("identity", "nearest", "histogram", "fda", "filter")]
#: Largest difference from float32 on the CPU, relative and absolute, of the losses of the first
#: step (equal weights, bfloat16 of 8 bits), and of those of the second (after an update by an
#: optimiser that divides gradients by their size, so that small differences grow).
LOSSES = [(1e-5, 1e-6)] * 2 if REHEARSAL else [(0.05, 0.02), (0.15, 0.1)]
#: Of pixels in [0, 1] by equal weights: the largest difference, and the mean of all.
MOST, MEAN = (1e-5, 1e-6) if REHEARSAL else (0.1, 0.01)
#: Relative, of metrics and features; TF32 in convolutions has 10 bits.
METRIC = 1e-6 if REHEARSAL else 2e-3
#: Bytes on the card that may stay when a method has gone: workspaces of cuBLAS and cuDNN.
LEFT = 64 * 2**20


@pytest.fixture
def device() -> Iterator[torch.device]:
    """The card, set up as a run sets it up; or the CPU in a rehearsal."""
    if not REHEARSAL and not torch.cuda.is_available():
        pytest.skip("no CUDA here (a GPU and `-m gpu` are needed; XBENCH_GPU_REHEARSAL=1: the CPU)")
    os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")
    chosen = CPU if REHEARSAL else torch.device("cuda", 0)
    with undisturbed():
        before = torch.are_deterministic_algorithms_enabled(), torch.backends.cudnn.benchmark
        fix_numerics(chosen, 1 if REHEARSAL else 8)
        yield chosen
        torch.use_deterministic_algorithms(before[0])
        torch.backends.cudnn.benchmark = before[1]
        torch.set_num_threads(1)


@pytest.fixture
def same_noise(monkeypatch: pytest.MonkeyPatch) -> None:
    """Translations draw on the CPU, whatever their device is."""
    twins: weakref.WeakKeyDictionary[torch.Generator, torch.Generator] = weakref.WeakKeyDictionary()

    def normals(
        generators: Sequence[torch.Generator], *shape: int, dtype: torch.dtype = torch.float32
    ) -> Tensor:
        for generator in generators:
            if generator not in twins:
                twins[generator] = torch.Generator().manual_seed(generator.initial_seed())
        drawn = base_normals([twins[generator] for generator in generators], *shape, dtype=dtype)
        return drawn.to(generators[0].device)

    base_normals = base.normals
    for name in METHODS:
        registry.get(name)  # so that its module is there
    for module in [m for n, m in sys.modules.items() if n.startswith("xbench.methods")]:
        if getattr(module, "normals", None) is base_normals:
            monkeypatch.setattr(module, "normals", normals)


def make(name: str, device: torch.device) -> Bench:
    """A bench of tiny images; methods that cannot run here are skipped."""
    kind = registry.get(name)
    if kind.unavailable():
        pytest.skip(kind.unavailable())
    bench = Bench(kind, get_profile("smoke"), device)
    try:
        bench.make().check()
    except UserError as error:
        pytest.skip(str(error).splitlines()[0])
    return bench


def fit(bench: Bench, folder: Path) -> tuple[Method, list[Training], list[Log]]:
    """A method of two steps on one pair, its trainings and their logs."""
    data, method = bench.visible(DOMAINS), bench.make()
    method.setup(data)
    trainings = method.trainings(PAIRS[:1])
    images = STEPS * int(getattr(method.config, "batch", 1))
    logs = []
    for number, one in enumerate(trainings):
        place = folder / str(number)
        place.mkdir(parents=True)
        logs.append(one.fit(data, images, 0, place, lambda *_: None))
    return method, trainings, logs


def moved(bench: Bench, trainings: Sequence[Training], folder: Path) -> Method:
    """Another device's method with these weights, by way of a file."""
    method = bench.make()
    method.setup(bench.visible(DOMAINS))
    for number, (old, new) in enumerate(zip(trainings, method.trainings(PAIRS[:1]), strict=True)):
        place = folder / f"weights{number}"
        place.mkdir(parents=True, exist_ok=True)
        old.save(place)
        new.load(place)
    return method


@torch.inference_mode()
def translated(bench: Bench, method: Method) -> Tensor:
    return bench.translate(method, bench.images()).float().cpu()


def near(one: Tensor, other: Tensor) -> None:
    apart = (one - other).abs()
    assert one.isfinite().all()
    assert apart.max() <= MOST
    assert apart.mean() <= MEAN


class Batches:
    """Notes the batches that a training draws, then gives them to another one."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.drawn: list[training.Batch] = []
        self.replay: torch.device | None = None
        plain = training.train

        def train(make: Callable[[], training.Learner], **arguments: Any) -> Any:
            return plain(lambda: self._watched(make()), **arguments)

        monkeypatch.setattr(training, "train", train)

    def _watched(self, learner: Any) -> training.Learner:
        draw, turn, device = learner.draw, iter(list(self.drawn)), self.replay

        def noted(generator: torch.Generator) -> training.Batch:
            if device is None:
                self.drawn.append(draw(generator))
                return self.drawn[-1]
            return {name: tensor.to(device) for name, tensor in next(turn).items()}

        learner.draw = noted
        return learner  # type: ignore[no-any-return]


@pytest.mark.parametrize("name", METHODS)
def test_a_method_trains_and_translates_as_in_float32_on_the_cpu(
    name: str,
    device: torch.device,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    same_noise: None,
) -> None:
    """The precision is the one that a run would use; weights move CPU → device → CPU by files."""
    batches = Batches(monkeypatch)
    there, here = make(name, device), make(name, CPU)
    on_cpu, trainings, expected = fit(here, tmp_path / "cpu")
    near(translated(there, moved(there, trainings, tmp_path)), translated(here, on_cpu))
    batches.replay = device
    on_device, learned, found = fit(there, tmp_path / "device")
    for one, other in zip(found, expected, strict=True):
        assert one.curve.keys() == other.curve.keys()
        for loss, values in one.curve.items():
            for value, wanted, (rtol, atol) in zip(values, other.curve[loss], LOSSES, strict=True):
                assert value == pytest.approx(wanted, rel=rtol, abs=atol), loss
    near(translated(here, moved(here, learned, tmp_path)), translated(there, on_device))


@pytest.mark.parametrize("name", TRAINED)
def test_two_runs_are_equal(name: str, device: torch.device, tmp_path: Path) -> None:
    """But for operations of which torch itself warns that they have no deterministic algorithm."""
    bench = make(name, device)
    with warnings.catch_warnings(record=True) as said:
        warnings.simplefilter("always")
        first, second = (translated(bench, fit(bench, tmp_path / n)[0]) for n in ("one", "two"))
    if any("deterministic" in str(warning.message) for warning in said):
        near(first, second)
    else:
        assert torch.equal(first, second)


class Killed(Exception):
    pass


@pytest.mark.parametrize("way", ["to the device", "to the CPU"])
def test_a_checkpoint_moves(
    way: str, device: torch.device, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A training killed on one device ends on the other."""
    monkeypatch.setattr(training, "CHECKPOINT_SECONDS", 0.0)
    monkeypatch.setattr(training, "CHECKPOINT_SHARE", 0)
    done: list[int] = []

    def kill(step: int, *_: object) -> None:
        if step == 3:
            raise Killed

    def go_on(step: int, *_: object) -> None:
        done.append(step)

    devices = (CPU, device) if way == "to the device" else (device, CPU)
    for place, progress in zip(devices, (kill, go_on), strict=True):
        bench = make("medshift", place)
        method = bench.make()
        (one,) = method.trainings(PAIRS[:1])
        images = 4 * method.config.batch  # type: ignore[attr-defined]
        try:
            one.fit(bench.visible(DOMAINS), images, 0, tmp_path, progress)
        except Killed:
            assert (tmp_path / "checkpoint.pt").exists()
    assert done == [3, 4]
    assert translated(bench, method).isfinite().all()


@pytest.mark.parametrize("name", ["medshift", "ddib", "cyclegan"])
def test_memory_is_released_between_methods(
    name: str, device: torch.device, tmp_path: Path
) -> None:
    def weights() -> int:
        gc.collect()
        return sum(isinstance(thing, nn.Parameter) for thing in gc.get_objects())

    bench = make(name, device)
    before = weights()
    if device.type == "cuda":
        torch.cuda.empty_cache()
        allocated = torch.cuda.memory_allocated()
    method = fit(bench, tmp_path)[0]
    translated(bench, method)
    assert weights() > before
    del method
    assert weights() == before
    if device.type == "cuda":
        assert torch.cuda.memory_allocated() <= allocated + LEFT


class Hungry(Identity):
    """Needs 256 MiB of the card for each image."""

    name = "hungry"
    seen: list[int]

    def translate(self, images: Tensor, *arguments: Any, **more: Any) -> Tensor:
        self.seen.append(len(images))
        if self.device.type == "cpu" and len(images) > 2:
            raise torch.OutOfMemoryError("made up: nothing runs out in a rehearsal")
        space = torch.zeros(len(images), 2**26, device=self.device if not REHEARSAL else "meta")
        return images + 0 * len(space)


def test_a_batch_is_halved_where_memory_runs_out(device: torch.device) -> None:
    pixels = (np.random.default_rng(0).random((7, 32, 32)) * 65535).astype(np.uint16)
    method = Hungry(Identity.Config(), ("a", "b"), 32, device)
    method.seen = []
    names = [f"{number}" for number in range(7)]
    if device.type == "cuda":  # room for two images and a bit
        gc.collect()
        torch.cuda.empty_cache()
        room = torch.cuda.memory_reserved() + 5 * 2**27
        torch.cuda.set_per_process_memory_fraction(room / torch.cuda.mem_get_info()[1])
    try:
        with pytest.warns(UserWarning, match="out of memory; going on with batches of 2"):
            made = translate(method, Images([pixels]), names, "a", ["b"], seed=0, batch=8)
    finally:
        if device.type == "cuda":
            torch.cuda.set_per_process_memory_fraction(1.0)
    assert method.seen == [7, 4, 2, 2, 2, 1]
    assert np.array_equal(made["b"], pixels)


def test_training_images_on_the_device_have_the_same_values(device: torch.device) -> None:
    greys = np.arange(65536, dtype=np.uint16).reshape(64, 32, 32)
    store = Resident([Images([greys]), Images([greys[::-1].copy()])], device)
    rows = torch.arange(128, device=device)
    expected = from_pixels(np.concatenate([greys, greys[::-1]]))
    assert torch.equal(store.at(rows).cpu(), expected)


def test_a_batch_grows_on_a_card(device: torch.device) -> None:
    pixels = (np.random.default_rng(0).random((40, 32, 32)) * 65535).astype(np.uint16)
    method = Identity(Identity.Config(), ("a", "b"), 32, device)
    names = [f"{number}" for number in range(40)]
    made = translate(method, Images([pixels]), names, "a", ["b"], seed=0, batch=1)
    assert np.array_equal(made["b"], pixels)
    assert method.at_once == (16 if device.type == "cuda" else None)


def test_two_processes_on_one_card_end_with_equal_weights(
    device: torch.device, tmp_path: Path
) -> None:
    """Beside each other, as two users or two workers are."""
    arguments = (
        *("run", "--method", "medshift", "--profile", "smoke", "--set", "budget.images=64"),
        *("--pairs", "synthetic_low:real_normal", "--device", str(device)),
    )
    command = [sys.executable, "-m", "xbench.cli", *arguments, "--out"]
    running = [
        subprocess.Popen([*command, name], cwd=tmp_path, stderr=subprocess.PIPE, text=True)
        for name in ("one", "two")
    ]
    ended = [(process.communicate(timeout=200)[1], process.returncode) for process in running]
    assert [code for _, code in ended] == [0, 0], ended
    files = [load_file(next((tmp_path / n).rglob("weights.safetensors"))) for n in ("one", "two")]
    assert all(torch.equal(files[0][name], files[1][name]) for name in files[0])
    record = json.loads(next((tmp_path / "one").rglob("medshift*/*/*.json")).read_text())
    assert record["provenance"]["device"] == str(device)


def test_metrics_on_the_device_equal_those_on_the_cpu(device: torch.device) -> None:
    """Through the scorer, with the features of whatever weights are here."""
    kind = datasets.get("phantom")
    data = kind(kind.configure(get_profile("smoke")))
    data.prepare()
    output = data.images("test", "synthetic_low")[:]
    here, there = (
        Scorer(data, "test", place).score(output, "synthetic_low", "real_normal")
        for place in (CPU, device)
    )
    assert {name for name, value in here.items() if value.value is not None} > {"ssim", "ltd"}
    for name, value in here.items():
        if value.value is None:
            assert there[name].value is None, name
        else:
            assert there[name].value == pytest.approx(value.value, rel=METRIC, abs=METRIC), name


def test_metrics_of_images_on_the_device_equal_those_on_the_cpu(device: torch.device) -> None:
    """Those that take images take them wherever they lie."""
    one, other = torch.rand(2, 3, 1, 64, 64, generator=torch.Generator().manual_seed(0))
    for name in ("ssim", "psnr"):
        function = METRICS[name].function
        assert function is not None
        near_by, far = function(one, other), function(one.to(device), other.to(device))
        torch.testing.assert_close(far.cpu(), near_by, rtol=METRIC, atol=METRIC)


NETWORK = """
import torch
from torch import nn
torch.manual_seed(0)
extractor = nn.Sequential(
    *(nn.Conv2d(1, 16, 5, 2), nn.ReLU(), nn.Conv2d(16, 64, 5, 2)),
    *(nn.AdaptiveAvgPool2d(1), nn.Flatten()),
)
"""


def test_features_on_the_device_equal_those_on_the_cpu(
    device: torch.device, tmp_path: Path
) -> None:
    file = tmp_path / "network.py"
    file.write_text(NETWORK)
    images = torch.rand(5, 1, 64, 64, generator=torch.Generator().manual_seed(0))
    here, there = (
        extractors.load(f"{file}:extractor", place).features(images) for place in (CPU, device)
    )
    assert (there - here).abs().max() <= 10 * METRIC * here.abs().max()
