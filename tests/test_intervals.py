"""Intervals and spreads in the tables: over groups, over seeds, and for endless images."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from xbench import run
from xbench.analysis.rows import make
from xbench.metrics.base import METRICS
from xbench.records.schema import Record
from xbench.records.store import Store

Xbench = Callable[..., Any]

NOISY = """
import torch
from xbench.methods.base import Method

class Noisy(Method):
    stochastic = True
    def translate(self, images, source, target, *, generators):
        noise = [torch.randn(image.shape, generator=g) for image, g in zip(images, generators)]
        return images + 0.1 * torch.stack(noise)
"""


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A smoke run of a method with chance, two seeds, on six heads; never changed."""
    folder = tmp_path_factory.mktemp("noisy")
    (folder / "noisy.py").write_text(NOISY)
    method, heads = f"{folder}/noisy.py:Noisy", {"data.test_heads": 6}
    run(method, profile="smoke", seeds=(0, 1), settings=heads, out=folder, quiet=True)
    return folder / "phantom[test_heads=6]" / "smoke"


def records(folder: Path, label: str) -> list[Record]:
    return [record for record in Store(folder).records() if record.method.label == label]


def test_every_value_lies_in_its_interval(runs: Path) -> None:
    for record in records(runs, "noisy"):
        for name, value in record.metrics.items():
            if value.value is None:
                assert value.reason, name
            else:
                assert value.n == 24
                assert value.ci_low is not None
                assert value.ci_high is not None
                assert value.ci_low <= value.value <= value.ci_high, name
                if METRICS[name].per_image:
                    assert value.per_image is not None
                else:
                    assert value.left_out is not None
                    assert len(value.left_out) == 6


def test_intervals_of_a_table_are_those_of_its_records(runs: Path) -> None:
    """Records hold no values without blocks where these follow from those of the images."""
    one = records(runs, "floor")
    row = make(one)["floor"]
    for record in one:
        for name, value in record.metrics.items():
            if value.value is not None:
                interval = row.interval(name, [(record.source, record.target)])
                assert interval == pytest.approx((value.ci_low, value.ci_high), abs=1e-4), name


def test_per_image_values_average_to_the_value(runs: Path) -> None:
    for record in records(runs, "noisy"):
        for name in ("ssim", "psnr", "ssim_ref", "psnr_ref", "ltd", "ngf", "bone_shift"):
            value = record.metrics[name]
            assert value.per_image is not None
            assert sum(value.per_image) / 24 == pytest.approx(value.value, abs=1e-5)


def test_the_floor_and_identity_stand_where_they_must(runs: Path) -> None:
    table = pd.read_csv(runs / "pairs.csv").set_index(["method", "source", "target"]).sort_index()
    for name in ("ftd", "ktd", "nps", "hist_emd", "edge_ratio", "tissue_contrast"):
        floor, identity = (table.loc[method, name].mean() for method in ("floor", "identity"))
        assert floor < 0.5 * identity, name
    assert (table.loc["identity", "ssim"] == 1).all()
    assert table.loc["floor", "bone_shift"].mean() < table.loc["shuffle", "bone_shift"].mean() / 2


def test_noise_shows_in_the_noise_power_spectrum(runs: Path) -> None:
    table = pd.read_csv(runs / "pairs.csv").set_index(["method", "source", "target"]).sort_index()
    pair = ("synthetic_high", "real_normal")
    assert table.loc[("noisy", *pair), "nps"].min() > table.loc[("identity", *pair), "nps"].max()


def test_tables_have_intervals_of_means_and_spreads_over_seeds(runs: Path) -> None:
    board = pd.read_csv(runs / "leaderboard.csv").set_index("method")
    row = board.loc["noisy"]
    without_weights = [m.name for m in METRICS.values() if m.space in ("pixels", "texture")]
    for name in [*without_weights, "ltd_cross"]:
        if METRICS.get(name) and METRICS[name].weights:
            continue
        assert row[f"{name}_ci_low"] <= row[name] <= row[f"{name}_ci_high"]
        assert row[f"{name}_sd_seeds"] >= 0
    assert row["ssim_sd_seeds"] > 0
    assert pd.isna(board.loc["identity", "ssim_sd_seeds"])
    # Groups are shared by the pairs: a mean over pairs is not surer than that allows.
    pairs = pd.read_csv(runs / "pairs.csv").query("method == 'noisy'")
    assert row["ftd_ci_high"] - row["ftd_ci_low"] < (pairs.ftd_ci_high - pairs.ftd_ci_low).max()


def test_two_groups_are_too_few_for_an_interval(xbench: Xbench) -> None:
    arguments = ("--profile", "smoke", "--pairs", "synthetic_low:real_low")
    settings = ("--set", "data.test_heads=2", "--set", "data.test_views=8")
    assert xbench("run", "--method", "identity", *arguments, *settings).code == 0
    folder = next(Path("runs").glob("*/smoke"))
    (record,) = records(folder, "identity")
    assert record.metrics["ftd"].value is not None
    assert record.metrics["ftd"].ci_low is None
