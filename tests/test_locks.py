"""Locks: one holder at a time, and none that outlives its owner."""

import json
import os
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

from xbench.core import locks
from xbench.core.locks import Locks, held
from xbench.harness.deadline import deadline


def leave_a_lock(folder: Path, name: str) -> None:
    """A process takes a lock and is killed before it can give it back."""
    code = (
        "import os, sys; from pathlib import Path; from xbench.core.locks import Locks\n"
        "locks = Locks(Path(sys.argv[1])); locks.__enter__()\n"
        "assert locks.take(sys.argv[2]); os.kill(os.getpid(), 9)"
    )
    subprocess.run([sys.executable, "-c", code, str(folder), name], check=False, timeout=60)
    assert (folder / f"{name}.lock").exists()


def rename_machine(path: Path, name: str) -> None:
    """Let a lock look as if another machine held it."""
    owner = json.loads(path.read_text())
    path.write_text(json.dumps({**owner, "machine": name}))


def test_a_lock_has_one_holder_and_is_free_again_when_given_back(tmp_path: Path) -> None:
    with Locks(tmp_path) as one, Locks(tmp_path) as two:
        assert one.take("test/unit")
        assert one.take("test/unit"), "a holder may ask again"
        assert not two.take("test/unit")
        one.release("test/unit")
        assert two.take("test/unit")


def test_what_is_held_can_be_seen_with_its_owner(tmp_path: Path) -> None:
    with Locks(tmp_path) as mine:
        mine.take("test/cut/seed0/a--b.c")
        (lock,) = held(tmp_path)
        assert lock.name == "test/cut/seed0/a--b.c"
        assert lock.owner is not None
        assert lock.owner.alive is True
    assert held(tmp_path) == []


def test_nothing_is_left_when_an_error_ends_the_work(tmp_path: Path) -> None:
    def fail() -> None:
        with Locks(tmp_path) as mine:
            mine.take("test/unit")
            raise RuntimeError

    with pytest.raises(RuntimeError):
        fail()
    assert [path for path in tmp_path.rglob("*") if path.is_file()] == []


def test_the_lock_of_a_killed_process_is_taken_over_at_once(tmp_path: Path) -> None:
    with Locks(tmp_path) as mine:  # it began before the other one died
        leave_a_lock(tmp_path, "unit")
        (lock,) = held(tmp_path)
        assert lock.owner is not None
        assert lock.owner.alive is False
        assert mine.take("unit")


def test_what_killed_processes_left_is_removed_on_entry(tmp_path: Path) -> None:
    leave_a_lock(tmp_path, "unit")
    with Locks(tmp_path):
        assert held(tmp_path) == []
        assert len(list(tmp_path.glob("*.owner"))) == 1, "its own"


def test_another_machine_keeps_its_lock_while_its_heart_beats(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(locks, "SILENCE", 0.2)
    leave_a_lock(tmp_path, "unit")
    path = tmp_path / "unit.lock"
    rename_machine(path, "elsewhere")
    with Locks(tmp_path) as mine:
        for _ in range(4):
            path.touch()
            assert not mine.take("unit")
            time.sleep(0.1)
        time.sleep(0.3)
        assert mine.take("unit"), "silent for longer than an owner may be"


def test_a_clock_that_is_wrong_by_a_year_frees_no_lock(tmp_path: Path) -> None:
    leave_a_lock(tmp_path, "unit")
    path = tmp_path / "unit.lock"
    rename_machine(path, "elsewhere")
    os.utime(path, (0, 0))
    with Locks(tmp_path) as mine:
        assert not mine.take("unit")


def test_a_lock_that_cannot_be_read_is_not_taken_for_a_dead_one(tmp_path: Path) -> None:
    (tmp_path / "unit.lock").write_text("")
    with Locks(tmp_path) as mine:
        assert not mine.take("unit")


def test_file_systems_without_hard_links_do_as_well(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: object) -> None:
        raise PermissionError(1, "Operation not permitted")

    monkeypatch.setattr("os.link", refuse)
    with Locks(tmp_path) as one, Locks(tmp_path) as two:
        assert one.take("unit")
        assert not two.take("unit")


def test_a_holder_is_waited_for(tmp_path: Path) -> None:
    with Locks(tmp_path) as one, Locks(tmp_path) as two:
        one.take("unit")
        threading.Timer(0.3, one.release, ["unit"]).start()
        began = time.monotonic()
        with two.hold("unit"):
            assert time.monotonic() - began > 0.25


def test_work_that_hangs_ends_at_its_deadline() -> None:
    with pytest.raises(TimeoutError, match=r"0\.1 seconds"), deadline(0.1):
        time.sleep(30)


def test_work_that_ends_in_time_is_left_alone() -> None:
    with deadline(0.05):
        pass
    time.sleep(0.1)
