"""`xbench score` by cells, gradients and training images: `ltd`, `match`, `copied`, and others."""

import runpy
import shutil
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

import xbench as library
from xbench.metrics.cells import local_descriptors, local_texture_distance

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
#: Metrics of single images that need neither weights nor masks.
LOCAL = ("ltd", "match", "copied", "ngf", "ngf_signed", "edge_shift", "edges_lost")
#: Heads of `score_world.names`.
HEADS = ("--group", "^(head[0-9])")


def descriptors(images: Array) -> Array:
    """Of every cell, as the command reads the images from files."""
    pixels = steps(images).astype(np.float32) / np.float32(65535)
    found: Array = local_descriptors(torch.from_numpy(pixels)[:, None]).numpy()
    return found


def test_without_statistics_the_cells_of_source_and_target_scale_descriptors(
    xbench: Xbench, folders: Array
) -> None:
    found = scored(xbench)
    made, given, true = map(descriptors, ((0.8 * folders + 0.1).clip(0, 1), folders, views(seed=1)))
    deviations = np.concatenate([given, true]).reshape(-1, 11).std(axis=0)
    expected = local_texture_distance(made, true, deviations).mean()
    assert found["ltd"] == pytest.approx(expected, rel=1e-9)
    assert found["identities"]["ltd"] == "ltd-v1/pooled"
    assert any("ltd" in note and "/pooled" in note for note in found["notes"])
    low, high = found["intervals"]["ltd"]
    assert low < found["ltd"] < high


def test_the_true_target_is_perfect_and_copied_only_if_it_was_trained_on(
    xbench: Xbench, folders: Array
) -> None:
    write("made", views(seed=1))
    write("pool", views(seed=2, count=7), [f"scan{number}" for number in range(7)])
    honest = scored(xbench, *FOLDERS, "--train", "pool")
    assert honest["ltd"] == 0
    assert honest["match"] == 1
    assert 0 < honest["copied"] < 0.7
    caught = scored(xbench, *FOLDERS, "--train", "true")
    assert caught["copied"] > 0.9
    for scores in (honest, caught):  # training images change nothing else
        del scores["copied"], scores["intervals"]["copied"]
    assert honest == caught


def test_what_lacks_an_option_says_which(xbench: Xbench, folders: Array) -> None:
    alone = scored(xbench)
    assert alone["copied"] is None
    assert alone["reasons"]["copied"] == "needs the training images of the target: --train DIR"
    without = scored(xbench, "--translated", "made", "--target", "true")
    assert without["reasons"]["ltd"] == "needs the source images beside the target, or --stats"
    assert without["reasons"]["ngf"] == "no source images were given"
    assert without["match"] is not None  # against the aligned targets
    copies = scored(xbench, "--translated", "made", "--train", "true")
    assert copies["copied"] is not None
    assert (
        copies["reasons"]["ltd"] == copies["reasons"]["coverage"] == "no target images were given"
    )
    assert alone["reasons"]["bone_shift"] == "the data have no bone masks"


def test_without_aligned_targets_outputs_must_match_their_sources(
    xbench: Xbench, folders: Array
) -> None:
    shutil.rmtree("true")
    write("true", views(seed=1), [f"patient{number}" for number in range(N)])
    found = scored(xbench, *FOLDERS, *HEADS)
    assert found["reasons"]["ltd"] == "the targets have other names"
    assert found["match"] == 1
    write("made", np.roll(folders, 5, axis=0))  # every output shows another head
    found = scored(xbench, *FOLDERS, *HEADS)
    assert found["match"] == 0
    assert found["coverage"] is not None


def test_another_view_of_the_same_group_is_no_mismatch(xbench: Xbench, folders: Array) -> None:
    heads = np.repeat(views(count=4), 5, axis=0)  # four unlike heads, five nearly equal views
    true = (heads + 0.01 * folders).clip(0, 1)
    write("true", true)
    write("made", np.roll(true.reshape(4, 5, SIZE, SIZE), 1, axis=1).reshape(true.shape))
    assert scored(xbench)["match"] == 0
    assert scored(xbench, *FOLDERS, *HEADS)["match"] == 1


def test_python_takes_training_images_too(xbench: Xbench, folders: Array) -> None:
    frame = library.score("made", "given", "true", train="true", metrics=["copied", "ltd"])
    assert frame.value.notna().all()
    assert frame.identity["ltd"] == "ltd-v1/pooled"
    again = library.score("made", "given", "true", metrics="copied")
    assert "--train DIR" in again.reason["copied"]


# --- Bad input ------------------------------------------------------------------------------------


def test_images_smaller_than_the_grid_have_a_reason(xbench: Xbench) -> None:
    for place, folder in enumerate(("made", "given", "true")):
        write(folder, views(seed=place, size=24))
    found = scored(xbench, *FOLDERS, "--train", "true")
    assert found["reasons"]["ltd"] == found["reasons"]["copied"] == "images of 24 px, needs 32"
    assert found["match"] is not None
    assert found["ngf"] is not None


@pytest.mark.parametrize(
    ("count", "group", "reason"),
    [(15, "(head[0-9]-.*)", "n = 15, needs 16"), (20, "(h)ead", "1 groups, needs 3")],
)
def test_few_images_or_groups_cannot_be_matched(
    xbench: Xbench, count: int, group: str, reason: str
) -> None:
    for place, folder in enumerate(("made", "given", "true")):
        write(folder, views(seed=place, count=count))
    found = scored(xbench, *FOLDERS, "--group", group)
    assert found["match"] is None
    assert found["reasons"]["match"] == reason
    assert found["ltd"] is not None


@pytest.mark.parametrize("constant", [("made",), ("made", "given", "true", "pool")])
def test_constant_images_give_finite_numbers_or_a_reason(
    xbench: Xbench, folders: Array, constant: tuple[str, ...]
) -> None:
    write("pool", views(seed=2))
    for grey in (0.5, 30000 / 65535):  # sums of the latter round
        for folder in constant:
            write(folder, np.full((N, SIZE, SIZE), grey))
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            found = scored(xbench, *FOLDERS, "--train", "pool")
        for name in LOCAL:
            assert found[name] is not None or found["reasons"][name], name
            assert found[name] is None or np.isfinite(found[name]), name
        assert [found["ngf"], found["copied"]] == pytest.approx([0, 0], abs=1e-6)
        if "given" in constant:
            assert found["reasons"]["ltd"] == "the images do not vary"
        else:
            assert found["ltd"] > 0
