"""Images from a folder of 780-pixel PNGs: the first time, and from the cache.

    python -m pytest tests/benchmarks/bench_loading.py --benchmark-enable \
        --benchmark-json=loading.json
    python tests/benchmarks/speed.py loading.json

The peer is Pillow as a plain data set of torch would call it, file by file: it shrinks every image
when it is first met, and decodes small files again in every epoch.
"""

import shutil
from itertools import product
from pathlib import Path

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from PIL import Image
from pytest_benchmark.fixture import BenchmarkFixture
from torch import Tensor

from xbench.datasets.folder import Folder

COUNT, SIDE, SIZE = 100, 780, 256
FIRST = f"decode {COUNT} PNGs of {SIDE} px and shrink them to {SIZE} px"
EPOCH = f"read 992 images of {SIZE} px in batches of 32"


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


@pytest.fixture(scope="module")
def data(root: Path) -> Folder:
    kind = Folder.at(root)
    found = kind(kind.configure_size(SIZE))
    found.prepare()
    return found


def decode(file: Path) -> NDArray[np.uint16]:
    with Image.open(file) as image:
        return np.asarray(image, np.uint16)


def shrink(file: Path) -> NDArray[np.uint16]:
    """A file at the working size, by averages over areas."""
    grey = Image.fromarray(decode(file).astype(np.float32))
    small = np.asarray(grey.resize((SIZE, SIZE), Image.Resampling.BOX))
    return np.round(small).astype(np.uint16)


@pytest.mark.benchmark(group=FIRST)
def test_decode(benchmark: BenchmarkFixture, root: Path) -> None:
    """The floor: decoding alone, nothing done with the pixels."""
    files = sorted(root.rglob("*.png"))
    benchmark.pedantic(lambda: [decode(file) for file in files], rounds=3)
    benchmark.extra_info |= {"peer": "Pillow, decoding alone", "note": "one thread"}


@pytest.mark.benchmark(group=FIRST)
def test_shrink(benchmark: BenchmarkFixture, root: Path, data: Folder) -> None:
    files = sorted(root.rglob("*.png"))
    made = benchmark.pedantic(lambda: {file.stem: shrink(file) for file in files}, rounds=3)
    benchmark.extra_info |= {"peer": "Pillow", "note": "one thread, nothing is stored"}
    compared = 0
    for split, domain in product(("train", "val", "test"), data.domains):
        for name, image in zip(data.ids(split, domain), data.images(split, domain), strict=True):
            # A step of 16 bits at most, as ours divides before it averages.
            assert np.abs(image[0].double().numpy() * 65535 - made[Path(name).name]).max() < 1.01
            compared += 1
    assert compared == COUNT


@pytest.mark.benchmark(group=FIRST)
def test_prepare(benchmark: BenchmarkFixture, data: Folder) -> None:
    """Decode, shrink and store with all cores granted; the contents are hashed already."""

    def forget() -> None:
        shutil.rmtree(data.cache(), ignore_errors=True)

    benchmark.pedantic(data.prepare, setup=forget, rounds=3)
    benchmark.extra_info |= {"peer": "xbench", "note": "stored for all later runs"}


@pytest.mark.benchmark(group=EPOCH)
@pytest.mark.parametrize("peer", ["xbench", "Pillow"])
def test_read_batches(benchmark: BenchmarkFixture, data: Folder, peer: str, tmp_path: Path) -> None:
    """Random images, as training draws them: from the cache, or from PNGs of the working size."""
    images = data.train("a")
    rows: list[list[int]] = (
        np.random.default_rng(0).integers(0, len(images), (1000 // 32, 32)).tolist()
    )
    for row, image in enumerate(images[:]):
        pixels = np.round(image[0].numpy() * 65535).astype(np.uint16)
        Image.fromarray(pixels).save(tmp_path / f"{row}.png")

    def from_files(batch: list[int]) -> Tensor:
        read = [decode(tmp_path / f"{row}.png").astype(np.float32) / 65535 for row in batch]
        return torch.stack([torch.from_numpy(image)[None] for image in read])

    get = images.__getitem__ if peer == "xbench" else from_files
    found = benchmark.pedantic(lambda: [get(batch) for batch in rows], rounds=5, warmup_rounds=1)
    benchmark.extra_info["peer"] = peer
    assert torch.equal(torch.cat(found), torch.cat([images[batch] for batch in rows]))
