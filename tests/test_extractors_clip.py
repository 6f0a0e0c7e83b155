"""CLIP features against clean-fid's own path and that of CMMD, with small networks in place."""

import runpy
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from xbench.core.errors import Unavailable
from xbench.metrics.clip import CLEAN_FID, CMMD, ClipExtractor, Variant
from xbench.metrics.extractors import load

stand_ins = runpy.run_path(str(Path(__file__).with_name("stand_ins.py")), run_name="stand_ins")


def images(count: int, height: int = 24, width: int = 24, seed: int = 5) -> Tensor:
    """Noise of 16 bits, so that rounding to 8 bits matters."""
    rng = np.random.default_rng(seed)
    steps = rng.integers(0, 65536, (count, 1, height, width))
    return torch.from_numpy(steps.astype(np.float32) / np.float32(65535))


def clean_fid(
    batch: Tensor, network: nn.Module, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> np.ndarray:
    """CLIP features of clean-fid itself, from 8-bit files."""
    found: np.ndarray = stand_ins["clip_features"](
        batch[:, 0].numpy(), network, folder, monkeypatch
    )
    return found


class Pixels(nn.Flatten):
    """A network whose features are the pixels that it is given."""

    def encode_image(self, image: Tensor) -> Tensor:
        return self(image)  # type: ignore[no-any-return]


def pixels(variant: Variant) -> ClipExtractor:
    return ClipExtractor(Pixels(), torch.device("cpu"), variant)


@pytest.mark.parametrize("size", [(64, 64), (224, 224), (230, 301), (780, 500)])
def test_clip_sees_the_pixels_that_clean_fid_gives_it(
    size: tuple[int, int], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    batch = images(2, *size)
    expected = clean_fid(batch, Pixels(), tmp_path / "png", monkeypatch)
    found = pixels(CLEAN_FID).features(batch)
    assert found.shape == (2, 3 * 224 * 224)
    np.testing.assert_allclose(found, expected, rtol=0, atol=1e-6)


@pytest.fixture
def archive(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> nn.Module:
    """A TorchScript archive where CLIP's belongs, and the network in it at full precision."""
    monkeypatch.setenv("XBENCH_HOME", str(tmp_path / "home"))
    network: nn.Module = stand_ins["clip"]()
    stand_ins["place"]("clip", network, monkeypatch)
    return network.float()


def test_clip_features_equal_those_of_clean_fid(
    archive: nn.Module, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    batch = images(3, 64, 80)
    expected = clean_fid(batch, archive, tmp_path / "png", monkeypatch)
    extractor = load("clip")
    found = extractor.features(batch)
    assert extractor.version == "clip-b32-v1"
    assert found.shape == (3, 512)
    assert found.dtype == torch.float64
    assert found.std(dim=0).mean() > 0.01
    np.testing.assert_allclose(found, expected, rtol=1e-5, atol=1e-5)


def test_an_archive_of_another_network_is_no_clip(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XBENCH_HOME", str(tmp_path))
    stand_ins["place"]("clip", nn.Linear(2, 2), monkeypatch)
    with pytest.raises(Unavailable, match=r"ViT-B-32\.pt is not the TorchScript archive of CLIP"):
        load("clip")


@pytest.mark.parametrize("size", [(64, 64), (336, 336), (400, 340), (50, 81)])
def test_cmmd_sees_the_square_in_the_middle(size: tuple[int, int]) -> None:
    batch = images(2, *size)
    expected = stand_ins["cmmd_embeddings"](batch[:, 0].numpy(), Pixels())
    found = pixels(CMMD).features(batch)
    assert found.shape == (2, 3 * 336 * 336)
    assert found.norm(dim=1).tolist() == pytest.approx([1, 1])
    np.testing.assert_allclose(found, expected, rtol=0, atol=1e-7)


def test_embeddings_of_cmmd_equal_those_of_the_archive(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XBENCH_HOME", str(tmp_path / "home"))
    network = stand_ins["clip_l336"]()
    stand_ins["place"]("clip_l336", network, monkeypatch)
    batch = images(3, 64, 81)
    extractor = load("clip_l336")
    found = extractor.features(batch)
    assert found.shape == (3, 768)
    assert found.norm(dim=1).tolist() == pytest.approx([1] * 3)
    assert found.std(dim=0).mean() > 3e-4
    expected = stand_ins["cmmd_embeddings"](batch[:, 0].numpy(), network)
    np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-6)


def test_missing_weights_have_a_reason(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XBENCH_HOME", str(tmp_path))
    for name, file in (("clip", r"ViT-B-32\.pt"), ("clip_l336", r"ViT-L-14-336px\.pt")):
        with pytest.raises(Unavailable, match=f"{file} is missing and XBENCH_OFFLINE=1"):
            load(name)
