"""A results folder from a stranger is read, drawn and checked without running its code.

Nor does anything that it says lead out of a folder, or end a command in a crash.
"""

import json
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
        ("method.params", -5),
        ("method.name", "../../evil"),
        ("data.name", "../../evil"),
        ("finished", "tomorrow"),
        ("seconds", {}),
        ("provenance", {"packages": "none"}),
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
