"""What the harness itself costs, and how much faster two workers are than one.

Run on a quiet machine with at least two cores:

    python tests/benchmarks/bench_workers.py plan                  # 10,000 units: seconds
    python tests/benchmarks/bench_workers.py overhead RUNS         # a finished training is in RUNS
    python tests/benchmarks/bench_workers.py workers --profile smoke

`overhead` copies the trainings of MedShift from RUNS/phantom/PROFILE and times a run without the
imports; what is left of it without data, fitting, translating and metrics is the harness. `workers`
times a run of methods that need no training, with warm data, by one worker and by two.
"""

import argparse
import json
import os
import shutil
import sys
import tempfile
import time
from collections.abc import Callable
from functools import wraps
from importlib import import_module
from pathlib import Path
from typing import Any

import torch

from xbench import catalogue
from xbench.cli import main
from xbench.datasets.phantom.dataset import Phantom
from xbench.methods import registry
from xbench.methods.medshift import MedShift
from xbench.plan import Request, make
from xbench.scoring import Scorer


def plan() -> None:
    """Plan 10,000 units: 10 methods, 56 seeds, 20 pairs."""
    methods = ["medshift", "cyclegan", "cut", "fastcut", "unsb"]
    methods += ["ddib", "sdedit", "cyclediffusion", "unsb-official", "fda"]
    request = Request(methods=methods, seeds=range(56))
    for name in methods:
        registry.get(name)
    make(request)
    began = time.perf_counter()
    units = len(make(request).units)
    print(f"{units} units planned in {time.perf_counter() - began:.2f} s")


class Clock:
    """Adds up the seconds inside some functions."""

    def __init__(self) -> None:
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

        setattr(owner, function, wrapped)


def overhead(runs: Path, profile: str) -> None:
    """The share of a run that is none of data, fitting, translating and metrics."""
    clock = Clock()
    clock.watch(Phantom, "prepare", "data")
    clock.watch(MedShift, "translate_all", "translate")
    clock.watch(Scorer, "score", "metrics")
    clock.watch(Scorer, "polarity", "metrics")
    preload()
    with tempfile.TemporaryDirectory() as folder:
        trainings = Path("phantom", profile, "trainings")
        shutil.copytree(runs / trainings, folder / trainings)
        began = time.perf_counter()
        code = run("--profile", profile, "--method", "medshift", "--out", folder)
        whole = time.perf_counter() - began
        record = next(Path(folder).rglob("records/medshift*/*/*.json"))
        fit = json.loads(record.read_text())["method"]["train_seconds"]
    rest = whole - sum(clock.seconds.values())
    parts = ", ".join(f"{name} {seconds:.1f}" for name, seconds in clock.seconds.items())
    print(f"exit code {code}: {whole:.1f} s ({parts}), and {fit:.1f} s of training before")
    print(
        f"harness: {rest:.1f} s, {rest / (whole + fit):.1%} of all, {rest / whole:.1%} without it"
    )


def workers(profile: str, methods: str) -> None:
    """Seconds of one worker and of two on 20 pairs, forked when all is imported."""
    preload()
    arguments = ("--profile", profile, "--method", methods, "--device", "cpu")
    with tempfile.TemporaryDirectory() as folder:
        together(1, *arguments, "--pairs", "synthetic_low:real_low", "--out", f"{folder}/warm")
        for turn in range(2):
            one = together(1, *arguments, "--out", f"{folder}/one{turn}")
            two = together(2, *arguments, "--out", f"{folder}/two{turn}")
            print(f"one worker {one:.1f} s, two {two:.1f} s: {one / two:.2f} times as fast")


def together(number: int, *arguments: str) -> float:
    """Seconds that some workers need for a plan; views are not made."""
    began = time.perf_counter()
    workers = []
    for _ in range(number):
        workers.append(os.fork())
        if not workers[-1]:
            silence = os.open(os.devnull, os.O_WRONLY)
            os.dup2(silence, 1)
            os.dup2(silence, 2)
            os._exit(run(*arguments, "--worker"))
    codes = [os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) for pid in workers]
    assert not any(codes), codes
    return time.perf_counter() - began


def run(*arguments: str) -> int:
    """`xbench run` in this process; its exit code."""
    try:
        main(["run", *arguments, "--published", "none"])
    except SystemExit as end:
        return int(end.code or 0)
    return 0


def preload() -> None:
    """Import what a run needs: building every method's networks imports theirs."""
    torch.set_num_threads(1)  # forks must not find threads
    names = ("xbench.execute", "xbench.plots", "accelerate", "seaborn", "skimage.exposure")
    for name in (*names, "xbench.metrics.texture", "xbench.metrics.physics"):
        import_module(name)
    catalogue.methods("smoke")


def script() -> None:
    """Do what the command line says."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("what", choices=("plan", "overhead", "workers"))
    parser.add_argument("runs", type=Path, nargs="?", default=Path("runs"))
    parser.add_argument("--profile", default="quick")
    parser.add_argument("--method", default="histogram,fda")
    options = parser.parse_args()
    if options.what == "plan":
        plan()
    elif options.what == "overhead":
        overhead(options.runs, options.profile)
    else:
        workers(options.profile, options.method)


if __name__ == "__main__":
    sys.exit(script())
