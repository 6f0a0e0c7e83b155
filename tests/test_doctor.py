"""`xbench doctor`: what is here and whole, and what to do about the rest."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from xbench.core.hashing import file_digest

Xbench = Callable[..., Any]


def checks(result: Any) -> dict[str, dict[str, str]]:
    return {check["check"]: check for check in json.loads(result.out)}


def prepared(folder: Path) -> Path:
    """A cached array with its sidecar, as data sets write them."""
    folder.mkdir(parents=True)
    np.save(folder / "test000.npy", np.arange(64, dtype=np.uint16))
    facts = {"sha256": file_digest(folder / "test000.npy"), "views": []}
    (folder / "test000.json").write_text(json.dumps(facts))
    return folder / "test000.npy"


def test_it_looks_at_everything(xbench: Xbench) -> None:
    result = xbench("doctor", "--json")
    found = checks(result)
    assert result.code == 0
    assert {"python", "torch", "packages", "methods", "disk of results", "network"} <= set(found)
    assert "medshift" in found["methods"]["note"]
    assert "XBENCH_OFFLINE=1" in found["network"]["note"]
    assert not Path("runs").exists()
    assert "torch" in xbench("doctor").out


def test_missing_weights_are_a_warning_with_the_command(
    xbench: Xbench, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XBENCH_HOME", "home")
    assert checks(xbench("doctor", "--json"))["weights clip"]["outcome"] == "warn"


def test_damaged_data_are_named(xbench: Xbench, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XBENCH_HOME", "home")
    array = prepared(Path("home/phantom/phantom-v1-cafe"))
    assert checks(xbench("doctor", "--json"))["data phantom-v1-cafe"]["outcome"] == "ok"
    array.write_bytes(array.read_bytes()[:-1] + b"x")
    check = checks(xbench("doctor", "--json"))["data phantom-v1-cafe"]
    assert check["outcome"] == "warn"
    assert "test000.npy" in check["note"]


def test_a_folder_that_cannot_be_written_fails(xbench: Xbench) -> None:
    Path("taken").write_text("a file")
    result = xbench("doctor", "--out", "taken", "--json")
    assert result.code == 1
    check = checks(result)["disk of results"]
    assert (check["outcome"], check["fix"]) == ("fail", "choose another folder")
    assert (
        "taken cannot be written; choose another folder" in xbench("doctor", "--out", "taken").out
    )


def test_a_plug_in_that_is_gone_fails(xbench: Xbench, monkeypatch: pytest.MonkeyPatch) -> None:
    from xbench.cli.doctor import examine

    monkeypatch.setenv("XBENCH_PLUGINS", "nowhere.py")
    failed = [check for check in examine(Path()) if check.outcome == "fail"]
    assert any("nowhere.py" in check.note for check in failed)
