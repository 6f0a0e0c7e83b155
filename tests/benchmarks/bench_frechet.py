"""The Fréchet distance against the packages that people use, on the same features.

`pip install -e ".[bench]"`, then, on one thread and in processor seconds (so that other work on
the machine counts little):

    OMP_NUM_THREADS=1 python -m pytest tests/benchmarks/bench_frechet.py --benchmark-enable \
        --benchmark-timer=time.process_time --benchmark-json=frechet.json
    python tests/benchmarks/speed.py frechet.json

All start from the features, and peers get their mean and covariance from NumPy, which `moments`
times alone. Peers are called once where there are 2048 dimensions. A peer that is not installed is
left out.
"""

from collections.abc import Callable
from functools import cache

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from pytest_benchmark.fixture import BenchmarkFixture

from xbench.metrics.frechet import frechet_distance

Array = NDArray[np.float64]
Moments = tuple[Array, Array]
Peer = Callable[[Moments, Moments], float]

#: (images, dimensions): Inception's, and those of texture.
CASES = [*((count, 2048) for count in (50, 200, 1000, 2048, 5000)), (64, 62), (1000, 62)]
#: (images, dimensions) → how many times as long as ours clean-fid is asked to take.
ASKED = {(50, 2048): 500, (200, 2048): 500, (5000, 2048): 5}
#: Largest relative difference from clean-fid and torch-fidelity.
TOLERANCE = 1e-6


@cache
def features(count: int, size: int, seed: int) -> Array:
    """Rectified mixtures of fewer causes, which is what pooled activations look like."""
    mixing = np.random.default_rng(size)
    rng = np.random.default_rng([count, size, seed])
    causes = rng.standard_normal((count, size // 8)) @ mixing.standard_normal((size // 8, size))
    x: Array = np.maximum(causes / (size // 8) ** 0.5 + 0.1 * seed, 0)
    return x + 0.05 * rng.random((count, size))


def moments(x: Array) -> Moments:
    return x.mean(axis=0), np.cov(x, rowvar=False)


def sets(count: int, size: int) -> tuple[Array, Array]:
    return features(count, size, 0), features(count, size, 1)


@cache
def ours(count: int, size: int) -> float:
    return frechet_distance(*sets(count, size))


def clean_fid() -> Peer:
    fid = pytest.importorskip("cleanfid.fid")
    return lambda a, b: float(fid.frechet_distance(*a, *b))


def pytorch_fid() -> Peer:
    fid = pytest.importorskip("pytorch_fid.fid_score")
    return lambda a, b: float(fid.calculate_frechet_distance(*a, *b))


def torch_fidelity() -> Peer:
    fid = pytest.importorskip("torch_fidelity.metric_fid")
    name = "frechet_inception_distance"

    def distance(a: Moments, b: Moments) -> float:
        first, second = ({"mu": mean, "sigma": covariance} for mean, covariance in (a, b))
        return float(fid.fid_statistics_to_metric(first, second, verbose=False)[name])

    return distance


def torchmetrics() -> Peer:
    fid = pytest.importorskip("torchmetrics.image.fid")
    return lambda a, b: float(fid._compute_fid(*map(torch.from_numpy, (*a, *b))))


PEERS = {
    "clean-fid": clean_fid,
    "pytorch-fid": pytorch_fid,
    "torch-fidelity": torch_fidelity,
    "torchmetrics": torchmetrics,
}


def _case(count: int, size: int) -> str:
    return f"Fréchet distance, N = {count}, d = {size}"


@pytest.mark.parametrize(("count", "size"), CASES)
def test_ours(benchmark: BenchmarkFixture, count: int, size: int) -> None:
    benchmark.group = _case(count, size)
    rounds = 3 if count > 1000 and size > 62 else 20
    value = benchmark.pedantic(frechet_distance, sets(count, size), rounds=rounds, warmup_rounds=1)
    benchmark.extra_info |= {"peer": "xbench", "value": value}


@pytest.mark.parametrize(("count", "size"), CASES)
def test_moments(benchmark: BenchmarkFixture, count: int, size: int) -> None:
    """What the peers need first, of both sets."""
    benchmark.group = _case(count, size)
    benchmark.pedantic(
        lambda *both: [moments(x) for x in both], sets(count, size), rounds=3, warmup_rounds=1
    )
    benchmark.extra_info["peer"] = "mean and covariance alone"


@pytest.mark.parametrize(("count", "size"), CASES)
@pytest.mark.parametrize("name", PEERS)
def test_peer(benchmark: BenchmarkFixture, name: str, count: int, size: int) -> None:
    distance = PEERS[name]()
    benchmark.group = _case(count, size)
    failures: list[str] = []

    def call(a: Array, b: Array) -> float:
        try:
            return distance(moments(a), moments(b))
        except ValueError as error:  # of a matrix root that is not real
            failures.append(str(error))
            return float("nan")

    rounds, warm = (1, 0) if size > 62 else (20, 1)
    value = benchmark.pedantic(call, sets(count, size), rounds=rounds, warmup_rounds=warm)
    benchmark.extra_info |= {"peer": name, "value": value if np.isfinite(value) else None}
    if name == "clean-fid" and (count, size) in ASKED:
        benchmark.extra_info["asked"] = ASKED[count, size]
    if failures:
        benchmark.extra_info["failure"] = failures[0]
    elif name in ("clean-fid", "torch-fidelity") and np.isfinite(value):
        assert ours(count, size) == pytest.approx(value, rel=TOLERANCE)
