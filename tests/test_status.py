"""`xbench status` and `xbench rerun`: what became of a run, and how to have it again."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from xbench.cli import main
from xbench.core.locks import Locks
from xbench.harness.plan import Request, make
from xbench.harness.status import failed_units
from xbench.records.store import Store

Xbench = Callable[..., Any]
PAIR = "synthetic_low:real_normal"
SMOKE = ("--profile", "smoke")
RUN = ("run", "--method", "histogram", *SMOKE, "--pairs", PAIR)
FOLDER = Path("runs/phantom/smoke")
RECORD = FOLDER / "records/histogram/seed0/synthetic_low--real_normal.json"
BROKEN = """
from xbench.methods.base import Method

class Broken(Method):
    def translate(self, images, source, target, *, generators):
        raise ArithmeticError("no such thing")
"""


@pytest.fixture(scope="module")
def done(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A finished run of one method and pair; tests work on copies."""
    out = tmp_path_factory.mktemp("done") / "runs"
    with pytest.raises(SystemExit):
        main([*RUN, "--out", str(out)])
    return out


@pytest.fixture
def runs(done: Path, tmp_path: Path) -> Path:
    """A copy of it, as `runs` in the folder where commands are run."""
    shutil.copytree(done, tmp_path / "runs")
    return tmp_path / "runs"


def states(result: Any) -> dict[str, dict[str, Any]]:
    """Row → its line."""
    return {row["method"]: row for row in json.loads(result.out)["rows"]}


def test_done_and_missing(xbench: Xbench, runs: Path) -> None:
    result = xbench("status", *SMOKE, "--json")
    assert result.code == 0
    assert states(result)["histogram"]["done"] == 1
    assert states(result)["histogram"]["missing"] == 19
    planned = xbench("status", "--method", "fda", *SMOKE, "--pairs", PAIR, "--json")
    assert {n: (r["done"], r["missing"]) for n, r in states(planned).items()} == {
        "identity": (1, 0),
        "floor": (1, 0),
        "expected": (1, 0),
        "shuffle": (1, 0),
        "nearest": (1, 0),
        "fda": (0, 1),
    }


def test_a_failure_is_shown_with_its_traceback_and_without_its_code(xbench: Xbench) -> None:
    Path("broken.py").write_text(BROKEN)
    xbench("run", "--method", "broken.py:Broken", *SMOKE, "--pairs", PAIR)
    Path("broken.py").unlink()
    result = xbench("status", *SMOKE, "--failed")
    assert result.code == 1
    assert "ArithmeticError: no such thing" in result.out
    assert "Traceback" in result.err
    assert states(xbench("status", *SMOKE, "--json"))["broken"]["failed"] == 1


@pytest.mark.parametrize(
    ("field", "value", "reason"),
    [("version", "0", "version 0, "), ("train_images", 7, "training images 7, ")],
)
def test_what_would_be_made_in_another_way_today_is_stale(
    xbench: Xbench, runs: Path, field: str, value: object, reason: str
) -> None:
    record = json.loads(RECORD.read_text())
    record["method"][field] = value
    RECORD.write_text(json.dumps(record | {"key": "0123"}))
    for arguments in ((), ("--method", "histogram", "--pairs", PAIR)):
        row = states(xbench("status", *SMOKE, *arguments, "--json"))["histogram"]
        assert row["stale"] == 1
        assert reason in row["note"]


def test_records_of_other_data_are_stale(xbench: Xbench, runs: Path) -> None:
    record = json.loads(RECORD.read_text())
    record["data"]["key"] = "phantom-v0-cafe"
    RECORD.write_text(json.dumps(record))
    row = states(xbench("status", *SMOKE, "--json"))["histogram"]
    assert row["stale"] == 1
    assert "phantom-v0-cafe" in row["note"]


def test_what_somebody_works_on_is_running(xbench: Xbench, runs: Path) -> None:
    with Locks(FOLDER / "locks") as locks:
        locks.take("test/histogram/seed0/synthetic_low--real_normal")
        row = states(xbench("status", *SMOKE, "--json"))["histogram"]
    assert (row["running"], row["done"]) == (1, 0)


def test_only_failures_of_today_are_to_be_tried_again(xbench: Xbench) -> None:
    Path("broken.py").write_text(BROKEN)
    arguments = ("--method", "broken.py:Broken", *SMOKE, "--pairs", PAIR)
    xbench("run", *arguments)
    plan = make(Request(["broken.py:Broken"], profile="smoke", pairs=[PAIR]))
    assert [unit.entry.name for unit in failed_units(Store(plan.folder), plan.units)] == ["broken"]
    Path("broken.py").write_text(BROKEN + "\n# another version\n")
    plan = make(Request(["broken.py:Broken"], profile="smoke", pairs=[PAIR]))
    assert failed_units(Store(plan.folder), plan.units) == []


def test_a_folder_without_results_is_a_mistake(xbench: Xbench) -> None:
    result = xbench("status", *SMOKE)
    assert result.code == 2
    assert len(result.err.strip().splitlines()) == 3


def test_rerun_prints_the_command_and_makes_the_same_images(xbench: Xbench, runs: Path) -> None:
    expected = f"xbench run --method histogram --profile smoke --seed 0 --pairs {PAIR}"
    assert xbench("rerun", RECORD).out.strip() == expected
    assert xbench("rerun", RECORD, "--run", "--out", "again").code == 0
    again = Path("again", *RECORD.parts[1:])
    for field in ("key", "images_sha256", "metrics"):
        assert json.loads(again.read_text())[field] == json.loads(RECORD.read_text())[field]


def test_rerun_keeps_settings_and_recomputes_a_record_in_its_place(
    xbench: Xbench, runs: Path
) -> None:
    pairs = (*SMOKE, "--pairs", PAIR)
    xbench("run", "--method", "fda", *pairs, "--set", "fda.beta=0.02")
    (record,) = FOLDER.glob("records/fda*/seed0/*.json")
    before = record.stat().st_mtime_ns
    assert "--set fda.beta=0.02" in xbench("rerun", record).out
    assert xbench("rerun", record, "--run").code == 0
    assert record.stat().st_mtime_ns > before
