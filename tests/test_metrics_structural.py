"""SSIM and PSNR against scikit-image and torchmetrics."""

import math

import numpy as np
import pytest
import torch
from skimage.metrics import peak_signal_noise_ratio, structural_similarity
from torch import Tensor
from torchmetrics.functional.image import (
    peak_signal_noise_ratio as torchmetrics_psnr,
)
from torchmetrics.functional.image import (
    structural_similarity_index_measure as torchmetrics_ssim,
)

from xbench.metrics import structural
from xbench.metrics.structural import PSNR_CAP, psnr, ssim


def pair(batch: int, height: int, width: int, dtype: torch.dtype = torch.float32) -> list[Tensor]:
    generator = torch.Generator().manual_seed(3)
    shape = (batch, 1, height, width)
    a = torch.rand(shape, generator=generator)
    b = (a + 0.2 * torch.rand(shape, generator=generator)).clamp(0, 1)
    return [a.to(dtype), b.to(dtype)]


def skimage_ssim(a: Tensor, b: Tensor) -> list[float]:
    return [
        structural_similarity(  # type: ignore[no-untyped-call]
            x[0].double().numpy(),
            y[0].double().numpy(),
            data_range=1,
            gaussian_weights=True,
            sigma=1.5,
            use_sample_covariance=False,
        )
        for x, y in zip(a, b, strict=True)
    ]


@pytest.mark.parametrize("size", [(11, 11), (32, 32), (37, 53), (64, 128), (300, 280)])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_ssim_equals_scikit_image(size: tuple[int, int], dtype: torch.dtype) -> None:
    a, b = pair(3, *size, dtype)
    found = ssim(a, b)
    assert found.dtype == torch.float64
    assert found.shape == (3,)
    np.testing.assert_allclose(found, skimage_ssim(a, b), rtol=0, atol=1e-12)


def test_ssim_equals_torchmetrics_without_its_border() -> None:
    a, b = pair(2, 64, 64, torch.float64)
    _, full = torchmetrics_ssim(a, b, data_range=1.0, return_full_image=True)
    inside = full[..., 5:-5, 5:-5].mean((1, 2, 3))
    np.testing.assert_allclose(ssim(a, b), inside, rtol=0, atol=1e-9)
    assert (ssim(a, b) - full.mean((1, 2, 3))).abs().max() > 1e-6


def test_ssim_does_not_depend_on_strips(monkeypatch: pytest.MonkeyPatch) -> None:
    a, b = pair(5, 90, 70)
    whole = ssim(a, b)
    for chunk in (1, 1000, 3 * 90 * 70):
        monkeypatch.setattr(structural, "_CHUNK", chunk)
        np.testing.assert_allclose(ssim(a, b), whole, rtol=0, atol=1e-13)


def test_ssim_of_equal_and_of_constant_images() -> None:
    a, b = pair(2, 20, 20)
    np.testing.assert_allclose(ssim(a, a), 1, rtol=0, atol=1e-12)
    dark, bright = torch.zeros_like(a), torch.ones_like(a)
    np.testing.assert_allclose(ssim(dark, bright), 1e-4 / (1 + 1e-4), rtol=1e-9)
    assert (ssim(a, b) < 1).all()


def test_psnr_equals_scikit_image_and_torchmetrics_per_image() -> None:
    a, b = pair(4, 33, 47, torch.float64)
    b[1] = a[1] * 0.5  # so that the mean of the values differs from the value of the mean
    found = psnr(a, b)
    assert found.dtype == torch.float64
    expected = [
        peak_signal_noise_ratio(  # type: ignore[no-untyped-call]
            x.numpy(), y.numpy(), data_range=1
        )
        for x, y in zip(a, b, strict=True)
    ]
    np.testing.assert_allclose(found, expected, rtol=1e-12)
    mean = torchmetrics_psnr(a, b, data_range=1.0, dim=(1, 2, 3), reduction="elementwise_mean")
    np.testing.assert_allclose(found.mean(), mean, rtol=1e-6)  # torchmetrics rounds to float32
    assert abs(found.mean() - torchmetrics_psnr(a, b, data_range=1.0)) > 0.1


def test_psnr_is_capped_at_one_step_of_16_bit() -> None:
    a = torch.full((1, 1, 12, 12), 0.5, dtype=torch.float64)
    assert pytest.approx(96.3295, abs=1e-4) == PSNR_CAP
    assert psnr(a, a).item() == PSNR_CAP
    assert psnr(a, a + 0.5 / 65535).item() == PSNR_CAP
    assert psnr(a, a + 2 / 65535).item() == pytest.approx(PSNR_CAP - 20 * math.log10(2))
    assert psnr(a * 0, a * 0 + 1).item() == 0


@pytest.mark.parametrize("metric", [ssim, psnr])
def test_bad_images_are_refused(metric: object) -> None:
    assert callable(metric)
    a, b = pair(2, 20, 20)
    with pytest.raises(ValueError, match="pairs of images"):
        metric(a, b[:1])
    with pytest.raises(ValueError, match=r"expected images \[B, 1, H, W\]"):
        metric(a[:, 0], b[:, 0])
    with pytest.raises(ValueError, match=r"expected images \[B, 1, H, W\]"):
        metric(a.expand(2, 3, 20, 20), b.expand(2, 3, 20, 20))
    with pytest.raises(ValueError, match=r"expected images \[B, 1, H, W\]"):
        metric(a[:0], b[:0])
    with pytest.raises(ValueError, match="floating-point"):
        metric((a * 255).to(torch.uint8), (b * 255).to(torch.uint8))
    for wrong in (math.nan, math.inf, -0.001, 1.001):
        bad = b.clone()
        bad[1, 0, 3, 4] = wrong
        with pytest.raises(ValueError, match=r"finite values in \[0, 1\]"):
            metric(a, bad)


def test_ssim_refuses_images_smaller_than_its_window() -> None:
    a, b = pair(1, 10, 40)
    with pytest.raises(ValueError, match="at least 11 x 11 px, got 10 x 40"):
        ssim(a, b)
