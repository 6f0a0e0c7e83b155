"""Local texture and copies, cell by cell, against loops over pixels."""

import runpy
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import scipy.ndimage
import torch
from numpy.typing import NDArray
from torch import Tensor

from xbench.datasets.base import Box
from xbench.metrics import cells
from xbench.metrics.base import METRICS
from xbench.metrics.cells import (
    DESCRIPTORS,
    edges,
    largest_correlations,
    local_descriptors,
    local_residuals,
    local_texture_distance,
    without,
)
from xbench.records.schema import Value
from xbench.scoring.measure import Case, Sample, measure
from xbench.scoring.spaces import Spaces

independent = runpy.run_path(str(Path(__file__).with_name("references") / "independent.py"))
Array = NDArray[np.float64]
#: Sides that 8 divides and that it does not, and the least one.
SIZES = [(32, 32), (37, 50), (64, 64), (52, 44)]


def images(count: int, height: int, width: int, seed: int = 0) -> Array:
    """Smooth structure, sharp edges and noise, [n, H, W]."""
    rng = np.random.default_rng(seed)
    smooth = scipy.ndimage.gaussian_filter(rng.random((count, height, width)), (0, 3, 3))
    steps = np.where(smooth > smooth.mean(), 0.3, 0.7) + 0.02 * rng.standard_normal(smooth.shape)
    pictures: Array = np.clip(steps, 0, 1)
    return pictures


def batch(pictures: Array) -> Tensor:
    return torch.from_numpy(pictures.copy())[:, None]


def ltd(output: Array, target: Array, train: Array) -> Array:
    """`ltd` of every image, standardised by training images."""
    pool = local_descriptors(batch(train)).reshape(-1, len(DESCRIPTORS)).numpy()
    first, second = (local_descriptors(batch(x)).numpy() for x in (output, target))
    return local_texture_distance(first, second, pool.std(axis=0))


def test_cells_have_rounded_edges() -> None:
    assert edges(37).tolist() == [0, 5, 9, 14, 18, 23, 28, 32, 37]
    assert edges(50).tolist() == [0, 6, 12, 19, 25, 31, 38, 44, 50]


@pytest.mark.parametrize("size", SIZES)
def test_descriptors_are_those_of_each_cell(size: tuple[int, int]) -> None:
    pictures = images(3, *size)
    expected = np.stack([independent["local_descriptors"](x) for x in pictures])
    found = local_descriptors(batch(pictures))
    assert found.dtype == torch.float64
    assert found.shape == (3, 64, len(DESCRIPTORS))
    np.testing.assert_allclose(found, expected, rtol=0, atol=1e-9)


@pytest.mark.parametrize("size", SIZES)
def test_local_texture_distance_is_what_its_definition_says(size: tuple[int, int]) -> None:
    output, target, train = (images(2, *size, seed=seed) for seed in range(3))
    expected = [
        independent["local_texture_distance"](*pair, train)
        for pair in zip(output, target, strict=True)
    ]
    assert ltd(output, target, train) == pytest.approx(expected, rel=1e-9)


@pytest.mark.parametrize("size", SIZES)
def test_copied_is_what_its_definition_says(size: tuple[int, int]) -> None:
    output, train = images(3, *size), images(5, *size, seed=1)
    train[3, : size[0] // 2] = output[1, : size[0] // 2]  # half of an image is a copy
    expected = [independent["copied"](x, train) for x in output]
    residuals = local_residuals(batch(train)).numpy()
    own = local_residuals(batch(output)).numpy()
    found = largest_correlations(own, [residuals])
    assert found == pytest.approx(expected, rel=1e-9)
    assert found[1] > max(found[0], found[2]) + 0.2
    # Training images may come some at a time, in any order.
    assert largest_correlations(own, [residuals[3:], residuals[:3]]) == pytest.approx(found)


def test_an_image_is_no_distance_from_itself_and_a_copy_of_itself() -> None:
    pictures = images(4, 64, 64)
    assert not ltd(pictures, pictures, images(4, 64, 64, seed=1)).any()
    residuals = local_residuals(batch(pictures)).numpy()
    assert (largest_correlations(residuals, [residuals]) > 0.97).all()


def test_place_matters_and_not_only_texture() -> None:
    target, train = images(4, 64, 64), images(8, 64, 64, seed=1)
    assert (ltd(target[:, :, ::-1], target, train) > 0.3).all()
    assert (ltd(np.roll(target, 8, axis=2), target, train) > 0.3).all()


@pytest.mark.parametrize("describe", [local_descriptors, local_residuals])
@pytest.mark.parametrize("size", [(37, 50), (64, 64)])
def test_each_image_is_described_for_itself(
    describe: Any, size: tuple[int, int], monkeypatch: pytest.MonkeyPatch
) -> None:
    pictures = batch(images(9, *size))
    together = describe(pictures)
    alone = torch.cat([describe(image[None]) for image in pictures.flip(0)]).flip(0)
    np.testing.assert_allclose(together, alone, rtol=0, atol=1e-13)
    monkeypatch.setattr(cells, "_CHUNK", 3 * pictures[0].numel())
    np.testing.assert_allclose(together, describe(pictures), rtol=0, atol=1e-13)
    np.testing.assert_allclose(describe(pictures.float()), together, rtol=0, atol=1e-3)


@pytest.mark.parametrize("grey", [0.0, 0.1, 0.3, 0.7, 1.0])
def test_constant_images_have_values(grey: float) -> None:
    flat, other = np.full((2, 37, 50), grey), images(2, 37, 50)
    assert local_descriptors(batch(flat)).isfinite().all()
    for output, target in ((flat, other), (other, flat), (flat, flat)):
        assert np.isfinite(ltd(output, target, other)).all()
    residuals = local_residuals(batch(flat)).numpy()
    assert largest_correlations(residuals, [residuals]) == pytest.approx([0, 0], abs=1e-9)


def test_descriptors_that_never_vary_are_left_out() -> None:
    output, target = images(2, 37, 50), images(2, 37, 50, seed=1)
    flat = np.full((3, 37, 50), 0.3)
    ramp = np.broadcast_to(np.linspace(0.2, 0.8, 50), (3, 37, 50)).copy()
    # All descriptors of flat training images are equal but for rounding: none is left.
    assert np.isnan(ltd(output, target, flat)).all()
    assert (ltd(output, target, ramp) < 1e6).all()


def value(name: str, output: Sample, other: Sample) -> Value:
    """What the scorer says of a metric; all samples stand for training images, too."""
    case = Case(output, output, other, aligned=True, training=other.rows(range(len(other))))
    spaces = Spaces(lambda: [other], "cpu")
    return measure(METRICS[name], case, None, lambda: spaces.deviations(METRICS[name]))


def sample(pictures: Array, boxes: list[Box] | None = None) -> Sample:
    groups = [f"head{row // 2}" for row in range(len(pictures))]
    return Sample(batch(pictures).float(), groups, boxes)


@pytest.mark.parametrize("name", ["ltd", "copied"])
def test_cells_that_touch_padding_are_left_out(name: str) -> None:
    """Half of each image is padding, of two kinds; what it shows changes nothing else."""
    boxes = [Box(0, 16, 64, 32), Box(8, 20, 40, 44)] * 2
    clean = images(4, 64, 64), images(4, 64, 64, seed=1)
    found = []
    for grey in (0.0, 1.0):
        padded = []
        for pictures in clean:
            canvas = pictures.copy()
            for picture, box in zip(canvas, boxes, strict=True):
                far = np.ones((64, 64), dtype=bool)
                # Filters reach 8 px at most: nearer to the box padding is seen by its cells.
                top, left = max(0, box.top - 9), max(0, box.left - 9)
                far[top : box.top + box.height + 9, left : box.left + box.width + 9] = False
                picture[far] = grey
            padded.append(sample(canvas, boxes))
        found.append(value(name, *padded).per_image)
    assert found[0] == pytest.approx(found[1], abs=2e-6)
    free = value(name, *(sample(pictures) for pictures in clean)).per_image
    assert found[0] != pytest.approx(free, abs=1e-3)


def test_whole_cells_are_kept_up_to_the_padding() -> None:
    inside = torch.zeros(1, 64, 64, dtype=torch.bool)
    inside[0, 8:40, 16:63] = True
    described = without(local_descriptors(batch(images(1, 64, 64))), inside)
    kept = described[0].isfinite().all(dim=1).reshape(8, 8)
    expected = torch.zeros(8, 8, dtype=torch.bool)
    expected[1:5, 2:7] = True
    assert (kept == expected).all()
    assert described[0].isfinite().any(dim=1).reshape(8, 8).equal(expected)


def test_without_a_whole_cell_there_is_a_reason() -> None:
    boxes = [Box(0, 0, 64, 64)] * 3 + [Box(30, 30, 4, 4)]
    found = value("ltd", sample(images(4, 64, 64), boxes), sample(images(4, 64, 64, 1), boxes))
    assert found.value is None
    assert found.reason == "an image has no cell without padding"


def test_small_images_are_empty_with_a_reason() -> None:
    small = sample(images(4, 31, 40))
    for name in ("ltd", "copied"):
        assert value(name, small, small).reason == "images of 31 px, needs 32"


def test_wrong_input_is_refused() -> None:
    good = batch(images(2, 40, 40))
    for describe in (local_descriptors, local_residuals):
        with pytest.raises(ValueError, match=r"expected images \[B, 1, H, W\]"):
            describe(good[:, 0])
        with pytest.raises(ValueError, match="at least 32 x 32 px, got 31 x 40"):
            describe(good[:, :, :31])
        with pytest.raises(ValueError, match=r"finite values in \[0, 1\]"):
            describe(good * 2)
        with pytest.raises(ValueError, match=r"finite values in \[0, 1\]"):
            describe(torch.full_like(good, torch.nan))
        with pytest.raises(ValueError, match="floating-point"):
            describe((good * 255).to(torch.uint8))
