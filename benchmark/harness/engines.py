"""What starts and ends workers: processes of this machine, Ray tasks, SLURM jobs.

Workers on several machines need a file system that all of them see: the results folder, the
current folder and the paths in the arguments must exist on each. With `XBENCH_HOME` on it too,
data are made once, not once per machine.
"""

import math
import os
import shutil
import signal
import subprocess
from collections.abc import Callable, Iterator, Mapping, Sequence, Set
from contextlib import AbstractContextManager, contextmanager, suppress
from dataclasses import dataclass, field
from importlib import import_module
from itertools import pairwise
from pathlib import Path
from threading import current_thread, main_thread
from typing import Any, Protocol

from xbench.core.errors import UserError

#: Exit code of a worker whose machine or engine is gone.
LOST = 255
#: Seconds that a worker has to end by itself when it is asked to stop.
GRACE = 10.0
#: SLURM ends a job after this time, unless `--executor-option timeout_min=` says otherwise.
SLURM_MINUTES = 24 * 60


@dataclass(frozen=True)
class Task:
    """One worker: what is started, and where its output goes."""

    command: tuple[str, ...]
    folder: Path
    environment: dict[str, str]
    log: Path


@dataclass(frozen=True)
class Needs:
    """What each worker gets: CPU threads, a GPU or not, and options of the engine."""

    threads: int
    gpu: bool
    options: Mapping[str, Any] = field(default_factory=dict)


class Job(Protocol):
    """A started worker."""

    def poll(self) -> int | None:
        """Its exit code; None while it runs or waits for its turn."""

    def stop(self) -> None:
        """End it, if it runs."""


def work(task: Task) -> int:
    """Run a worker to its end, on whatever machine this is; its exit code."""
    return _popen(task).wait()


def _popen(task: Task) -> "subprocess.Popen[bytes]":
    with task.log.open("ab") as log, _heard_interrupts():
        return subprocess.Popen(
            task.command,
            cwd=task.folder,
            env={**os.environ, **task.environment},
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=subprocess.STDOUT,
            # Out of reach of the terminal's Ctrl-C: only the process that started it stops it.
            process_group=0,
        )


@contextmanager
def _heard_interrupts() -> Iterator[None]:
    """Let what is started here receive SIGINT, which `nohup … &` in a script makes all ignore."""
    deaf = signal.getsignal(signal.SIGINT) is signal.SIG_IGN and current_thread() is main_thread()
    if deaf:
        signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        yield
    finally:
        if deaf:
            signal.signal(signal.SIGINT, signal.SIG_IGN)


class _Process:
    """A worker that is a process of this machine."""

    def __init__(self, task: Task, share: Set[int]) -> None:
        self.process = _popen(task)
        # It imports for seconds before it counts its cores.
        with suppress(ProcessLookupError):
            if share:
                os.sched_setaffinity(self.process.pid, share)

    def poll(self) -> int | None:
        return self.process.poll()

    def stop(self) -> None:
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGINT)

    def join(self) -> None:
        """Give it time to put its things in order, then kill it."""
        try:
            self.process.wait(GRACE)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()


@contextmanager
def local(tasks: Sequence[Task], needs: Needs) -> Iterator[list[Job]]:
    """Processes of this machine, which share its cores; each takes a GPU in turn."""
    if needs.options:
        raise _no_option("local", next(iter(needs.options)), "none")
    cards = _cards() if needs.gpu else []
    processes: list[_Process] = []
    try:
        dealt = shares(len(tasks), needs.threads)
        for k, task in enumerate(tasks):
            if len(cards) > 1:
                task.environment["CUDA_VISIBLE_DEVICES"] = cards[k % len(cards)]
            processes.append(_Process(task, dealt[k]))
        yield list(processes)
    finally:
        for process in processes:
            process.join()


def shares(workers: int, threads: int) -> list[set[int]]:
    """The cores that each worker may use; an empty set leaves it all of them.

    Threads of several workers that want the same cores wait for each other: two workers of two
    threads each take twice as long on two cores as one alone. So where the cores are too few for
    all threads they are dealt out, and a worker starts as many threads as it has cores.
    """
    if not hasattr(os, "sched_getaffinity"):
        return [set() for _ in range(workers)]
    cores = sorted(os.sched_getaffinity(0))
    if workers == 1 or workers * threads <= len(cores):
        return [set() for _ in range(workers)]
    starts = [k * len(cores) // workers for k in range(workers + 1)]
    return [set(cores[start : max(start + 1, end)]) for start, end in pairwise(starts)]


def _cards() -> list[str]:
    """The GPUs of this machine that may be used, as `CUDA_VISIBLE_DEVICES` names them."""
    import torch

    chosen = os.environ.get("CUDA_VISIBLE_DEVICES")
    return chosen.split(",") if chosen else [str(k) for k in range(torch.cuda.device_count())]


@dataclass
class _Remote:
    """A worker that is a Ray task."""

    ray: Any
    reference: Any

    def poll(self) -> int | None:
        ready, _ = self.ray.wait([self.reference], timeout=0)
        return self._code() if ready else None

    def _code(self) -> int:
        try:
            return int(self.ray.get(self.reference))
        except self.ray.exceptions.RayError:
            return LOST

    def stop(self) -> None:
        if self.poll() is None:
            self.ray.cancel(self.reference, force=True)


@contextmanager
def ray(tasks: Sequence[Task], needs: Needs) -> Iterator[list[Job]]:
    """Tasks on the Ray cluster at `RAY_ADDRESS`, else on one that is started on this machine.

    Options are those of a Ray task (`num_cpus`, `num_gpus`, `memory`, `resources`, …).
    """
    library = _library("ray", "ray")
    mine = not library.is_initialized()
    if mine:
        library.init(log_to_driver=False, include_dashboard=False)
    try:
        resources = {
            "num_cpus": _processors(library, needs.threads),
            "num_gpus": _share(library, len(tasks)) if needs.gpu else 0,
        }
        try:
            # No second try: what a dead worker held goes to the others.
            remote = library.remote(**{**resources, "max_retries": 0, **needs.options})(work)
        except (TypeError, ValueError) as error:
            raise _no_option("ray", str(error), "num_cpus, num_gpus, memory, resources") from error
        yield [_Remote(library, remote.remote(task)) for task in tasks]
    finally:
        if mine:
            library.shutdown()


def _processors(library: Any, threads: int) -> float:
    """Processors to ask for: as many as threads, but no more than the largest node has.

    A task that no node can hold would wait forever.
    """
    nodes = [float(node["Resources"].get("CPU", 0)) for node in library.nodes() if node["Alive"]]
    return min(threads, max(nodes)) if nodes else threads


def _share(library: Any, workers: int) -> float:
    """GPUs for each worker: one, or a part of one where they are fewer than workers."""
    cards = float(library.cluster_resources().get("GPU", 0))
    return min(1.0, math.floor(1000 * cards / workers) / 1000)


@dataclass
class _Submitted:
    """A worker that is a job of SLURM, or of submitit on this machine."""

    job: Any

    def poll(self) -> int | None:
        return self._code() if self.job.done() else None

    def _code(self) -> int:
        try:
            return int(self.job.result())
        except Exception:  # submitit raises many types for jobs that were cancelled or killed
            return LOST

    def stop(self) -> None:
        if not self.job.done():
            self.job.cancel()


@contextmanager
def slurm(tasks: Sequence[Task], needs: Needs) -> Iterator[list[Job]]:
    """An array of SLURM jobs; where there is no `sbatch`, submitit's processes of this machine.

    Options are submitit's (`timeout_min`, `mem_gb`, `gpus_per_node`, …) or SLURM's (`partition`,
    `account`, `qos`, `constraint`, …). A GPU must be asked for by `gpus_per_node=1`: the machine
    that submits need not have one.
    """
    submitit = _library("submitit", "slurm")
    folder = tasks[0].log.parent / "slurm"
    cluster = "slurm" if shutil.which("sbatch") else "local"
    executor = submitit.AutoExecutor(folder=folder, cluster=cluster)
    general = executor._typed_parameters()
    options = {"name": "xbench", "timeout_min": SLURM_MINUTES, "cpus_per_task": needs.threads}
    for name, value in needs.options.items():
        options[name if name in general else f"slurm_{name}"] = value
    try:
        executor.update_parameters(**options)
    except (NameError, AssertionError) as error:
        raise _no_option("slurm", str(error).splitlines()[0], ", ".join(general)) from error
    try:
        yield [_Submitted(job) for job in executor.map_array(work, tasks)]
    finally:
        for file in folder.glob("*.pkl"):  # how submitit hands over tasks and exit codes
            file.unlink(missing_ok=True)


def _library(name: str, extra: str) -> Any:
    """An engine's package, or the three-line error that names the extra."""
    try:
        return import_module(name)
    except ImportError as error:
        raise UserError(
            f"--executor {extra} needs the package '{name}', which is not installed",
            f"expected: xbench with its extra '{extra}'",
            f'try: pip install -e ".[{extra}]"',
        ) from error


def _no_option(engine: str, what: str, known: str) -> UserError:
    return UserError(
        f"the executor '{engine}' cannot take an option: {what}",
        f"expected: {known}",
        "try: leave --executor-option out",
    )


ENGINES: dict[str, Callable[[Sequence[Task], Needs], AbstractContextManager[list[Job]]]] = {
    "local": local,
    "ray": ray,
    "slurm": slurm,
}
