"""Several workers on one plan.

A worker is one more `xbench run` (or `sweep`) on the same results folder. Locks in that folder
divide the plan, and the units of a dead worker go to the others. This module only starts equal
commands, passes on their output, and ends them.
"""

import json
import os
import signal
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from threading import current_thread, main_thread
from typing import Any

from xbench.core.errors import UserError, unknown
from xbench.harness.engines import ENGINES, Job, Needs, Task

#: Seconds between two looks at the workers.
PERIOD = 0.5


@dataclass(frozen=True)
class Team:
    """Equal workers: the engine that runs them, and the arguments of each.

    Attributes:
        engine: `local`, `ray` or `slurm`.
        arguments: `run` and its options; relative paths count from the current folder.
        workers: how many.
        options: for the engine, see `ray` and `slurm`.
    """

    engine: str
    arguments: tuple[str, ...]
    workers: int
    options: Mapping[str, Any] = field(default_factory=dict)


def start(
    team: Team,
    *,
    logs: Path,
    threads: int = 1,
    gpu: bool = False,
    say: Callable[[str], None] = lambda line: None,
) -> list[int]:
    """Run one command several times at once, and wait for all.

    An interrupt (Ctrl-C, SIGTERM) ends all workers before it is raised again.

    Args:
        team: what is run, how often, and by which engine.
        logs: folder in which worker k writes `worker-k.log`, k from 1.
        threads: CPU threads of each worker.
        gpu: whether each worker is given a GPU, or a share of one where they are fewer.
        say: called with every line that a worker writes, marked with its number, and with how
            workers end.

    Returns:
        Exit codes: those of `xbench run`, negative for a signal, `LOST` where it is not known.

    Raises:
        UserError: an unknown engine or option, or its package is not installed.
    """
    if team.engine not in ENGINES:
        raise unknown("executor", team.engine, ENGINES, "try: --executor local")
    logs = logs.absolute()
    logs.mkdir(parents=True, exist_ok=True)
    tasks = [_task(team.arguments, logs / f"worker-{k}.log") for k in range(1, team.workers + 1)]
    for task in tasks:
        task.log.write_bytes(b"")
    needs = Needs(threads, gpu, team.options)
    with _signals_interrupt(), ENGINES[team.engine](tasks, needs) as jobs:
        try:
            return _wait(jobs, [task.log for task in tasks], say)
        finally:
            for job in jobs:
                job.stop()


def parse_options(texts: Sequence[str]) -> dict[str, Any]:
    """`["partition=gpu", "mem_gb=8"]` → `{"partition": "gpu", "mem_gb": 8}`: JSON, else text.

    Raises:
        UserError: a text without a name or a value.
    """
    options = {}
    for text in texts:
        name, _, value = text.partition("=")
        if not (name.isidentifier() and value):
            raise UserError(
                f"--executor-option {text} cannot be read",
                "expected: --executor-option KEY=VALUE, as the engine names it",
                "for example: --executor slurm --executor-option partition=gpu",
            )
        try:
            options[name] = json.loads(value)
        except ValueError:
            options[name] = value
    return options


def _task(arguments: Sequence[str], log: Path) -> Task:
    # -P: the current folder may hold a `datasets` package or other namesakes.
    command = (sys.executable, "-P", "-m", "xbench.cli", *arguments)
    ours = {name: text for name, text in os.environ.items() if name.startswith("XBENCH_")}
    return Task(command, Path.cwd(), ours, log)


@contextmanager
def _signals_interrupt() -> Iterator[None]:
    """SIGTERM, and SIGHUP of a terminal that closes, interrupt as Ctrl-C does."""

    def interrupt(number: int, frame: object) -> None:
        raise KeyboardInterrupt

    names = ("SIGTERM", "SIGHUP") if current_thread() is main_thread() else ()
    numbers = [getattr(signal, name) for name in names if hasattr(signal, name)]
    # One that is ignored stays so: that is what nohup is for.
    changed = [number for number in numbers if signal.getsignal(number) is signal.SIG_DFL]
    for number in changed:
        signal.signal(number, interrupt)
    try:
        yield
    finally:
        for number in changed:
            signal.signal(number, signal.SIG_DFL)


def _wait(jobs: Sequence[Job], logs: Sequence[Path], say: Callable[[str], None]) -> list[int]:
    """Pass on what workers write until all have ended; their exit codes."""
    codes: list[int | None] = [None] * len(jobs)
    read = [0] * len(jobs)
    while None in codes:
        time.sleep(PERIOD)
        for k in [k for k, code in enumerate(codes) if code is None]:
            codes[k] = jobs[k].poll()
            read[k], lines = _news(logs[k], read[k], whole=codes[k] is not None)
            for line in lines:
                say(f"[{k + 1}] {line}")
            if codes[k]:
                say(f"worker {k + 1} ended with exit code {codes[k]}; its output: {logs[k]}")
    return [code for code in codes if code is not None]


def _news(log: Path, start: int, *, whole: bool) -> tuple[int, list[str]]:
    """Lines of a log from byte `start` on, and where the next begin; `whole` takes a last part."""
    with log.open("rb") as file:
        file.seek(start)
        text = file.read()
    if not whole:
        text = text[: text.rfind(b"\n") + 1]
    return start + len(text), text.decode(errors="replace").splitlines()
