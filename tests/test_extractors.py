"""Feature extractors: CLIP against clean-fid, users' files, and features kept on disk."""

import hashlib
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest
import torch
from cleanfid.fid import get_folder_features
from PIL import Image
from torch import Tensor, nn

from xbench.datasets.base import Images
from xbench.errors import UserError
from xbench.feature_cache import cached_features
from xbench.metrics.base import Unavailable
from xbench.metrics.clip import ClipExtractor
from xbench.metrics.extractors import Extractor, load
from xbench.metrics.texture import descriptors
from xbench.weights import WEIGHTS, path_of


def images(count: int, height: int = 24, width: int = 24, seed: int = 5) -> Tensor:
    """Noise of 16 bits, so that rounding to 8 bits matters."""
    rng = np.random.default_rng(seed)
    steps = rng.integers(0, 65536, (count, 1, height, width))
    return torch.from_numpy(steps.astype(np.float32) / np.float32(65535))


# --- CLIP -------------------------------------------------------------------------------------


class Attention(nn.Module):
    """Two heads of 64, written out; parameters named as in the archive."""

    def __init__(self) -> None:
        super().__init__()
        self.in_proj_weight = nn.Parameter(torch.randn(384, 128) / 11)
        self.in_proj_bias = nn.Parameter(torch.randn(384) / 11)
        self.out_proj = nn.Linear(128, 128)

    def forward(self, x: Tensor) -> Tensor:
        batch, tokens, _ = x.shape
        parts = (x @ self.in_proj_weight.t() + self.in_proj_bias).view(batch, tokens, 3, 2, 64)
        heads = parts.permute(2, 0, 3, 1, 4)  # queries, keys, values
        weights = torch.softmax(heads[0] @ heads[1].transpose(-1, -2) / 8.0, dim=-1)
        mixed = (weights @ heads[2]).permute(0, 2, 1, 3).reshape(batch, tokens, 128)
        out: Tensor = self.out_proj(mixed)
        return out


class Perceptron(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.c_fc = nn.Linear(128, 512)
        self.c_proj = nn.Linear(512, 128)

    def forward(self, x: Tensor) -> Tensor:
        x = self.c_fc(x)
        out: Tensor = self.c_proj(x * torch.sigmoid(1.702 * x))
        return out


class Block(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.attn, self.mlp = Attention(), Perceptron()
        self.ln_1, self.ln_2 = nn.LayerNorm(128), nn.LayerNorm(128)

    def forward(self, x: Tensor) -> Tensor:
        x = x + self.attn(self.ln_1(x))
        out: Tensor = x + self.mlp(self.ln_2(x))
        return out


class Transformer(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.resblocks = nn.Sequential(Block(), Block())

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = self.resblocks(x)
        return out


class Visual(nn.Module):
    """The image encoder with 128 channels and 2 blocks instead of 768 and 12."""

    def __init__(self) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(3, 128, 32, stride=32, bias=False)
        self.class_embedding = nn.Parameter(torch.randn(128))
        self.positional_embedding = nn.Parameter(torch.randn(50, 128))
        self.ln_pre, self.ln_post = nn.LayerNorm(128), nn.LayerNorm(128)
        self.transformer = Transformer()
        self.proj = nn.Parameter(torch.randn(128, 512) / 11)

    def forward(self, x: Tensor) -> Tensor:
        patches = self.conv1(x).flatten(2).permute(0, 2, 1)
        token = self.class_embedding + torch.zeros(len(x), 1, 128)
        x = self.transformer(
            self.ln_pre(torch.cat([token, patches], 1) + self.positional_embedding)
        )
        out: Tensor = self.ln_post(x[:, 0]) @ self.proj
        return out


class StandIn(nn.Module):
    """The interface of OpenAI's archive: `visual.*`, `encode_image`, and a text side beside it."""

    def __init__(self) -> None:
        super().__init__()
        self.visual = Visual()
        self.token_embedding = nn.Embedding(10, 512)
        self.register_buffer("input_resolution", torch.tensor(224))

    @torch.jit.export
    def encode_image(self, image: Tensor) -> Tensor:
        out: Tensor = self.visual(image)
        return out

    def forward(self, image: Tensor, text: Tensor) -> tuple[Tensor, Tensor]:
        similarity = self.encode_image(image) @ self.token_embedding(text).mean(1).t()
        return similarity, similarity.t()


Fid = Callable[[Tensor, nn.Module, Path], np.ndarray]


@pytest.fixture
def clean_fid(monkeypatch: pytest.MonkeyPatch) -> Fid:
    """CLIP features of clean-fid itself, from 8-bit files, with a network of the test."""
    package = ModuleType("clip")
    monkeypatch.setitem(sys.modules, "clip", package)
    from cleanfid import clip_features

    monkeypatch.setattr(clip_features, "clip", package)

    def call(batch: Tensor, network: nn.Module, folder: Path) -> np.ndarray:
        package.load = lambda name, device: (network, None)  # type: ignore[attr-defined]
        folder.mkdir()
        for index, image in enumerate(batch[:, 0].numpy()):
            grey = np.round(image.astype(np.float64) * 255).astype(np.uint8)
            Image.fromarray(grey).save(folder / f"{index}.png")
        found: np.ndarray = get_folder_features(
            str(folder),
            model=clip_features.CLIP_fx("ViT-B/32", device="cpu"),
            custom_fn_resize=clip_features.img_preprocess_clip,
            num_workers=0,
            device="cpu",
            verbose=False,
        )
        return found

    return call


class Pixels(nn.Flatten):
    """A network whose features are the pixels that it is given."""

    def encode_image(self, image: Tensor) -> Tensor:
        return self(image)  # type: ignore[no-any-return]


@pytest.mark.parametrize("size", [(64, 64), (224, 224), (230, 301), (780, 500)])
def test_clip_sees_the_pixels_that_clean_fid_gives_it(
    size: tuple[int, int], clean_fid: Fid, tmp_path: Path
) -> None:
    batch = images(2, *size)
    expected = clean_fid(batch, Pixels(), tmp_path / "png")
    found = ClipExtractor(Pixels(), torch.device("cpu")).features(batch)
    assert found.shape == (2, 3 * 224 * 224)
    np.testing.assert_allclose(found, expected, rtol=0, atol=1e-6)


@pytest.fixture
def clip_archive(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> StandIn:
    """A TorchScript archive where CLIP's belongs, and the network in it at full precision."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        network = StandIn().half()  # the archive holds half precision
    monkeypatch.setenv("XBENCH_HOME", str(tmp_path / "home"))
    path = path_of("clip")
    path.parent.mkdir(parents=True)
    torch.jit.script(network).save(str(path))
    digest = hashlib.sha256(path.read_bytes()).hexdigest()
    monkeypatch.setitem(WEIGHTS, "clip", (replace(WEIGHTS["clip"][0], sha256=digest),))
    return network.float()


def test_clip_features_equal_those_of_clean_fid(
    clip_archive: StandIn, clean_fid: Fid, tmp_path: Path
) -> None:
    batch = images(3, 64, 80)
    expected = clean_fid(batch, clip_archive, tmp_path / "png")
    extractor = load("clip")
    found = extractor.features(batch)
    assert extractor.version == "clip-b32-v1"
    assert found.shape == (3, 512)
    assert found.dtype == torch.float64
    assert found.std(dim=0).mean() > 0.01
    np.testing.assert_allclose(found, expected, rtol=1e-5, atol=1e-5)


def test_an_archive_of_another_network_is_no_clip(
    clip_archive: StandIn, monkeypatch: pytest.MonkeyPatch
) -> None:
    torch.jit.script(nn.Linear(2, 2)).save(str(path_of("clip")))
    digest = hashlib.sha256(path_of("clip").read_bytes()).hexdigest()
    monkeypatch.setitem(WEIGHTS, "clip", (replace(WEIGHTS["clip"][0], sha256=digest),))
    with pytest.raises(Unavailable, match=r"ViT-B-32\.pt is not the TorchScript archive of CLIP"):
        load("clip")


# --- extractors by name and from files --------------------------------------------------------


def test_texture_needs_nothing() -> None:
    extractor = load("texture")
    assert (extractor.name, extractor.version) == ("texture", "texture-v1")
    torch.testing.assert_close(extractor.features(images(2)), descriptors(images(2)))


def test_networks_without_weights_are_unavailable(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XBENCH_HOME", str(tmp_path))
    monkeypatch.setenv("XBENCH_OFFLINE", "1")
    for name in ("inception", "clip"):
        with pytest.raises(Unavailable, match="place it in the folder 'weights'"):
            load(name)


def write(folder: Path, text: str) -> str:
    path = folder / "mine.py"
    path.write_text(f"import torch\n{text}\n")
    return str(path)


def test_a_function_in_a_file(tmp_path: Path) -> None:
    file = write(
        tmp_path,
        "def means(images):\n"
        "    assert images.dtype == torch.float32\n"
        "    images *= 2  # in place: the caller's stay as they are\n"
        "    return images.flatten(2).mean(1)[:, :7]",
    )
    batch = images(3)
    kept = batch.clone()
    extractor = load(f"{file}:means")
    found = extractor.features(batch)
    assert torch.equal(found, 2 * kept.flatten(2).mean(1)[:, :7].double())
    assert torch.equal(batch, kept)
    assert torch.equal(extractor.features(batch.double()), found)
    digest = hashlib.sha256(Path(file).read_bytes()).hexdigest()
    assert extractor.name == "mine.means"
    assert extractor.version == f"mine.means-{digest[:12]}"

    changed = write(tmp_path, "def means(images): return images.flatten(1)")
    assert load(f"{changed}:means").version != extractor.version


def test_a_module_in_a_file_is_set_to_evaluation(tmp_path: Path) -> None:
    file = write(
        tmp_path, "net = torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Dropout(0.9)).train()"
    )
    batch = images(2)
    torch.testing.assert_close(load(f"{file}:net").features(batch), batch.flatten(1).double())


class Rows(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        return x.mean(3).flatten(1)


def test_a_torchscript_archive(tmp_path: Path) -> None:
    path = tmp_path / "rows.pt"
    torch.jit.script(Rows()).save(str(path))
    extractor = load(str(path))
    batch = images(4, 20, 30)
    torch.testing.assert_close(extractor.features(batch), batch.mean(3).flatten(1).double())
    digest = hashlib.sha256(path.read_bytes()).hexdigest()
    assert extractor.version == f"rows-{digest[:12]}"


@pytest.mark.parametrize(
    ("body", "problem"),
    [
        ("images.mean()", "the shape []"),
        ("images.flatten(1)[:1]", "the shape [1, 576]"),
        ("images.flatten(1)[:, :0]", "the shape [3, 0]"),
        ("images", "the shape [3, 1, 24, 24]"),
        ("images.flatten(1).long()", "torch.int64"),
        ("images.flatten(1) / 0 * 0", "not finite"),
        ("images.flatten(1).numpy()", "a numpy.ndarray"),
        ("None", "a builtins.NoneType"),
        ("images @ images[:, :, :5]", "failed on images [3, 1, 24, 24]: RuntimeError"),
    ],
)
def test_wrong_features_name_the_file(body: str, problem: str, tmp_path: Path) -> None:
    file = write(tmp_path, f"def wrong(images): return {body}")
    with pytest.raises(UserError) as caught:
        load(f"{file}:wrong").features(images(3))
    wrong, expected, mend = str(caught.value).splitlines()
    assert f"{file}:wrong" in wrong
    assert problem in wrong
    assert expected.startswith("expected: ")
    assert mend.startswith("try: ")


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("import no_such_module", "does not import: ModuleNotFoundError"),
        ("raise SystemExit(0)", "does not import: SystemExit"),
        ("def feature(images): ...", "did you mean feature"),
        ("features = 3\ndef other(images): ...", "known: other"),
    ],
)
def test_files_that_cannot_be_loaded(text: str, problem: str, tmp_path: Path) -> None:
    file = write(tmp_path, text)
    with pytest.raises(UserError, match=r"mine\.py") as caught:
        load(f"{file}:features")
    assert problem in str(caught.value)
    assert len(str(caught.value).splitlines()) == 3


def test_only_torchscript_is_loaded_from_an_archive(tmp_path: Path) -> None:
    path = tmp_path / "pickled.pt"
    for content in (Rows(), nn.Linear(2, 2).state_dict()):
        torch.save(content, path)
        with pytest.raises(UserError, match=r"pickled\.pt is not a TorchScript archive"):
            load(str(path))
    path.write_bytes(b"something else")
    with pytest.raises(UserError, match=r"pickled\.pt is not a TorchScript archive"):
        load(str(path))


@pytest.mark.parametrize(
    ("name", "problem"),
    [
        ("textrue", "did you mean texture"),
        ("none.py:f", "there is no file none.py"),
        ("none.pt", "there is no file none.pt"),
        ("mine.py", "try: --extractor mine.py:features"),
    ],
)
def test_names_of_nothing(name: str, problem: str) -> None:
    with pytest.raises(UserError) as caught:
        load(name)
    assert problem in str(caught.value)


# --- features on disk -------------------------------------------------------------------------


class Counting:
    """A mean and a corner of each image; counts the images that it saw."""

    def __init__(self) -> None:
        self.seen = 0

    def __call__(self, batch: Tensor) -> Tensor:
        self.seen += len(batch)
        wide = batch.double()
        return torch.stack([wide.flatten(1).mean(1), wide[:, 0, 0, 0]], dim=1)


@pytest.fixture
def counting() -> Counting:
    return Counting()


@pytest.fixture
def extractor(counting: Counting) -> Extractor:
    return Extractor("counting", "counting-v1", torch.device("cpu"), counting)


def test_what_was_computed_is_not_computed_again(
    extractor: Extractor, counting: Counting, tmp_path: Path
) -> None:
    batch = images(10)
    found = cached_features(extractor, batch, tmp_path)
    assert counting.seen == 10
    assert found.dtype == torch.float64
    assert torch.equal(found, extractor.features(batch))
    counting.seen = 0
    assert torch.equal(cached_features(extractor, batch, tmp_path), found)
    assert counting.seen == 0
    assert [path.suffix for path in tmp_path.rglob("*") if path.is_file()] == [".safetensors"]


def test_order_batches_copies_and_kinds_of_images_change_nothing(
    extractor: Extractor, counting: Counting, tmp_path: Path
) -> None:
    batch = images(10)
    found = cached_features(extractor, batch, tmp_path)
    order = torch.randperm(10, generator=torch.Generator().manual_seed(0))
    raw = (batch[:, 0].double() * 65535).round().numpy().astype(np.uint16)
    counting.seen = 0
    for same, expected in (
        (batch[order], found[order]),
        (torch.cat([batch, batch[:3]]), torch.cat([found, found[:3]])),
        (Images([raw[:4], raw[4:]]), found),
        (list(batch), found),
    ):
        assert torch.equal(cached_features(extractor, same, tmp_path), expected)
    assert counting.seen == 0
    for number in (1, 3, 100):
        fresh = cached_features(extractor, batch, tmp_path / str(number), batch=number)
        assert torch.equal(fresh, found)
    assert counting.seen == 30


def test_equal_images_are_computed_once(
    extractor: Extractor, counting: Counting, tmp_path: Path
) -> None:
    batch = images(2)
    found = cached_features(extractor, batch[[0, 1, 0, 0]], tmp_path)
    assert counting.seen == 2
    assert torch.equal(found, extractor.features(batch)[[0, 1, 0, 0]])


def test_other_pixels_sizes_and_extractors_are_computed_anew(
    extractor: Extractor, counting: Counting, tmp_path: Path
) -> None:
    batch = images(4, 8, 8)
    cached_features(extractor, batch, tmp_path)
    changed = batch.clone()
    changed[0, 0, 0, 0] += (1 if changed[0, 0, 0, 0] < 0.5 else -1) / 65535
    found = cached_features(extractor, changed, tmp_path)
    assert torch.equal(found, extractor.features(changed))
    counting.seen = 0
    cached_features(extractor, batch.reshape(4, 1, 4, 16), tmp_path)
    assert counting.seen == 4
    cached_features(replace(extractor, version="counting-v2"), batch, tmp_path)
    assert counting.seen == 8


def test_images_of_several_sizes(extractor: Extractor, counting: Counting, tmp_path: Path) -> None:
    mixed = [*images(3, 8, 8), *images(3, 5, 9), *images(2, 8, 8, seed=6)]
    found = cached_features(extractor, mixed, tmp_path, batch=2)
    expected = torch.cat([extractor.features(image[None]) for image in mixed])
    assert torch.equal(found, expected)
    flat = replace(extractor, version="flat", compute=lambda batch: batch.flatten(1))
    with pytest.raises(UserError, match=r"counting returns \[45, 64\] features"):
        cached_features(flat, mixed, tmp_path)


@pytest.mark.parametrize("damage", ["cut", "flipped", "emptied", "replaced"])
def test_a_damaged_file_is_set_aside_and_made_anew(
    damage: str, extractor: Extractor, counting: Counting, tmp_path: Path
) -> None:
    batch = images(10)
    found = cached_features(extractor, batch, tmp_path)
    (path,) = tmp_path.rglob("*.safetensors")
    data = path.read_bytes()
    flipped = data[:-8] + bytes([data[-8] ^ 1]) + data[-7:]
    other = {"cut": data[:-10], "flipped": flipped, "emptied": b"", "replaced": b"x" * 500}
    path.write_bytes(other[damage])
    counting.seen = 0
    with pytest.warns(UserWarning, match="is damaged .* made anew"):
        again = cached_features(extractor, batch, tmp_path)
    assert counting.seen == 10
    assert torch.equal(again, found)
    assert path.read_bytes() == data
    assert path.with_name(path.name + ".corrupt").read_bytes() == other[damage]


def test_a_failure_half_way_leaves_nothing(extractor: Extractor, tmp_path: Path) -> None:
    def killed(batch: Tensor) -> Tensor:
        if len(batch) < 4:
            raise KeyboardInterrupt
        return batch.flatten(1)

    batch = images(6)
    with pytest.raises(KeyboardInterrupt):
        cached_features(replace(extractor, compute=killed), batch, tmp_path, batch=4)
    assert not [path for path in tmp_path.rglob("*") if path.is_file()]
    assert torch.equal(cached_features(extractor, batch, tmp_path), extractor.features(batch))


def test_a_folder_that_cannot_be_written_costs_only_the_next_time(
    extractor: Extractor, tmp_path: Path
) -> None:
    (tmp_path / "file").write_text("where the folder should be")
    batch = images(2)
    with pytest.warns(UserWarning, match="not kept"):
        found = cached_features(extractor, batch, tmp_path / "file")
    assert torch.equal(found, extractor.features(batch))


@pytest.mark.parametrize(
    ("bad", "problem"),
    [
        (torch.rand(0, 1, 8, 8), "expected images"),
        (torch.rand(2, 3, 8, 8), r"\[B, 1, H, W\]"),
        (torch.full((1, 1, 8, 8), float("nan")), "finite values"),
        (torch.full((1, 1, 8, 8), 1.5), "finite values"),
    ],
)
def test_bad_images_are_refused(
    bad: Tensor, problem: str, extractor: Extractor, tmp_path: Path
) -> None:
    with pytest.raises(ValueError, match=problem):
        cached_features(extractor, bad, tmp_path)
