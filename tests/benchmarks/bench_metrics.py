"""Timings of the metrics, not collected by default.

`pytest tests/benchmarks/bench_metrics.py --benchmark-enable`
"""

import numpy as np
import pytest
import torch
from pytest_benchmark.fixture import BenchmarkFixture
from skimage.metrics import structural_similarity

from xbench.metrics.frechet import frechet_distance
from xbench.metrics.structural import ssim
from xbench.metrics.texture import descriptors

SIZES = [64, 256, 780]


@pytest.mark.parametrize("size", SIZES)
def test_ssim(benchmark: BenchmarkFixture, size: int) -> None:
    benchmark(ssim, *torch.rand(2, 1, 1, size, size))


@pytest.mark.parametrize("size", SIZES)
def test_ssim_of_scikit_image(benchmark: BenchmarkFixture, size: int) -> None:
    a, b = torch.rand(2, size, size, dtype=torch.float64).numpy()
    benchmark(
        structural_similarity,
        a,
        b,
        data_range=1,
        gaussian_weights=True,
        sigma=1.5,
        use_sample_covariance=False,
    )


@pytest.mark.parametrize("size", SIZES)
def test_descriptors(benchmark: BenchmarkFixture, size: int) -> None:
    benchmark(descriptors, torch.rand(max(1, 2**16 // size**2), 1, size, size))


@pytest.mark.parametrize(("count", "size"), [(64, 62), (64, 2048), (1000, 2048), (5000, 2048)])
def test_frechet(benchmark: BenchmarkFixture, count: int, size: int) -> None:
    rng = np.random.default_rng(0)
    features = rng.standard_normal((2, count, size))
    benchmark(frechet_distance, *features)
