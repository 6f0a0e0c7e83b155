"""`xbench clean`, and files that are written whole or not at all."""

import json
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from xbench.core.files import ABANDONED, atomic, leftover_parts, sweep_parts
from xbench.core.locks import Locks
from xbench.harness import clean as cleaning

Xbench = Callable[..., Any]
SCHEMAS = Path(__file__).parent / "schemas"
FOLDER = Path("runs/phantom/quick")
NAME = "medshift/seed0/real_low--real_normal"


@pytest.fixture(autouse=True)
def _home(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XBENCH_HOME", "home")


@pytest.fixture
def folder(xbench: Xbench) -> Path:
    """A results folder with one record, its images, and some leftovers."""
    put(FOLDER / f"records/{NAME}.json", (SCHEMAS / "v1-intervals.json").read_text())
    for name in (NAME, "medshift/seed1/real_low--real_normal"):
        put(FOLDER / f"images/{name}/test000-0-lateral.png", "pixels")
        put(FOLDER / f"strips/{name}.webp", "pixels")
    put(FOLDER / "records/medshift/seed0/a--b.json.corrupt", "{")
    put(FOLDER / "failed/medshift/seed0/a--b.json", "{}")
    put(FOLDER / "trainings/9d25aa5c473e390a/training.json", "{}")
    put(FOLDER / "trainings/0000000000000000/training.json", "{}")
    return FOLDER


def put(path: Path, text: str) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)
    return path


def files() -> set[str]:
    return {path.relative_to(FOLDER).as_posix() for path in FOLDER.rglob("*") if path.is_file()}


def kinds(result: Any) -> list[str]:
    return [row["kind"] for row in json.loads(result.out)["remove"]]


def gone(pattern: str) -> Path:
    """What a process that was killed in the middle of writing leaves."""
    code = (
        "import os, signal; from pathlib import Path; from xbench.core.files import atomic\n"
        f"with atomic(Path({pattern!r})) as part:\n"
        "    part.write_text('half'); print(part, flush=True); os.kill(os.getpid(), signal.SIGKILL)"
    )
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    return Path(found.stdout.strip())


def test_nothing_goes_where_nobody_can_be_asked(xbench: Xbench, folder: Path) -> None:
    before = files()
    result = xbench("clean")
    assert result.code == 2
    assert "orphans" in result.out
    assert "--yes" in result.err
    assert files() == before


def test_by_default_what_nothing_needs(xbench: Xbench, folder: Path) -> None:
    part = gone(f"{FOLDER}/records/medshift/seed0/c--d.json")
    assert part.exists()
    result = xbench("clean", "--yes", "--json")
    assert kinds(result) == ["parts", "corrupt", "orphans"]
    assert files() == {
        f"records/{NAME}.json",
        f"images/{NAME}/test000-0-lateral.png",
        f"strips/{NAME}.webp",
        "failed/medshift/seed0/a--b.json",
        "trainings/9d25aa5c473e390a/training.json",
        "trainings/0000000000000000/training.json",
    }
    assert kinds(xbench("clean", "--yes", "--json")) == []


def test_the_rest_on_demand(xbench: Xbench, folder: Path) -> None:
    result = xbench("clean", "--what", "failed,trainings", "--yes", "--json")
    assert kinds(result) == ["failed", "trainings"]
    assert "trainings/9d25aa5c473e390a/training.json" in files()  # the record names it
    assert not (folder / "trainings/0000000000000000").exists()
    assert not (folder / "failed").exists()


def test_stale_records_go_with_their_images(xbench: Xbench, folder: Path) -> None:
    path = folder / f"records/{NAME}.json"
    record = json.loads(path.read_text())
    record["method"]["version"] = "0"
    path.write_text(json.dumps(record | {"key": "0123"}))
    xbench("clean", "--what", "stale", "--yes")
    assert not path.exists()
    assert not (folder / f"images/{NAME}").exists()
    assert not (folder / f"strips/{NAME}.webp").exists()
    (folder / "failed/medshift/seed0/a--b.json").unlink()
    assert xbench("status").code == 2  # a folder of records without any


def test_a_folder_in_which_somebody_works_is_left_alone(xbench: Xbench, folder: Path) -> None:
    before = files()
    with Locks(FOLDER / "locks") as locks:
        locks.take("test/medshift/seed1/real_low--real_normal")
        xbench("clean", "--what", "all", "--yes")
    assert files() >= before


def test_what_a_process_uses_stays_while_it_holds_no_lock(xbench: Xbench, folder: Path) -> None:
    """Between two units, or while it reads data, a run holds none."""
    cached = put(Path("home/folders/folder-v1-cafe/train-0.npy"), "x")
    before = files()
    with Locks(FOLDER / "locks"), Locks(Path("home/locks")):
        xbench("clean", "--what", "all", "--yes")
        assert files() >= before
        assert cached.exists()
    xbench("clean", "--what", "all", "--yes")
    assert not cached.exists()


def test_what_a_process_begins_to_use_before_the_user_agrees_stays(
    xbench: Xbench, folder: Path
) -> None:
    found = cleaning.find(Path("runs"), cleaning.KINDS)
    before = files()
    with Locks(FOLDER / "locks"):
        assert cleaning.remove(found) == 0
    assert files() == before
    assert cleaning.remove(found) > 0


def test_a_run_holds_its_cache_until_it_ends(xbench: Xbench) -> None:
    Path("asks.py").write_text(
        "import json, pathlib\n"
        "from xbench.core.files import home\n"
        "from xbench.harness.clean import in_use\n"
        "from xbench.methods.identity import Identity\n"
        "class Asks(Identity):\n"
        "    def translate(self, images, source, target, *, generators):\n"
        "        pathlib.Path('used').write_text(json.dumps(in_use(home() / 'locks')))\n"
        "        return images\n"
    )
    pair = ("--pairs", "synthetic_low:real_normal", "--out", "r", "--profile", "smoke")
    assert xbench("run", "--method", "asks.py:Asks", *pair).code == 0
    assert json.loads(Path("used").read_text()) is True


def test_links_are_not_followed(xbench: Xbench, folder: Path, tmp_path: Path) -> None:
    outside = tmp_path / "outside"
    put(outside / "seed5/a--b/x.png", "mine")
    put(outside / "y.corrupt", "mine")
    (folder / "images/linked").symlink_to(outside)
    (folder / "records/linked.corrupt").symlink_to(outside / "y.corrupt")
    Path("runs/mine").symlink_to(outside)
    xbench("clean", "--what", "all", "--yes")
    assert (outside / "seed5/a--b/x.png").exists()
    assert (outside / "y.corrupt").exists()


def test_caches_that_no_record_and_no_profile_needs(xbench: Xbench, folder: Path) -> None:
    for key in ("phantom-v1-11faebcaa45c", "phantom-v0-cafe"):
        put(Path(f"home/phantom/{key}/test000.npy"), "x")
    assert kinds(xbench("clean", "--what", "caches", "--yes", "--json")) == ["caches"]
    assert Path("home/phantom/phantom-v1-11faebcaa45c").exists()
    assert not Path("home/phantom/phantom-v0-cafe").exists()


def test_an_unknown_kind_is_a_mistake(xbench: Xbench, folder: Path) -> None:
    result = xbench("clean", "--what", "orphan")
    assert result.code == 2
    assert "did you mean orphans?" in result.err


def test_writers_never_share_an_unfinished_file(tmp_path: Path) -> None:
    with atomic(tmp_path / "a.json") as one, atomic(tmp_path / "a.json") as other:
        assert one != other
        one.write_text("one")
        other.write_text("other")
    assert [path.name for path in tmp_path.iterdir()] == ["a.json"]


def test_unfinished_files_go_when_their_writer_is_dead_or_a_day_old(tmp_path: Path) -> None:
    dead = gone(str(tmp_path / "a.json"))
    with atomic(tmp_path / "b.json") as alive:
        alive.write_text("half")
        elsewhere = tmp_path / dead.name.replace(".a.", ".c.").replace(
            dead.name.split(".")[2], "00000000-00000000"
        )
        shutil.copy(dead, elsewhere)
        assert leftover_parts(tmp_path) == [dead]
        assert sweep_parts(tmp_path) == 1
        long_ago = time.time() - ABANDONED - 60
        os.utime(elsewhere, (long_ago, long_ago))
        assert sweep_parts(tmp_path) == 1
        assert alive.exists()
    assert (tmp_path / "b.json").read_text() == "half"
