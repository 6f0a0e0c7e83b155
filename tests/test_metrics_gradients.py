"""Gradient directions and whose anatomy is shown, against plain loops and pinned values."""

import runpy
from pathlib import Path

import numpy as np
import pytest
import scipy.ndimage
import torch
from numpy.typing import NDArray
from torch import Tensor

from xbench.datasets.base import Box
from xbench.metrics import gradients
from xbench.metrics.base import METRICS
from xbench.metrics.gradients import gradient_agreement, gradient_maps, matches
from xbench.records.schema import Value
from xbench.scoring.measure import Case, Sample, measure

independent = runpy.run_path(str(Path(__file__).with_name("references") / "independent.py"))
Array = NDArray[np.float64]
SIZES = [(16, 16), (37, 50), (64, 64), (90, 131)]


def images(count: int, height: int, width: int, seed: int = 0) -> Array:
    """Smooth structure with noise, [n, H, W]."""
    rng = np.random.default_rng(seed)
    smooth = scipy.ndimage.gaussian_filter(rng.random((count, height, width)), (0, 3, 3))
    spread = (smooth - smooth.min()) / (smooth.max() - smooth.min())
    noisy = 0.1 + 0.8 * spread + 0.01 * rng.standard_normal(spread.shape)
    pictures: Array = np.clip(noisy, 0, 1)
    return pictures


def batch(*pictures: Array) -> Tensor:
    return torch.from_numpy(np.stack(pictures))[:, None]


def wave() -> Array:
    """The picture of the pinned values, 32 x 32."""
    y, x = np.meshgrid(*[np.linspace(0, 1, 32)] * 2, indexing="ij")
    picture: Array = 0.5 + 0.3 * np.sin(2 * np.pi * x) * np.cos(np.pi * y)
    return picture


@pytest.mark.parametrize(
    ("other", "unsigned", "signed"),
    [
        (wave() ** 1.7, 0.985172, 0.994550),
        (np.roll(wave(), 1, axis=1), 0.960581, 0.973933),
        (1 - wave(), 1, -1),
    ],
)
def test_pinned_agreements(other: Array, unsigned: float, signed: float) -> None:
    """Side / 32 is 1 px here."""
    pair = batch(wave()), batch(other)
    assert gradient_agreement(*pair, signed=False).item() == pytest.approx(unsigned, abs=6e-7)
    assert gradient_agreement(*pair, signed=True).item() == pytest.approx(signed, abs=6e-7)


def test_pinned_distance_of_the_reference_implementation() -> None:
    """Haber and Modersitzki's own distance is not 0 for equal images."""
    field = independent["normalised_gradients"](wave(), 1.0)
    assert 1 - np.mean((field**2).sum(0) ** 2) == pytest.approx(0.745808, abs=6e-7)


@pytest.mark.parametrize("size", SIZES)
def test_agreement_is_what_its_definition_says(size: tuple[int, int]) -> None:
    a, b = images(3, *size), images(3, *size, seed=1)
    b[1] = 0.5 * b[1] + 0.5 * a[1]
    expected = np.array([independent["ngf"](*pair) for pair in zip(a, b, strict=True)])
    for column, signed in enumerate((False, True)):
        found = gradient_agreement(batch(*a), batch(*b), signed=signed)
        assert found.dtype == torch.float64
        assert found.tolist() == pytest.approx(expected[:, column], abs=1e-12)


def test_agreement_ignores_contrast_and_sees_place() -> None:
    a = images(4, 64, 64)
    for signed in (False, True):
        same = gradient_agreement(batch(*a), batch(*(0.3 + 0.5 * a)), signed=signed)
        assert same.tolist() == pytest.approx([1] * 4, abs=1e-12)
        moved = gradient_agreement(batch(*a), batch(*np.roll(a, 4, axis=2)), signed=signed)
        other = gradient_agreement(batch(*a), batch(*a[::-1]), signed=signed)
        assert (other < moved).all()
        assert (moved < 0.8).all()


@pytest.mark.parametrize("size", SIZES)
def test_products_of_maps_are_correlations(size: tuple[int, int]) -> None:
    pictures = images(5, *size)
    maps = gradient_maps(batch(*pictures))
    expected = [[independent["gradient_likeness"](x, y) for y in pictures] for x in pictures]
    np.testing.assert_allclose(maps @ maps.T, expected, rtol=0, atol=1e-11)


def test_match_is_what_its_definition_says() -> None:
    """Outputs between their own reference and another one, of the same group and of others."""
    references = images(8, 37, 50)
    groups = [f"head{row // 2}" for row in range(8)]
    share = np.array([0.9, 0.6, 0.4, 0.1, 0.55, 0.45, 0.3, 0.2])[:, None, None]
    for step in (1, 2, 4):
        outputs = share * references + (1 - share) * np.roll(references, -step, axis=0)
        maps = [gradient_maps(batch(*x)).numpy() for x in (outputs, references)]
        found = matches(maps[0], maps[1], groups)
        assert set(found) <= {0.0, 1.0}
        assert found.mean() == independent["match"](outputs, references, groups)
        assert 0 < found.mean() < 1


def test_views_of_the_same_group_do_not_compete() -> None:
    heads = np.repeat(images(3, 40, 40), 2, axis=0)
    maps = gradient_maps(batch(*(0.8 * heads + 0.2 * images(6, 40, 40, seed=1)))).numpy()
    swapped = maps[[1, 0, 3, 2, 5, 4]]  # each output shows the other view of its head
    assert matches(swapped, maps, list("aabbcc")).tolist() == [1] * 6
    assert matches(swapped, maps, list("abcdef")).tolist() == [0] * 6
    assert matches(maps, maps, list("abcdef")).tolist() == [1] * 6


@pytest.mark.parametrize("size", [(37, 50), (64, 64)])
def test_each_image_is_measured_for_itself(
    size: tuple[int, int], monkeypatch: pytest.MonkeyPatch
) -> None:
    a, b = batch(*images(9, *size)), batch(*images(9, *size, seed=1))
    maps = gradient_maps(a)
    for signed in (False, True):
        together = gradient_agreement(a, b, signed=signed)
        alone = [
            gradient_agreement(x[None], y[None], signed=signed) for x, y in zip(a, b, strict=True)
        ]
        np.testing.assert_allclose(together, torch.cat(alone), rtol=0, atol=1e-13)
    monkeypatch.setattr(gradients, "_CHUNK", 2 * a[0].numel())
    np.testing.assert_allclose(gradient_maps(a.flip(0)).flip(0), maps, rtol=0, atol=1e-13)


@pytest.mark.parametrize("grey", [0.0, 0.1, 0.3, 0.7, 1.0])
@pytest.mark.parametrize("kind", [torch.float32, torch.float64])
def test_constant_images_agree_with_nothing(grey: float, kind: torch.dtype) -> None:
    flat = torch.full((2, 1, 37, 50), grey, dtype=kind)
    for other in (batch(*images(2, 37, 50)).to(kind), flat):
        for signed in (False, True):
            assert gradient_agreement(flat, other, signed=signed).tolist() == [0, 0]
            assert gradient_agreement(other, flat, signed=signed).tolist() == [0, 0]
    assert not gradient_maps(flat).any()
    reference = gradient_maps(batch(*images(2, 37, 50))).numpy()
    assert matches(gradient_maps(flat).numpy(), reference, ["a", "b"]).tolist() == [0, 0]


def test_match_does_not_see_what_padding_shows() -> None:
    pictures, boxes = images(4, 64, 64), [(8, 52, 0, 64), (0, 64, 12, 40)] * 2
    inside = torch.zeros(4, 64, 64, dtype=torch.bool)
    for mask, (top, bottom, left, right) in zip(inside, boxes, strict=True):
        mask[top:bottom, left:right] = True
    found = []
    for grey in (0.0, 1.0):
        padded = torch.where(inside[:, None], batch(*pictures), grey)
        found.append(gradient_maps(padded, inside))
    assert torch.equal(found[0], found[1])
    assert not found[0][~inside.flatten(1)].any()
    assert found[0].norm(dim=1).tolist() == pytest.approx([1] * 4)
    everywhere = torch.ones_like(inside)
    whole = gradient_maps(batch(*pictures), everywhere)
    np.testing.assert_allclose(whole, gradient_maps(batch(*pictures)), rtol=0, atol=1e-13)


def test_frames_of_padding_do_not_make_a_match() -> None:
    """Each output shows another head, inside the box of its own source."""
    heads, boxes = images(6, 64, 64), [Box(0, 2 * row, 64, 40) for row in range(6)]
    inside = torch.zeros(6, 64, 64, dtype=torch.bool)
    for mask, box in zip(inside, boxes, strict=True):
        mask[:, box.left : box.left + box.width] = True
    own, other = (
        torch.where(inside[:, None], batch(*pictures), 0.0)
        for pictures in (heads, np.roll(heads, 1, axis=0))
    )
    references = gradient_maps(own, inside).numpy()
    assert matches(references, references, list("abcdef")).mean() == 1
    assert matches(gradient_maps(other, inside).numpy(), references, list("abcdef")).mean() < 0.5


def match(count: int, groups: int, *, aligned: bool = True, side: int = 32) -> Value:
    names = [f"head{row % groups}" for row in range(count)]
    source, target = (Sample(batch(*images(count, side, side, k)), names) for k in (0, 1))
    case = Case(target, source, target, aligned=aligned)
    return measure(METRICS["match"], case, None, lambda: np.ones(0))


def test_match_needs_images_and_groups() -> None:
    assert match(16, 4).value == 1
    assert match(15, 5).reason == "n = 15, needs 16"
    assert match(16, 2).reason == "2 groups, needs 3"
    assert match(16, 4, side=15).reason == "images of 15 px, needs 16"


def test_without_alignment_the_source_says_whose_anatomy_it_is() -> None:
    """The outputs are the targets here, which show other heads than the sources."""
    assert match(16, 4, aligned=False).value < 0.5  # type: ignore[operator]


def test_wrong_input_is_refused() -> None:
    good = batch(*images(2, 32, 32))
    with pytest.raises(ValueError, match="expected pairs of images"):
        gradient_agreement(good, good[:1], signed=False)
    with pytest.raises(ValueError, match="at least 16 x 16 px"):
        gradient_maps(good[..., :15])
    for bad in (good * 2, torch.full_like(good, torch.nan)):
        with pytest.raises(ValueError, match=r"finite values in \[0, 1\]"):
            gradient_agreement(good, bad, signed=True)
        with pytest.raises(ValueError, match=r"finite values in \[0, 1\]"):
            gradient_maps(bad)
    with pytest.raises(ValueError, match=r"expected images \[B, 1, H, W\]"):
        gradient_maps(good[:, 0])
