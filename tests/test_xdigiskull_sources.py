"""Where X-DigiSkull comes from, and what may be missing or strange there."""

import io
import runpy
import shutil
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from xbench.core.errors import UserError
from xbench.datasets import registry
from xbench.datasets.describe import read_description
from xbench.datasets.importers.archives import extract
from xbench.datasets.importers.recognise import Recognised
from xbench.datasets.importers.xdigiskull import images_folder, obtain

archives = runpy.run_path(str(Path(__file__).with_name("digiskull_archives.py")))
serve = runpy.run_path(str(Path(__file__).with_name("zenodo_server.py")))["serve"]
DOMAINS = archives["DOMAINS"]
FRAMES = archives["FRAMES"]
VIEWS = archives["VIEWS"]
archive = archives["archive"]
flat = archives["flat"]
home = archives["home"]
index = archives["index"]
layout = archives["layout"]
nested = archives["nested"]
open_dataset = archives["open_dataset"]
png = archives["png"]
scrambled = archives["scrambled"]


def test_what_is_not_recognised_is_named_and_mapped_without_extracting_again(
    tmp_path: Path,
) -> None:
    def strange(domain: str, view: int, frame: int) -> str:
        return nested(domain, view, frame).replace("real/exposure", "ultra fine")

    source, shown = archive(tmp_path / "a.zip", layout(strange)), []
    with pytest.raises(UserError, match="no images of real_exposure") as caught:
        obtain("xdigiskull", source, say=shown.append)
    assert "unrecognised images: 12" in str(caught.value)
    assert "X-DigiSkull/ultra fine/view00/0000.png" in str(caught.value)
    assert "--map 'X-DigiSkull/ultra fine/view00/*=real_exposure'" in str(caught.value)
    assert len(shown[0].unrecognised) == 12
    with pytest.raises(UserError, match="has not been fetched"):
        registry.get("xdigiskull")
    source.unlink()
    root = obtain("xdigiskull", mapping=["ultra fine/*=real_exposure"])
    description = read_description(root)
    assert description
    assert description.mapping == (("ultra fine/*", "real_exposure"),)
    assert description.alignment == "id"
    assert sum(item.domain == "real_exposure" for item in index()) == 12


def test_a_built_data_set_keeps_its_mapping(tmp_path: Path) -> None:
    files = layout(nested) | {"X-DigiSkull/cover.png": png(0)}
    shown: list[Recognised] = []
    root = obtain("xdigiskull", archive(tmp_path / "a.zip", files), ["cover.png=skip"])
    before = (root / "dataset.toml").stat().st_mtime_ns
    assert obtain("xdigiskull", say=shown.append) == root
    assert shown[0].skipped == ["X-DigiSkull/cover.png"]
    assert (root / "dataset.toml").stat().st_mtime_ns == before


def test_two_files_of_one_view_are_refused(tmp_path: Path) -> None:
    files = layout(nested)
    files["X-DigiSkull/real/low/view00/0000.jpg"] = png(0)
    with pytest.raises(UserError, match=r"0000\.jpg.*0000\.png.*'view-00-0000'"):
        obtain("xdigiskull", archive(tmp_path / "a.zip", files))
    obtain("xdigiskull", mapping=["*.jpg=skip"])


def test_a_damaged_image_is_named(tmp_path: Path) -> None:
    files = layout(scrambled)
    name = next(iter(files))
    files[name] = files[name][:60]
    with pytest.raises(UserError, match=f"{name}.*\n.*\n.*--map '{name}=skip'"):
        obtain("xdigiskull", archive(tmp_path / "a.zip", files))


def test_two_views_cannot_be_split(tmp_path: Path) -> None:
    files = {f"{domain}/{i}.png": png(i, domain) for domain in DOMAINS for i in range(2)}
    with pytest.raises(UserError, match="synthetic_low has no images for"):
        obtain("xdigiskull", archive(tmp_path / "a.zip", files))


@pytest.mark.parametrize("kind", ["nothing", "an empty folder", "a text"])
def test_sources_without_images(tmp_path: Path, kind: str) -> None:
    source = tmp_path / "source"
    if kind == "an empty folder":
        source.mkdir()
    if kind == "a text":
        source.write_text("hello")
    with pytest.raises(UserError, match="source"):
        obtain("xdigiskull", source)


def test_other_names_cannot_be_fetched() -> None:
    with pytest.raises(UserError, match="did you mean xdigiskull"):
        obtain("xdigiscull")


def test_a_folder_is_copied_and_left_alone(tmp_path: Path) -> None:
    source = tmp_path / "mine"
    extract(archive(tmp_path / "a.zip", layout(nested)), source, limit_bytes=10**7)
    (source / "loop").symlink_to(source)
    before = sorted(source.iterdir())
    root = obtain("xdigiskull", source)
    assert sorted(source.iterdir()) == before
    shutil.rmtree(source)
    assert all((root / item.file).exists() for item in index())


def test_one_archive_for_each_domain(tmp_path: Path) -> None:
    folder = tmp_path / "downloads"
    folder.mkdir()
    for domain in DOMAINS:
        files = {f"view{view}/{i}.png": png(view, domain) for view in range(4) for i in range(2)}
        archive(folder / f"{domain}.zip", files)
    root = obtain("xdigiskull", folder)
    assert {item.file.split("/")[0] for item in index()} == set(DOMAINS)
    description = read_description(root)
    assert description
    assert description.alignment == "id"


def test_a_new_source_takes_the_place_of_an_old_one(tmp_path: Path) -> None:
    obtain("xdigiskull", archive(tmp_path / "a.zip", layout(nested)))
    root = obtain("xdigiskull", archive(tmp_path / "b.zip", layout(flat)))
    assert not (root / "X-DigiSkull").exists()
    assert {path.name for path in root.parent.iterdir()} == {"images"}


def test_a_broken_source_leaves_the_old_one(tmp_path: Path) -> None:
    root = obtain("xdigiskull", archive(tmp_path / "a.zip", layout(nested)))
    (tmp_path / "b.zip").write_bytes(b"broken")
    with pytest.raises(UserError, match=r"b\.zip"):
        obtain("xdigiskull", tmp_path / "b.zip")
    assert (root / "dataset.toml").exists()


def test_from_the_record_to_images(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    content = archive(tmp_path / "a.zip", layout(nested)).read_bytes()
    with serve({"X-DigiSkull.zip": content, "README.md": b"read me"}) as server:
        monkeypatch.delenv("XBENCH_OFFLINE", raising=False)
        monkeypatch.setenv("XBENCH_ZENODO", server.url)
        monkeypatch.setenv("NO_PROXY", "127.0.0.1")
        server.wrong = True
        with pytest.raises(UserError, match="wrong checksum"):
            obtain("xdigiskull")
        assert not images_folder().exists()
        server.wrong = False
        obtain("xdigiskull")
    dataset = open_dataset()
    assert dataset.name == "xdigiskull"
    assert list(dataset.domains) == DOMAINS
    assert dataset.aligned("test")
    assert dataset.aligned("val")
    for domain in DOMAINS:
        assert dataset.ids("test", domain) == dataset.ids("test", "real_low")
        groups = set(dataset.groups("test", domain)) | set(dataset.groups("val", domain))
        assert len(dataset.train(domain)) == FRAMES * (VIEWS - len(groups))
        for place, view in enumerate(dataset.ids("test", domain)):
            _, number, frame = view.split("-")
            stored = Image.open(io.BytesIO(png(FRAMES * int(number) + int(frame), domain)))
            image = dataset.images("test", domain)[place].numpy()[0]
            np.testing.assert_allclose(image, np.asarray(stored) / 65535, atol=2e-5)
