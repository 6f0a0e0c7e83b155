"""Intervals of real metrics on pictures: four times the groups make them half as wide."""

import runpy
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from xbench.metrics.base import METRICS
from xbench.metrics.extractors import Extractor
from xbench.scoring.cases import Case, Sample
from xbench.scoring.measure import Space, measure

world = runpy.run_path(str(Path(__file__).with_name("score_world.py")))
FEW, MANY, VIEWS = 16, 64, 4
SETS = 8
#: Relative error of the ratio of widths: that of the mean over 8 sets and their quarters is 4 %.
TOLERANCE = 0.12


def moments(images: Tensor) -> Tensor:
    flat = images.flatten(1)
    return torch.stack([flat.mean(1), flat.std(1), flat.amin(1)], 1)


def sample(pixels: np.ndarray[Any, Any], rows: slice) -> Sample:
    """Some rows of pictures, four to a group."""
    images = torch.from_numpy(pixels[rows].astype(np.float32))[:, None]
    return Sample(images, [f"head{row // VIEWS}" for row in range(len(images))])


@pytest.fixture(scope="module")
def pictures() -> list[tuple[np.ndarray[Any, Any], np.ndarray[Any, Any]]]:
    """Sources and targets, 64 groups of 4 pictures in each set."""
    count = MANY * VIEWS
    return [
        (world["views"](seed, count), world["views"](seed + 1000, count) ** 1.2)
        for seed in range(SETS)
    ]


@pytest.mark.parametrize("name", ["ssim", "nps", "hist_emd", "ftd"])
def test_intervals_shrink_as_one_over_the_root_of_the_number_of_groups(
    pictures: list[tuple[np.ndarray[Any, Any], np.ndarray[Any, Any]]], name: str, tmp_path: Path
) -> None:
    # With three features, for which 64 pictures are many: the distance is hardly biased.
    space = Space(Extractor("moments", "moments-v1", torch.device("cpu"), moments), tmp_path)
    noise = np.random.default_rng(0)
    widths: dict[int, list[float]] = {FEW: [], MANY: []}
    for given, true in pictures:
        made = (0.8 * given + 0.1 + 0.02 * noise.standard_normal(given.shape)).clip(0, 1)
        for groups, found in widths.items():
            step = groups * VIEWS
            for start in range(0, len(given), step):
                output, source, target = (
                    sample(pixels, slice(start, start + step)) for pixels in (made, given, true)
                )
                value = measure(METRICS[name], Case(output, source, target, aligned=True), space)
                assert value.ci_low is not None
                assert value.ci_high is not None
                found.append(value.ci_high - value.ci_low)
    # Student's t belongs to the promise: of 15 degrees of freedom, and of 19, since 64 groups are
    # left out in 20 blocks.
    ratio = np.mean(widths[FEW]) / np.mean(widths[MANY]) * 2.093 / 2.131
    assert ratio == pytest.approx((MANY / FEW) ** 0.5, rel=TOLERANCE)
