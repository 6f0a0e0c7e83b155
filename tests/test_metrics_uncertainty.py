"""Intervals hold what they promise, and the limit of many images is closer to the truth."""

from collections.abc import Callable

import numpy as np
import pytest
from numpy.typing import NDArray

from xbench.core.errors import Unavailable
from xbench.metrics.frechet import conditional_frechet_distance, frechet_distance
from xbench.metrics.kernel import kernel_distance
from xbench.metrics.uncertainty import (
    bootstrap_mean,
    extrapolate,
    jackknife,
    left_out,
    means_left_out,
)

Array = NDArray[np.float64]
Rows = NDArray[np.intp]


def heads(count: int, views: int = 4) -> list[str]:
    return [f"head{index:03d}" for index in range(count) for _ in range(views)]


def features(seed: int, count: int, size: int = 4, views: int = 4, scale: float = 1.0) -> Array:
    """Images of one head resemble one another: half of the variance is between heads."""
    rng = np.random.default_rng(seed)
    between = rng.standard_normal((count, 1, size))
    within = rng.standard_normal((count, views, size))
    x: Array = scale * np.sqrt(0.5) * (between + within).reshape(-1, size)
    return x


def distance(a: Array, b: Array) -> Callable[[Rows], float]:
    return lambda rows: frechet_distance(a[rows], b[rows])


def test_bootstrap_of_a_mean_holds_it_as_often_as_it_says() -> None:
    held, widths = [], []
    for seed in range(200):
        low, high = bootstrap_mean(features(seed, 16, 1)[:, 0], heads(16), draws=500)
        held.append(low <= 0 <= high)
        widths.append(high - low)
    assert 0.89 <= np.mean(held) <= 0.99
    # Of a mean over heads, with Student's t of 15 degrees of freedom.
    assert np.mean(widths) == pytest.approx(2 * 2.131 * np.sqrt((0.5 + 0.5 / 4) / 16), rel=0.1)


def test_single_images_would_promise_too_much() -> None:
    values = features(0, 16, 1)[:, 0]
    low, high = bootstrap_mean(values, heads(16))
    each = bootstrap_mean(values, [str(row) for row in range(len(values))])
    assert high - low > 1.2 * (each.high - each.low)


def test_bootstrap_weighs_images_not_groups() -> None:
    # Two heads of 9 images at 0 and of 1 image at 1, many times over: the mean image is at .1.
    values = [0.0] * 9 + [1.0]
    groups = [["big"] * 9 + ["small"] for _ in range(40)]
    names = [f"{name}{pair}" for pair, part in enumerate(groups) for name in part]
    low, high = bootstrap_mean(values * 40, names)
    assert low < 0.1 < high < 0.2


def test_jackknife_holds_the_distance_as_often_as_it_says() -> None:
    held, widths, values = [], [], []
    intervals = []
    for seed in range(200):
        a, b = features(seed, 16), features(seed + 1000, 16, scale=1.5) + 1
        intervals.append(jackknife(distance(a, b), heads(16), lowest=0))
        values.append(distance(a, b)(np.arange(64)))
    for low, high in intervals:
        held.append(low <= np.mean(values) <= high)
        widths.append(high - low)
    assert 0.87 <= np.mean(held) <= 0.99
    assert np.mean(widths) == pytest.approx(2 * 2.131 * np.std(values), rel=0.2)


def test_jackknife_of_a_mean_is_the_standard_error() -> None:
    values = np.random.default_rng(0).standard_normal(12)
    groups = [str(row) for row in range(12)]
    low, high = jackknife(lambda rows: float(values[rows].mean()), groups)
    assert (low + high) / 2 == pytest.approx(values.mean(), rel=1e-9)
    reach = 2.200985 * values.std(ddof=1) / np.sqrt(12)  # Student's t, 11 degrees of freedom
    assert (high - low) / 2 == pytest.approx(reach, rel=1e-6)


def test_jackknife_of_a_mean_of_unequal_groups() -> None:
    # Linearised: variance of a ratio of sums over heads.
    rng = np.random.default_rng(1)
    sizes = rng.integers(2, 9, size=18)
    groups = [f"head{index}" for index, size in enumerate(sizes) for _ in range(size)]
    values = rng.standard_normal(len(groups)) + np.repeat(rng.standard_normal(18), sizes)
    low, high = jackknife(lambda rows: float(values[rows].mean()), groups)
    sums = np.array([values[np.array(groups) == f"head{index}"].sum() for index in range(18)])
    residual = sums - values.mean() * sizes
    error = np.sqrt(18 / 17 * (residual**2).sum()) / sizes.sum()
    assert (high - low) / 2 == pytest.approx(2.109816 * error, rel=0.15)


@pytest.mark.parametrize("count", [3, 12, 50])
def test_means_without_blocks_are_those_of_the_statistic(count: int) -> None:
    groups = [*heads(count), "head000", "another"]
    values = np.random.default_rng(0).standard_normal((2, len(groups)))
    expected = [left_out(lambda rows, x=x: x[rows].mean(), groups) for x in values]
    np.testing.assert_allclose(means_left_out(values, groups), expected)
    with pytest.raises(Unavailable, match="1 group"):
        means_left_out(values, ["head"] * len(groups))


def test_jackknife_of_independent_sets_adds_their_variances() -> None:
    rng = np.random.default_rng(0)
    a, b = rng.standard_normal(15), 3 * rng.standard_normal(10)
    both = np.concatenate([a, b])

    def difference(rows: Rows) -> float:
        return float(both[rows[rows < 15]].mean() - both[rows[rows >= 15]].mean())

    groups = [f"{row}" for row in range(15)] + [f"{row}" for row in range(10)]
    low, high = jackknife(difference, groups, samples=["a"] * 15 + ["b"] * 10)
    assert (low + high) / 2 == pytest.approx(a.mean() - b.mean(), rel=1e-9)
    parts = [a.var(ddof=1) / 15, b.var(ddof=1) / 10]
    assert (high - low) / 2 / np.sqrt(sum(parts)) == pytest.approx(2.2, abs=0.07)  # Welch's t


@pytest.mark.parametrize("kind", ["bootstrap", "jackknife"])
def test_intervals_shrink_as_one_over_the_root_of_the_number_of_groups(kind: str) -> None:
    widths = []
    for count in (16, 64):
        found = []
        for seed in range(40):
            a, b = features(seed, count), features(seed + 1000, count, scale=1.5) + 1
            if kind == "jackknife":
                low, high = jackknife(distance(a, b), heads(count))
            else:
                low, high = bootstrap_mean(a[:, 0], heads(count), draws=400)
            found.append(high - low)
        widths.append(np.mean(found))
    assert widths[0] / widths[1] == pytest.approx(2, rel=0.15)


def test_an_interval_ends_where_the_distance_does() -> None:
    a, b = features(0, 16), features(1, 16)
    low, high = jackknife(distance(a, b), heads(16), level=0.9999, lowest=0)
    assert low == 0 < high
    free = jackknife(distance(a, b), heads(16), level=0.9999)
    assert free.low < 0
    assert free.high == high


def test_paired_distances_use_the_same_rows() -> None:
    x = features(0, 16)
    y = x + 0.3 * features(1, 16)
    h = 1.4 * x
    paired = jackknife(
        lambda rows: conditional_frechet_distance(x[rows], y[rows], h[rows]), heads(16), lowest=0
    )
    assert paired.low < conditional_frechet_distance(x, y, h) < paired.high
    assert paired.high - paired.low < 1


def test_extrapolation_takes_most_of_the_bias_away() -> None:
    raw, limit = [], []
    for seed in range(60):
        a, b = features(seed, 16), features(seed + 1000, 16, scale=1.5) + 1
        raw.append(distance(a, b)(np.arange(64)))
        limit.append(extrapolate(distance(a, b), heads(16), 8))
    truth = 4 * 1 + 4 * 0.5**2  # |shift|² + Σ (difference of the standard deviations)²
    assert np.mean(raw) - truth > 0.8
    assert abs(np.mean(limit) - truth) < 0.5 * (np.mean(raw) - truth)
    assert np.std(limit) < 1.3 * np.std(raw)


def test_extrapolation_of_equal_distributions_scatters_about_zero() -> None:
    found = [
        extrapolate(distance(features(seed, 32), features(seed + 1000, 32)), heads(32))
        for seed in range(60)
    ]
    raw = [distance(features(s, 32), features(s + 1000, 32))(np.arange(128)) for s in range(60)]
    assert min(found) < 0 < max(found)
    assert abs(np.mean(found)) < 0.3 * np.mean(raw)


def test_extrapolation_leaves_an_unbiased_distance_alone() -> None:
    found, raw = [], []
    for seed in range(40):
        a, b = features(seed, 32, views=1), features(seed + 1000, 32, views=1) + 0.5
        raw.append(kernel_distance(a, b))
        found.append(
            extrapolate(lambda r, a=a, b=b: kernel_distance(a[r], b[r]), heads(32, 1), 4)  # type: ignore[misc]
        )
    error = np.std(np.subtract(found, raw)) / len(raw) ** 0.5
    assert abs(np.mean(found) - np.mean(raw)) < 4 * error


def test_order_of_the_rows_and_of_the_calls_change_nothing() -> None:
    a, b = features(0, 16), features(1, 16) + 1
    groups = heads(16)
    order = np.random.default_rng(5).permutation(64)
    mixed = [groups[row] for row in order]
    for first, second in (
        (bootstrap_mean(a[:, 0], groups), bootstrap_mean(a[order, 0], mixed)),
        (jackknife(distance(a, b), groups), jackknife(distance(a[order], b[order]), mixed)),
        (
            (extrapolate(distance(a, b), groups),),
            (extrapolate(distance(a[order], b[order]), mixed),),
        ),
    ):
        assert first == pytest.approx(second, rel=1e-9)
    assert bootstrap_mean(a[:, 0], groups) == bootstrap_mean(a[:, 0], groups)
    assert bootstrap_mean(a[:, 0], groups, seed=1) != bootstrap_mean(a[:, 0], groups)


def test_the_jackknife_stays_cheap() -> None:
    sizes: list[int] = []

    def count(rows: Rows) -> float:
        assert (np.diff(rows) > 0).all()
        sizes.append(len(rows))
        return 0.0

    jackknife(count, heads(100))
    assert sorted(sizes) == [380] * 20 + [400]


def test_parts_are_made_of_whole_groups() -> None:
    groups = np.array(heads(10))
    parts: list[list[str]] = []

    def names(rows: Rows) -> float:
        found, counts = np.unique(groups[rows], return_counts=True)
        assert (counts == 4).all()
        parts.append(found.tolist())
        return float(len(rows))

    extrapolate(names, groups.tolist(), 8)
    assert [len(part) for part in parts] == [10, 5, 5, 4, 3, 3, 3, 3, 2, 2]
    assert sorted(parts[1] + parts[2]) == parts[0]
    parts.clear()
    extrapolate(names, groups.tolist(), 16)
    assert [len(part) for part in parts] == [10, 5, 5]


def test_too_few_groups_give_a_reason() -> None:
    values = np.arange(8.0)
    for groups, text in ((["a"] * 8, "1 group, an"), (["a"] * 4 + ["b"] * 4, "2 groups, an")):
        with pytest.raises(Unavailable, match=f"{text} interval needs 3"):
            bootstrap_mean(values, groups)
        with pytest.raises(Unavailable, match=f"{text} interval needs 3"):
            jackknife(lambda rows: float(values[rows].sum()), groups)
    with pytest.raises(Unavailable, match="two sets of groups with 16 images each"):
        extrapolate(lambda rows: 0.0, heads(7))


def test_wrong_arguments_are_refused() -> None:
    with pytest.raises(ValueError, match="a finite value for each of 12 images"):
        bootstrap_mean([1.0] * 11, heads(3))
    with pytest.raises(ValueError, match="a finite value for each of 12 images"):
        bootstrap_mean([1.0] * 11 + [float("nan")], heads(3))
    with pytest.raises(ValueError, match="at least 1 draw"):
        bootstrap_mean([1.0] * 12, heads(3), draws=0)
    for level in (0, 1, 95):
        with pytest.raises(ValueError, match="a level between 0 and 1"):
            bootstrap_mean([1.0] * 12, heads(3), level=level)
    with pytest.raises(ValueError, match=r"a group .* for each row, got 12 groups, 3 samples"):
        jackknife(lambda rows: 0.0, heads(3), samples=["a"] * 3)
    with pytest.raises(ValueError, match=r"a group .* for each row, got 0 groups"):
        extrapolate(lambda rows: 0.0, [])
    with pytest.raises(ValueError, match="a finite statistic, got nan of 12 rows"):
        jackknife(lambda rows: float("nan"), heads(3))
    with pytest.raises(ValueError, match="at least 1 image"):
        extrapolate(lambda rows: 0.0, heads(3), 0)
