"""Locks of processes that share one results folder.

A lock is a file that can be created only once: a hard link to a small file that names its owner.
The owner renews the file's time of change as a heartbeat. The lock of a dead owner is taken over:
at once if the process can be looked up, else after `SILENCE` seconds without a heartbeat by the
monotonic clock of whoever wants the lock, so that no two clocks are compared.

If two processes take over a lock in the same instant, both may do the unit. They write the same
files, each whole, so only time is lost.

`filelock.SoftFileLease` (since filelock 3.30) expires in the same way; it is not used because it
does not say in public whether a holder is alive, which `xbench status` and `xbench clean` need.
"""

import json
import os
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from uuid import uuid4

from xbench.core import processes
from xbench.core.files import atomic, machine, sweep_parts

#: Seconds between heartbeats.
BEAT = 5.0
#: Seconds without a heartbeat after which an owner on another machine counts as dead.
SILENCE = 60.0
#: Seconds between two attempts to take a lock that another process holds.
POLL = 0.5


class Busy(Exception):
    """Another process holds a lock that is needed."""


@dataclass(frozen=True)
class Owner:
    """A process: where its number is valid (see `files.machine`), its number, when it started."""

    machine: str
    pid: int
    began: str

    @property
    def alive(self) -> bool | None:
        """Whether the process still runs; None if it cannot be looked up from here."""
        if self.machine != machine():
            return None
        return processes.began(self.pid) == self.began


@dataclass(frozen=True)
class Held:
    """A lock that a process holds, as others see it."""

    name: str
    owner: Owner | None
    seconds_since_beat: float


class Locks:
    """The locks in one folder, of which this process holds some.

    Use it as a context: the locks of dead owners are removed on entry, its own on exit.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._own = folder / f"{uuid4().hex}.owner"
        self._paths: dict[str, Path] = {}
        self._seen: dict[Path, tuple[int, float]] = {}
        self._stop = threading.Event()
        self._thread: threading.Thread | None = None

    def __enter__(self) -> "Locks":
        self.folder.mkdir(parents=True, exist_ok=True)
        owner = Owner(machine(), os.getpid(), processes.began(os.getpid()) or "")
        self.sweep()
        with atomic(self._own, flush=False) as part:
            part.write_text(json.dumps(asdict(owner)), encoding="utf-8")
        self._stop.clear()  # it may be entered again
        self._thread = threading.Thread(target=self._beat, name="heartbeat", daemon=True)
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        for name in list(self._paths):
            self.release(name)
        self._own.unlink(missing_ok=True)

    def sweep(self) -> None:
        """Remove the files that dead owners left."""
        for path in self.folder.rglob("*.lock"):
            if self._is_dead(path):
                self._bury(path)
        for path in self.folder.glob("*.owner"):
            if self._is_dead(path):
                path.unlink(missing_ok=True)
        for path in self.folder.rglob("*.dead"):
            path.unlink(missing_ok=True)
        sweep_parts(self.folder)

    def take(self, name: str) -> bool:
        """Take the lock `name` (a relative path); False if a live process holds it."""
        if name in self._paths:
            return True
        path = self.folder / f"{name}.lock"
        for _ in range(3):  # again if a dead lock was removed
            if self._create(path):
                self._paths[name] = path
                return True
            if not self._is_dead(path):
                return False
            self._bury(path)
        return False

    def release(self, name: str) -> None:
        """Release a lock, unless another process has taken it over."""
        path = self._paths.pop(name, None)
        if path is not None and _owner_text(path) == _owner_text(self._own):
            path.unlink(missing_ok=True)

    @contextmanager
    def hold(self, name: str) -> Iterator[None]:
        """Wait for a lock, and hold it during the block."""
        while not self.take(name):
            time.sleep(POLL)
        try:
            yield
        finally:
            self.release(name)

    def _create(self, path: Path) -> bool:
        """Create a lock file that names its owner, in one step; False if there is one."""
        path.parent.mkdir(parents=True, exist_ok=True)
        try:
            os.link(self._own, path)
        except FileExistsError:
            return False
        except OSError:  # a file system without hard links
            try:
                with path.open("x", encoding="utf-8") as file:
                    file.write(self._own.read_text(encoding="utf-8"))
            except FileExistsError:
                return False
        return True

    def _is_dead(self, path: Path) -> bool:
        """Whether the owner of a lock has died."""
        try:
            beat = path.stat().st_mtime_ns
            owner = read_owner(path)
        except FileNotFoundError:
            return True
        alive = owner.alive if owner else None
        if alive is not None:
            return not alive
        seen, since = self._seen.get(path, (None, 0.0))
        if seen != beat:
            self._seen[path] = beat, time.monotonic()
            return False
        return time.monotonic() - since > SILENCE

    def _bury(self, path: Path) -> None:
        """Remove a dead lock; if another process took it over in between, put it back."""
        text = _owner_text(path)
        aside = path.with_name(f"{path.stem}.{uuid4().hex}.dead")
        with suppress(FileNotFoundError):
            os.rename(path, aside)
            if _owner_text(aside) != text:
                with suppress(OSError):
                    os.link(aside, path)
            aside.unlink()

    def _beat(self) -> None:
        """Renew all heartbeats, until the end."""
        while not self._stop.wait(BEAT):
            for path in [self._own, *list(self._paths.values())]:
                with suppress(OSError):  # writing results reports a full or vanished disk
                    os.utime(path)


def held(folder: Path, suffix: str = ".lock") -> list[Held]:
    """All locks in a folder, dead ones included; nothing is changed.

    With the suffix `.owner`: all processes that hold locks there from time to time.
    """
    locks = []
    for path in sorted(folder.rglob(f"*{suffix}")):
        with suppress(FileNotFoundError):
            name = path.relative_to(folder).with_suffix("").as_posix()
            since = max(0.0, time.time() - path.stat().st_mtime)
            locks.append(Held(name, read_owner(path), since))
    return locks


def read_owner(path: Path) -> Owner | None:
    """The owner that a lock names; None if it cannot be read."""
    try:
        return Owner(**json.loads(path.read_text(encoding="utf-8")))
    except (ValueError, TypeError):
        return None


def _owner_text(path: Path) -> str | None:
    try:
        return path.read_text(encoding="utf-8")
    except FileNotFoundError:
        return None
