"""Images per second from a folder of 780-pixel PNGs: the first time, and from the cache.

Run with `pytest tests/benchmarks/bench_loading.py --benchmark-enable`.
"""

import shutil
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from pytest_benchmark.fixture import BenchmarkFixture

from xbench.datasets.folder import Folder

COUNT, SIDE, SIZE = 100, 780, 256


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two domains of smooth pictures with noise, 16 bit, as an X-ray compresses."""
    folder: Path = tmp_path_factory.mktemp("data") / "mine"
    rng = np.random.default_rng(0)
    wave = 0.5 + 0.4 * np.sin(np.linspace(0, 9, SIDE))
    for number in range(COUNT):
        image = np.outer(np.roll(wave, number), wave) + rng.normal(scale=0.01, size=(SIDE, SIDE))
        path = folder / "ab"[number % 2] / f"{number:04d}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(np.round(image.clip(0, 1) * 65535).astype(np.uint16)).save(path)
    return folder


def _data(root: Path) -> Folder:
    kind = Folder.at(root)
    return kind(kind.configure_size(SIZE))


@pytest.mark.benchmark(group="decode 100 PNGs of 780 px")
def test_decode_plainly(benchmark: BenchmarkFixture, root: Path) -> None:
    """The peer: Pillow alone, one file after the other, nothing done with the pixels."""
    files = sorted(root.rglob("*.png"))
    benchmark.pedantic(lambda: [np.asarray(Image.open(file)) for file in files], rounds=3)


@pytest.mark.benchmark(group="decode 100 PNGs of 780 px")
def test_prepare(benchmark: BenchmarkFixture, root: Path) -> None:
    """Decode, shrink and cache with both cores; the contents are hashed already."""
    data = _data(root)
    assert data.key

    def forget() -> None:
        shutil.rmtree(data.cache(), ignore_errors=True)

    benchmark.pedantic(data.prepare, setup=forget, rounds=3)


@pytest.mark.benchmark(group="read 1000 images of 256 px")
def test_read_batches_from_the_cache(benchmark: BenchmarkFixture, root: Path) -> None:
    """1,000 random images in batches of 32, as training draws them."""
    data = _data(root)
    data.prepare()
    images = data.train("a")
    rows = np.random.default_rng(0).integers(0, len(images), (1000 // 32 + 1, 32))
    benchmark.pedantic(lambda: [images[batch.tolist()] for batch in rows], rounds=5)
