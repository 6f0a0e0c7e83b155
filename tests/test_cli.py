"""The command line: what it lists, and that a command imports only what it needs."""

import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from xbench import __version__ as version
from xbench.records.provenance import code_state

Xbench = Callable[..., Any]
#: Calls the command line, then prints which of some modules were imported.
SCRIPT = """
import sys
from xbench.cli import main
modules, *arguments = sys.argv[1:]
try:
    main(arguments)
except SystemExit as stopped:
    assert not stopped.code, stopped.code
print(*(name for name in modules.split(",") if name in sys.modules))
"""


def imported(modules: str, *arguments: object) -> list[str]:
    """Which of some modules, separated by commas, a command imports."""
    command = [sys.executable, "-c", SCRIPT, modules, *map(str, arguments)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout.splitlines()[-1].split()


@pytest.fixture(autouse=True)
def _folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """An empty folder to work in."""
    monkeypatch.chdir(tmp_path)


def test_help_imports_nothing_heavy() -> None:
    assert imported("torch,pydantic,numpy,diffusers,pandas,matplotlib,rich", "--help") == []
    assert imported("torch,numpy,diffusers,pandas,matplotlib,rich", "run", "--help") == []


@pytest.mark.parametrize("given", [{}, {"GOMP_SPINCOUNT": "7"}, {"OMP_WAIT_POLICY": "ACTIVE"}])
def test_waiting_threads_leave_the_cores_to_others_unless_asked_to_spin(
    given: dict[str, str], xbench: Xbench, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("GOMP_SPINCOUNT", "OMP_WAIT_POLICY"):
        monkeypatch.delenv(name, raising=False)
    for name, value in given.items():
        monkeypatch.setenv(name, value)
    assert xbench("--version").code == 0
    expected = None if "OMP_WAIT_POLICY" in given else given.get("GOMP_SPINCOUNT", "10000")
    assert os.environ.get("GOMP_SPINCOUNT") == expected


def test_the_version_is_printed_on_stdout(xbench: Xbench) -> None:
    shown = xbench("--version")
    assert (shown.code, shown.err) == (0, "")
    assert shown.out.startswith(f"xbench {version}")
    commit = code_state()["commit"]
    assert commit is None or commit[:12] in shown.out
    assert imported("torch,pydantic,numpy", "--version") == []


def test_lists_import_what_they_show() -> None:
    assert imported("torch,pandas,numpy", "list", "metrics") == []
    heavy = "diffusers,accelerate,pandas,scipy,matplotlib"
    assert imported(heavy, "list", "methods", "--no-counts") == []
    assert imported("diffusers,accelerate,pandas,matplotlib", "list", "datasets") == []
    assert imported("diffusers,accelerate,pandas,matplotlib", "data", "list") == []


def test_a_method_without_a_network_runs_without_diffusers() -> None:
    run = ("run", "--method", "histogram", "--profile", "smoke")
    few = ("--pairs", "synthetic_low:real_normal")
    assert imported("diffusers,accelerate,seaborn", *run, *few) == []
    assert imported("diffusers,matplotlib", "status", "--profile", "smoke") == []


def test_folders_are_scored_without_diffusers() -> None:
    for folder in ("made", "source"):
        Path(folder).mkdir()
        for number in range(2):
            pixels = np.full((32, 32), 1000 * number, np.uint16)
            Image.fromarray(pixels).save(f"{folder}/{number}.png")
    score = ("score", "--translated", "made", "--source", "source", "--metrics", "psnr")
    assert imported("diffusers,pandas,matplotlib", *score) == []


def test_help_names_every_command() -> None:
    done = subprocess.run(
        [sys.executable, "-m", "xbench.cli", "--help"], capture_output=True, text=True, check=True
    )
    for command in ("run", "leaderboard", "plot", "publish", "list", "data"):
        assert f"\n  {command} " in done.stdout


def test_methods_can_be_listed_without_counting(xbench: Xbench) -> None:
    counted = json.loads(xbench("list", "methods", "--profile", "smoke", "--json").out)
    quick = json.loads(xbench("list", "methods", "--profile", "smoke", "--no-counts", "--json").out)
    assert [row["name"] for row in quick] == [row["name"] for row in counted]
    for row, whole in zip(quick, counted, strict=True):
        assert row.items() <= whole.items()
    assert {"params", "nfe", "trainings"} <= set(counted[0]) - set(quick[0])
    assert "medshift" in xbench("list", "methods", "--profile", "smoke", "--no-counts").out


def test_settings_are_listed_as_set_takes_them(xbench: Xbench) -> None:
    smoke = ("--profile", "smoke")
    rows = json.loads(xbench("list", "settings", "medshift", *smoke, "--json").out)
    listed = {row["setting"]: row["value"] for row in rows}
    assert {"medshift.tau", "data.noise", "budget.images", "compute.batch"} <= listed.keys()
    plan = ("run", "--method", "medshift", *smoke, "--dry-run", "--json")
    given = [w for name, value in listed.items() if value for w in ("--set", f"{name}={value}")]
    assert json.loads(xbench(*plan, *given).out)["units"] == json.loads(xbench(*plan).out)["units"]


def test_run_and_sweep_share_their_options(xbench: Xbench) -> None:
    def options(command: str) -> set[str]:
        return {word for word in xbench(command, "--help").out.split() if word.startswith("--")}

    assert options("sweep") - options("run") == {"--knob"}
    assert options("run") - options("sweep") == set()
