"""The kernel distance against the double sum, torchmetrics and the moments that it compares."""

import runpy
from pathlib import Path

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from torchmetrics.image.kid import poly_mmd

from xbench.metrics import kernel
from xbench.metrics.kernel import kernel_distance

independent = runpy.run_path(str(Path(__file__).with_name("references") / "independent.py"))
pair_by_pair = independent["kernel_distance"]
Array = NDArray[np.float64]


def sample(count: int, size: int, seed: int, shift: float = 0.0) -> Array:
    return np.random.default_rng(seed).standard_normal((count, size)) + shift


@pytest.mark.parametrize(("n", "m", "size"), [(30, 20, 5), (2, 2, 1), (12, 40, 62)])
def test_it_is_the_mean_over_all_pairs(n: int, m: int, size: int) -> None:
    a, b = sample(n, size, 1), sample(m, size, 2, shift=0.3)
    assert kernel_distance(a, b) == pytest.approx(pair_by_pair(a, b), rel=1e-9, abs=1e-12)


def test_it_equals_torchmetrics() -> None:
    a, b = sample(100, 64, 1), sample(100, 64, 2, shift=0.2)
    expected = poly_mmd(torch.from_numpy(a), torch.from_numpy(b)).item()
    assert kernel_distance(a, b) == pytest.approx(expected, rel=1e-9)


def test_blocks_of_rows_change_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    a, b = sample(50, 8, 1), sample(33, 8, 2, shift=0.2)
    whole = kernel_distance(a, b)
    monkeypatch.setattr(kernel, "_ROWS", 7)
    assert kernel_distance(a, b) == pytest.approx(whole, rel=1e-12)


def test_in_one_dimension_it_compares_three_moments() -> None:
    # (uv + 1)³ = 1 + 3 uv + 3 u²v² + u³v³, for N(0, 1) against N(1/2, 1): moments 0, 1, 0 and
    # 1/2, 5/4, 13/8.
    expected = 3 * 0.5**2 + 3 * 0.25**2 + 1.625**2
    values = [
        kernel_distance(sample(400, 1, seed), sample(400, 1, seed + 1000, shift=0.5))
        for seed in range(50)
    ]
    error = np.std(values) / len(values) ** 0.5
    assert np.mean(values) == pytest.approx(expected, abs=4 * error)
    assert error < 0.1 * expected


def test_it_is_unbiased_at_any_size() -> None:
    for count in (5, 50):
        values = [
            kernel_distance(sample(count, 4, seed), sample(count, 4, seed + 1000))
            for seed in range(200)
        ]
        assert abs(np.mean(values)) < 4 * np.std(values) / len(values) ** 0.5
        assert min(values) < 0 < max(values)


def test_features_of_any_float_type() -> None:
    a, b = sample(40, 12, 1).astype(np.float32), sample(40, 12, 2).astype(np.float32)
    wide = kernel_distance(a.astype(np.float64), b.astype(np.float64))
    assert kernel_distance(a, b) == wide
    assert kernel_distance(torch.from_numpy(a), torch.from_numpy(b)) == wide
    assert kernel_distance(b, a) == pytest.approx(wide, rel=1e-9)


def test_wrong_features_are_refused() -> None:
    a, b = sample(20, 5, 1), sample(20, 5, 2)
    with pytest.raises(ValueError, match="a: expected at least 2 samples, got 1"):
        kernel_distance(a[:1], b)
    with pytest.raises(ValueError, match="one dimension, got 5 and 4"):
        kernel_distance(a, b[:, :4])
    bad = b.copy()
    bad[3, 2] = np.nan
    with pytest.raises(ValueError, match="b: expected finite features, 1 of 20 samples"):
        kernel_distance(a, bad)
    with pytest.raises(ValueError, match="too large"):
        kernel_distance(a, b * 1e200)
