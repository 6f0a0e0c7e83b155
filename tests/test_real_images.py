"""Chest radiographs of a hospital, AP and PA, end to end: unaligned, rectangular, bone bright.

The set: ml-workgroup/covid-19-image-repository, Hannover Medical School, DOI
10.6084/m9.figshare.12275009, CC BY 3.0. It is not part of the project.
"""

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from xbench.core.pixels import WHITE
from xbench.datasets.describe import read_description
from xbench.datasets.folder import Folder
from xbench.datasets.visible import TrainOnly
from xbench.records.images import make_strip, read_png, read_strip, without_padding

Xbench = Callable[..., Any]


@pytest.fixture
def chests(tmp_path: Path, real_set: Callable[[str], Path], xbench: Xbench) -> Path:
    """A copy of the set, described by `data init`."""
    shutil.copytree(real_set("hannover_cxr"), tmp_path / "chests")
    assert xbench("data", "init", "chests").code == 0
    return tmp_path / "chests"


def test_its_description_is_guessed_right(chests: Path, xbench: Xbench) -> None:
    description = read_description(chests)
    assert description is not None
    assert description.polarity == "bone-bright"
    assert description.alignment == "none"
    assert xbench("data", "verify", "chests").code == 0


def test_no_patient_lies_in_two_splits(chests: Path) -> None:
    kind = Folder.at(chests)
    splits: dict[str, set[str]] = {}
    for item in kind(kind.configure_size(64)).layout.items:
        splits.setdefault(Path(item.file).name.partition("_")[0], set()).add(item.split)
    assert len(splits) > 40
    assert all(len(own) == 1 for own in splits.values())


def test_padding_is_in_no_image_to_learn_from(chests: Path) -> None:
    """The radiographs are up to a fifth wider than high, or the other way round."""
    kind = Folder.at(chests)
    dataset = kind(kind.configure_size(64))
    dataset.prepare()
    seen = TrainOnly(dataset)
    shapes = {tuple(seen.train(domain)[0].shape) for domain in dataset.domains}
    assert len(shapes) == 1
    ((_, side, _),) = shapes
    assert 40 <= side < 64


def test_ap_to_pa_end_to_end(chests: Path, xbench: Xbench) -> None:
    options = ("--dataset", "chests", "--profile", "smoke")
    result = xbench("run", "--method", "medshift,histogram", *options)
    assert result.code == 0
    folder = Path("runs/chests/smoke")
    record = json.loads((folder / "records/histogram/seed0/ap--pa.json").read_text())
    assert record["metrics"]["ssim"]["value"] > 0.7
    assert record["metrics"]["ltd"]["value"] is None  # no aligned truth
    assert record["polarity"] > 0.9
    # Strips show content alone, in an empty frame.
    top, left, height, width = record["data"]["content"][0]
    view = read_strip(folder / "strips/histogram/seed0/ap--pa.webp")[:, :32]
    frame = np.ones_like(view, dtype=bool)
    frame[top : top + height, left : left + width] = False
    assert (view[frame] > 240).all()  # as white as a strip's compression leaves it
    first = read_png(next((folder / "images/histogram/seed0/ap--pa").glob("*.png")))[None]
    extent = [(top, left, height, width)]
    assert (make_strip(without_padding(first, extent))[frame] == WHITE // 257).all()
    assert xbench("report", *options).code == 0
