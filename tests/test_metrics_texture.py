"""Texture descriptors against an independent implementation with scikit-image and SciPy."""

import math
import runpy
from pathlib import Path

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from xbench.metrics import texture
from xbench.metrics.quantiles import quantiles
from xbench.metrics.texture import DESCRIPTOR_NAMES, descriptors

independent = runpy.run_path(str(Path(__file__).with_name("references") / "independent.py"))
reference = independent["descriptors"]
Array = NDArray[np.float64]


def make(kind: str, height: int, width: int, seed: int = 0) -> Array:
    rng = np.random.default_rng(seed)
    noise = rng.random((height, width))
    if kind == "random":
        return noise
    if kind == "binary":
        return np.round(noise)
    rows, columns = np.mgrid[:height, :width]
    smooth: Array = 0.5 + 0.3 * np.sin(rows / 9) + 0.2 * np.cos(columns / 7)
    if kind == "smooth":  # 16 bit, as images are stored
        return np.round(smooth.clip(0, 1) * 65535) / 65535
    noisy: Array = (smooth + 0.03 * rng.standard_normal(smooth.shape)).clip(0, 1)
    return np.round(noisy * 255) / 255


def check(images: list[Array], dtype: torch.dtype = torch.float64) -> None:
    batch = torch.from_numpy(np.stack(images))[:, None].to(dtype)
    found = descriptors(batch)
    assert found.dtype == torch.float64
    assert found.shape == (len(images), 62)
    for row, image in zip(found.numpy(), batch[:, 0].double().numpy(), strict=True):
        expected = reference(image)
        wrong = ~np.isclose(row, expected, rtol=1e-9, atol=1e-13)
        assert not wrong.any(), [
            (DESCRIPTOR_NAMES[k], row[k], expected[k]) for k in np.flatnonzero(wrong)
        ]


def test_there_are_62_distinct_names_in_the_order_of_the_definition() -> None:
    assert len(set(DESCRIPTOR_NAMES)) == len(DESCRIPTOR_NAMES) == 62
    assert DESCRIPTOR_NAMES[11:13] == ("entropy", "glcm1_contrast")
    assert DESCRIPTOR_NAMES[29:31] == ("glcm4_entropy", "edge0_gradient_mean")
    assert DESCRIPTOR_NAMES[49:51] == ("edge4_laplacian_std", "power_00")


@pytest.mark.parametrize("kind", ["random", "binary", "smooth", "noisy"])
@pytest.mark.parametrize("size", [(16, 16), (17, 40), (64, 64), (96, 61), (256, 130)])
def test_descriptors_equal_the_reference(kind: str, size: tuple[int, int]) -> None:
    check([make(kind, *size, seed) for seed in range(3)])


def test_a_large_image_in_many_strips() -> None:
    check([make("noisy", 391, 403)])


def test_float32_images_are_taken_at_their_value() -> None:
    check([make("noisy", 48, 48), make("smooth", 48, 48)], torch.float32)


def test_ring_edges_that_fall_on_frequencies() -> None:
    check([make("random", 48, 72), make("noisy", 48, 72)])


@pytest.mark.parametrize("value", [0.0, 0.1, 1 / 3, 0.5, 1.0])
def test_constant_images_have_finite_descriptors(value: float) -> None:
    image = np.full((40, 33), value)
    check([image])
    found = dict(
        zip(
            DESCRIPTOR_NAMES,
            descriptors(torch.from_numpy(image)[None, None])[0].tolist(),
            strict=True,
        )
    )
    assert found["mean"] == value
    assert found["std"] == found["skewness"] == found["kurtosis"] == found["entropy"] == 0
    assert found["glcm2_correlation"] == found["glcm2_energy"] == 1
    assert found["power_00"] == found["power_11"] == -20


def test_one_pixel_off_a_constant_is_finite_and_right() -> None:
    image = np.full((64, 64), 0.25)
    image[31, 30] += 1 / 65535
    check([image])


def test_an_image_does_not_depend_on_its_batch(monkeypatch: pytest.MonkeyPatch) -> None:
    batch = torch.from_numpy(np.stack([make("noisy", 32, 32, k) for k in range(7)]))[:, None]
    together = descriptors(batch)
    alone = torch.cat([descriptors(image[None]) for image in batch])
    np.testing.assert_allclose(together, alone, rtol=1e-12)
    monkeypatch.setattr(texture, "_CHUNK", 3 * 32 * 32)
    np.testing.assert_allclose(descriptors(batch), together, rtol=1e-12)


def test_every_ring_of_every_allowed_size_holds_a_frequency() -> None:
    for size in range(16, 100):
        _, ring, _ = texture._rings(size, size)
        assert set(range(12)) <= set(ring.tolist()), size


def test_bad_images_are_refused() -> None:
    good = torch.from_numpy(make("noisy", 32, 32))[None, None]
    with pytest.raises(ValueError, match="at least 16 x 16 px, got 15 x 32"):
        descriptors(good[:, :, :15])
    with pytest.raises(ValueError, match=r"expected images \[B, 1, H, W\]"):
        descriptors(good[0])
    for wrong in (math.nan, math.inf, -0.1, 1.1):
        bad = good.clone()
        bad[0, 0, 5, 6] = wrong
        with pytest.raises(ValueError, match=r"finite values in \[0, 1\]"):
            descriptors(bad)


@pytest.mark.parametrize("size", [1, 2, 3, 10, 1000, 20_001])
def test_quantiles_equal_numpy(size: int) -> None:
    rng = np.random.default_rng(size)
    levels = (0.0, 0.01, 0.05, 0.25, 0.5, 0.75, 0.9, 0.99, 1.0)
    rows = np.stack(
        [
            rng.random(size),
            rng.integers(0, 3, size) / 2,  # ties
            np.full(size, 0.3),
            rng.random(size) ** 20,  # nearly all in one bucket
            1 + 1e-15 * rng.integers(0, 3, size),
            np.where(rng.random(size) < 0.5, 0, 5e-324),  # the smallest range there is
        ]
    )
    expected = np.quantile(rows, levels, axis=1).T
    np.testing.assert_allclose(quantiles(rows, levels), expected, rtol=1e-15, atol=1e-323)
