"""Several processes train one network together and leave what one process leaves."""

import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file

Xbench = Callable[..., Any]

ARGUMENTS = (
    *("run", "--method", "medshift", "--profile", "smoke", "--pairs", "synthetic_low:real_normal"),
    *("--set", "budget.images=64", "--device", "cpu"),
)


def weights(out: str) -> dict[str, torch.Tensor]:
    (path,) = Path(out).rglob("weights.safetensors")
    return load_file(path)


def test_two_processes_end_with_the_weights_of_one(xbench: Xbench) -> None:
    assert xbench(*ARGUMENTS, "--out", "one").code == 0
    launcher = ("-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2")
    subprocess.run(
        [sys.executable, *launcher, "-m", "xbench.cli", *ARGUMENTS, "--out", "two"],
        check=True,
        capture_output=True,
        timeout=300,
    )
    single, shared = weights("one"), weights("two")
    assert single.keys() == shared.keys()
    for name, tensor in single.items():
        torch.testing.assert_close(shared[name], tensor, atol=2e-4, rtol=0)
    (record,) = Path("two").rglob("medshift*/*/*.json")
    assert json.loads(record.read_text())["metrics"]["ftd"]["value"] is not None
