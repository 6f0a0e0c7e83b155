"""`xbench doctor`: what is here and whole, and what to do about the rest."""

import json
import shutil
import warnings
from collections.abc import Callable
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

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


class Card:
    """What torch says of a made-up card."""

    def __init__(self, patch: pytest.MonkeyPatch, capability: tuple[int, int], free: float) -> None:
        self.broken = False
        cuda = torch.cuda
        patch.setattr(torch.version, "cuda", "13.0")
        patch.setattr(cuda, "is_available", lambda: True)
        patch.setattr(cuda, "device_count", lambda: 1)
        patch.setattr(cuda, "get_device_name", lambda index: "Card X")
        patch.setattr(cuda, "get_device_capability", lambda index: capability)
        patch.setattr(cuda, "mem_get_info", lambda index: (int(free * 1e9), int(16e9)))
        patch.setattr(cuda, "is_bf16_supported", lambda including_emulation: capability[0] >= 8)
        patch.setattr(cuda, "device", lambda index: nullcontext())
        patch.setattr(torch, "zeros", self._zeros)

    def _zeros(self, *shape: int, device: str) -> torch.Tensor:
        if self.broken:
            raise RuntimeError("CUDA error: device has fallen off the bus\nmore")
        return torch.ones(*shape) * 0


@pytest.mark.parametrize(
    ("capability", "free", "outcome", "words"),
    [
        ((9, 0), 15, "ok", "Card X, 15.0 of 16.0 GB free"),
        ((7, 5), 15, "warn", "no bfloat16 (compute capability 7.5, 8.0 has it): float32 is used"),
        ((9, 0), 0.4, "warn", "0.4 of 16.0 GB free: too little"),
    ],
)
def test_a_gpu_is_described(
    xbench: Xbench,
    monkeypatch: pytest.MonkeyPatch,
    capability: tuple[int, int],
    free: float,
    outcome: str,
    words: str,
) -> None:
    Card(monkeypatch, capability, free)
    check = checks(xbench("doctor", "--json"))["gpu 0"]
    assert check["outcome"] == outcome
    assert words in check["note"]


def test_a_gpu_that_disappeared_fails(xbench: Xbench, monkeypatch: pytest.MonkeyPatch) -> None:
    Card(monkeypatch, (9, 0), 15).broken = True
    check = checks(xbench("doctor", "--json"))["gpu 0"]
    assert check["outcome"] == "fail"
    assert check["note"] == "does not work: CUDA error: device has fallen off the bus"
    assert "nvidia-smi" in check["fix"]


def test_a_cuda_build_without_a_gpu_says_so(
    xbench: Xbench, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(torch.version, "cuda", "13.0")
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "")
    result = xbench("doctor", "--json")
    check = checks(result)["gpu"]
    assert (result.code, check["outcome"]) == (0, "warn")
    assert "none seen, though torch is built for CUDA 13.0" in check["note"]
    assert "CUDA_VISIBLE_DEVICES=''" in check["note"]
    monkeypatch.setattr(torch.version, "cuda", None)
    assert checks(xbench("doctor", "--json"))["gpu"]["note"].startswith("none; profiles smoke")


def test_a_driver_that_is_too_old_is_named(xbench: Xbench, monkeypatch: pytest.MonkeyPatch) -> None:
    """As torch reports it: no GPU, and a warning."""

    def is_available() -> bool:
        warnings.warn(
            "CUDA initialization: The NVIDIA driver on your system is too old (found version "
            "12040). Please update your GPU driver by downloading …",
            stacklevel=1,
        )
        return False

    monkeypatch.setattr(torch.version, "cuda", "13.0")
    monkeypatch.setattr(torch.cuda, "is_available", is_available)
    result = xbench("doctor", "--json")
    check = checks(result)["gpu"]
    assert (result.code, check["outcome"]) == (1, "fail")
    assert (
        "driver (made for CUDA 12.4) is too old for this torch (built for CUDA 13.0)"
        in (check["note"])
    )
    assert check["fix"].startswith("update the driver")


def test_a_gpu_without_bfloat16_computes_in_float32(monkeypatch: pytest.MonkeyPatch) -> None:
    from xbench.core.compute import has_bfloat16

    monkeypatch.setattr(torch.cuda, "is_bf16_supported", lambda including_emulation: False)
    assert not has_bfloat16(torch.device("cuda"))
    monkeypatch.setattr(torch.cuda, "is_bf16_supported", lambda including_emulation: True)
    assert has_bfloat16(torch.device("cuda"))
    assert not has_bfloat16(torch.device("cpu"))


def test_without_torch_every_method_is_a_failure_of_its_own() -> None:
    from xbench.cli.doctor import _registry

    def get(name: str) -> None:
        raise ModuleNotFoundError("No module named 'torch'")

    (check,) = _registry("methods", {"medshift": ""}, ["medshift"], get)
    assert (check.check, check.outcome) == ("method medshift", "fail")
    assert "No module named 'torch'" in check.note


def test_what_torch_compile_lacks_is_named(xbench: Xbench, monkeypatch: pytest.MonkeyPatch) -> None:
    Card(monkeypatch, (9, 0), 15)
    monkeypatch.setattr(shutil, "which", lambda name: None)
    check = checks(xbench("doctor", "--json"))["compile"]
    assert check["outcome"] == "warn"
    assert "a C compiler (gcc, or CC): networks run as they are" in check["note"]
    assert "compute.compile=off" in check["fix"]


def test_a_device_that_is_not_there_leads_to_the_doctor(xbench: Xbench) -> None:
    result = xbench("run", "--method", "identity", "--profile", "smoke", "--device", "cuda")
    assert result.code == 2
    assert "the device 'cuda' is not there" in result.err
    assert "xbench doctor says why" in result.err
