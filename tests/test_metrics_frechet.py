"""Fréchet distances against clean-fid, SciPy and the literal formulas; feature spaces."""

import runpy
from pathlib import Path

import numpy as np
import pytest
import scipy.linalg
import torch
from cleanfid.fid import frechet_distance as cleanfid_frechet
from numpy.typing import NDArray

from xbench.metrics.frechet import conditional_frechet_distance, frechet_distance
from xbench.metrics.statistics import FeatureStatistics

independent = runpy.run_path(str(Path(__file__).with_name("references") / "independent.py"))
by_roots = independent["frechet_by_roots"]
literal = independent["conditional_frechet"]
moments = independent["moments"]
Array = NDArray[np.float64]


def sample(count: int, size: int, seed: int, shift: float = 0.0) -> Array:
    rng = np.random.default_rng(seed)
    return rng.standard_normal((count, size)) @ rng.standard_normal((size, size)) + shift


@pytest.mark.parametrize(("n", "m", "size"), [(200, 150, 8), (64, 64, 20), (500, 90, 62)])
def test_frechet_distance_equals_clean_fid(n: int, m: int, size: int) -> None:
    a, b = sample(n, size, 1), sample(m, size, 2, shift=0.5)
    expected = cleanfid_frechet(*moments(a), *moments(b))
    assert frechet_distance(a, b) == pytest.approx(expected, rel=1e-9)
    root = scipy.linalg.sqrtm(moments(a)[1] @ moments(b)[1]).real
    traces = np.trace(moments(a)[1]) + np.trace(moments(b)[1]) - 2 * np.trace(root)
    gap = moments(a)[0] - moments(b)[0]
    assert frechet_distance(a, b) == pytest.approx(gap @ gap + traces, rel=1e-9)


@pytest.mark.parametrize(("n", "m", "size"), [(20, 30, 64), (16, 200, 62), (200, 16, 62)])
def test_frechet_distance_of_few_samples(n: int, m: int, size: int) -> None:
    a, b = sample(n, size, 1), sample(m, size, 2, shift=0.5)
    assert frechet_distance(a, b) == pytest.approx(by_roots(*moments(a), *moments(b)), rel=1e-6)


def test_both_branches_agree() -> None:
    a, b = sample(64, 64, 1), sample(80, 64, 2)
    wide = np.zeros((64, 36))  # more dimensions without variance: the same distance, other branch
    many = frechet_distance(a, b)
    few = frechet_distance(np.hstack([a, wide]), np.hstack([b, np.zeros((80, 36))]))
    assert many == pytest.approx(few, rel=1e-7)


@pytest.mark.parametrize("count", [10, 100])
def test_frechet_distance_is_symmetric_and_zero_for_equal_sets(count: int) -> None:
    a, b = sample(count, 30, 1), sample(count, 30, 2)
    assert frechet_distance(a, b) == pytest.approx(frechet_distance(b, a), rel=1e-9)
    scale = np.trace(moments(a)[1])
    assert 0 <= frechet_distance(a, a) < 1e-7 * scale
    assert 0 <= frechet_distance(a, a[::-1]) < 1e-7 * scale


def test_frechet_distance_in_one_dimension_by_hand() -> None:
    a, b = np.array([[0.0], [2.0]]), np.array([[5.0], [5.0], [11.0]])  # 1 ± √2, 7 ± √12
    assert frechet_distance(a, b) == pytest.approx(36 + (12**0.5 - 2**0.5) ** 2, rel=1e-12)


def test_features_of_any_float_type() -> None:
    a, b = sample(40, 12, 1).astype(np.float32), sample(40, 12, 2).astype(np.float32)
    wide = frechet_distance(a.astype(np.float64), b.astype(np.float64))
    assert frechet_distance(a, b) == wide
    assert frechet_distance(torch.from_numpy(a), torch.from_numpy(b)) == wide
    half = torch.from_numpy(a).bfloat16()
    assert frechet_distance(half, half.double()) == pytest.approx(0, abs=1e-6)


def test_wrong_features_are_refused() -> None:
    a, b = sample(20, 5, 1), sample(20, 5, 2)
    with pytest.raises(ValueError, match="a: expected at least 2 samples, got 1"):
        frechet_distance(a[:1], b)
    with pytest.raises(ValueError, match="one dimension, got 5 and 4"):
        frechet_distance(a, b[:, :4])
    with pytest.raises(ValueError, match=r"a: expected a matrix \[N, d\] of features, got \[20\]"):
        frechet_distance(a[:, 0], b)
    for wrong in (np.nan, np.inf):
        bad = b.copy()
        bad[3, 2] = wrong
        with pytest.raises(ValueError, match="b: expected finite features, 1 of 20 samples"):
            frechet_distance(a, bad)
        with pytest.raises(ValueError, match="output: expected finite features"):
            conditional_frechet_distance(a, b, bad)
    with pytest.raises(ValueError, match="as many sources as targets and outputs, got 20, 20 and"):
        conditional_frechet_distance(a, b, b[:19])
    with pytest.raises(ValueError, match="target and output of one dimension"):
        conditional_frechet_distance(a, b, b[:, :4])


def triplet(count: int, size: int) -> tuple[Array, Array, Array]:
    x = sample(count, size, 1)
    y = np.tanh(x) @ sample(size, size, 5) + 0.5 * sample(count, size, 2)
    h = np.tanh(x) @ sample(size, size, 6) + 0.4 * sample(count, size, 3, shift=0.1)
    return x, y, h


@pytest.mark.parametrize(("count", "size"), [(64, 16), (200, 8), (40, 10), (20, 15)])
def test_conditional_distance_equals_the_literal_formula(count: int, size: int) -> None:
    x, y, h = triplet(count, size)
    assert conditional_frechet_distance(x, y, h) == pytest.approx(literal(x, y, h), rel=1e-6)


def test_conditional_distance_cuts_off_small_eigenvalues() -> None:
    x, y, h = triplet(80, 8)
    below, above = x.copy(), x.copy()
    below[:, 3] = x[:, 3] * 1e-7
    above[:, 3] = x[:, 3] * 1e-3
    assert conditional_frechet_distance(below, y, h) == pytest.approx(
        conditional_frechet_distance(np.delete(x, 3, axis=1), y, h), rel=1e-5
    )
    assert conditional_frechet_distance(above, y, h) == pytest.approx(
        conditional_frechet_distance(x, y, h), rel=1e-6
    )


def test_conditional_distance_of_a_perfect_translator_is_zero() -> None:
    x, y, _ = triplet(100, 12)
    assert 0 <= conditional_frechet_distance(x, y, y) < 1e-6 * y.var(axis=0).sum()


def test_conditional_distance_sees_what_frechet_does_not() -> None:
    x, y, _ = triplet(200, 6)
    shuffled = y[np.random.default_rng(0).permutation(200)]
    assert frechet_distance(y, shuffled) < 1e-6
    assert conditional_frechet_distance(x, y, shuffled) > 0.1 * y.var(axis=0).sum()


def test_conditional_distance_ignores_affine_maps_of_the_source() -> None:
    x, y, h = triplet(90, 7)
    expected = conditional_frechet_distance(x, y, h)
    mapped = x @ sample(7, 7, 9) + 3
    assert conditional_frechet_distance(mapped, y, h) == pytest.approx(expected, rel=1e-8)


@pytest.mark.parametrize("value", [0.0, 0.1, 1e6 / 3])
def test_conditional_distance_of_a_constant_source_is_the_plain_one(value: float) -> None:
    _, y, h = triplet(90, 7)
    constant = np.full((90, 7), value)
    expected = frechet_distance(y, h)
    assert conditional_frechet_distance(constant, y, h) == pytest.approx(expected, rel=1e-9)


def test_conditional_distance_of_few_samples_is_a_paired_error() -> None:
    x, y, h = triplet(9, 12)
    gap = (y - h).mean(axis=0)
    paired = gap @ gap + ((y - h - gap) ** 2).sum() / 8
    assert conditional_frechet_distance(x, y, h) == pytest.approx(paired, rel=1e-8)


def test_space_standardises_and_projects() -> None:
    train = sample(300, 10, 1, shift=4)
    space = FeatureStatistics.fit(torch.from_numpy(train), 4)
    units = space.standardise(train)
    np.testing.assert_allclose(units.mean(axis=0), 0, atol=1e-12)
    np.testing.assert_allclose(units.std(axis=0), 1, rtol=1e-12)
    projected = space.project(train, 4)
    covariance = np.cov(projected, rowvar=False)
    values = np.linalg.eigvalsh(np.cov(units, rowvar=False))[::-1]
    np.testing.assert_allclose(covariance, np.diag(values[:4]), atol=1e-9)
    np.testing.assert_allclose(projected[:, :2], space.project(train, 2), rtol=1e-12)
    assert (space.axes[np.abs(space.axes).argmax(axis=0), range(4)] > 0).all()
    assert [space.dimensions(n) for n in (3, 8, 15, 16, 1000)] == [0, 2, 3, 4, 4]


@pytest.mark.parametrize(("count", "size"), [(30, 50), (30, 29), (200, 50)])
def test_axes_do_not_depend_on_the_way_they_are_found(count: int, size: int) -> None:
    train = sample(count, size, 1)
    space = FeatureStatistics.fit(train, 6, scale=False)
    np.testing.assert_array_equal(space.std, 1)
    _, _, right = np.linalg.svd(train - train.mean(axis=0))
    assert np.abs((right[:6] * space.axes.T).sum(axis=1)) == pytest.approx(1, abs=1e-9)
    np.testing.assert_allclose(space.axes.T @ space.axes, np.eye(6), atol=1e-9)


def test_a_constant_feature_contributes_nothing() -> None:
    train = sample(60, 5, 1)
    train[:, 2] = 0.1
    space = FeatureStatistics.fit(train, 5)
    assert space.std[2] == 1
    assert np.abs(space.standardise(train)[:, 2]).max() < 1e-15
    assert space.axes.shape == (5, 4)
    assert np.abs(space.axes[2]).max() < 1e-9
    a, b = sample(40, 5, 2), sample(40, 5, 3)
    a[:, 2] = b[:, 2] = 0.1
    others = FeatureStatistics.fit(np.delete(train, 2, axis=1), 4)
    assert frechet_distance(space.standardise(a), space.standardise(b)) == pytest.approx(
        frechet_distance(*(others.standardise(np.delete(x, 2, axis=1)) for x in (a, b))), rel=1e-9
    )


def test_space_survives_the_disk(tmp_path: Path) -> None:
    space = FeatureStatistics.fit(sample(40, 9, 1), 3)
    path = tmp_path / "deep" / "space.safetensors"
    space.save(path)
    again = FeatureStatistics.load(path)
    for name in ("mean", "std", "axes"):
        np.testing.assert_array_equal(getattr(again, name), getattr(space, name))
    assert [entry.name for entry in path.parent.iterdir()] == ["space.safetensors"]
    with pytest.raises(FileNotFoundError):
        FeatureStatistics.load(tmp_path / "none.safetensors")
    whole = path.read_bytes()
    for damaged in (whole[:-40], whole[:-3] + bytes([whole[-3] ^ 1]) + whole[-2:]):
        path.write_bytes(damaged)
        with pytest.raises(ValueError, match=r"space\.safetensors: no statistics of features"):
            FeatureStatistics.load(path)


def test_wrong_spaces_are_refused() -> None:
    train = sample(40, 9, 1)
    space = FeatureStatistics.fit(train, 3)
    with pytest.raises(ValueError, match=r"expected features \[N, 9\]"):
        space.standardise(train[:, :8])
    for k in (0, 4):
        with pytest.raises(ValueError, match="expected 1 to 3 components"):
            space.project(train, k)
    with pytest.raises(ValueError, match="at least 1 component"):
        FeatureStatistics.fit(train, 0)
    with pytest.raises(ValueError, match="at least 2 samples"):
        FeatureStatistics.fit(train[:1], 3)
    with pytest.raises(ValueError, match="positive standard deviations"):
        FeatureStatistics(space.mean, space.std * 0, space.axes)
    with pytest.raises(ValueError, match="expected finite mean"):
        FeatureStatistics(space.mean[:5], space.std, space.axes)
    with pytest.raises(ValueError, match="expected finite mean"):
        FeatureStatistics(space.mean * np.nan, space.std, space.axes)
