"""`xbench score` on folders with known answers; what belongs together."""

import math
import runpy
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from skimage.metrics import peak_signal_noise_ratio, structural_similarity

from xbench.metrics.base import METRICS
from xbench.scoring.folders import score_folders

world = runpy.run_path(str(Path(__file__).with_name("score_world.py")))
FOLDERS = world["FOLDERS"]
N = world["N"]
SIZE = world["SIZE"]
folders = world["folders"]
scored = world["scored"]
steps = world["steps"]
views = world["views"]
write = world["write"]
Xbench = Callable[..., Any]
Array = np.ndarray[Any, Any]


def test_images_that_equal_source_and_target_are_perfect(xbench: Xbench, folders: Array) -> None:
    write("made", folders)
    write("true", folders)
    found = scored(xbench)
    cap = 20 * math.log10(65535)
    assert found["ssim"] == found["ssim_ref"] == 1
    assert found["psnr"] == found["psnr_ref"] == pytest.approx(cap)
    for name in ("ftd", "cftd", "nps", "hist_emd", "edge_ratio", "tissue_contrast"):
        assert found[name] == pytest.approx(0, abs=1e-9)
    assert found["n"] == found["n_target"] == N
    assert found["intervals"]["ssim"] == pytest.approx([1, 1])


def test_structure_agrees_with_skimage(xbench: Xbench, folders: Array) -> None:
    found = scored(xbench)
    made = steps((0.8 * folders + 0.1).clip(0, 1)) / 65535
    options = {"gaussian_weights": True, "sigma": 1.5, "use_sample_covariance": False}
    for name, others in (("", folders), ("_ref", views(seed=1))):
        pairs = list(zip(made, others, strict=True))
        ssim = np.mean([structural_similarity(a, b, data_range=1, **options) for a, b in pairs])
        psnr = np.mean([peak_signal_noise_ratio(b, a, data_range=1) for a, b in pairs])
        assert found["ssim" + name] == pytest.approx(ssim, abs=1e-6)
        assert found["psnr" + name] == pytest.approx(psnr, abs=1e-4)


def test_inverted_greys_are_seen(xbench: Xbench, folders: Array) -> None:
    write("made", 1 - folders)
    write("true", folders)
    found = scored(xbench)
    assert found["ssim"] < 0.2
    assert found["hist_emd"] > 0.03
    assert found["edge_ratio"] == pytest.approx(0, abs=0.05)
    assert "inverted polarity: correlation with the source -1.00" in found["notes"]


def test_a_shift_moves_structure_and_leaves_texture(xbench: Xbench, folders: Array) -> None:
    write("made", np.roll(folders, 3, axis=2))
    write("true", folders)
    found = scored(xbench)
    assert found["ssim"] < 0.9
    assert found["hist_emd"] == pytest.approx(0, abs=1e-9)
    assert found["nps"] < 1
    assert found["notes"] == [note for note in found["notes"] if "inverted" not in note]


def test_more_noise_raises_the_noise_power(xbench: Xbench, folders: Array) -> None:
    rng = np.random.default_rng(5)
    write("true", folders)
    found = []
    for extra in (0.0, 0.01, 0.03):
        write("made", (folders + extra * rng.normal(size=folders.shape)).clip(0, 1))
        found.append(scored(xbench))
    quiet, loud, louder = (values["nps"] for values in found)
    assert quiet == 0
    # Twice the variance is 3 dB, ten times is 10 dB, less what the metric's own floor hides.
    assert 1 < loud < 4
    assert 5 < louder < 11
    assert found[0]["ftd"] < found[1]["ftd"] < found[2]["ftd"]
    assert found[0]["ssim"] > found[1]["ssim"] > found[2]["ssim"]


def test_physics_are_those_of_the_images(xbench: Xbench, folders: Array) -> None:
    found = scored(xbench)
    made, true = (
        torch.from_numpy(steps(images).astype(np.float32) / np.float32(65535))[:, None]
        for images in ((0.8 * folders + 0.1).clip(0, 1), views(seed=1))
    )
    for name in ("nps", "hist_emd", "edge_ratio", "tissue_contrast"):
        measure, gap = METRICS[name].function, METRICS[name].gap
        assert measure
        assert gap
        assert found[name] == pytest.approx(gap(measure(made), measure(true)))


def test_targets_of_other_names_are_compared_as_a_set(xbench: Xbench, folders: Array) -> None:
    shutil.rmtree("true")
    write("true", views(seed=1, count=25), [f"patient{number}" for number in range(25)])
    found = scored(xbench)
    assert found["ftd"] > 0
    assert found["n_target"] == 25
    assert found["ssim_ref"] is None
    assert (
        found["reasons"]["ssim_ref"] == found["reasons"]["cftd"] == "the targets have other names"
    )


def test_what_needs_an_absent_folder_is_empty(xbench: Xbench, folders: Array) -> None:
    alone = scored(xbench, "--translated", "made", "--target", "true")
    assert alone["ssim"] is alone["cftd"] is None
    assert alone["reasons"]["ssim"] == "no source images were given"
    assert alone["ssim_ref"] is not None
    assert alone["ftd"] is not None
    kept = scored(xbench, "--translated", "made", "--source", "given")
    assert kept["ssim"] is not None
    assert kept["reasons"]["ftd"] == kept["reasons"]["nps"] == "no target images were given"


def test_weights_that_are_not_here_leave_columns_empty(xbench: Xbench, folders: Array) -> None:
    found = scored(xbench)
    assert found["fid"] is found["clip_cfid"] is None
    assert "xbench fetch inception" in found["reasons"]["fid"]
    assert scored(xbench, *FOLDERS, "--metrics", "fid")["reasons"]["fid"]


def test_groups_make_the_intervals(xbench: Xbench, folders: Array) -> None:
    options = (*FOLDERS, "--metrics", "ssim,ftd", "--group")
    alone = scored(xbench, *FOLDERS, "--metrics", "ssim,ftd")
    heads = scored(xbench, *options, "^(head[0-9])")
    assert heads["ssim"] == alone["ssim"]
    values = score_folders("made", "given", metrics=["ssim"]).values["ssim"].per_image
    assert values is not None
    means = np.reshape(values, (4, 5)).mean(1)
    # Of four groups: Student's t of 3 degrees of freedom.
    half = 3.182446 * means.std(ddof=1) / 2
    expected = [means.mean() - half, means.mean() + half]
    assert heads["intervals"]["ssim"] == pytest.approx(expected, abs=1e-5)
    low, high = alone["intervals"]["ftd"]
    assert low < alone["ftd"] < high
    assert scored(xbench, *options, "^(h)ead")["intervals"] == {}


def test_few_images_are_scored_as_far_as_they_go(xbench: Xbench) -> None:
    write("given", views(count=1))
    write("made", views(count=1) * 0.9)
    write("true", views(seed=1, count=1))
    found = scored(xbench)
    assert 0 < found["ssim"] < 1
    assert found["reasons"]["ftd"] == "n = 1, needs 16"
    assert found["intervals"] == {}


def test_constant_images_are_named_and_give_finite_numbers(xbench: Xbench, folders: Array) -> None:
    write("made", np.full((N, SIZE, SIZE), 0.5))
    found = scored(xbench)
    assert f"constant images: {N} of {N}, the first: made/head0-00.png" in found["notes"]
    assert found["ftd"] > 0
    for grey in (0.5, 30000 / 65535):  # the mean of many may differ from them by rounding
        for folder in ("given", "made", "true"):
            write(folder, np.full((N, SIZE, SIZE), grey))
        reasons = scored(xbench)["reasons"]
        assert reasons["cftd"] == "the features do not vary"


def test_people_get_a_table_and_the_reasons(xbench: Xbench, folders: Array) -> None:
    out = xbench("score", "--translated", "made", "--source", "given").out
    assert "95 % interval" in out
    row = next(line.split() for line in out.splitlines() if line.split()[:1] == ["psnr"])
    assert row[2] == "dB"
    assert row[-2:] == ["20", "higher"]
    (empty,) = (line for line in out.splitlines() if "no target images were given" in line)
    assert {"ssim_ref", "ftd", "nps"} <= set(
        empty.removeprefix("empty: ").replace(":", ",").split(", ")
    )
