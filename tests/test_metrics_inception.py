"""Inception features against clean-fid's own path (how the weights get there: test_weights.py)."""

import runpy
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor

from xbench.core.errors import Unavailable
from xbench.metrics import inception
from xbench.metrics.inception import InceptionExtractor

stand_ins = runpy.run_path(str(Path(__file__).with_name("stand_ins.py")), run_name="stand_ins")


@pytest.fixture
def weights(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The cache's weights folder with the stand-in."""
    monkeypatch.setenv("XBENCH_HOME", str(tmp_path / "cache"))
    path: Path = stand_ins["place"]("inception", stand_ins["inception"](), monkeypatch)
    return path.parent


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
    expected = stand_ins["inception_features"](batch[:, 0].numpy(), weights, tmp_path / "png")
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
    stand_ins["place_bytes"]("inception", b"something else", monkeypatch)
    with pytest.raises(Unavailable, match="not the TorchScript Inception network"):
        InceptionExtractor.load()
