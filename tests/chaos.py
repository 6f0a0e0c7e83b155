"""Kills workers of one run again and again, at random moments, and looks for traces in the end.

    python tests/chaos.py --kills 50 --workers 2 --out FOLDER

An undisturbed run in a folder and a cache of its own is the reference. Then rounds, each from
nothing: workers share one results folder and one cache, a random one of their processes (with the
processes that they started) is killed by SIGKILL, and what died is started again. A round ends when
a worker comes to its end, and in any case after the last kill; then one quiet run goes over it,
and every file of it is compared with the reference.

Workers are forked from a process that has imported everything: a start takes no time, so that kills
hit work and not imports.
"""

import argparse
import json
import os
import random
import shutil
import sys
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass, field
from hashlib import sha256
from importlib import import_module
from pathlib import Path

import numpy as np
import psutil
import torch
from PIL import Image
from safetensors import safe_open

from xbench.cli import catalogue, main
from xbench.datasets.phantom.dataset import Phantom

#: What a run imports when it comes to it.
NEEDED = (
    *(
        "xbench.harness.session",
        "xbench.harness.runner",
        "xbench.analysis.figures",
        "xbench.metrics.texture",
    ),
    *("xbench.metrics.physics", "accelerate", "seaborn", "skimage.exposure"),
)

#: Tables with seconds and milliseconds in them.
TIMED = ("leaderboard", "parameters")


@dataclass
class World:
    """A results folder and a cache."""

    folder: Path
    arguments: list[str]

    @property
    def results(self) -> Path:
        return self.folder / "out" / "phantom" / "smoke"

    def start(self) -> int:
        """Fork a worker; its process number."""
        self.folder.mkdir(parents=True, exist_ok=True)
        sys.stdout.flush()
        pid = os.fork()
        if pid:
            return pid
        code = 70
        try:
            log = os.open(self.folder / "log.txt", os.O_CREAT | os.O_WRONLY | os.O_APPEND)
            os.dup2(log, 1)
            os.dup2(log, 2)
            os.environ["XBENCH_HOME"] = str(self.folder / "home")
            os.chdir(self.folder)
            try:
                main(["run", *self.arguments, "--out", "out", "--published", "none"])
            except SystemExit as end:
                code = int(end.code or 0)
        finally:
            os._exit(code)

    def run(self) -> int:
        """A worker from start to end; its exit code."""
        return os.waitstatus_to_exitcode(os.waitpid(self.start(), 0)[1])


@dataclass
class Tally:
    """What was killed, and where: printed in the end."""

    rounds: int = 0
    kills: int = 0
    ages: list[float] = field(default_factory=list)
    victims: Counter[str] = field(default_factory=Counter)


def disturb(world: World, tally: Tally, kills: int, workers: int, span: float) -> None:
    """Kill until a worker comes to its end or all kills are done; then end what is left."""
    chance = random.Random(tally.kills)
    alive: dict[int, float] = {}
    while tally.kills < kills:
        while len(alive) < workers:
            alive[world.start()] = time.monotonic()
        time.sleep(chance.uniform(0, span))
        codes = ended(alive)
        if 0 in codes:
            break
        if alive:
            main_process = chance.choice(list(alive))
            family = [psutil.Process(main_process)]
            with suppress(psutil.NoSuchProcess):
                family += family[0].children(recursive=True)
            victim = chance.choice(family)
            with suppress(psutil.NoSuchProcess):
                victim.kill()
                tally.kills += 1
                tally.ages.append(time.monotonic() - alive[main_process])
                tally.victims["worker" if victim.pid == main_process else "its child"] += 1
    for pid in alive:
        with suppress(ProcessLookupError):
            os.kill(pid, 9)
        os.waitpid(pid, 0)


def ended(alive: dict[int, float]) -> list[int]:
    """Exit codes of workers that have ended since the last call."""
    codes = []
    for pid in list(alive):
        found, status = os.waitpid(pid, os.WNOHANG)
        if found:
            del alive[pid]
            codes.append(os.waitstatus_to_exitcode(status))
    return codes


def faults(world: World, reference: World) -> Iterator[str]:
    """What is wrong with a finished round."""
    expected, found = names(reference.folder), names(world.folder)
    yield from (f"missing: {name}" for name in sorted(expected - found))
    yield from (f"left over: {name}" for name in sorted(found - expected))
    for name in sorted(expected & found):
        try:
            differs = facts(world.folder / name) != facts(reference.folder / name)
        except Exception as error:  # whatever a damaged file raises
            yield f"damaged: {name}: {error}"
        else:
            if differs:
                yield f"differs: {name}"
    keys = [json.loads(path.read_text())["key"] for path in world.results.glob("records/*/*/*")]
    if len(set(keys)) != len(keys):
        yield "a unit is there twice"


def names(folder: Path) -> set[str]:
    """All files, but logs."""
    paths = [path for path in folder.rglob("*") if path.is_file()]
    return {str(path.relative_to(folder)) for path in paths if path.name != "log.txt"}


def facts(path: Path) -> object:
    """What must be equal of a file, read to its end; all of it where it holds no times."""
    if path.suffix == ".safetensors":
        with safe_open(path, "np") as file:
            return {key: sha256(file.get_tensor(key).tobytes()).digest() for key in file.keys()}  # noqa: SIM118
    if path.suffix == ".npy":
        return sha256(np.load(path).tobytes()).digest()
    if path.suffix == ".png":
        pixels = np.asarray(Image.open(path))
        timed = path.name == "tradeoff.png"  # it may show milliseconds
        return pixels.ndim if timed else sha256(pixels.tobytes()).digest()
    if path.suffix == ".json":
        content = json.loads(path.read_text(encoding="utf-8"))
        for name in ("seconds", "provenance", "finished"):
            content.pop(name, None)
        content.get("method", {}).pop("train_seconds", None)
        return content
    if path.stem in TIMED:
        return len(path.read_text(encoding="utf-8").splitlines())
    return path.read_bytes()


def preload() -> None:
    """Import what a run needs, and let the phantom be made by processes that can be killed."""
    os.environ |= {"XBENCH_OFFLINE": "1", "OMP_NUM_THREADS": "1"}
    torch.set_num_threads(1)  # forks must not find threads
    for name in NEEDED:
        import_module(name)
    catalogue.methods("smoke")  # building every method's networks imports theirs
    Phantom._workers = lambda self, todo: min(2, len(todo))  # type: ignore[method-assign]


def parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("--kills", type=int, default=50)
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--method", default="histogram,medshift,cyclegan")
    parser.add_argument("--pairs", default="")
    parser.add_argument("--out", type=Path, required=True)
    return parser.parse_args()


def script() -> int:
    """Do what the command line says; 1 if a fault was found."""
    options = parse()
    preload()
    shutil.rmtree(options.out, ignore_errors=True)
    arguments = ["--method", options.method, "--profile", "smoke", "--device", "cpu"]
    arguments += ["--pairs", options.pairs] if options.pairs else []
    began = time.monotonic()
    reference = World(options.out.absolute() / "undisturbed", arguments)
    if reference.run():
        print(f"the undisturbed run failed: {reference.folder}/log.txt")
        return 1
    whole = time.monotonic() - began
    print(f"undisturbed: {whole:.1f} s, {len(names(reference.folder))} files", flush=True)
    tally, wrong = Tally(), 0
    while tally.kills < options.kills:
        tally.rounds += 1
        before = tally.kills
        world = World(options.out.absolute() / f"round{tally.rounds}", arguments)
        disturb(world, tally, options.kills, options.workers, whole / 6)
        code = world.run()
        found = [f"exit code {code}"] * bool(code) + list(faults(world, reference))
        wrong += len(found)
        print(
            f"round {tally.rounds}: {tally.kills - before} kills, {len(found)} faults", flush=True
        )
        for fault in found:
            print(f"  {fault}")
        if not found:
            shutil.rmtree(world.folder)
    print(
        f"{tally.kills} kills ({dict(tally.victims)}) of {options.workers} workers, "
        f"{min(tally.ages):.1f} to {max(tally.ages):.1f} s after their start, "
        f"in {tally.rounds} rounds: {wrong} faults, {time.monotonic() - began:.0f} s"
    )
    return int(wrong > 0)


if __name__ == "__main__":
    sys.exit(script())
