"""Weights: fetched from a server on this machine, checked, refused, placed by hand."""

import hashlib
import threading
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass, field, replace
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

from xbench.core.errors import Unavailable, UserError
from xbench.core.weights import WEIGHTS, obtain, path_of, problem
from xbench.metrics.inception import InceptionExtractor

INCEPTION = "inception-2015-12-05.pt"


class StandIn(nn.Module):
    """A network of the interface that is used of the Inception file: `layers` of 2048 features."""

    def __init__(self) -> None:
        super().__init__()
        pool = nn.AdaptiveAvgPool2d(26)
        self.layers = nn.Sequential(pool, nn.Flatten(), nn.Linear(3 * 26 * 26, 2048))

    def forward(self, x: Tensor) -> Tensor:
        features: Tensor = self.layers(x)
        return features


@pytest.fixture(scope="module")
def network(tmp_path_factory: pytest.TempPathFactory) -> bytes:
    path = tmp_path_factory.mktemp("network") / "network.pt"
    torch.jit.script(StandIn()).save(str(path))
    return path.read_bytes()


@dataclass
class Mirror:
    """What the server has, what it was asked, and how it misbehaves."""

    url: str = ""
    files: dict[str, bytes] = field(default_factory=dict)
    asked: list[str] = field(default_factory=list)
    breaks_off: bool = False


class Handler(BaseHTTPRequestHandler):
    mirror: Mirror

    def do_GET(self) -> None:
        self.mirror.asked.append(self.path)
        data = self.mirror.files.get(self.path)
        if data is None:
            self.send_error(404)
            return
        self.send_response(200)
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        with suppress(ConnectionError):
            self.wfile.write(data[: len(data) // 2] if self.mirror.breaks_off else data)

    def log_message(self, *_: object) -> None:
        """Say nothing."""


@pytest.fixture
def mirror(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Mirror]:
    """A mirror on this machine, an empty cache, and leave to fetch."""
    mirror = Mirror()
    handler = type("BoundHandler", (Handler,), {"mirror": mirror})
    server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
    mirror.url = f"http://127.0.0.1:{server.server_port}"
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    monkeypatch.setenv("XBENCH_HOME", str(tmp_path / "home"))
    monkeypatch.setenv("XBENCH_WEIGHTS_URL", mirror.url)
    monkeypatch.delenv("XBENCH_OFFLINE", raising=False)
    thread = threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True)
    thread.start()
    yield mirror
    server.shutdown()
    server.server_close()
    thread.join()


Publish = Callable[[str, list[bytes]], None]


@pytest.fixture
def publish(mirror: Mirror, monkeypatch: pytest.MonkeyPatch) -> Publish:
    """Offer files in the place of a network's own, with their hashes in the manifest."""

    def call(name: str, contents: list[bytes]) -> None:
        weights = [
            replace(weight, sha256=hashlib.sha256(data).hexdigest(), bytes=len(data))
            for weight, data in zip(WEIGHTS[name], contents, strict=True)
        ]
        monkeypatch.setitem(WEIGHTS, name, tuple(weights))
        for weight, data in zip(weights, contents, strict=True):
            mirror.files[f"/{weight.file}"] = data

    return call


def left(tmp_path: Path) -> list[str]:
    """All files below the test's folder."""
    return sorted(str(p.relative_to(tmp_path)) for p in tmp_path.rglob("*") if p.is_file())


def test_the_manifest_is_complete() -> None:
    assert set(WEIGHTS) == {"inception", "clip", "clip_l336", "lpips", "vae"}
    for name, weights in WEIGHTS.items():
        for weight in weights:
            assert weight.name == name
            assert weight.url.startswith("https://")
            assert weight.url.endswith(Path(weight.file).name)
            assert len(bytes.fromhex(weight.sha256)) == 32
            assert weight.bytes > 0
            assert weight.licence
            assert weight.about
    assert WEIGHTS["clip"][0].sha256 in WEIGHTS["clip"][0].url
    assert len(WEIGHTS["vae"]) == 2


def test_missing_weights_are_fetched_once(
    mirror: Mirror, publish: Publish, network: bytes, tmp_path: Path
) -> None:
    publish("inception", [network])
    reported: list[tuple[int, int, str]] = []
    path = obtain("inception", lambda *news: reported.append(news))
    assert path == path_of("inception") == tmp_path / "home" / "weights" / INCEPTION
    assert path.read_bytes() == network
    assert reported[-1] == (len(network), len(network), INCEPTION)
    assert [done for done, _, _ in reported] == sorted(done for done, _, _ in reported)
    features = InceptionExtractor.load().features(torch.rand(2, 1, 40, 40))
    assert features.shape == (2, 2048)
    assert mirror.asked == [f"/{INCEPTION}"]
    assert left(tmp_path) == [f"home/weights/{INCEPTION}"]


def test_without_a_mirror_the_official_address_is_asked(
    mirror: Mirror, publish: Publish, monkeypatch: pytest.MonkeyPatch
) -> None:
    publish("inception", [b"weights"])
    mirror.files["/official/file.pt"] = b"weights"
    official = replace(WEIGHTS["inception"][0], url=f"{mirror.url}/official/file.pt")
    monkeypatch.setitem(WEIGHTS, "inception", (official,))
    monkeypatch.delenv("XBENCH_WEIGHTS_URL")
    assert obtain("inception").name == INCEPTION
    assert mirror.asked == ["/official/file.pt"]


def test_several_files_share_a_folder_and_only_missing_ones_are_fetched(
    mirror: Mirror, publish: Publish
) -> None:
    publish("vae", [b"{}", b"tensors"])
    config = path_of("vae") / "config.json"
    config.parent.mkdir(parents=True)
    config.write_bytes(b"{}")
    folder = obtain("vae")
    assert folder == path_of("vae")
    assert (folder / "diffusion_pytorch_model.safetensors").read_bytes() == b"tensors"
    assert mirror.asked == ["/sd-vae-ft-mse/diffusion_pytorch_model.safetensors"]


def test_a_wrong_checksum_is_refused_and_the_file_set_aside(
    mirror: Mirror, publish: Publish, network: bytes, tmp_path: Path
) -> None:
    publish("inception", [network])
    mirror.files[f"/{INCEPTION}"] = b"log in to the hospital's network first"
    with pytest.raises(Unavailable, match=f"{INCEPTION} not fetched .wrong SHA-256") as caught:
        obtain("inception")
    assert f"kept as {INCEPTION}.corrupt" in str(caught.value)
    assert left(tmp_path) == [f"home/weights/{INCEPTION}.corrupt"]
    mirror.files[f"/{INCEPTION}"] = network
    assert obtain("inception").read_bytes() == network


def test_a_broken_transfer_leaves_no_file_and_the_next_one_succeeds(
    mirror: Mirror, publish: Publish, network: bytes, tmp_path: Path
) -> None:
    publish("inception", [network])
    mirror.breaks_off = True
    with pytest.raises(Unavailable, match=f"{INCEPTION} not fetched .*Error"):
        InceptionExtractor.load()
    assert left(tmp_path) == []
    mirror.breaks_off = False
    assert obtain("inception").read_bytes() == network


def test_what_a_killed_transfer_left_is_not_taken_for_the_file(
    mirror: Mirror, publish: Publish, network: bytes, tmp_path: Path
) -> None:
    publish("inception", [network])
    part = tmp_path / "home" / "weights" / ".inception-2015-12-05.7.part.pt"
    part.parent.mkdir(parents=True)
    part.write_bytes(network[:1000])
    assert obtain("inception").read_bytes() == network
    assert mirror.asked == [f"/{INCEPTION}"]


@pytest.mark.parametrize(
    ("address", "reason"),
    [
        ("/nowhere", "HTTPError 404"),
        ("http://127.0.0.1:1", "ConnectionError"),
        ("no address", "InvalidURL"),
    ],
)
def test_reasons_fit_in_a_footnote(
    address: str, reason: str, mirror: Mirror, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    address = mirror.url + address if address.startswith("/") else address
    monkeypatch.setenv("XBENCH_WEIGHTS_URL", address)
    with pytest.raises(Unavailable) as caught:
        obtain("clip")
    text = str(caught.value)
    assert text.startswith(f"ViT-B-32.pt not fetched ({reason}): place it in the folder 'weights'")
    assert "xbench fetch clip" in text
    assert "\n" not in text
    assert str(tmp_path) not in text  # published tables name no one's folders
    assert left(tmp_path) == []


def test_offline_asks_nobody(
    mirror: Mirror, publish: Publish, monkeypatch: pytest.MonkeyPatch
) -> None:
    publish("inception", [b"weights"])
    monkeypatch.setenv("XBENCH_OFFLINE", "1")
    with pytest.raises(Unavailable, match=f"{INCEPTION} is missing and XBENCH_OFFLINE=1: place it"):
        obtain("inception")
    path_of("inception").parent.mkdir(parents=True)
    path_of("inception").write_bytes(b"weights")
    assert obtain("inception").read_bytes() == b"weights"
    assert mirror.asked == []


def test_another_file_placed_by_hand_is_set_aside_and_named(
    mirror: Mirror, publish: Publish, tmp_path: Path
) -> None:
    publish("inception", [b"weights"])
    path_of("inception").parent.mkdir(parents=True)
    path_of("inception").write_bytes(b"other weights")
    with pytest.raises(Unavailable, match=rf"{INCEPTION} .* was another file .*\.corrupt; try"):
        obtain("inception")
    assert left(tmp_path) == [f"home/weights/{INCEPTION}.corrupt"]
    assert mirror.asked == []
    assert obtain("inception").read_bytes() == b"weights"


def test_a_folder_that_cannot_be_written_is_a_reason(
    mirror: Mirror, publish: Publish, tmp_path: Path
) -> None:
    publish("inception", [b"weights"])
    (tmp_path / "home").write_bytes(b"a file where the folder should be")
    with pytest.raises(Unavailable, match=r"not fetched \(Not a directory"):
        obtain("inception")


def test_problems_are_found_without_fetching(
    mirror: Mirror, publish: Publish, monkeypatch: pytest.MonkeyPatch
) -> None:
    publish("vae", [b"{}", b"tensors"])
    assert "config.json is missing" in str(problem("vae"))
    assert "xbench fetch vae" in str(problem("vae"))
    monkeypatch.setenv("XBENCH_OFFLINE", "1")
    assert "XBENCH_OFFLINE=1" in str(problem("vae"))
    assert mirror.asked == []

    monkeypatch.delenv("XBENCH_OFFLINE")
    folder = obtain("vae")
    assert problem("vae") is None
    (folder / "config.json").write_bytes(b"[]")
    assert "config.json is another file" in str(problem("vae"))
    assert (folder / "config.json").exists()


def test_an_unknown_name_gets_the_nearest_one() -> None:
    with pytest.raises(UserError, match="did you mean inception"):
        obtain("inceptoin")
