"""Inception features against clean-fid's own path (how the weights get there: test_weights.py)."""

import hashlib
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from cleanfid.fid import get_folder_features
from cleanfid.inception_torchscript import InceptionV3W
from PIL import Image
from torch import Tensor, nn

from xbench.metrics import inception
from xbench.metrics.base import Unavailable
from xbench.metrics.inception import InceptionExtractor
from xbench.weights import WEIGHTS, path_of


class Layers(nn.Module):
    """Stands in for the network: 2048 numbers that depend on every pixel and on the channel."""

    def __init__(self) -> None:
        super().__init__()
        self.pool = nn.AvgPool2d(23)
        self.mix = nn.Linear(3 * 13 * 13, 2048)

    def forward(self, x: Tensor) -> Tensor:
        return torch.relu(self.mix(self.pool(x).flatten(1)))[:, :, None, None]


class StandIn(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.layers = Layers()

    def forward(self, x: Tensor, return_features: bool = False) -> Tensor:
        features: Tensor = self.layers((x - 128) / 128).flatten(1)
        return features


@pytest.fixture(scope="module")
def stand_in(tmp_path_factory: pytest.TempPathFactory) -> bytes:
    with torch.random.fork_rng():
        torch.manual_seed(0)
        network = torch.jit.script(StandIn())
    path = tmp_path_factory.mktemp("network") / "network.pt"
    network.save(str(path))
    return path.read_bytes()


def place(data: bytes, monkeypatch: pytest.MonkeyPatch) -> None:
    """Put a file where the weights belong, and its hash into the manifest."""
    (weight,) = WEIGHTS["inception"]
    weight = replace(weight, sha256=hashlib.sha256(data).hexdigest(), bytes=len(data))
    monkeypatch.setitem(WEIGHTS, "inception", (weight,))
    path_of("inception").parent.mkdir(parents=True)
    path_of("inception").write_bytes(data)


@pytest.fixture
def weights(stand_in: bytes, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The cache's weights folder with the stand-in."""
    monkeypatch.setenv("XBENCH_HOME", str(tmp_path / "cache"))
    place(stand_in, monkeypatch)
    return tmp_path / "cache" / "weights"


def images(count: int, height: int, width: int) -> Tensor:
    """Values of 16 bit, so that rounding to 8 bit matters."""
    rng = np.random.default_rng(5)
    steps = rng.integers(0, 65536, (count, 1, height, width))
    return torch.from_numpy((steps / 65535).astype(np.float32))


@pytest.mark.parametrize("size", [(64, 64), (256, 200), (320, 330)])
def test_features_equal_those_of_clean_fid(
    size: tuple[int, int], weights: Path, tmp_path: Path
) -> None:
    batch = images(5, *size)
    folder = tmp_path / "png"
    folder.mkdir()
    for index, image in enumerate(batch[:, 0].numpy()):
        grey = np.round(image.astype(np.float64) * 255).astype(np.uint8)
        Image.fromarray(grey).save(folder / f"{index}.png")
    network = InceptionV3W(str(weights), download=False)
    expected = get_folder_features(
        str(folder), model=network, num_workers=0, device="cpu", mode="clean", verbose=False
    )
    found = InceptionExtractor.load("cpu").features(batch)
    assert found.shape == (5, 2048)
    assert found.std() > 0.01
    np.testing.assert_allclose(found, expected, rtol=1e-6, atol=1e-6)


@pytest.mark.usefixtures("weights")
def test_features_do_not_depend_on_the_batch(monkeypatch: pytest.MonkeyPatch) -> None:
    extractor = InceptionExtractor.load()
    batch = images(5, 40, 40)
    together = extractor.features(batch)
    monkeypatch.setattr(inception, "_BATCH", 2)
    np.testing.assert_allclose(extractor.features(batch), together, rtol=1e-5, atol=1e-6)


@pytest.mark.usefixtures("weights")
def test_bad_images_are_refused() -> None:
    extractor = InceptionExtractor.load()
    with pytest.raises(ValueError, match=r"expected images \[B, 1, H, W\]"):
        extractor.features(torch.rand(2, 3, 20, 20))
    with pytest.raises(ValueError, match=r"finite values in \[0, 1\]"):
        extractor.features(torch.full((1, 1, 20, 20), 255.0))


def test_a_file_that_is_no_network(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XBENCH_HOME", str(tmp_path))
    place(b"something else", monkeypatch)
    with pytest.raises(Unavailable, match="not the TorchScript Inception network"):
        InceptionExtractor.load()
