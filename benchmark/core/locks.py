"""Who works on what, where several processes share one results folder.

A lock is a file that exists once: a hard link to a small file that tells its owner, whose time of
change is the owner's heartbeat. The lock of a dead owner is taken over: at once where the process
can be looked up, else when its heartbeat has stood still for `SILENCE` seconds by the looker's own
monotonic clock, so that no two clocks are ever compared.

If two processes take over one lock in the same instant, both may do the unit: they write the same
files, whole, so that nothing but time is lost.
"""

import json
import os
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from types import TracebackType
from uuid import uuid4

from xbench.core import processes
from xbench.core.files import atomic, machine, sweep_parts

#: Seconds between heartbeats, and without one until an owner elsewhere counts as dead.
BEAT = 5.0
SILENCE = 60.0
#: Seconds between two looks at a lock that somebody else holds.
POLL = 0.5


class Busy(Exception):
    """Somebody else works on it."""


@dataclass(frozen=True)
class Owner:
    """A process: its machine as far as process numbers reach, its number, and when it began."""

    machine: str
    pid: int
    began: str

    @property
    def alive(self) -> bool | None:
        """Whether the process still works; None if it cannot be looked up from here."""
        if self.machine != machine():
            return None
        return processes.began(self.pid) == self.began


@dataclass(frozen=True)
class Held:
    """A lock that somebody holds, as others see it."""

    name: str
    owner: Owner | None
    seconds_since_beat: float


class Locks:
    """The locks in one folder, and those of them that this process holds.

    Use it as a context: on entry dead owners' locks go, on exit its own.
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
        self._thread = threading.Thread(target=self._beat, name="heartbeat", daemon=True)
        self._thread.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._stop.set()
        for name in list(self._paths):
            self.release(name)
        self._own.unlink(missing_ok=True)

    def sweep(self) -> None:
        """Remove what dead owners left."""
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
        """Take the lock `name` (a relative path); False if somebody alive holds it."""
        if name in self._paths:
            return True
        path = self._path(name)
        for _ in range(3):  # a lock that is buried between two looks is tried again
            if self._create(path):
                self._paths[name] = path
                return True
            if not self._is_dead(path):
                return False
            self._bury(path)
        return False

    def release(self, name: str) -> None:
        """Give a lock back."""
        path = self._paths.pop(name, None)
        if path is not None and _owner_text(path) == _owner_text(self._own):
            path.unlink(missing_ok=True)

    @contextmanager
    def hold(self, name: str) -> Iterator[None]:
        """Wait for a lock, and hold it."""
        while not self.take(name):
            time.sleep(POLL)
        try:
            yield
        finally:
            self.release(name)

    def _path(self, name: str) -> Path:
        return self.folder / f"{name}.lock"

    def _create(self, path: Path) -> bool:
        """Make a lock file with its owner in it, in one step; False if there is one."""
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
        """Whether nobody works behind a lock any more."""
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
        """Remove a dead lock; one that came alive in between is put back."""
        text = _owner_text(path)
        aside = path.with_name(f"{path.stem}.{uuid4().hex}.dead")
        with suppress(FileNotFoundError):
            os.rename(path, aside)
            if _owner_text(aside) != text:
                with suppress(OSError):
                    os.link(aside, path)
            aside.unlink()

    def _beat(self) -> None:
        """Touch what is held, until the end."""
        while not self._stop.wait(BEAT):
            for path in [self._own, *list(self._paths.values())]:
                with suppress(OSError):  # a full or vanished disk is told where it matters
                    os.utime(path)


def held(folder: Path) -> list[Held]:
    """All locks in a folder, dead ones included; nothing is changed."""
    found = []
    for path in sorted(folder.rglob("*.lock")):
        with suppress(FileNotFoundError):
            name = path.relative_to(folder).with_suffix("").as_posix()
            since = max(0.0, time.time() - path.stat().st_mtime)
            found.append(Held(name, read_owner(path), since))
    return found


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
