"""The scoring stage of a run of all pairs, beside the same done with library calls for each pair.

`pip install -e ".[bench]"`, then, on one thread and in processor seconds, so that other work on the
machine counts little:

    OMP_NUM_THREADS=1 python -m pytest tests/benchmarks/bench_scoring.py --benchmark-enable \
        --benchmark-timer=time.process_time --benchmark-json=scoring.json
    python tests/benchmarks/speed.py scoring.json

The peer does what one finds in papers' repositories: for every pair it computes the features of
translations and targets again, calls clean-fid's `frechet_distance` on them, and torchmetrics' SSIM
and PSNR for every pair of images. Ours does those metrics alone then, and no intervals, as all
images belong to one group; nothing is in the cache at the start. What ours takes with all metrics
that need no weights, and their intervals, is a case of its own.

No weights are needed here. The features are Inception's, whose network costs the same with random
weights; a random projection of the same length, 2048, nearly free, so that the case shows what
surrounds them; or the 62 texture descriptors, which the peer gets from scikit-image and SciPy, or
from our own code: then nothing but the sharing counts.

The pictures are drawn, not rendered, which saves a quarter of an hour; texture and physics cost
about the same for them (the last table rows).
"""

import time
from collections.abc import Callable
from dataclasses import dataclass
from itertools import permutations
from pathlib import Path
from runpy import run_path

import numpy as np
import pytest
import torch
from cleanfid.fid import frechet_distance
from numpy.typing import NDArray
from PIL import Image
from pytest_benchmark.fixture import BenchmarkFixture
from scipy.ndimage import gaussian_filter
from torch import Tensor
from torchmetrics.functional.image import (
    peak_signal_noise_ratio,
    structural_similarity_index_measure,
)

from xbench.core.pixels import from_pixels, to_pixels
from xbench.core.profiles import Profile
from xbench.datasets.base import Dataset, DatasetConfig, Images, Progress, Split
from xbench.metrics import extractors
from xbench.metrics.base import METRICS
from xbench.metrics.structural import psnr, ssim
from xbench.metrics.texture import descriptors
from xbench.scoring.scorer import Scorer

Pair = tuple[str, str]
#: Pair → metric → value.
Scores = dict[Pair, dict[str, float]]
Array = NDArray[np.float64]
Features = Callable[[Tensor], Array]

DOMAINS = ("synthetic_low", "synthetic_high", "real_low", "real_normal", "real_exposure")
MEASURES = [name for name, metric in METRICS.items() if metric.kind == "measures"]
FREE = tuple(name for name, metric in METRICS.items() if metric.space in ("pixels", "texture"))
SIMILARITY = ("ssim", "psnr", "ssim_ref", "psnr_ref")
REFERENCES = Path(__file__).parents[1] / "references"
#: What all scores of 20 pairs of 100 images may take, in processor seconds.
BUDGET = 180
#: Metric → how far libraries may lie from ours: absolute for SSIM and PSNR (float32 there).
CLOSE = {"ssim": 2e-5, "ssim_ref": 2e-5, "psnr": 1e-3, "psnr_ref": 1e-3}

PROJECTION = """
import torch

MATRIX = torch.randn(32 * 32, 2048, generator=torch.Generator().manual_seed(0)) / 32


def features(images):
    small = torch.nn.functional.adaptive_avg_pool2d(images, 32)
    return torch.relu((small.flatten(1) - 0.5) @ MATRIX)
"""

NETWORK = """
import torch
from torchvision.models import inception_v3

with torch.random.fork_rng(devices=[]):
    torch.manual_seed(0)
    NET = inception_v3(weights=None, aux_logits=False, init_weights=False)
    NET.fc = torch.nn.Identity()
    for layer in NET.modules():
        if isinstance(layer, torch.nn.BatchNorm2d):
            layer.momentum = 1.0
    # One batch in training sets every layer's scale; without, the features would be almost 0.
    NET(torch.rand(4, 3, 299, 299))
NET.eval()


@torch.inference_mode()
def features(images):
    large = torch.nn.functional.interpolate(images, size=(299, 299), mode="bilinear")
    return torch.cat([NET(part.expand(-1, 3, -1, -1) * 2 - 1) for part in large.split(10)])
"""


def pictures(count: int, size: int, seed: int, gain: float = 1.0) -> NDArray[np.uint16]:
    """Discs of soft tissue with bone in them, of soft edges, under noise; air around."""
    rng = np.random.default_rng(seed)
    y, x = (np.mgrid[:size, :size] + 0.5) / size - 0.5
    found = []
    for _ in range(count):
        down, right = rng.uniform(-0.05, 0.05, 2)
        radius = np.hypot(y - down, 1.2 * (x - right))
        bone = gaussian_filter(rng.standard_normal((size, size)), size / 32)
        grey = np.select([radius < 0.3, radius < 0.35, radius < 0.42], [0.5, 0.25, 0.85], 0.97)
        grey = grey + (radius < 0.3) * 0.1 * bone / bone.std()
        smooth = gaussian_filter(grey, size / 200) ** gain
        noisy = smooth + 0.01 * gain * rng.standard_normal((size, size))
        found.append(np.round(noisy.clip(0, 1) * 65535).astype(np.uint16))
    return np.stack(found)


class Drawn(Dataset):
    """Domains of pictures, aligned, with groups and masks."""

    name = "drawn"

    def __init__(self, heads: int, views: int, size: int, domains: int = len(DOMAINS)) -> None:
        super().__init__(DatasetConfig(size=size))
        self.heads, self.views = heads, views
        self.drawn = dict(zip(DOMAINS[:domains], (0.8, 0.9, 1.0, 1.1, 1.2), strict=False))
        self.pixels = {
            (split, domain): pictures(heads * views, size, len(split), gain)
            for split in ("train", "test")
            for domain, gain in self.drawn.items()
        }

    @classmethod
    def configure(cls, profile: Profile) -> DatasetConfig:
        return DatasetConfig(size=profile.size)

    @property
    def key(self) -> str:
        return "drawn"

    @property
    def domains(self) -> tuple[str, ...]:
        return tuple(self.drawn)

    def prepare(self, progress: Progress | None = None) -> None:
        """They are there."""

    def train(self, domain: str) -> Images:
        return self.images("train", domain)

    def images(self, split: Split, domain: str) -> Images:
        return Images([self.pixels[split, domain]])

    def ids(self, split: Split, domain: str) -> list[str]:
        return [f"{group}-{row}" for row, group in enumerate(self.groups(split, domain))]

    def groups(self, split: Split, domain: str) -> list[str]:
        return [f"head{head:02d}" for head in range(self.heads) for _ in range(self.views)]

    def masks(self, split: Split, domain: str) -> NDArray[np.bool_]:
        return self.pixels[split, domain] < 30000


def translated(data: Drawn) -> dict[Pair, Tensor]:
    """Something between source and target, other pixels for every pair, of 16 bits as stored."""
    found = {}
    for number, (source, target) in enumerate(permutations(data.domains, 2)):
        share = 0.5 + 0.01 * number
        given, true = (data.images("test", domain)[:] for domain in (source, target))
        found[source, target] = from_pixels(to_pixels(share * true + (1 - share) * given))
    return found


@dataclass(frozen=True)
class Case:
    """Scores that both programs can make.

    Attributes:
        domains: how many; all ordered pairs of them are scored.
        distance: the Fréchet distance among the metrics.
        features: what it rests on.
        close: how far clean-fid's distance may lie from ours, relative.
        code: what makes the features in Inception's place.
    """

    domains: int
    distance: str
    features: str
    close: float
    code: str = PROJECTION

    @property
    def group(self) -> str:
        pairs = self.domains * (self.domains - 1)
        return f"score {pairs} pairs of 20 images of 128 px: SSIM, PSNR, {self.features}"

    def data(self) -> Drawn:
        """One group: there is no interval."""
        return Drawn(1, 20, 128, self.domains)


TEXTURE = Case(5, "ftd", "Fréchet distance of 62 texture descriptors", close=1e-6)
#: Of three domains only: the root of a matrix of 2048 x 2048 takes the peer long. Of 20 images that
#: matrix has rank 19, and its root about half of the digits.
LONG = Case(3, "fid", "Fréchet distance of a random projection, d = 2048", close=1e-3)
DEEP = Case(3, "fid", "Fréchet distance of Inception's features", close=1e-3, code=NETWORK)


@pytest.fixture
def inception(case: Case, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """2048 features in Inception's place, from a user's file."""
    path = tmp_path / "extractor.py"
    path.write_text(case.code)
    extractor = extractors.load(f"{path}:features")
    monkeypatch.setitem(extractors.BUILT_IN, "inception", lambda device: extractor)


def by_xbench(data: Drawn, outputs: dict[Pair, Tensor], names: tuple[str, ...]) -> Scores:
    """As a run does it."""
    scorer = Scorer(data, "test", torch.device("cpu"))
    scores: Scores = {}
    for pair, output in outputs.items():
        values = scorer.score(output, *pair, only=names)
        scores[pair] = {name: x.value for name, x in values.items() if x.value is not None}
        assert len(scores[pair]) == len(names)
        bounded = sum(x.ci_low is not None for x in values.values())
        assert bounded == (0 if data.heads == 1 else len(names))
    return scores


def by_libraries(
    data: Drawn,
    outputs: dict[Pair, Tensor],
    distance: str,
    features: Features,
) -> Scores:
    """As it is done one pair after the other."""
    scores = {}
    for (source, target), output in outputs.items():
        given, true = (data.images("test", domain)[:] for domain in (source, target))
        scores[source, target] = _similarities(output, given, "") | _similarities(
            output, true, "_ref"
        )
        moments = [(x.mean(axis=0), np.cov(x, rowvar=False)) for x in map(features, (output, true))]
        scores[source, target][distance] = float(frechet_distance(*moments[0], *moments[1]))
    return scores


def _similarities(output: Tensor, others: Tensor, suffix: str) -> dict[str, float]:
    """Mean SSIM, without the borders that torchmetrics pads, and PSNR of pairs of images."""
    structural, peak = [], []
    for a, b in zip(output[:, None], others[:, None], strict=True):
        _, similarity = structural_similarity_index_measure(
            a, b, data_range=1.0, return_full_image=True
        )
        structural.append(float(similarity[..., 5:-5, 5:-5].mean()))
        peak.append(float(peak_signal_noise_ratio(a, b, data_range=1.0)))
    return {f"ssim{suffix}": float(np.mean(structural)), f"psnr{suffix}": float(np.mean(peak))}


def _fresh_cache(
    tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch
) -> Callable[[], None]:
    """What empties the cache of features."""
    return lambda: monkeypatch.setenv("XBENCH_HOME", str(tmp_path_factory.mktemp("home")))


@pytest.mark.parametrize("case", [TEXTURE, LONG, DEEP], ids=["texture", "long", "deep"])
@pytest.mark.usefixtures("inception")
def test_ours(
    benchmark: BenchmarkFixture,
    case: Case,
    tmp_path_factory: pytest.TempPathFactory,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    benchmark.group = case.group
    data, names = case.data(), (*SIMILARITY, case.distance)
    arguments = (data, translated(data), names)
    empty = _fresh_cache(tmp_path_factory, monkeypatch)
    scores = benchmark.pedantic(
        by_xbench, arguments, setup=empty, rounds=3, iterations=1, warmup_rounds=1
    )
    benchmark.extra_info |= {"peer": "xbench", "value": _mean(scores, case.distance)}
    if case.distance == "ftd":  # where the time goes; the first can be shared by no two pairs
        outputs = torch.cat([*arguments[1].values()])
        truth = torch.cat([data.images("test", domain)[:] for domain in data.domains])
        train = torch.cat([data.train(domain)[:] for domain in data.domains])
        benchmark.extra_info["figures"] = {
            "seconds of descriptors of the translations": _seconds(descriptors, outputs),
            "of the true and training images": _seconds(descriptors, torch.cat([truth, train])),
            "of SSIM with source and target": 2 * _seconds(lambda x: ssim(x, x), outputs),
            "of PSNR with both": 2 * _seconds(lambda x: psnr(x, x), outputs),
        }


@pytest.mark.usefixtures("inception")
@pytest.mark.parametrize(
    ("case", "extractor"),
    [
        *((TEXTURE, "scikit-image"), (TEXTURE, "xbench")),
        *((LONG, "projection"), (DEEP, "the same network")),
    ],
    ids=["scikit-image", "xbench", "projection", "network"],
)
def test_libraries(
    benchmark: BenchmarkFixture,
    case: Case,
    extractor: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("XBENCH_HOME", str(tmp_path))
    benchmark.group = case.group
    data = case.data()
    outputs = translated(data)
    arguments = (data, outputs, case.distance, EXTRACTORS[extractor](data))
    scores = benchmark.pedantic(by_libraries, arguments, rounds=1)
    expected = by_xbench(data, outputs, (*SIMILARITY, case.distance))
    for pair, values in scores.items():
        for name, value in values.items():
            ours = expected[pair][name]
            close = CLOSE.get(name, case.close * ours)
            assert value == pytest.approx(ours, abs=close), (pair, name)
    benchmark.extra_info |= {
        "peer": "clean-fid and torchmetrics",
        "note": f"features by {extractor}",
        "value": _mean(scores, case.distance),
        "asked": 10,
    }


def _mean(scores: Scores, name: str) -> float:
    return float(np.mean([values[name] for values in scores.values()]))


def _extracted(data: Drawn) -> Features:
    """By what stands in Inception's place."""
    extractor = extractors.load("inception")
    return lambda images: extractor.features(images).numpy()


def _described(data: Drawn) -> Features:
    """By our code, in units of the training images, which the peer gets for nothing."""
    mean, deviation = _units(data)
    return lambda images: (descriptors(images).numpy() - mean) / deviation


def _described_by_libraries(data: Drawn) -> Features:
    """The same by the implementation with scikit-image and SciPy that ours is tested against."""
    describe = run_path(str(REFERENCES / "independent.py"))["descriptors"]
    mean, deviation = _units(data)

    def features(images: Tensor) -> Array:
        rows = np.stack([describe(image) for image in images[:, 0].double().numpy()])
        found: Array = (rows - mean) / deviation
        return found

    return features


def _units(data: Drawn) -> tuple[Array, Array]:
    train = torch.cat([descriptors(data.train(domain)[:]) for domain in data.domains]).numpy()
    return train.mean(axis=0), train.std(axis=0)


#: What makes the peer's features of `[n, 1, H, W]`, `[n, d]`.
EXTRACTORS: dict[str, Callable[[Drawn], Features]] = {
    "scikit-image": _described_by_libraries,
    "xbench": _described,
    "projection": _extracted,
    "the same network": _extracted,
}


@pytest.mark.parametrize(("heads", "views", "size"), [(5, 4, 128), (25, 4, 256)])
def test_all_metrics_with_intervals(
    benchmark: BenchmarkFixture,
    heads: int,
    views: int,
    size: int,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Descriptors of all true, training and translated images are made, too."""
    monkeypatch.setenv("XBENCH_HOME", str(tmp_path))
    data = Drawn(heads, views, size)
    benchmark.group = f"score 20 pairs of {heads * views} images of {size} px: all, with intervals"
    arguments = (data, translated(data), FREE)
    start = time.process_time()
    benchmark.pedantic(by_xbench, arguments, rounds=1)
    spent = time.process_time() - start
    note = f"{len(FREE)} metrics that need no weights"
    benchmark.extra_info |= {"peer": "xbench", "note": note}
    benchmark.extra_info["figures"] = {"processor seconds": spent}
    if size == 256:
        benchmark.extra_info["limits"] = {"processor seconds": BUDGET}


def _seconds(function: Callable[[Tensor], object], images: Tensor) -> float:
    """Processor seconds of the fastest of three calls."""
    found = []
    for _ in range(3):
        start = time.process_time()
        function(images)
        found.append(time.process_time() - start)
    return min(found)


@pytest.mark.parametrize("name", ["descriptors", *MEASURES])
def test_pictures_cost_what_the_phantom_costs(benchmark: BenchmarkFixture, name: str) -> None:
    sheet = np.asarray(Image.open(REFERENCES / "target.png"))  # 16 views, as one large image
    drawn = pictures(1, len(sheet), 0)[0]
    function = descriptors if name == "descriptors" else METRICS[name].function
    phantom, ours = (
        torch.from_numpy(pixels.astype(np.float32) / 65535)[None, None] for pixels in (sheet, drawn)
    )
    benchmark.group = f"{name} of a picture of {len(sheet)} px"
    benchmark.pedantic(function, (ours,), rounds=5)
    share = _seconds(function, ours) / _seconds(function, phantom)
    benchmark.extra_info |= {"peer": "xbench", "figures": {"seconds / those of the phantom": share}}
