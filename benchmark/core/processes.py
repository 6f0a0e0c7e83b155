"""Processor cores, and the processes of one run as `accelerate launch` or torchrun start them.

These processes train together; the first one translates, scores and writes.
"""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import torch
    from accelerate import PartialState

#: How long the others wait for what one process does for all, such as rendering data.
PATIENCE = timedelta(hours=12)


def cores() -> int:
    """CPU cores that this process may use: a scheduler may grant fewer than the machine has."""
    affinity = getattr(os, "sched_getaffinity", None)
    return len(affinity(0)) if affinity else os.cpu_count() or 1


def began(pid: int) -> str | None:
    """When a process started, by a clock that nobody can set; None if no such process runs."""
    if not Path("/proc/self/stat").exists():
        return _began_elsewhere(pid)
    try:
        # The name, in brackets, may hold anything; the state and 18 more fields follow it.
        fields = Path(f"/proc/{pid}/stat").read_text(encoding="utf-8").rpartition(")")[2].split()
    except OSError:
        return None
    return None if fields[0] in "ZX" else fields[19]


def _began_elsewhere(pid: int) -> str | None:
    """When a process started, on a system without `/proc`."""
    import psutil

    try:
        process = psutil.Process(pid)
        return None if process.status() == psutil.STATUS_ZOMBIE else str(process.create_time())
    except psutil.Error:
        return None


def number() -> int:
    """How many processes share the work."""
    return int(os.environ.get("WORLD_SIZE", "1"))


def index() -> int:
    """Which of these processes this one is, from 0."""
    return int(os.environ.get("RANK", "0"))


def is_first() -> bool:
    """Whether this is the process that writes files and messages."""
    return index() == 0


@contextmanager
def first_before_others(device: "torch.device") -> Iterator[None]:
    """Let the first process run the block before the others."""
    if number() == 1:
        yield
        return
    with _state(device).main_process_first():
        yield


def wait(device: "torch.device") -> None:
    """Wait until all processes have come here."""
    if number() > 1:
        _state(device).wait_for_everyone()


def _state(device: "torch.device") -> "PartialState":
    from accelerate import PartialState

    return PartialState(cpu=device.type == "cpu", timeout=PATIENCE)
