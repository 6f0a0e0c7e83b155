"""A results folder from someone else is read, drawn and checked without running its code.

Nor does anything that it says lead out of a folder, or end a command in a crash.
"""

import csv
import json
import os
import shutil
import struct
import subprocess
import sys
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from xbench.core.settings import file_name

Xbench = Callable[..., Any]
RECORD = json.loads((Path(__file__).parent / "schemas" / "v1-intervals.json").read_text())
PLACE = Path("runs/phantom/quick/records/medshift/seed0/real_low--real_normal.json")
EVIL = "from pathlib import Path\nPath('owned').write_text('')\n"


def put(record: dict[str, Any], place: Path = PLACE) -> Path:
    place.parent.mkdir(parents=True, exist_ok=True)
    place.write_text(json.dumps(record))
    return place


def edited(where: str, value: object) -> dict[str, Any]:
    """The record with one entry changed: `edited("data.ids", [])`."""
    record: dict[str, Any] = json.loads(json.dumps(RECORD))
    *path, last = where.split(".")
    part = record
    for name in path:
        part = part[name]
    part[last] = value
    return record


@pytest.mark.parametrize(
    ("where", "value"),
    [
        ("source", "../../../../etc/passwd"),
        ("target", "a/b"),
        ("target", "C:\\windows"),
        ("source", "real_low\0"),
        ("source", "nowhere"),
        ("method.label", "\x1b[2J"),
        ("method.label", "cyclegan"),
        ("method.config", {"tau": float("inf")}),
        ("seed", -1),
        ("seed", "../0"),
        ("data.ids", ["../x"] * 64),
        ("data.ids", []),
        ("data.groups", ["one"]),
        ("data.domains", ["real_low"]),
        ("data.domain_groups", {}),
        ("metrics.ssim.per_image", [0.5]),
        ("metrics.ssim.value", "high"),
        ("unknown", 1),
        ("method.params", -5),
        ("method.params", 10**30),
        ("method.config", {"tau": [[[[[[[[[[1]]]]]]]]]]}),
        ("method.config", {"tau": "\u202e"}),
        ("provenance", {"packages": "none"}),
        ("provenance.threads", "x"),
        ("provenance.cpu", {"a": 1}),
        ("seconds", {"score": -1}),
        ("polarity", 7),
        ("data.groups", ["\u202e"] * 64),
    ],
)
def test_a_record_that_was_edited_is_left_out(xbench: Xbench, where: str, value: object) -> None:
    place = put(edited(where, value))
    result = xbench("leaderboard", "--json")
    assert result.code == 0
    assert json.loads(result.out) == []
    assert "left out" in result.err
    assert place.exists()


@pytest.mark.parametrize(
    ("where", "value"),
    [
        ("metrics", {}),
        ("metrics.ssim", {"identity": "mine", "value": 1e308}),
        ("metrics.ftd.left_out", [1.0]),
        ("metrics.unheard_of", {"identity": "x", "value": None, "reason": "none"}),
        ("method.name", "../../evil"),
        ("data.name", "../../evil"),
        ("finished", "tomorrow"),
        ("seconds", {}),
        ("provenance", {}),
    ],
)
def test_other_edits_crash_nothing(xbench: Xbench, where: str, value: object) -> None:
    put(edited(where, value))
    for command in ("leaderboard", "status"):
        assert xbench(command).code == 0


def test_a_copied_record_counts_for_no_other_row(xbench: Xbench) -> None:
    put(RECORD)
    put(RECORD, PLACE.parents[2] / "better" / "seed0" / PLACE.name)
    result = xbench("leaderboard", "--json")
    assert [row["method"] for row in json.loads(result.out)] == ["medshift"]
    assert "belongs to another place" in result.err


@pytest.mark.parametrize("where", ["method.given", "data.name"])
def test_code_that_a_record_names_is_never_run(xbench: Xbench, where: str) -> None:
    Path("evil.py").write_text(EVIL)
    record = edited(where, "evil.py:Evil")
    if where == "method.given":
        record["method"]["name"] = "evil"
    place = put(record)
    for command in ("leaderboard", "status", f"rerun {place}", "publish", "plot samples"):
        xbench(*command.split())
    for command in (f"verify {place}", f"rerun {place} --run"):
        assert xbench(*command.split()).code == 2
    assert not Path("owned").exists()
    option = "--method" if where == "method.given" else "--dataset"
    xbench("verify", place, option, "evil.py:Evil")
    assert Path("owned").exists()  # the user's word


@pytest.mark.parametrize("label", ["..", ".", "", "a/../b", "/etc", "a\0b", "é" * 300, "x" * 300])
def test_no_label_leaves_its_folder(tmp_path: Path, label: str) -> None:
    folder = tmp_path / "records"
    path = folder / file_name(label)
    path.mkdir(parents=True)
    assert path.resolve().parent == folder


@pytest.fixture
def stranger(xbench: Xbench) -> Path:
    """The results of a small run, as if they had come by mail."""
    assert xbench("run", "--method", "histogram", "--profile", "smoke", "--pairs", PAIR).code == 0
    return Path("runs/phantom/smoke")


PAIR = "real_low:real_normal"
UNIT = "histogram/seed0/real_low--real_normal"


def test_nothing_is_read_written_or_deleted_through_a_link(xbench: Xbench, stranger: Path) -> None:
    private = Path("private")
    private.mkdir()
    (private / "key").write_text("SECRET")
    (private / "leaderboard.tex").write_text("mine")
    (private / "ablation-mine.tex").write_text("mine")
    shutil.rmtree(stranger / "tables")
    (stranger / "tables").symlink_to(private.resolve())
    strip = stranger / "strips" / f"{UNIT}.webp"
    strip.unlink()
    strip.symlink_to((private / "key").resolve())

    result = xbench("leaderboard", "--profile", "smoke")
    assert result.code == 2
    assert "is a link" in result.err
    xbench("publish", "--to", "public")
    for command in ("plot samples", "report"):
        xbench(*command.split(), "--profile", "smoke")
    assert {file.name: file.read_text() for file in private.iterdir()} == {
        "key": "SECRET",
        "leaderboard.tex": "mine",
        "ablation-mine.tex": "mine",
    }
    public = [file for file in Path("public").rglob("*") if file.is_file()]
    assert any(file.suffix == ".json" for file in public)
    assert not any(b"SECRET" in file.read_bytes() for file in public)


def test_a_whole_folder_that_is_a_link_is_not_entered(xbench: Xbench, stranger: Path) -> None:
    stranger.rename("elsewhere")
    stranger.symlink_to(Path("elsewhere").resolve())
    assert xbench("leaderboard", "--profile", "smoke").code == 2
    assert xbench("publish", "--to", "public").code == 2


@pytest.mark.parametrize(
    ("name", "command"),
    [
        ("trainings", "run --method medshift --pairs real_low:real_normal"),
        ("utility", "leaderboard"),
        ("records", "status --method histogram"),
    ],
)
def test_no_folder_of_results_is_a_link(
    xbench: Xbench, stranger: Path, name: str, command: str
) -> None:
    Path("private").mkdir()
    shutil.rmtree(stranger / name, ignore_errors=True)
    (stranger / name).symlink_to(Path("private").resolve())
    result = xbench(*command.split(), "--profile", "smoke")
    assert result.code == 2
    assert "is a link" in result.err
    assert not list(Path("private").iterdir())


def test_pipes_are_never_opened(xbench: Xbench, stranger: Path) -> None:
    """A reader of a named pipe would wait for ever."""
    for place in (f"strips/{UNIT}.webp", f"images/{UNIT}", f"records/{UNIT}.json"):
        path = stranger / place
        shutil.rmtree(path) if path.is_dir() else path.unlink()
        os.mkfifo(path)
        assert xbench("leaderboard", "--profile", "smoke").code == 0
        assert xbench("plot", "samples", "--profile", "smoke").code in (0, 2)


def png(path: Path, side: int) -> None:
    """A black picture, whose file is small for any side."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        whole = kind + data
        return struct.pack(">I", len(data)) + whole + struct.pack(">I", zlib.crc32(whole))

    head = struct.pack(">IIBBBBB", side, side, 8, 0, 0, 0, 0)
    pixels = zlib.compress(bytes((side + 1) * side), 9)
    parts = [chunk(b"IHDR", head), chunk(b"IDAT", pixels), chunk(b"IEND", b"")]
    path.write_bytes(b"\x89PNG\r\n\x1a\n" + b"".join(parts))


def test_a_picture_is_measured_before_it_is_decoded(xbench: Xbench, stranger: Path) -> None:
    for file in (stranger / "images" / UNIT).iterdir():
        png(file, 5000)
    result = xbench("verify", stranger / "records" / f"{UNIT}.json", "--json")
    assert result.code == 1
    found = {check["check"]: check for check in json.loads(result.out)}
    assert found["images"]["outcome"] == "differs"
    assert "5000 x 5000 pixels" in found["images"]["note"]


def test_a_record_that_lies_anywhere_can_be_verified(xbench: Xbench, stranger: Path) -> None:
    shutil.copy(stranger / "records" / f"{UNIT}.json", "copy.json")
    result = xbench("verify", "copy.json", "--json")
    found = {check["check"]: check["outcome"] for check in json.loads(result.out)}
    assert found["images"] == "not verified"
    number = len(json.loads(Path("copy.json").read_text())["data"]["ids"])
    result = xbench("verify", "copy.json", "--images", number, "--json")
    found = {check["check"]: check["outcome"] for check in json.loads(result.out)}
    assert found["translation"] == "same"


def test_text_of_records_is_text(xbench: Xbench) -> None:
    record = edited("method.assignments", ["x.y=\u202ez"])
    html = "x <img src=http://evil.example/t.png> ![a](http://evil.example) www.evil.example"
    for value in record["metrics"].values():
        value |= {"value": None, "pending": False, "reason": html}
    put(record)
    assert xbench("leaderboard").code == 0
    text = Path("runs/phantom/quick/leaderboard.md").read_text()
    for sign in ("\u202e", "<img", "](http", "http://", "www."):
        assert sign not in text
    assert r"\u202e" in text
    assert "&lt;img" in text


@pytest.mark.parametrize("label", ["=1+1", "@SUM(A1)", "+cmd", "-2+3"])
def test_no_label_is_a_formula_to_a_spreadsheet(xbench: Xbench, label: str) -> None:
    place = PLACE.parents[2] / file_name(label) / "seed0" / PLACE.name
    put(edited("method.label", label), place)
    assert xbench("leaderboard").code == 0
    for file in Path("runs/phantom/quick").rglob("*.csv"):
        cells = [cell for row in csv.reader(file.open()) for cell in row]
        assert not any(cell.startswith(label) for cell in cells)
    assert f"'{label}" in Path("runs/phantom/quick/leaderboard.csv").read_text()


def test_a_name_that_moves_what_is_shown_is_escaped(xbench: Xbench) -> None:
    put(RECORD)
    for name in ("a\u202eb.json", "c\x1b[2Jd.json"):
        put(RECORD, PLACE.with_name(name))
    result = xbench("leaderboard")
    assert result.code == 0
    assert r"a\u202eb.json" in result.err
    assert not any(sign in result.out + result.err for sign in ("\u202e", "\x1b"))
    result = xbench("verify", "c\x1b[2Jd.json")
    assert result.code == 2
    assert "\x1b" not in result.err


def test_a_label_is_no_mathematics(xbench: Xbench) -> None:
    """Neither in figures, where a half formula would be an error, nor in LaTeX."""
    label = r"*$x_{1 \frac --``%"
    put(edited("method.label", label), PLACE.parents[2] / file_name(label) / "seed0" / PLACE.name)
    for command in ("leaderboard", "plot samples", "plot pairs", "report"):
        assert xbench(*command.split()).code == 0, command
    (table,) = Path("runs/phantom/quick/tables").glob("leaderboard.tex")
    assert r"{*}\$x\_\{1 \textbackslash{}frac -{}-{}`{}`\%" in table.read_text()


@pytest.mark.skipif(sys.platform != "linux", reason="other systems limit no address space")
def test_too_little_memory_is_said_in_words(xbench: Xbench) -> None:
    import resource

    limit = 350 * 2**20  # the command line starts, torch cannot be loaded
    done = subprocess.run(
        [sys.executable, "-m", "xbench.cli", "run", "--method", "identity", "--profile", "smoke"],
        capture_output=True,
        text=True,
        preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_AS, (limit, limit)),
    )
    assert done.returncode == 2
    assert done.stderr.startswith("error: memory ran out")
    assert len(done.stderr.strip().splitlines()) == 3


def test_memory_that_runs_out_later_is_said_in_words(
    xbench: Xbench, monkeypatch: pytest.MonkeyPatch
) -> None:
    from xbench.analysis import results

    put(RECORD)
    for error in (MemoryError(), RuntimeError("DefaultCPUAllocator: can't allocate memory: x")):
        monkeypatch.setattr(results, "read", lambda _, e=error: (_ for _ in ()).throw(e))
        result = xbench("leaderboard")
        assert result.code == 2
        assert result.err.startswith("error: memory ran out")
        assert len(result.err.strip().splitlines()) == 3
