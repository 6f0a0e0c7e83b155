"""The GPU day, rehearsed on a CPU: its script, its page, its archive and what the doctor says."""

import json
import os
import runpy
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

HERE = Path(__file__).parent
page = runpy.run_path(str(HERE / "gpu_report.py"))["page"]


def rehearse(out: Path, steps: str) -> Any:
    environment = os.environ | {
        "REHEARSE": "1",
        "STEPS": steps,
        "OUT": str(out),
        "PYTHON": sys.executable,
        "PATIENCE": "5",
    }
    return subprocess.run(
        ["bash", str(HERE / "gpu.sh")], env=environment, check=False, capture_output=True, text=True
    )


def write(folder: Path, name: str, **content: Any) -> None:
    (folder / name).write_text(json.dumps(content))


def test_the_machine_and_the_page(tmp_path: Path) -> None:
    write(tmp_path, "timings.json", rehearsal=False, profile="standard", translate_ratio=99.0)
    done = rehearse(tmp_path, "a e")
    assert done.returncode == 0, done.stdout + done.stderr
    machine = json.loads((tmp_path / "machine.json").read_text())
    assert machine["rehearsal"]
    assert machine["tflops"]["float32"] > 0
    assert json.loads((tmp_path / "a.json").read_text())["code"] == 0
    text = (tmp_path / "gpu.md").read_text()
    assert "Rehearsal on a CPU: no number here means anything" in text
    assert "| a | the machine | done" in text
    assert "| b | pytest -m gpu | not run |" in text


@pytest.mark.skipif("XBENCH_REHEARSE" not in os.environ, reason="two minutes: XBENCH_REHEARSE=1")
def test_all_steps(tmp_path: Path) -> None:
    done = rehearse(tmp_path / "out", "a b c d e")
    assert done.returncode == 0, done.stdout + done.stderr
    text = (tmp_path / "out" / "gpu.md").read_text()
    assert "not measured" not in text
    assert "**" not in text.replace("**Rehearsal on a CPU: no number here means anything.**", "")
    assert "| medshift" in text.split("## Runs")[1]
    files = [path for path in (tmp_path / "out").rglob("*") if path.is_file()]
    assert sum(path.stat().st_size for path in files) < 10e6
    assert not [path for path in files if path.suffix in (".safetensors", ".npy", ".npz", ".tiff")]


def test_a_step_that_fails_stops_no_other(tmp_path: Path) -> None:
    """The interpreter is one that does not exist."""
    environment = os.environ | {"REHEARSE": "1", "STEPS": "a e", "OUT": str(tmp_path)}
    done = subprocess.run(
        ["bash", str(HERE / "gpu.sh")],
        env=environment | {"PYTHON": "no-such-python"},
        check=False,
        capture_output=True,
        text=True,
    )
    assert done.returncode == 1
    assert json.loads((tmp_path / "a.json").read_text())["code"] == 127
    assert not (tmp_path / "gpu.md").exists()


def test_without_a_gpu_it_says_so(tmp_path: Path) -> None:
    environment = os.environ | {"OUT": str(tmp_path / "out"), "PYTHON": sys.executable}
    done = subprocess.run(
        ["bash", str(HERE / "gpu.sh")],
        env=environment | {"REHEARSE": "", "CUDA_VISIBLE_DEVICES": ""},
        check=False,
        capture_output=True,
        text=True,
    )
    assert done.returncode == 2
    assert "no GPU that torch can use" in done.stderr
    assert "REHEARSE=1" in done.stderr
    assert not (tmp_path / "out").exists()


def test_the_page_of_an_empty_folder_claims_nothing(tmp_path: Path) -> None:
    text = page(tmp_path)
    assert text.count("not run |") == 4
    assert "Nothing is known of the machine." in text
    assert "pytest wrote no result" in text
    assert "not measured" in text
    assert "Nothing was published" in text
    assert "Rehearsal" not in text


def test_the_page_says_what_failed_and_what_ran_out_of_time(tmp_path: Path) -> None:
    write(tmp_path, "a.json", step="a", code=0, seconds=9, limit=40)
    write(tmp_path, "b.json", step="b", code=1, seconds=80, limit=130)
    write(tmp_path, "c.json", step="c", code=124, seconds=120, limit=120)
    (tmp_path / "tests.xml").write_text(
        '<testsuites><testsuite tests="3" failures="1" errors="0" skipped="1">'
        '<testcase name="good"/><testcase name="test_x[cyclegan]">'
        '<failure message="AssertionError: 0.3&#10;more"/></testcase>'
        '<testcase name="off"><skipped/></testcase></testsuite></testsuites>'
    )
    write(
        tmp_path,
        "timings.json",
        rehearsal=False,
        profile="standard",
        train_ratio=4.26,
        train_forms_s={"plain": 0.2, "channels last": 0.25, "compiled": 0.1},
        train_kept="compiled",
        failed={"features": "OutOfMemoryError: CUDA out of memory"},
    )
    (tmp_path / "runs.json").write_text('{"runs": {"medshift": {"code": 12')  # cut off
    text = page(tmp_path)
    assert "| a | the machine | done, 9 of 40 s |" in text
    assert "**failed** (code 1), 80 of 130 s" in text
    assert "**ran out of time**, 120 of 120 s" in text
    assert "1 of 3 passed; 1 failures, 0 errors, 1 skipped." in text
    assert "**failure** test_x[cyclegan]: AssertionError: 0.3" in text
    assert "| 4.3 × | 4 × |" in text
    assert "| channels last 0.80 ×, compiled 2.00 ×; kept: compiled |" in text
    assert "| translating in other forms of the network | not measured |" in text
    assert "**failed** features: OutOfMemoryError" in text


def test_the_page_shows_the_published_records(tmp_path: Path) -> None:
    write(
        tmp_path,
        "runs.json",
        runs={
            "medshift": {"code": 0, "seconds": 50, "images": 9000},
            "cyclegan": {"code": 124, "seconds": 30, "images": 700},
        },
        publish={"code": 0},
    )
    folder = tmp_path / "results" / "phantom" / "standard" / "records" / "medshift" / "seed0"
    folder.mkdir(parents=True)
    write(
        folder,
        "synthetic_low--real_normal.json",
        method={"label": "medshift"},
        metrics={"ltd": {"value": 0.12345}, "ssim": {"value": None}},
        provenance={"device": "cuda:0"},
    )
    text = page(tmp_path)
    assert "| medshift | 9000 | 50 | done |" in text
    assert "| cyclegan | 700 | 30 | **ran out of time** |" in text
    assert "| medshift | 0.1235 | – | – | – | cuda:0 |" in text
    assert "Nothing was published" not in text
