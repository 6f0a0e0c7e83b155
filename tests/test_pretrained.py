"""Rivals that need Stable Diffusion's weights: listed with their cost, refused with a reason."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

Xbench = Callable[..., Any]
NAMES = ("cyclegan-turbo", "zstar")
UNET = "unet/diffusion_pytorch_model.safetensors"


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty cache: no data, no weights."""
    monkeypatch.setenv("XBENCH_HOME", str(tmp_path / "home"))
    return tmp_path / "home"


def test_they_are_listed_with_their_parameters_and_what_they_need(xbench: Xbench) -> None:
    rows = {row["name"]: row for row in json.loads(xbench("list", "methods", "--json").out)}
    turbo, zstar = (rows[name] for name in NAMES)
    assert turbo["params"] == 865_910_724 + 2 * 83_653_863 + 340_387_840
    assert turbo["params_training"] == 132_564_112
    assert turbo["params_total"] == 865_910_724 + 83_653_863 + 340_387_840 + 10 * 132_564_112
    assert zstar["params"] == 859_520_964 + 83_653_863 + 123_060_480
    assert (turbo["nfe"], turbo["trainings"], zstar["trainings"]) == (1, 10, 0)
    assert (turbo["needs"], zstar["needs"], rows["vae"]["needs"]) == ("sd-turbo", "sd-1.5", "vae")
    assert {name for name, row in rows.items() if row["unavailable"]} == set(NAMES)
    assert "cannot run: not implemented yet" in xbench("list", "methods", "--no-counts").out


@pytest.mark.parametrize(
    ("name", "file", "size", "licence"),
    [
        ("cyclegan-turbo", f"sd-turbo/{UNET}", "3.5 GB", "Stability AI"),
        ("zstar", f"sd-1.5/{UNET}", "3.4 GB", "CreativeML OpenRAIL-M"),
    ],
)
def test_a_run_is_refused_before_any_work(
    xbench: Xbench, home: Path, name: str, file: str, size: str, licence: str
) -> None:
    result = xbench("run", "--method", f"histogram,{name}", "--profile", "smoke")
    assert result.code == 2
    wrong, expected, fix = result.err.strip().splitlines()
    assert all(part in wrong for part in (name, file, size, licence))
    assert "not implemented yet" in expected
    assert "xbench score" in fix
    assert not any(home.rglob("*.npy"))
    assert not any(Path().rglob("records"))


def test_weights_alone_do_not_make_it_run(xbench: Xbench, home: Path) -> None:
    for file in (UNET, "vae/diffusion_pytorch_model.safetensors", "text_encoder/model.safetensors"):
        path = home / "weights" / "sd-turbo" / file
        path.parent.mkdir(parents=True)
        path.touch()
    result = xbench("run", "--method", "cyclegan-turbo", "--profile", "smoke")
    assert result.code == 2
    assert "cyclegan-turbo cannot run: it is not implemented yet" in result.err


def test_all_methods_are_all_that_can_run(xbench: Xbench) -> None:
    result = xbench("run", "--method", "all", "--profile", "smoke", "--dry-run", "--json")
    assert result.code == 0
    (line,) = [line for line in result.err.splitlines() if "leaves out" in line]
    assert all(name in line for name in NAMES)
    planned = {unit["name"].partition("/")[0] for unit in json.loads(result.out)["units"]}
    assert "cyclegan" in planned
    assert not planned & set(NAMES)
