"""Inception features against clean-fid's own path, and how the weights are fetched."""

import hashlib
import threading
from collections.abc import Iterator
from functools import partial
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
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
from xbench.metrics.inception import FILE_NAME, InceptionExtractor, weights_file


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


def sha256(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


@pytest.fixture
def weights(stand_in: bytes, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The cache's weights folder with the stand-in."""
    monkeypatch.setenv("XBENCH_HOME", str(tmp_path / "cache"))
    folder = tmp_path / "cache" / "weights"
    folder.mkdir(parents=True)
    (folder / FILE_NAME).write_bytes(stand_in)
    return folder


def images(count: int, height: int, width: int) -> Tensor:
    """Values of 16 bit, so that rounding to 8 bit matters."""
    rng = np.random.default_rng(5)
    steps = rng.integers(0, 65536, (count, 1, height, width))
    return torch.from_numpy((steps / 65535).astype(np.float32))


@pytest.mark.parametrize("size", [(64, 64), (256, 200), (320, 330)])
def test_features_equal_those_of_clean_fid(
    size: tuple[int, int], weights: Path, stand_in: bytes, tmp_path: Path
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
    found = InceptionExtractor.load("cpu", sha256=sha256(stand_in)).features(batch)
    assert found.shape == (5, 2048)
    assert found.std() > 0.01
    np.testing.assert_allclose(found, expected, rtol=1e-6, atol=1e-6)


def test_features_do_not_depend_on_the_batch(
    weights: Path, stand_in: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    extractor = InceptionExtractor.load(sha256=sha256(stand_in))
    batch = images(5, 40, 40)
    together = extractor.features(batch)
    monkeypatch.setattr(inception, "_BATCH", 2)
    np.testing.assert_allclose(extractor.features(batch), together, rtol=1e-5, atol=1e-6)


def test_bad_images_are_refused(weights: Path, stand_in: bytes) -> None:
    extractor = InceptionExtractor.load(sha256=sha256(stand_in))
    with pytest.raises(ValueError, match=r"expected images \[B, 1, H, W\]"):
        extractor.features(torch.rand(2, 3, 20, 20))
    with pytest.raises(ValueError, match=r"finite values in \[0, 1\]"):
        extractor.features(torch.full((1, 1, 20, 20), 255.0))


class Handler(BaseHTTPRequestHandler):
    def __init__(self, data: bytes, asked: list[str], *args: object) -> None:
        self.data, self.asked = data, asked
        super().__init__(*args)  # type: ignore[arg-type]

    def do_GET(self) -> None:
        self.asked.append(self.path)
        if self.path == "/missing":
            self.send_error(404)
            return
        self.send_response(200)
        self.send_header("Content-Length", str(len(self.data)))
        self.end_headers()
        self.wfile.write(self.data[:1000] if self.path == "/broken" else self.data)

    def log_message(self, format: str, *args: object) -> None:
        """Say nothing."""


@pytest.fixture
def server(stand_in: bytes, monkeypatch: pytest.MonkeyPatch) -> Iterator[tuple[str, list[str]]]:
    """Address of a server on this machine, and what it was asked."""
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    monkeypatch.delenv("XBENCH_OFFLINE", raising=False)
    asked: list[str] = []
    httpd = ThreadingHTTPServer(("127.0.0.1", 0), partial(Handler, stand_in, asked))
    thread = threading.Thread(target=httpd.serve_forever, daemon=True)
    thread.start()
    yield f"http://127.0.0.1:{httpd.server_port}", asked
    httpd.shutdown()
    httpd.server_close()
    thread.join()


def test_missing_weights_are_fetched_once(
    server: tuple[str, list[str]], stand_in: bytes, tmp_path: Path
) -> None:
    address, asked = server
    folder = tmp_path / "weights"
    for _ in range(2):
        path = weights_file(folder, f"{address}/good", sha256(stand_in))
    assert path == folder / FILE_NAME
    assert path.read_bytes() == stand_in
    assert asked == ["/good"]
    InceptionExtractor.load(folder=folder, url="http://127.0.0.1:1/", sha256=sha256(stand_in))


@pytest.mark.parametrize(
    ("page", "digest", "reason"),
    [
        ("good", "0" * 64, "wrong SHA-256"),
        ("broken", None, "ChunkedEncodingError|wrong SHA-256|ConnectionError"),
        ("missing", None, "HTTPError"),
    ],
)
def test_a_failed_fetch_leaves_no_file(
    page: str,
    digest: str | None,
    reason: str,
    server: tuple[str, list[str]],
    stand_in: bytes,
    tmp_path: Path,
) -> None:
    folder = tmp_path / "weights"
    with pytest.raises(Unavailable, match=f"not fetched \\(({reason})\\)") as caught:
        weights_file(folder, f"{server[0]}/{page}", digest or sha256(stand_in))
    assert "\n" not in str(caught.value)
    assert str(tmp_path) not in str(caught.value)
    assert list(folder.iterdir()) == []


def test_no_server_is_a_reason(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    monkeypatch.delenv("XBENCH_OFFLINE", raising=False)
    with pytest.raises(Unavailable, match=r"not fetched \(ConnectionError\)"):
        weights_file(tmp_path / "weights", "http://127.0.0.1:1/file")


def test_offline_asks_nobody(
    server: tuple[str, list[str]],
    stand_in: bytes,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("XBENCH_OFFLINE", "1")
    monkeypatch.setenv("XBENCH_HOME", str(tmp_path))
    with pytest.raises(Unavailable, match=f"XBENCH_OFFLINE=1: place {FILE_NAME}"):
        InceptionExtractor.load(url=f"{server[0]}/good", sha256=sha256(stand_in))
    assert server[1] == []


def test_another_file_in_its_place_is_kept_and_named(weights: Path, stand_in: bytes) -> None:
    with pytest.raises(Unavailable, match=r"is another file .* instead of f58cb9b6…"):
        InceptionExtractor.load()
    assert (weights / FILE_NAME).read_bytes() == stand_in


def test_a_file_that_is_no_network(weights: Path) -> None:
    (weights / FILE_NAME).write_bytes(b"something else")
    with pytest.raises(Unavailable, match="not the TorchScript Inception network"):
        InceptionExtractor.load(sha256=sha256(b"something else"))
