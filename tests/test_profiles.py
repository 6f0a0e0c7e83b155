"""The profiles for servers start and take a few steps on a CPU, with tiny overrides."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

Xbench = Callable[..., Any]

PAIR = "synthetic_high:real_normal"
TINY_DATA = (
    *("--set", "data.train_heads=1", "--set", "data.train_views=2"),
    *("--set", "data.test_heads=4", "--set", "data.test_views=4"),
    *("--set", "data.val_heads=1", "--set", "data.voxel_mm=6"),
)
TINY_NET = (
    *("--set", "medshift.channels=[16,32,32]", "--set", "medshift.layers=1"),
    *("--set", "medshift.attention=[false,false,false]", "--set", "medshift.batch=2"),
    *("--set", "medshift.steps=1"),
)


def test_standard_starts_on_a_cpu(xbench: Xbench) -> None:
    result = xbench(
        *("run", "--method", "medshift", "--profile", "standard", "--pairs", PAIR),
        *("--set", "budget.images=6", "--set", "medshift.factor=8", "--set", "data.size=128"),
        *TINY_DATA,
        *TINY_NET,
    )
    assert result.code == 0, result.err
    names = [path.parts[-3] for path in Path("runs").rglob("records/*/*/*.json")]
    assert any(name.startswith("medshift") for name in names)


@pytest.fixture
def small_vae(tmp_path: Path) -> Path:
    """A stand-in for sd-vae-ft-mse: the same class and files, tiny widths, random weights."""
    from diffusers import AutoencoderKL

    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        vae = AutoencoderKL(
            block_out_channels=(8, 8, 8, 8),
            down_block_types=("DownEncoderBlock2D",) * 4,
            up_block_types=("UpDecoderBlock2D",) * 4,
            latent_channels=4,
            norm_num_groups=4,
        )
    vae.save_pretrained(tmp_path / "vae")
    return tmp_path / "vae"


def test_paper_starts_on_a_cpu_and_shows_the_round_trip_of_its_vae(
    xbench: Xbench, small_vae: Path
) -> None:
    result = xbench(
        *("run", "--method", "medshift", "--profile", "paper", "--pairs", PAIR),
        *("--set", f"medshift.vae={small_vae}", "--set", "budget.images=4"),
        *("--set", "data.size=96"),
        *TINY_DATA,
        *TINY_NET,
    )
    assert result.code == 0, result.err
    found = {}
    for path in Path("runs").rglob("records/*/*/*.json"):
        record = json.loads(path.read_text())
        found[record["method"]["name"]] = record
    assert set(found) == {"identity", "floor", "shuffle", "nearest", "vae", "medshift"}
    assert found["vae"]["method"]["reference"]
    assert found["vae"]["method"]["params"] < found["medshift"]["method"]["params"]
    assert "codec=vae" in found["medshift"]["method"]["label"]
