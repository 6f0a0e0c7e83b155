"""Several processes train and translate together and leave what one process leaves."""

import json
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.torch import load_file

Xbench = Callable[..., Any]

ARGUMENTS = (
    *("run", "--method", "medshift,sdedit", "--profile", "smoke"),
    *("--pairs", "synthetic_low:real_normal"),
    *("--set", "budget.images=32", "--device", "cpu"),
)
#: Grey levels of 65535 by which a pixel may change with the batch that it is translated in.
ROUNDING = 2
#: Largest difference of weights that were trained by other sums of the same numbers.
WEIGHTS = 2e-4


def training(out: str, objective: str) -> Path:
    """The folder of the one training of an objective."""
    markers = Path(out).rglob("training.json")
    (found,) = [m for m in markers if json.loads(m.read_text())["recipe"]["objective"] == objective]
    return found.parent


def records(out: str) -> dict[str, dict[str, Any]]:
    root = Path(out) / "phantom/smoke/records"
    return {str(p.relative_to(root)): json.loads(p.read_text()) for p in root.rglob("*.json")}


def pixels(out: str, record: str) -> np.ndarray[Any, Any]:
    folder = (Path(out) / "phantom/smoke/images" / record).with_suffix("")
    files = sorted(folder.iterdir())
    assert files
    return np.stack([np.asarray(Image.open(file)).astype(np.int64) for file in files])


def test_two_processes_leave_what_one_leaves(xbench: Xbench) -> None:
    """MedShift is trained by both, SDEdit's training is given: images of it are comparable."""
    assert xbench(*ARGUMENTS, "--out", "one").code == 0
    given = training("one", "denoising-v1")
    shutil.copytree(given, Path("two", *given.parts[1:]))
    launcher = ("-m", "accelerate.commands.launch", "--num_processes", "2", "--cpu")
    done = subprocess.run(
        [sys.executable, *launcher, "-m", "xbench.cli", *ARGUMENTS, "--out", "two"],
        check=False,
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert done.returncode == 0, done.stderr

    single, shared = (
        load_file(training(out, "flow-matching-v1") / "weights.safetensors")
        for out in ("one", "two")
    )
    assert single.keys() == shared.keys()
    for name, tensor in single.items():
        torch.testing.assert_close(shared[name], tensor, atol=WEIGHTS, rtol=0)

    ours, theirs = records("one"), records("two")
    assert ours.keys() == theirs.keys()
    for name, record in ours.items():
        other = theirs[name]
        assert record["key"] == other["key"]
        assert record["data"]["ids"] == other["data"]["ids"]
        if name.startswith("medshift"):
            close = {"rel": 0.02, "abs": 0.005}
        else:
            assert np.abs(pixels("one", name) - pixels("two", name)).max() <= ROUNDING
            close = {"rel": 1e-3, "abs": 1e-6}
        for metric, value in record["metrics"].items():
            found = other["metrics"][metric]["value"]
            assert found == (value["value"] and pytest.approx(value["value"], **close)), metric
