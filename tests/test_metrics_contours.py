"""Edges and the outline of bone, against plain loops, and on pictures with known distances."""

import runpy
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import scipy.ndimage
import torch
from numpy.typing import NDArray
from torch import Tensor

from xbench.core.profiles import get_profile
from xbench.datasets.base import Box
from xbench.datasets.phantom.v1 import FirstPhantom
from xbench.metrics import contours
from xbench.metrics.base import METRICS
from xbench.metrics.contours import bone_shifts, edge_maps, surface_distances
from xbench.records.schema import Value
from xbench.scoring.measure import Case, Sample, measure

independent = runpy.run_path(str(Path(__file__).with_name("references") / "independent.py"))
Array = NDArray[np.float64]
SIZES = [(32, 32), (37, 50), (64, 64), (90, 131)]


def images(count: int, height: int, width: int, seed: int = 0) -> Array:
    """Smooth structure with noise, [n, H, W]."""
    rng = np.random.default_rng(seed)
    smooth = scipy.ndimage.gaussian_filter(rng.random((count, height, width)), (0, 3, 3))
    spread = (smooth - smooth.min()) / (smooth.max() - smooth.min())
    noisy = 0.1 + 0.8 * spread + 0.01 * rng.standard_normal(spread.shape)
    pictures: Array = np.clip(noisy, 0, 1)
    return pictures


def discs(*radii: float, side: int = 64) -> Array:
    """Dark discs in bright air, [n, H, W]."""
    y, x = np.mgrid[:side, :side] - side / 2 + 0.3
    return np.stack([0.9 - 0.6 / (1 + np.exp(np.hypot(x, y) - radius)) for radius in radii])


def batch(pictures: Array) -> Tensor:
    return torch.from_numpy(pictures)[:, None]


def distances(a: Array, b: Array) -> Array:
    """Of both images, from a to b, from b to a, [n, 3]."""
    pairs = zip(*(edge_maps(batch(x)).numpy() for x in (a, b)), strict=True)
    return np.array([surface_distances(*pair) for pair in pairs])


@pytest.mark.parametrize("size", SIZES)
def test_edges_and_their_distances_are_what_the_definition_says(size: tuple[int, int]) -> None:
    a, b = images(3, *size), images(3, *size, seed=1)
    b[1] = 0.3 * b[1] + 0.7 * a[1]
    expected = np.stack([independent["edge_pixels"](x) for x in a])
    assert (edge_maps(batch(a)).numpy() == expected).all()
    assert expected.any(axis=(1, 2)).all()
    shifts = [independent["edge_shifts"](*pair) for pair in zip(a, b, strict=True)]
    np.testing.assert_allclose(distances(a, b), shifts, rtol=0, atol=1e-12)


def test_equal_images_and_changed_contrast_have_no_distance() -> None:
    a = images(4, 64, 64)
    for same in (a, 0.2 + 0.6 * a, 1 - a):
        assert distances(a, same).max() < 0.03


def test_an_edge_that_moves_is_as_far_away_as_it_moved() -> None:
    found = distances(discs(16, 16, 16), discs(16, 18, 20))
    assert found[:, 0].tolist() == pytest.approx([0, 2, 4], abs=0.25)


def test_distances_do_not_depend_on_the_size_of_the_image() -> None:
    small = distances(discs(16), discs(19))
    large = distances(discs(32, side=128), discs(38, side=128))
    np.testing.assert_allclose(small, large, rtol=0, atol=0.2)


def test_lost_and_invented_edges_are_distinguished() -> None:
    """A ghost appears inside of a disc."""
    disc = discs(20)
    ghost = disc - 0.3 * (0.9 - discs(6)) / 0.6
    (pair,) = distances(ghost, disc)
    both, invented, lost = pair
    assert lost < 0.2
    assert invented > 10 * lost
    assert lost < both < invented


def test_a_distance_is_capped() -> None:
    far = np.zeros((2, 64, 64), dtype=bool)
    far[0, 0, 0], far[1, 63, 63] = True, True
    assert surface_distances(*far) == (8, 8, 8)
    empty = np.zeros((64, 64), dtype=bool)
    assert surface_distances(far[0], empty) == (8, 8, 0)
    assert surface_distances(empty, far[0]) == (8, 0, 8)
    assert surface_distances(empty, empty) == (0, 0, 0)


@pytest.mark.parametrize("size", [(64, 64), (50, 37), (150, 90)])
def test_distances_of_all_pairs_equal_distance_transforms(
    size: tuple[int, int], monkeypatch: pytest.MonkeyPatch
) -> None:
    a, b = np.random.default_rng(0).random((2, *size)) < 0.05
    for few in (0, 2**30):
        contours._means.cache_clear()
        monkeypatch.setattr(contours, "_FEW_PAIRS", few)
        found = surface_distances(a, b)
        assert found == pytest.approx(independent["surface_distances"](a, b), abs=1e-12)
    contours._means.cache_clear()


@pytest.mark.parametrize("size", [(37, 50), (64, 64)])
def test_each_image_is_measured_for_itself(
    size: tuple[int, int], monkeypatch: pytest.MonkeyPatch
) -> None:
    pictures = batch(images(9, *size))
    together = edge_maps(pictures)
    assert together.equal(torch.cat([edge_maps(x[None]) for x in pictures]))
    monkeypatch.setattr(contours, "_CHUNK", 2 * pictures[0].numel())
    assert together.equal(edge_maps(pictures.flip(0)).flip(0))


@pytest.mark.parametrize("grey", [0.0, 0.1, 0.3, 0.7, 1.0])
@pytest.mark.parametrize("kind", [torch.float32, torch.float64])
def test_constant_images_have_no_edges(grey: float, kind: torch.dtype) -> None:
    assert not edge_maps(torch.full((2, 1, 37, 50), grey, dtype=kind)).any()
    found = distances(np.full((1, 37, 50), grey), images(1, 37, 50))
    assert found.tolist() == [[8, 0, 8]]
    masks = torch.zeros(2, 37, 50, dtype=torch.bool)
    masks[0, 5:9, 5:9] = True
    flat = bone_shifts(torch.full((2, 1, 37, 50), grey, dtype=kind), masks)
    assert np.isfinite(flat).all()
    assert flat[1] == 0


def test_padding_has_no_edges_and_no_frame() -> None:
    pictures = batch(images(4, 64, 64))
    inside = torch.zeros(4, 64, 64, dtype=torch.bool)
    inside[::2, 8:52], inside[1::2, :, 12:40] = True, True
    found = [edge_maps(torch.where(inside[:, None], pictures, x), inside) for x in (0.0, 1.0)]
    assert found[0].equal(found[1])
    assert not (found[0] & ~inside).any()
    assert edge_maps(pictures, torch.ones_like(inside)).equal(edge_maps(pictures))
    # No row of edges along the border of the image inside.
    along = found[0][0, 8].float().mean(), found[0][0, 20:40].float().mean()
    assert along[0] < 2 * along[1]


def test_metrics_take_edges_without_padding() -> None:
    """Output and source differ in what the padding shows, and in nothing else."""
    boxes = [Box(8, 0, 44, 64), Box(0, 12, 64, 28)] * 2
    samples = []
    for grey in (0.0, 1.0):
        canvas = torch.full((4, 1, 64, 64), grey)
        for x, picture, box in zip(canvas, batch(images(4, 64, 64)), boxes, strict=True):
            part = ..., slice(box.top, box.top + box.height), slice(box.left, box.left + box.width)
            x[part] = picture[part].float()
        samples.append(Sample(canvas, list("aabb"), boxes))
    case = Case(samples[0], samples[1], samples[1], aligned=False)
    for name in ("edge_shift", "edges_lost", "edges_invented", "ngf", "ngf_signed"):
        best = 1 if METRICS[name].higher_is_better else 0
        value = measure(METRICS[name], case, None, lambda: np.ones(0))
        assert value.value == pytest.approx(best, abs=1e-12), name


@pytest.mark.parametrize("size", SIZES)
def test_bone_shift_is_what_its_definition_says(size: tuple[int, int]) -> None:
    pictures = images(3, *size)
    masks = np.stack([scipy.ndimage.shift(x, (2, 1), mode="nearest") < 0.4 for x in pictures])
    expected = [independent["bone_shift"](*pair) for pair in zip(pictures, masks, strict=True)]
    found = bone_shifts(batch(pictures), torch.from_numpy(masks))
    assert found == pytest.approx(expected, abs=1e-12)
    assert (found > 0.5).all()


def test_bone_in_its_place_has_no_shift_in_whatever_contrast() -> None:
    masks = torch.from_numpy(discs(12) < 0.5)
    for output in (discs(12), 0.5 + 0.5 * discs(12), discs(12) ** 2):
        assert bone_shifts(batch(output), masks).tolist() == [0]
    moved = np.roll(discs(12), 3, axis=2)
    assert 1 < bone_shifts(batch(moved), masks)[0] < 3
    assert bone_shifts(batch(1 - discs(12)), masks)[0] > 6


def test_equal_greys_give_as_many_pixels_as_the_mask_has() -> None:
    steps = torch.full((1, 1, 32, 32), 0.8)
    steps[..., 10:20, 10:20] = 0.2
    masks = torch.zeros(1, 32, 32, dtype=torch.bool)
    masks[:, 10:20, 10:20] = True
    assert bone_shifts(steps, masks).tolist() == [0]
    masks[:, 10:15] = False
    assert 0 < bone_shifts(steps, masks)[0] < 6


def test_bone_shift_in_mm_follows_from_the_size_of_the_field() -> None:
    output = Sample(
        batch(images(4, 64, 64)).float(),
        list("aabb"),
        masks=images(4, 64, 64, seed=1) < 0.4,
        sides_mm=[128, 128, 256, 256],
    )
    case = Case(output, output, output, aligned=True)

    def values(case: Case, name: str) -> Value:
        return measure(METRICS[name], case, None)

    px, mm = (values(case, name).per_image for name in ("bone_shift", "bone_shift_mm"))
    assert px is not None
    assert mm == pytest.approx([2 * px[0], 2 * px[1], 4 * px[2], 4 * px[3]], abs=1e-5)
    output.sides_mm = None
    assert values(case, "bone_shift_mm").reason == "the size of a pixel is not known"
    output.masks = None
    assert values(case, "bone_shift").reason == "the data have no bone masks"


def test_bone_of_the_phantom_is_found_in_every_domain() -> None:
    phantom = FirstPhantom(FirstPhantom.configure(get_profile("smoke")))
    phantom.prepare()
    masks = torch.from_numpy(phantom.masks("test", phantom.domains[0]))
    assert 0.02 < masks.double().mean() < 0.3
    for domain in phantom.domains:
        images = phantom.images("test", domain)[:]
        own = bone_shifts(images, masks).mean()
        assert own < 1.5, domain
        # 2 px here are 4 px at 64 px.
        assert bone_shifts(images.roll(2, dims=3), masks).mean() > own + 0.8, domain


def test_wrong_input_is_refused() -> None:
    good = batch(images(2, 32, 32))
    with pytest.raises(ValueError, match="at least 16 x 16 px"):
        edge_maps(good[..., :15])
    for bad in (good * 2, torch.full_like(good, torch.nan)):
        with pytest.raises(ValueError, match=r"finite values in \[0, 1\]"):
            edge_maps(bad)
    masks = torch.zeros(2, 32, 32, dtype=torch.bool)
    others: list[Any] = [masks[:1], masks[None], masks.to(torch.uint8), masks[:, :31]]
    for wrong in others:
        with pytest.raises(ValueError, match="bone shift: expected masks"):
            bone_shifts(good, wrong)
    with pytest.raises(ValueError, match=r"finite values in \[0, 1\]"):
        bone_shifts(good * 2, masks)
