"""Kernel distances against double sums, torchmetrics, and the moments that they compare."""

import runpy
from pathlib import Path

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from torchmetrics.image.kid import poly_mmd

from xbench.metrics import kernel
from xbench.metrics.kernel import cmmd, kernel_distance

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


def embeddings(count: int, size: int = 16, seed: int = 0, shift: float = 0.0) -> Array:
    """Vectors of length 1."""
    rows = sample(count, size, seed, shift)
    lengths: Array = np.linalg.norm(rows, axis=1, keepdims=True)
    return rows / lengths


def test_cmmd_has_its_pinned_value() -> None:
    rng = np.random.default_rng(0)
    a, b = rng.normal(size=(20, 16)), rng.normal(size=(12, 16)) + 0.3
    a, b = (x / np.linalg.norm(x, axis=1, keepdims=True) for x in (a, b))
    assert cmmd(a, b) == pytest.approx(2.10229567, abs=1e-8)
    gap = a.mean(axis=0) - b.mean(axis=0)
    assert 10 * gap @ gap == pytest.approx(2.1159, abs=5e-5)


@pytest.mark.parametrize(("n", "m"), [(30, 20), (2, 2), (7, 40)])
def test_cmmd_is_the_mean_over_all_pairs(n: int, m: int) -> None:
    a, b = embeddings(n, seed=1), embeddings(m, seed=2, shift=0.3)
    assert cmmd(a, b) == pytest.approx(independent["cmmd"](a, b), rel=1e-9, abs=1e-10)
    assert cmmd(b, a) == pytest.approx(cmmd(a, b), rel=1e-9)


def test_cmmd_sees_mean_embeddings_alone() -> None:
    a, b = embeddings(50, seed=1), embeddings(50, seed=2, shift=0.5)
    gap = a.mean(axis=0) - b.mean(axis=0)
    assert cmmd(a, b) == pytest.approx(10 * gap @ gap, rel=0.02)
    # Two modes on either side of one mean against a single one there: hardly anything is seen.
    modes = np.concatenate([a, -a])
    wide = np.concatenate([b[:25], -b[:25], b[25:], -b[25:]])
    assert cmmd(modes, wide) < 0.05


def test_cmmd_of_equal_sets_is_0_and_of_two_samples_above() -> None:
    a = embeddings(64, 64, seed=1)
    assert 0 <= cmmd(a, a[::-1]) < 1e-9
    assert cmmd(a, a) == 0
    # Of n spread-out vectors each: about 20 / n.
    draws = [cmmd(embeddings(64, 64, k), embeddings(64, 64, k + 100)) for k in range(20)]
    assert np.mean(draws) == pytest.approx(20 / 64, rel=0.1)


def test_cmmd_refuses_wrong_features() -> None:
    a, b = embeddings(20), embeddings(20, seed=2)
    with pytest.raises(ValueError, match="a: expected at least 2 samples, got 1"):
        cmmd(a[:1], b)
    with pytest.raises(ValueError, match="one dimension, got 16 and 15"):
        cmmd(a, b[:, :15])
    with pytest.raises(ValueError, match="expected finite features"):
        cmmd(a, np.full_like(b, np.inf))
