"""Coverage and density against pinned values, plain loops and what is known in theory."""

import runpy
from pathlib import Path

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from xbench.core.errors import Unavailable
from xbench.metrics.base import METRICS
from xbench.metrics.manifold import coverage, density
from xbench.scoring.measure import Case, Sample
from xbench.scoring.scorer import score
from xbench.scoring.spaces import Spaces

independent = runpy.run_path(str(Path(__file__).with_name("references") / "independent.py"))
Array = NDArray[np.float64]


def pinned() -> tuple[Array, Array]:
    """Target and output of the pinned values."""
    rng = np.random.default_rng(0)
    return rng.normal(size=(256, 8)), 0.8 * rng.normal(size=(192, 8)) + 0.4


def test_pinned_values() -> None:
    target, output = pinned()
    assert coverage(output, target) == 0.828125
    assert density(output, target) == pytest.approx(1.203125, abs=1e-12)
    assert coverage(output, target, k=3) == 0.69140625
    assert density(output, target, k=3) == pytest.approx(1.1545138889, abs=1e-10)
    assert coverage(target, output) == pytest.approx(0.7291666667, abs=1e-10)
    assert density(target, output) == pytest.approx(0.41953125, abs=1e-12)


def test_sample_by_sample() -> None:
    rng = np.random.default_rng(1)
    for count, others, size in ((20, 30, 3), (40, 12, 62)):
        output, target = rng.standard_normal((count, size)), rng.standard_normal((others, size))
        expected = independent["balls"](output, target)
        assert (coverage(output, target), density(output, target)) == pytest.approx(expected)


@pytest.mark.parametrize(
    ("target", "output", "expected"), [(64, 64, 0.9724), (256, 192, 0.9406), (128, 64, 0.8735)]
)
def test_coverage_of_one_distribution(target: int, output: int, expected: float) -> None:
    """1 - Π (N - i) / (N + M - i), i = 1 … 5, for N target and M output samples."""
    rng = np.random.default_rng(0)
    draws = [
        (rng.standard_normal((output, 8)), rng.standard_normal((target, 8))) for _ in range(60)
    ]
    assert np.mean([coverage(*draw) for draw in draws]) == pytest.approx(expected, abs=0.02)
    assert np.mean([density(*draw) for draw in draws]) == pytest.approx(1, abs=0.06)


def test_collapsed_and_equal_sets() -> None:
    target, _ = pinned()
    assert coverage(target, target) == 1
    assert density(target, target) > 0.9
    collapsed = np.repeat(target[:1], 256, axis=0)
    assert coverage(collapsed, target) < 0.1
    constant = np.zeros((20, 4))
    assert (coverage(constant, constant), density(constant, constant)) == (0, 0)


def test_a_large_common_offset_costs_no_digits() -> None:
    target, output = pinned()
    far = (output + 1e6, target + 1e6)
    assert (coverage(*far), density(*far)) == (coverage(output, target), density(output, target))
    single = torch.from_numpy(output).float(), torch.from_numpy(target).float()
    assert coverage(*single) == pytest.approx(coverage(output, target), abs=0.01)


def images(groups: list[str], seed: int) -> Sample:
    rng = np.random.default_rng(seed)
    return Sample(torch.from_numpy(rng.random((len(groups), 1, 24, 24), np.float32)), groups)


@pytest.mark.parametrize("aligned", [True, False])
def test_few_groups_leave_the_value_and_no_interval(
    aligned: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Without the largest group, fewer samples than a ball needs are left."""
    monkeypatch.setenv("XBENCH_HOME", str(tmp_path))
    groups = ["head0"] * 14 + ["head1", "head2"]
    output, target = images(groups, 0), images(groups, 1)
    case = Case(output, output, target, aligned)
    spaces = Spaces(lambda: [target], "cpu")
    for name in ("coverage", "density"):
        value = score(case, [METRICS[name]], spaces)[name]
        assert value.value is not None
        assert value.ci_low is None


def test_as_many_targets_as_outputs_count(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XBENCH_HOME", str(tmp_path))
    output, target = (images([str(row) for row in range(n)], n) for n in (20, 30))
    spaces = Spaces(lambda: [target], "cpu")
    found = [
        score(Case(output, None, other, False), [METRICS["coverage"]], spaces)["coverage"].value
        for other in (target, target.rows(range(20)))
    ]
    assert found[0] == found[1]


def test_wrong_features_are_refused() -> None:
    target, output = pinned()
    for function in (coverage, density):
        with pytest.raises(ValueError, match="one dimension, got 7 and 8"):
            function(output[:, :7], target)
        with pytest.raises(ValueError, match="finite features"):
            function(np.full_like(output, np.nan), target)
        with pytest.raises(Unavailable, match="6 target images, balls need more than 6"):
            function(output, target[:6])
        assert function(output, target[:7]) >= 0
