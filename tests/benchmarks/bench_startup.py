"""Start-up: short commands beside `import torch` and `import pandas`.

Processor seconds of whole processes, so leave the benchmark's own clock as it is. The first round
finds compiled modules and caches missing, the fastest one has them:

    OMP_NUM_THREADS=1 pytest tests/benchmarks/bench_startup.py --benchmark-enable \
        --benchmark-json=startup.json
"""

import resource
import shutil
import subprocess
import sys
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from pytest_benchmark.fixture import BenchmarkFixture

ROUNDS = 5
RESULTS = Path(__file__).parents[2] / "results"
#: The example that typer's documentation begins with.
HELLO = '''\
import typer

app = typer.Typer()


@app.command()
def hello(name: str) -> None:
    """Say hello."""
    print(f"Hello {name}")


app()
'''


def child_seconds() -> float:
    """Processor seconds of the child processes that have ended: the clock of this file."""
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


pytestmark = pytest.mark.benchmark(timer=child_seconds)


@dataclass(frozen=True)
class Case:
    """A command that is measured.

    Attributes:
        arguments: of `xbench`.
        word: what its answer must hold.
        limit: processor seconds it may take; None: none is asked for.
        over: the import whose seconds are added to the limit.
    """

    arguments: str
    word: str
    limit: float | None = None
    over: str = ""


CASES = (
    Case("--help", "leaderboard", 0.3),
    Case("list metrics", "ftd"),
    Case("list methods --no-counts", "medshift", 2.0),
    Case("list methods", "medshift", 3.0, "torch"),
    Case("list datasets", "phantom"),
    Case("leaderboard --out results", "medshift", 2.0),
    Case("status --out results", "medshift"),
    Case("score --translated made --source made --metrics psnr", "psnr"),
    Case("run --method medshift --dry-run", "10,240"),
    Case("run --method histogram --profile smoke", "histogram", 3.5, "torch"),
)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the published quick records and a folder of images."""
    folder = tmp_path_factory.mktemp("startup")
    shutil.copytree(RESULTS / "phantom" / "quick", folder / "results" / "phantom" / "quick")
    (folder / "made").mkdir()
    for number in range(4):
        pixels = np.full((32, 32), 1000 * number, np.uint16)
        Image.fromarray(pixels).save(folder / "made" / f"{number}.png")
    return folder


def call(folder: Path, *command: str) -> str:
    """Run a command in a folder; what it printed."""
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=True)
    return done.stdout + done.stderr


@cache
def import_seconds(name: str) -> float:
    """Processor seconds of a process that imports a package, the fastest of several."""
    seconds = []
    for _ in range(ROUNDS):
        before = child_seconds()
        call(Path(), sys.executable, "-c", f"import {name}")
        seconds.append(child_seconds() - before)
    return min(seconds)


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.arguments)
def test_command(benchmark: BenchmarkFixture, case: Case, folder: Path) -> None:
    """A command, its finished units removed before every round."""
    command = (sys.executable, "-m", "xbench.cli", *case.arguments.split())
    benchmark.group = f"xbench {case.arguments}"
    benchmark.extra_info["peer"] = "xbench"
    answer = benchmark.pedantic(
        call,
        args=(folder, *command),
        setup=lambda: shutil.rmtree(folder / "runs", ignore_errors=True),
        rounds=ROUNDS,
    )
    assert case.word in answer
    if benchmark.stats:
        seconds = benchmark.stats.stats.min
        figures = {
            "processor seconds": seconds,
            "over import torch": seconds - import_seconds("torch"),
            "times import pandas": seconds / import_seconds("pandas"),
        }
        benchmark.extra_info["figures"] = figures
        if case.limit is not None:
            name = f"over import {case.over}" if case.over else "processor seconds"
            benchmark.extra_info["limits"] = {name: case.limit}


@pytest.mark.parametrize("name", ["pandas", "torch"])
def test_import(benchmark: BenchmarkFixture, name: str, folder: Path) -> None:
    """What the commands are compared with."""
    command = (sys.executable, "-c", f"import {name}")
    benchmark.group = "import"
    benchmark.extra_info["peer"] = f'python -c "import {name}"'
    assert not benchmark.pedantic(call, args=(folder, *command), rounds=ROUNDS)


def test_hello(benchmark: BenchmarkFixture, folder: Path) -> None:
    """At most twice the time of typer's own example is asked for."""
    benchmark.group = "xbench --help"
    benchmark.extra_info |= {"peer": "typer's hello-world", "asked": 0.5}
    (folder / "hello.py").write_text(HELLO)
    command = (sys.executable, "hello.py", "--help")
    answer = benchmark.pedantic(call, args=(folder, *command), rounds=ROUNDS)
    assert "Say hello." in answer
