"""How time and memory of `xbench run` grow with images, their size, domains and methods.

    OMP_NUM_THREADS=1 pytest tests/benchmarks/bench_growth.py --benchmark-enable \
        --benchmark-json=growth.json

A process of its own imports everything and makes one small run, then forks for every point. There a
run of one pair makes the data; the seconds that count are those of the run after it: training,
translation, metrics, files and views. Memory is the most that the fork has held at any time, the
making of the data included; of the libraries' code it has only what it uses. Exponents are slopes
of a straight line through the logarithms. The benchmark's own seconds are those of the largest
point, with its data.
"""

import json
import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from pytest_benchmark.fixture import BenchmarkFixture

#: Options of `xbench run`, and the pair that the run before it has.
Point = tuple[list[str], str]
KEYS = ("seconds", "peak memory in MB")
#: How many times the memory may be needed by eight times as many images.
LIMIT = 1.25
STATUS = Path("/proc/self/status")
SMALL = [
    *("--profile", "smoke", "--set", "budget.images=64", "--device", "cpu"),
    *("--published", "none", "--method"),
]
PAIR = "synthetic_low:real_low"


def phantom(chosen: str, *options: str, **counts: int) -> Point:
    """A run on the phantom with half the views of the smoke profile, or other counts."""
    counts = {"train_views": 4, "val_views": 2, "test_views": 2} | counts
    settings = [f"--set=data.{name}={count}" for name, count in counts.items()]
    return [*SMALL, chosen, *settings, *options], PAIR


def images(times: int, folder: Path) -> Point:
    views = {"train_views": 4 * times, "val_views": 2 * times, "test_views": 2 * times}
    return phantom("identity,medshift", **views)


def large(number: int, folder: Path) -> Point:
    """One pair of test images of 256 px, two for each head; what is small hides in the imports."""
    alone = {"train_heads": 1, "val_heads": 1, "test_heads": number // 2}
    return phantom("identity", "--pairs", PAIR, size=256, **alone)


def size(side: int, folder: Path) -> Point:
    return phantom("identity,medshift", size=side)


def domains(number: int, folder: Path) -> Point:
    """Folders of smooth noise at as many brightnesses, 10 images each."""
    root = folder / "domains"
    for domain in range(number):
        (root / f"d{domain:02d}").mkdir(parents=True)
        for image in range(10):
            rng = np.random.default_rng([domain, image])
            grey = rng.uniform(40, 90, (8, 8)).repeat(4, 0).repeat(4, 1) + 6 * domain
            file = root / f"d{domain:02d}" / f"view{image:02d}.png"
            Image.fromarray(grey.astype(np.uint8)).save(file)
    return [*SMALL, "identity,medshift", "--dataset", str(root)], "d00:d01"


PLUGIN = '''
class Copy{number}(Method):
    """Darkens a little."""

    name = "copy{number}"

    def translate(self, images, source, target, *, generators):
        """Darker images."""
        return images * 0.9
'''


def methods(number: int, folder: Path) -> Point:
    """Copies of a plug-in, beside the references that every run has."""
    file = folder / "copies.py"
    head = '"""Copies of a method."""\n\nfrom xbench.methods.base import Method\n'
    file.write_text(head + "\n".join(PLUGIN.format(number=n) for n in range(number)))
    return phantom(",".join(f"{file}:Copy{n}" for n in range(number)))


#: What grows → its values and the options of a run.
AXES: dict[str, tuple[Sequence[int], Callable[[int, Path], Point]]] = {
    "images": ((1, 2, 8), images),
    "large": ((8, 16, 32, 64), large),
    "size": ((32, 64, 128), size),
    "domains": ((2, 5, 10, 20), domains),
    "methods": ((1, 2, 4, 8), methods),
}
TITLES = {
    "images": "{} times as many images",
    "large": "{} test images of 256 px",
    "size": "images of {} px",
    "domains": "{} domains",
    "methods": "{} plug-ins",
}


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[subprocess.Popen[str]]:
    if not STATUS.exists():
        pytest.skip("how much memory a process has held is read from Linux' /proc")
    folder, pipe = tmp_path_factory.mktemp("growth"), subprocess.PIPE
    command = [sys.executable, str(Path(__file__).resolve())]
    with (
        (folder / "stderr.txt").open("w") as errors,
        subprocess.Popen(
            command, cwd=folder, stdin=pipe, stdout=pipe, stderr=errors, text=True
        ) as process,
    ):
        yield process
        process.communicate()


def ask(server: subprocess.Popen[str], folder: Path, point: Point) -> dict[str, float]:
    """Seconds of the run and peak memory in MB of a process that makes it."""
    assert server.stdin is not None
    assert server.stdout is not None
    print(json.dumps([str(folder), *point]), file=server.stdin, flush=True)
    answer = server.stdout.readline()
    assert answer, "a run failed: see stderr.txt in the folder of this test"
    answered: dict[str, float] = json.loads(answer)
    return answered


@pytest.mark.parametrize("axis", AXES)
def test_growth(
    benchmark: BenchmarkFixture, axis: str, server: subprocess.Popen[str], tmp_path: Path
) -> None:
    values, make = AXES[axis]
    titles = [TITLES[axis].format(value) for value in values]
    benchmark.group = f"xbench run, {titles[-1]}"
    found = []
    for value in values:
        folder = tmp_path / str(value)
        folder.mkdir()
        arguments = (server, folder, make(value, folder))
        last = value == values[-1]
        found.append(benchmark.pedantic(ask, arguments) if last else ask(*arguments))
    shown = {f"{what}, {t}": f[what] for what in KEYS for t, f in zip(titles, found, strict=True)}
    slopes = {f"exponent of {what}": slope(values, [f[what] for f in found]) for what in KEYS}
    grown = found[-1]["peak memory in MB"] / found[0]["peak memory in MB"]
    factor = f"peak memory, {titles[-1]} / {titles[0]}"
    benchmark.extra_info |= {"peer": "xbench", "figures": {**shown, **slopes, factor: grown}}
    if axis in ("images", "large"):
        benchmark.extra_info["limits"] = {factor: LIMIT}
    if axis == "images":
        assert grown < LIMIT


def slope(values: Sequence[int], found: Sequence[float]) -> float:
    """Exponent of the power of `values` that fits best."""
    return float(np.polyfit(np.log(values), np.log(found), 1)[0])


def serve() -> None:
    """Answer points from stdin, a line each: in a fork, so that none finds another's memory."""
    run([*SMALL, "identity,medshift", "--pairs", PAIR, "--out", "start"])
    for line in sys.stdin:
        folder, options, pair = json.loads(line)
        child = os.fork()
        if not child:
            os.chdir(folder)
            run([*options, "--pairs", pair, "--out", "first"])
            began = time.perf_counter()
            run([*options, "--out", "whole"])
            answered = dict(zip(KEYS, (time.perf_counter() - began, peak()), strict=True))
            print(json.dumps(answered), flush=True)
            os._exit(0)
        code = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
        if code:
            sys.exit(code)


def run(options: Sequence[str]) -> None:
    """`xbench run` in this process, which ends if the run fails."""
    from xbench.cli import main

    try:
        main(["run", *options])
    except SystemExit as end:
        if end.code:
            os._exit(1)


def peak() -> float:
    """The most memory in MB that this process has held; `ru_maxrss` may hold its parent's."""
    lines = STATUS.read_text().splitlines()
    return next(int(line.split()[1]) / 1024 for line in lines if line.startswith("VmHWM:"))


if __name__ == "__main__":
    serve()
