"""SSIM against the packages that people use, and what the texture descriptors cost.

`pip install -e ".[bench]"`, then, on one thread and in processor seconds, so that other work on the
machine counts little:

    OMP_NUM_THREADS=1 python -m pytest tests/benchmarks/bench_metrics.py --benchmark-enable \
        --benchmark-timer=time.process_time --benchmark-json=metrics.json
    python tests/benchmarks/speed.py metrics.json

All have the same window (Gaussian, 11 x 11 taps, sigma 1.5), constants and covariance (that of the
population), and average the part of the map that needs no padding. Ours and scikit-image compute in
float64, the others in the images' float32. A peer that is not installed is left out.
"""

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from pytest_benchmark.fixture import BenchmarkFixture
from scipy.ndimage import gaussian_filter
from skimage.metrics import structural_similarity
from torch import Tensor
from torchmetrics.functional.image import structural_similarity_index_measure

from xbench.metrics.structural import ssim
from xbench.metrics.texture import descriptors

Program = Callable[[Tensor, Tensor], float]

#: Side of the images → how many are handed over at once, as `xbench score` has them in hand.
SIZES = {64: 64, 256: 16, 780: 1}
#: (peer, side of the images) → how many times as long as ours it is asked to take.
ASKED = {("scikit-image", 780): 1, ("torchmetrics", 780): 4}
#: Largest difference of a mean SSIM, for peers in float64 and in float32.
EXACT, SINGLE = 1e-9, 2e-5


@pytest.fixture(autouse=True)
def one_thread() -> None:
    torch.set_num_threads(1)


def pairs(size: int, count: int) -> tuple[Tensor, Tensor]:
    """Smooth pictures with noise, `[count, 1, size, size]` float32 in [0, 1]."""
    rng = np.random.default_rng(size)
    white = rng.standard_normal((2, count, size, size))
    smooth = 0.5 + 2 * gaussian_filter(white, (0, 0, 5, 5))
    noisy = (smooth + 0.02 * rng.standard_normal(smooth.shape)).clip(0, 1)
    first, second = torch.from_numpy(noisy.astype(np.float32))[:, :, None]
    return first, (0.7 * first + 0.3 * second).clamp(0, 1)


def by_xbench(a: Tensor, b: Tensor) -> float:
    return float(ssim(a, b).mean())


def by_skimage(a: Tensor, b: Tensor) -> float:
    options = {"gaussian_weights": True, "sigma": 1.5, "use_sample_covariance": False}
    values = [
        structural_similarity(  # type: ignore[no-untyped-call]
            x[0].double().numpy(), y[0].double().numpy(), data_range=1, **options
        )
        for x, y in zip(a, b, strict=True)
    ]
    return float(np.mean(values))


def by_torchmetrics(a: Tensor, b: Tensor) -> float:
    """Its own value keeps borders that were padded; the map without them has ours."""
    _, image = structural_similarity_index_measure(a, b, data_range=1.0, return_full_image=True)
    return float(image[..., 5:-5, 5:-5].mean())


def pytorch_msssim() -> Program:
    peer: Any = pytest.importorskip("pytorch_msssim")
    return lambda a, b: float(peer.ssim(a, b, data_range=1.0))


def piq() -> Program:
    peer: Any = pytest.importorskip("piq")
    return lambda a, b: float(peer.ssim(a, b, data_range=1.0, downsample=False))


#: Name → what loads the program, the tolerance, a note.
PROGRAMS: dict[str, tuple[Callable[[], Program], float, str]] = {
    "xbench": (lambda: by_xbench, EXACT, "float64"),
    "scikit-image": (lambda: by_skimage, EXACT, "float64"),
    "torchmetrics": (lambda: by_torchmetrics, SINGLE, "float32, borders cut off its map"),
    "pytorch-msssim": (pytorch_msssim, SINGLE, "float32"),
    "piq": (piq, SINGLE, "float32, without its default downsampling"),
}


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("name", PROGRAMS)
def test_ssim(benchmark: BenchmarkFixture, name: str, size: int) -> None:
    load, tolerance, note = PROGRAMS[name]
    images = pairs(size, SIZES[size])
    benchmark.group = f"SSIM, pairs of {size} x {size} px: {SIZES[size]}"
    value = benchmark.pedantic(load(), images, rounds=10, warmup_rounds=1)
    benchmark.extra_info |= {"peer": name, "value": value, "note": note}
    if (name, size) in ASKED:
        benchmark.extra_info["asked"] = ASKED[name, size]
    assert value == pytest.approx(by_skimage(*images), abs=tolerance)


@pytest.mark.parametrize("size", SIZES)
def test_descriptors(benchmark: BenchmarkFixture, size: int) -> None:
    benchmark.group = f"62 texture descriptors, images of {size} x {size} px: {SIZES[size]}"
    benchmark.pedantic(descriptors, (pairs(size, SIZES[size])[0],), rounds=5, warmup_rounds=1)
    benchmark.extra_info["peer"] = "xbench"
