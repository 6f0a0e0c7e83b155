"""What the harness itself costs, and how much faster two workers are than one.

Wall-clock seconds, so on a quiet machine, the last case with two cores at least:

    XBENCH_RUNS=runs python -m pytest tests/benchmarks/bench_workers.py --benchmark-enable \
        --benchmark-json=workers.json
    python tests/benchmarks/speed.py workers.json

The harness is what is left of `xbench run --method medshift` without imports, data, fitting,
translating and metrics: the plan, records, images, tables and plots. XBENCH_RUNS names a folder of
runs with MedShift's finished training of the profile `quick`, whose seconds count as fitting; where
it is not set, the run trains, which takes minutes.

Workers do runs of methods that need no training. They have imported everything before the clock
starts, the images are there, and no features.
"""

import json
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Callable
from functools import wraps
from importlib import import_module
from pathlib import Path
from typing import Any

import pytest
import torch
from pytest_benchmark.fixture import BenchmarkFixture

from xbench.cli import catalogue, main
from xbench.core.processes import cores
from xbench.core.profiles import get_profile
from xbench.datasets.phantom.dataset import Phantom
from xbench.harness.engines import shares
from xbench.harness.plan import Request, make
from xbench.methods import registry
from xbench.methods.medshift import MedShift
from xbench.scoring.scorer import Scorer

#: Twenty pairs of four rows, as `identity` and `floor` always take part; such units are translated
#: quickly and scored like any other.
WORK = (
    *("run", "--profile", "quick", "--method", "histogram,fda"),
    *("--device", "cpu", "--published", "none"),
)
UNITS = 80


@pytest.mark.benchmark(group="plan 10,140 units: 10 methods, 56 seeds, 20 pairs")
def test_plan(benchmark: BenchmarkFixture) -> None:
    methods = ["medshift", "cyclegan", "cut", "fastcut", "unsb"]
    methods += ["ddib", "sdedit", "cyclediffusion", "unsb-official", "fda"]
    request = Request(methods=methods, seeds=range(56))
    for name in methods:
        registry.get(name)
    plan = benchmark.pedantic(make, (request,), rounds=5, warmup_rounds=1)
    # FDA, `identity` and `floor` know no chance: one seed is enough.
    assert len({unit.key for unit in plan.units}) == (9 * 56 + 3) * 20
    benchmark.extra_info["peer"] = "xbench"


class Clock:
    """Adds up the seconds inside some functions."""

    def __init__(self, patch: pytest.MonkeyPatch) -> None:
        self.patch = patch
        self.seconds: dict[str, float] = {}

    def watch(self, owner: Any, function: str, name: str) -> None:
        """Replace a function of a class or module by itself with a clock."""
        timed: Callable[..., Any] = getattr(owner, function)

        @wraps(timed)
        def wrapped(*arguments: Any, **options: Any) -> Any:
            began = time.perf_counter()
            try:
                return timed(*arguments, **options)
            finally:
                spent = time.perf_counter() - began
                self.seconds[name] = self.seconds.get(name, 0.0) + spent

        self.patch.setattr(owner, function, wrapped)


@pytest.mark.benchmark(group="xbench run --method medshift --profile quick")
def test_overhead(
    benchmark: BenchmarkFixture, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    clock = Clock(monkeypatch)
    clock.watch(Phantom, "prepare", "data")
    clock.watch(MedShift, "translate_all", "translate")
    clock.watch(Scorer, "score", "metrics")
    clock.watch(Scorer, "polarity", "metrics")
    preload()
    runs, trainings = os.environ.get("XBENCH_RUNS"), Path("phantom", "quick", "trainings")
    if runs:
        shutil.copytree(runs / trainings, tmp_path / trainings)
    began = time.perf_counter()
    options = ("--profile", "quick", "--method", "medshift", "--published", "none")
    code = benchmark.pedantic(run, ("run", *options, "--out", str(tmp_path)), rounds=1)
    whole = time.perf_counter() - began
    assert code == 0
    records = [*tmp_path.rglob("records/medshift*/*/*.json")]
    fit = json.loads(records[0].read_text())["method"]["train_seconds"]
    translated = sum(json.loads(record.read_text())["seconds"]["translate"] for record in records)
    # The records' own clock sees the same translations: none has escaped the wrapper.
    assert clock.seconds["translate"] == pytest.approx(translated, rel=0.1)
    harness = whole - sum(clock.seconds.values()) - (0 if runs else fit)
    work = fit + clock.seconds["translate"] + clock.seconds["metrics"]
    benchmark.extra_info |= {"peer": "xbench", "limits": {"harness_share": 0.05}}
    benchmark.extra_info["figures"] = {
        "harness_share": harness / (harness + work),
        "harness_share without training": harness / (harness + work - fit),
        "seconds of the harness": harness,
        "of training": fit,
        **{f"of {name}": seconds for name, seconds in clock.seconds.items()},
    }
    if runs:
        benchmark.extra_info["note"] = "the training was finished before"


@pytest.fixture(scope="module")
def warm(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A cache with the images and statistics of the training images, and with no feature."""
    home = tmp_path_factory.mktemp("warm")
    with Workers(1, home, home / "out", "--pairs", "synthetic_low:real_low") as workers:
        workers.work()
    shutil.rmtree(home / "features" / "sets")
    shutil.rmtree(home / "out")
    return home


@pytest.mark.benchmark(group=f"{UNITS} units that need no training")
@pytest.mark.parametrize("number", [2, 1])
def test_workers(benchmark: BenchmarkFixture, number: int, warm: Path, tmp_path: Path) -> None:
    if cores() < 2:
        pytest.skip("needs 2 cores")
    rounds: list[Workers] = []

    def ready() -> tuple[tuple[Workers], dict[str, Any]]:
        home = tmp_path / str(len(rounds))
        shutil.copytree(warm, home)
        rounds.append(Workers(number, home, home / "out"))
        return (rounds[-1],), {}

    benchmark.pedantic(Workers.work, setup=ready, rounds=3)
    for workers in rounds:
        assert len(workers.records()) == UNITS
    assert rounds[0].records() == rounds[-1].records()
    benchmark.extra_info["peer"] = "xbench" if number == 2 else "one worker"
    benchmark.extra_info["value"] = sum(rounds[0].records().values())
    if number == 2:
        benchmark.extra_info["note"] = "two workers"
    else:
        benchmark.extra_info["asked"] = 1.7


class Workers:
    """Workers on one plan that wait for the word to start."""

    def __init__(self, number: int, home: Path, out: Path, *options: str) -> None:
        self.out = out
        arguments = (*WORK, *options, "--out", str(out), "--worker")
        self.process = subprocess.Popen(
            [sys.executable, "-P", __file__, str(number), *arguments],
            env=os.environ | {"XBENCH_HOME": str(home), "OMP_NUM_THREADS": "1"},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
        )
        assert self.process.stdout is not None
        assert self.process.stdout.readline() == b"ready\n"

    def __enter__(self) -> "Workers":
        return self

    def __exit__(self, *error: object) -> None:
        self.process.kill()
        self.process.wait()

    def work(self) -> None:
        """Say the word, and wait until all is done."""
        self.process.communicate(b"go\n")
        assert self.process.returncode == 0

    def records(self) -> dict[str, float]:
        """The texture distance of every unit, by the name of its record."""
        folder = self.out / "phantom" / "quick" / "records"
        return {
            str(path.relative_to(folder)): json.loads(path.read_text())["metrics"]["ftd"]["value"]
            for path in sorted(folder.rglob("*.json"))
        }


def start(number: int, *arguments: str) -> int:
    """Fork workers from a process that has imported all; they begin at a line from outside."""
    preload()
    print("ready", flush=True)
    sys.stdin.readline()
    workers = []
    for share in shares(number, get_profile("quick").threads):
        workers.append(os.fork())
        if not workers[-1]:
            if share:
                os.sched_setaffinity(0, share)
            silence = os.open(os.devnull, os.O_WRONLY)
            os.dup2(silence, 1)
            os.dup2(silence, 2)
            os._exit(run(*arguments))
    return max([os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) for pid in workers], key=abs)


def run(*arguments: str) -> int:
    """`xbench` in this process; its exit code."""
    try:
        main(list(arguments))
    except SystemExit as end:
        return int(end.code or 0)
    return 0


def preload() -> None:
    """Import what a run needs: building every method's networks imports theirs."""
    torch.set_num_threads(1)  # forks must not find threads
    names = (
        "xbench.harness.session",
        "xbench.analysis.figures",
        "accelerate",
        "seaborn",
        "skimage.exposure",
    )
    for name in (*names, "xbench.metrics.texture", "xbench.metrics.physics"):
        import_module(name)
    catalogue.methods("smoke")


if __name__ == "__main__":
    sys.exit(start(int(sys.argv[1]), *sys.argv[2:]))
