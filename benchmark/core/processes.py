"""Processor cores, and the processes of one run as `accelerate launch` or torchrun start them.

These processes train together; the first one translates, scores and writes.
"""

import os
import socket
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from datetime import timedelta
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    import torch
    from accelerate import PartialState

#: How long the others wait for what one process does for all, such as rendering data.
PATIENCE = timedelta(hours=12)
#: Variables that a launcher sets for every process that it starts.
LAUNCHER = ("RANK", "WORLD_SIZE", "MASTER_ADDR", "MASTER_PORT")
#: What accelerate takes for a sign of a team.
ACCIDENTS = (
    *("RANK", "WORLD_SIZE", "LOCAL_RANK", "LOCAL_WORLD_SIZE", "PMI_RANK", "PMI_SIZE"),
    *("OMPI_COMM_WORLD_RANK", "OMPI_COMM_WORLD_SIZE", "OMPI_COMM_WORLD_LOCAL_RANK"),
    *("MV2_COMM_WORLD_RANK", "MV2_COMM_WORLD_SIZE", "MV2_COMM_WORLD_LOCAL_RANK"),
)
#: Seconds in which the first process must answer the others.
REACH = 30.0


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


class Team(NamedTuple):
    """Which process this is (from 0) of how many, and a remark for the user."""

    place: int = 0
    number: int = 1
    note: str = ""


def number() -> int:
    """How many processes share the work."""
    return _team().number


def index() -> int:
    """Which of these processes this one is, from 0."""
    return _team().place


def card() -> int:
    """The GPU that a launcher gave to this process."""
    given = os.environ.get("LOCAL_RANK", "")
    return int(given) if number() > 1 and given.isdecimal() else 0


def note() -> str:
    """What the user should know of variables that launchers set; empty if nothing."""
    return _team().note


@contextmanager
def unlaunched() -> Iterator[None]:
    """Hide from libraries, inside, what makes them look for a team of which there is none."""
    hidden = {name: os.environ.pop(name) for name in ACCIDENTS if name in os.environ}
    try:
        yield
    finally:
        os.environ.update(hidden)


def _team() -> Team:
    return _launched(*(os.environ.get(name, "") for name in LAUNCHER))


@cache
def _launched(rank: str, size: str, address: str, port: str) -> Team:
    """What the variables of a launcher say; they count only if all of them fit together.

    `RANK` and `WORLD_SIZE` are everyday names: job arrays, containers and shells export them too.
    """
    if rank in ("", "0") and size in ("", "1"):
        return Team()
    given = " ".join(f"{n}={v}" for n, v in (("RANK", rank), ("WORLD_SIZE", size)) if v)
    alone = f"{given} is set, but {{}}: this process works alone"
    if not (rank.isdecimal() and size.isdecimal() and int(rank) < int(size)):
        return Team(note=alone.format("is no place in a team of processes"))
    if int(size) == 1:
        return Team()
    if not (address and port.isdecimal()):
        return Team(note=alone.format("no launcher (torchrun, accelerate) set MASTER_ADDR"))
    if int(rank) and not _answers(address, int(port)):
        return Team(note=alone.format(f"the first process does not answer at {address}:{port}"))
    waits = f"{given}: waits for the others at {address}:{port} (alone: unset RANK WORLD_SIZE)"
    return Team(int(rank), int(size), "" if "TORCHELASTIC_RUN_ID" in os.environ else waits)


def _answers(address: str, port: int) -> bool:
    """Whether a first process is there, or comes within `REACH` seconds."""
    end = time.monotonic() + REACH
    while True:
        with suppress(OSError), socket.create_connection((address, port), timeout=REACH):
            return True
        if time.monotonic() > end:
            return False
        time.sleep(1)


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
