"""Rivals that need Stable Diffusion's weights: refused with a reason where these are absent."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

Xbench = Callable[..., Any]
NAMES = ("cyclegan-turbo", "zstar")


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty cache: no data, no weights."""
    monkeypatch.setenv("XBENCH_HOME", str(tmp_path / "home"))
    return tmp_path / "home"


def test_they_are_listed_with_their_parameters_and_what_they_need(
    xbench: Xbench, home: Path
) -> None:
    rows = {row["name"]: row for row in json.loads(xbench("list", "methods", "--json").out)}
    turbo, zstar = (rows[name] for name in NAMES)
    frozen, trained, back = 865_910_724 - 11_840 + 83_653_863, 132_564_112, 893_224 + 491_520
    critics = 2 * 2_762_689
    assert turbo["params"] == frozen + trained - back
    assert turbo["params_training"] == back + critics
    assert turbo["params_total"] == frozen + 10 * trained
    assert zstar["params"] == 859_520_964 + 83_653_863 + 123_060_480
    assert (turbo["nfe"], turbo["trainings"], zstar["trainings"]) == (1, 10, 0)
    assert (turbo["needs"], zstar["needs"], rows["vae"]["needs"]) == ("sd-turbo", "sd-1.5", "vae")
    assert {name for name, row in rows.items() if row["unavailable"]} == set(NAMES)
    assert "cannot run: not implemented yet" in xbench("list", "methods", "--no-counts").out


@pytest.mark.parametrize(
    ("name", "parts"),
    [
        ("cyclegan-turbo", ("sd-turbo/unet", "5.2 GB", "Stability AI", "hf download")),
        ("zstar", ("not implemented yet", "xbench score")),
    ],
)
def test_a_run_is_refused_before_any_work(
    xbench: Xbench, home: Path, name: str, parts: tuple[str, ...]
) -> None:
    result = xbench("run", "--method", f"histogram,{name}", "--profile", "smoke")
    assert result.code == 2
    assert len(result.err.strip().splitlines()) == 3
    assert all(part in result.err for part in (name, *parts))
    assert not any(home.rglob("*.npy"))
    assert not any(Path().rglob("records"))


def test_all_methods_are_all_that_can_run(xbench: Xbench, home: Path) -> None:
    result = xbench("run", "--method", "all", "--profile", "smoke", "--dry-run", "--json")
    assert result.code == 0
    (line,) = [line for line in result.err.splitlines() if "leaves out" in line]
    assert all(name in line for name in NAMES)
    planned = {unit["name"].partition("/")[0] for unit in json.loads(result.out)["units"]}
    assert "cyclegan" in planned
    assert not planned & set(NAMES)
