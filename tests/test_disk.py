"""A disk that fills or cannot be written: three lines say so, nothing is lost, the run resumes."""

import json
import subprocess
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest

from xbench.datasets.phantom.dataset import Phantom

Xbench = Callable[..., Any]

PAIRS = "synthetic_low:real_low,synthetic_low:real_normal,real_low:synthetic_low"
SMOKE = ("run", "--profile", "smoke", "--device", "cpu", "--published", "none", "--pairs", PAIRS)


class Disk:
    """A file system in memory."""

    def __init__(self, folder: Path, size: str) -> None:
        self.folder = folder
        self._mount("-t", "tmpfs", "-o", f"size={size}", "none")

    def resize(self, size: str) -> None:
        self._mount("-o", f"remount,size={size}")

    def protect(self) -> None:
        self._mount("-o", "remount,ro")

    def fill(self) -> Path:
        """Leave no room; removing the file makes it."""
        ballast = self.folder / "ballast"
        with suppress(OSError), ballast.open("wb", buffering=0) as file:
            while True:
                file.write(bytes(4096))
        return ballast

    def unmount(self) -> None:
        subprocess.run(["umount", "-l", self.folder], check=True)

    def _mount(self, *options: str) -> None:
        subprocess.run(["mount", *options, self.folder], check=True, capture_output=True)


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[Callable[[str], Disk]]:
    """Makes small disks; skips where that takes rights that we lack."""
    disks: list[Disk] = []

    def make(size: str) -> Disk:
        folder = tmp_path / f"disk{len(disks)}"
        folder.mkdir()
        try:
            disks.append(Disk(folder, size))
        except (OSError, subprocess.CalledProcessError):
            pytest.skip("a file system in memory cannot be mounted here")
        return disks[-1]

    yield make
    for made in disks:
        made.unmount()


def records(out: Path) -> dict[Path, bytes]:
    """All records by their paths."""
    return {path: path.read_bytes() for path in out.rglob("records/*/*/*.json")}


def leftovers(out: Path) -> list[Path]:
    """Half files, locks and failures."""
    wanted = (".part", ".lock", ".owner", ".corrupt")
    found = [path for path in out.rglob("*") if any(word in path.name for word in wanted)]
    return [*found, *out.rglob("failed/*/*/*")]


def csv(out: Path) -> bytes:
    return (out / "phantom" / "smoke" / "pairs.csv").read_bytes()


def test_a_run_goes_on_when_there_is_room_again(
    xbench: Xbench, disk: Callable[[str], Disk], tmp_path: Path
) -> None:
    small = disk("400k")
    out = small.folder / "out"
    stopped = xbench(*SMOKE, "--method", "histogram", "--out", out)
    assert stopped.code == 2
    assert "No space left" in stopped.err
    assert "repeat the command" in stopped.err
    before = records(out)
    assert 0 < len(before) < 9
    assert leftovers(out) == []
    small.resize("20m")
    assert xbench(*SMOKE, "--method", "histogram", "--out", out).code == 0
    assert before.items() <= records(out).items()
    assert xbench(*SMOKE, "--method", "histogram", "--out", "whole").code == 0
    assert csv(out) == csv(Path("whole"))


def test_redoing_on_a_full_disk_loses_no_finished_unit(
    xbench: Xbench, disk: Callable[[str], Disk]
) -> None:
    small = disk("20m")
    out = small.folder / "out"
    assert xbench(*SMOKE, "--method", "histogram", "--out", out).code == 0
    before = records(out)
    ballast = small.fill()
    assert xbench(*SMOKE, "--method", "histogram", "--out", out, "--force").code == 2
    assert records(out) == before
    ballast.unlink()
    again = xbench(*SMOKE, "--method", "histogram", "--out", out)
    assert again.code == 0
    assert records(out) == before
    assert leftovers(out) == []


def test_a_training_that_cannot_be_stored_is_no_failure_of_the_method(
    xbench: Xbench, disk: Callable[[str], Disk]
) -> None:
    small = disk("900k")  # the weights of two directions do not fit
    arguments = (*SMOKE, "--method", "cyclegan", "--out", small.folder / "out")
    stopped = xbench(*arguments)
    assert stopped.code == 2
    assert leftovers(small.folder) == []
    before = records(small.folder)
    small.resize("80m")
    assert xbench(*arguments).code == 0
    assert before.items() <= records(small.folder).items()


@pytest.mark.parametrize("workers", [1, 2])
def test_a_cache_that_fills_is_told(
    xbench: Xbench, disk: Callable[[str], Disk], monkeypatch: pytest.MonkeyPatch, workers: int
) -> None:
    small = disk("100k")
    monkeypatch.setattr(Phantom, "_workers", lambda self, heads: workers)
    monkeypatch.setenv("XBENCH_HOME", str(small.folder))
    stopped = xbench(*SMOKE, "--method", "histogram", "--out", "out")
    assert stopped.code == 2
    assert "XBENCH_HOME" in stopped.err
    assert leftovers(small.folder) == []
    small.resize("20m")
    assert xbench(*SMOKE, "--method", "histogram", "--out", "out").code == 0


def test_a_folder_that_can_only_be_read_is_told_before_any_work(
    xbench: Xbench, disk: Callable[[str], Disk]
) -> None:
    small = disk("20m")
    out = small.folder / "out"
    assert xbench(*SMOKE, "--method", "identity", "--out", out).code == 0
    before = records(out)
    small.protect()
    for folder in (out, small.folder / "new"):
        refused = xbench(*SMOKE, "--method", "histogram", "--out", folder)
        assert refused.code == 2
        assert "cannot be written" in refused.err
        assert "try: --out" in refused.err
    assert records(out) == before


def test_results_that_can_only_be_read_are_shown(
    xbench: Xbench, disk: Callable[[str], Disk], tmp_path: Path
) -> None:
    small = disk("20m")
    out = small.folder / "out"
    assert xbench(*SMOKE, "--method", "histogram", "--out", out).code == 0
    small.protect()
    place = ("--profile", "smoke", "--out", out)
    board = xbench("leaderboard", *place, "--json")
    assert board.code == 0
    assert "nothing was written" in board.err
    assert "histogram" in {row["method"] for row in json.loads(board.out)}
    assert xbench("leaderboard", *place, "--to", "board.md").code == 0
    compared = xbench("compare", "histogram", "identity", "--metric", "ssim", *place, "--json")
    assert compared.code == 0
    assert json.loads(compared.out)["picture"] is None
    refused = xbench("report", *place)
    assert refused.code == 2
    assert "try: another --to" in refused.err
    assert xbench("report", *place, "--to", "report.html").code == 0


def test_settings_of_images_that_can_only_be_read_go_into_the_command(
    xbench: Xbench, disk: Callable[[str], Disk]
) -> None:
    small = disk("20m")
    assert xbench("data", "export", "phantom", small.folder / "d", "--profile", "smoke").code == 0
    (small.folder / "d" / "dataset.toml").unlink()
    small.protect()
    refused = xbench("data", "init", small.folder / "d")
    assert refused.code == 2
    assert "make room" not in refused.err
    assert "--set data.polarity" in refused.err
    options = ("--profile", "smoke", "--set", "data.polarity=bone-dark", "--pairs", PAIRS)
    done = xbench("run", "--method", "identity", "--dataset", small.folder / "d", *options)
    assert done.code == 0, done.err
