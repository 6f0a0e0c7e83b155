"""Extractors by name, and users' own from files."""

import hashlib
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from xbench.core.errors import Unavailable, UserError
from xbench.metrics.extractors import load
from xbench.metrics.texture import descriptors


def images(count: int, height: int = 24, width: int = 24, seed: int = 5) -> Tensor:
    """Noise of 16 bits, so that rounding to 8 bits matters."""
    rng = np.random.default_rng(seed)
    steps = rng.integers(0, 65536, (count, 1, height, width))
    return torch.from_numpy(steps.astype(np.float32) / np.float32(65535))


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
    wrong, expected, fix = str(caught.value).splitlines()
    assert f"{file}:wrong" in wrong
    assert problem in wrong
    assert expected.startswith("expected: ")
    assert fix.startswith("try: ")


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
