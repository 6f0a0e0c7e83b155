"""The larger profiles start and take a few steps on a CPU, with tiny overrides."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from xbench.core.pairs import CHEATS, FLOOR
from xbench.core.profiles import PROFILES, get_profile
from xbench.methods.registry import available, get

Xbench = Callable[..., Any]

PAIR = "synthetic_high:real_normal"
#: Methods with one network for all pairs that goes through noise.
DIFFUSION = ("medshift", "directflow", "dsbm", "sdedit", "ddib", "cyclediffusion", "contourdiff")
TINY_DATA = (
    *("--set", "data.train_heads=1", "--set", "data.train_views=2"),
    *("--set", "data.test_heads=4", "--set", "data.test_views=4"),
    *("--set", "data.val_heads=1", "--set", "data.voxel_mm=6"),
)
TINY_NET = (
    *("--set", "medshift.channels=[16,32,32]", "--set", "medshift.layers=1"),
    *("--set", "medshift.attention=[false,false,false]", "--set", "medshift.batch=2"),
    *("--set", "medshift.evaluations=4"),
)


def test_every_profile_stands_in_the_help_and_the_lists(xbench: Xbench) -> None:
    shown = xbench("run", "--help").out
    for profile in PROFILES:
        assert profile in shown
        lists = [
            json.loads(xbench("list", kind, "--profile", profile, *options, "--json").out)
            for kind, *options in (("methods", "--no-counts"), ("datasets",))
        ]
        methods, datasets = ({row["name"] for row in rows} for rows in lists)
        assert methods == set(available())
        assert "phantom" in datasets


def test_at_medium_networks_are_those_of_quick_on_larger_blocks_or_on_squares() -> None:
    quick, medium = get_profile("quick"), get_profile("medium")
    changed = {}
    for name in set(available()) - {"identity", FLOOR, *CHEATS, "vae"}:
        small, large = (get(name).configure(profile).shown() for profile in (quick, medium))
        changed[name] = {key: value for key, value in large.items() if value != small[key]}
    assert changed == {
        **{name: {"factor": 4} for name in DIFFUSION},
        # What `val` chose at 128 px: `tuning.csv`.
        "cyclediffusion": {"factor": 4, "solver": "euler", "signal": 0.026},
        "directflow": {"factor": 4, "solver": "midpoint", "grid": 2.0},
        "sdedit": {"factor": 4, "solver": "euler"},
        "contourdiff": {"factor": 4, "signal": 0.9, "clip": True},
        "paired": {"factor": 4, "width": 16},
        **{name: {"crop": 64} for name in ("cyclegan", "cut", "fastcut", "unsb", "unsb-official")},
        **{
            name: {}
            for name in ("expected", "filter", "fda", "histogram", "stargan", "hierarchyflow")
        },
        **{name: {} for name in ("cyclegan-turbo", "zstar")},
    }


def test_medium_runs_on_a_tiny_budget(xbench: Xbench) -> None:
    result = xbench(
        *("run", "--method", "medshift,cyclegan", "--profile", "medium", "--pairs", PAIR),
        *("--set", "budget.images=16", "--set", "medshift.evaluations=4"),
        *TINY_DATA,
        *("--set", "data.test_heads=2", "--set", "data.test_views=2"),
    )
    assert result.code == 0, result.err
    records = [json.loads(p.read_text()) for p in Path("runs").rglob("records/*/*/*.json")]
    made = {r["method"]["name"]: r for r in records if r["method"]["train_images"]}
    assert set(made) == {"medshift", "cyclegan"}
    assert {r["data"]["config"]["size"] for r in made.values()} == {128}


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
    assert set(found) == {"identity", "floor", "expected", "shuffle", "nearest", "vae", "medshift"}
    assert found["vae"]["method"]["reference"]
    assert found["vae"]["method"]["params"] < found["medshift"]["method"]["params"]
    assert "codec=vae" in found["medshift"]["method"]["label"]
