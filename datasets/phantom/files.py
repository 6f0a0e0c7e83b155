"""The files of rendered heads: a job makes those of one head, here or in worker processes."""

import json
import queue
import subprocess
import sys
import warnings
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch

from xbench.core.errors import UserError
from xbench.core.files import atomic, set_aside, write_text
from xbench.core.hashing import file_digest
from xbench.core.pixels import Pixels


@dataclass(frozen=True)
class Job(ABC):
    """One head of one split: the folder of its files, and everything that the files depend on.

    `domain` is the domain of a training head, and None if all domains are made.
    """

    folder: str
    split: str
    domain: str | None
    index: int
    views: int
    size: int

    @abstractmethod
    def make(self) -> None:
        """Write the files."""

    @property
    def head(self) -> str:
        """Name of the head, unique over all splits and domains."""
        middle = f"-{self.domain}-" if self.domain else ""
        return f"{self.split}{middle}{self.index:03d}"

    @property
    def array(self) -> Path:
        """The images, uint16: `[views, H, W]` for training, else `[planes, views, H, W]`."""
        return Path(self.folder) / f"{self.head}.npy"

    @property
    def truth(self) -> Path:
        """What is known of the images, uint16 `[planes, views, H, W]`; not in version 1."""
        return Path(self.folder) / f"{self.head}.truth.npy"

    @property
    def sidecar(self) -> Path:
        """SHA-256 of the other files and the ground truth of the views, JSON."""
        return Path(self.folder) / f"{self.head}.json"

    def save(self, images: Pixels, facts: dict[str, Any], truth: Pixels | None = None) -> None:
        """Write the arrays and then the sidecar."""
        digests = {"sha256": _save(self.array, images)}
        if truth is not None:
            digests["truth_sha256"] = _save(self.truth, truth)
        write_text(self.sidecar, json.dumps({**digests, **facts}, indent=1))

    def facts(self) -> dict[str, Any]:
        """What the sidecar holds."""
        try:
            content: dict[str, Any] = json.loads(self.sidecar.read_text(encoding="utf-8"))
        except FileNotFoundError:
            raise self._unprepared() from None
        return content

    def load(self) -> Pixels:
        """The array, mapped."""
        return self._mapped(self.array)

    def load_truth(self) -> Pixels:
        """The truth, mapped."""
        return self._mapped(self.truth)

    def _mapped(self, path: Path) -> Pixels:
        try:
            array: Pixels = np.load(path, mmap_mode="r")
        except FileNotFoundError:
            raise self._unprepared() from None
        return array

    def _unprepared(self) -> UserError:
        return UserError(
            f"the head '{self.head}' has not been made yet",
            f"expected: {self.array}",
            "call prepare() of the data set first",
        )

    def is_whole(self) -> bool:
        """Whether the files are complete; a damaged file is set aside with a warning."""
        # The sidecar is written last: an array alone cannot be checked.
        if not self.sidecar.exists() or not self.array.exists():
            return False
        try:
            damaged = self._damaged()
            if damaged is None:
                return True
            aside = set_aside(damaged)
        except FileNotFoundError:
            # It is missing, or another process has just set it aside, and recomputes it.
            return False
        warnings.warn(
            f"{damaged} is damaged: kept as {aside.name} and recomputed",
            RuntimeWarning,
            stacklevel=4,
        )
        return False

    def _damaged(self) -> Path | None:
        """A file of a head that differs from what was written, or None."""
        try:
            side = json.loads(self.sidecar.read_text(encoding="utf-8"))
            expected, views = side["sha256"], side["views"]
        except (ValueError, KeyError, TypeError):
            return self.sidecar
        if len(views) != self.views:
            return self.sidecar
        if file_digest(self.array) != expected:
            return self.array
        if "truth_sha256" in side and file_digest(self.truth) != side["truth_sha256"]:
            return self.truth
        return None


def _save(path: Path, array: Pixels) -> str:
    with atomic(path) as part:
        np.save(part, array)
        return file_digest(part)


@contextmanager
def one_thread() -> Iterator[None]:
    """Use one torch thread: sums have one order, and many tiny operations run faster."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(before)


def make_all(jobs: Sequence[Job], workers: int, done: Callable[[], None]) -> None:
    """Make the files of all jobs, calling `done` after each.

    Args:
        jobs: the jobs.
        workers: number of worker processes; below 2, this process does the work.
        done: called in this process, one call at a time.
    """
    if workers < 2:
        for job in jobs:
            job.make()
            done()
        return
    todo: queue.SimpleQueue[Job] = queue.SimpleQueue()
    finished: queue.SimpleQueue[BaseException | None] = queue.SimpleQueue()
    for job in jobs:
        todo.put(job)
    with ThreadPoolExecutor(workers) as pool:
        for _ in range(workers):
            pool.submit(_drive, todo, finished)
        try:
            for _ in jobs:
                error = finished.get()
                if error is not None:
                    raise error
                done()
        finally:
            # After an error or an interrupt, no thread takes another job.
            while not todo.empty():
                todo.get_nowait()


def _drive(
    todo: "queue.SimpleQueue[Job]", finished: "queue.SimpleQueue[BaseException | None]"
) -> None:
    """Feed one worker process from the queue; runs in a thread of the parent."""
    # -P: the current folder may hold other packages of the same names.
    command = [sys.executable, "-P", "-m", "xbench.datasets.phantom.worker"]
    pipe = subprocess.PIPE
    try:
        with subprocess.Popen(command, stdin=pipe, stdout=pipe, text=True) as worker:
            if worker.stdin is None or worker.stdout is None:
                raise RuntimeError("the worker has no pipes")
            while True:
                job = todo.get_nowait()
                kind = f"{type(job).__module__}:{type(job).__qualname__}"
                worker.stdin.write(json.dumps([kind, asdict(job)]) + "\n")
                worker.stdin.flush()
                answer = worker.stdout.readline().strip()
                if not answer:
                    raise RuntimeError(f"a worker failed on {job.head}; its error is above")
                if answer != "ok":
                    said = json.loads(answer)
                    raise (OSError if len(said) == 2 else UserError)(*said)
                finished.put(None)
    except queue.Empty:
        return
    except Exception as error:
        finished.put(error)
