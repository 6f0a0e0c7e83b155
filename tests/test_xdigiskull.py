"""From archives of unknown layout to a data set: recognition, views, groups, splits."""

import io
import runpy
import shutil
import zipfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from scipy import ndimage

from xbench.datasets import registry
from xbench.datasets.describe import read_description
from xbench.datasets.folder import Folder
from xbench.datasets.index import Item, read_index
from xbench.datasets.recognise import Recognised, domain_of, recognise, summary
from xbench.datasets.xdigiskull import images_folder, obtain
from xbench.errors import UserError
from xbench.profiles import get_profile

serve = runpy.run_path(str(Path(__file__).with_name("zenodo_server.py")))["serve"]
DOMAINS = ["synthetic_low", "synthetic_high", "real_low", "real_normal", "real_exposure"]
VIEWS, FRAMES = 6, 2


@pytest.fixture(autouse=True)
def _home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XBENCH_HOME", str(tmp_path / "home"))


# --- images that show views, and archives of them


def png(view: int, domain: str = "real_low", size: int = 40) -> bytes:
    """A picture of a view: the same shapes in all domains, in other grey values and grain."""
    shapes = ndimage.gaussian_filter(np.random.default_rng(view).random((size, size)), 3)
    shapes = (shapes - shapes.min()) / np.ptp(shapes)
    look = DOMAINS.index(domain)
    grain = np.random.default_rng([view, look]).normal(0, 0.02, (size, size))
    grey = np.clip(0.3 + 0.1 * look + 0.3 * shapes ** (1 + 0.3 * look) + grain, 0, 1)
    file = io.BytesIO()
    Image.fromarray(np.round(grey * 65535).astype(np.uint16)).save(file, "PNG")
    return file.getvalue()


def archive(path: Path, files: dict[str, bytes]) -> Path:
    with zipfile.ZipFile(path, "w") as file:
        for name, content in files.items():
            file.writestr(name, content)
    return path


def layout(name_of: Callable[[str, int, int], str], frames: int = FRAMES) -> dict[str, bytes]:
    """Files of an archive: `name_of(domain, view, frame)` → picture."""
    return {
        name_of(domain, view, frame): png(frames * view + frame, domain)
        for domain in DOMAINS
        for view in range(VIEWS)
        for frame in range(frames)
    }


def nested(domain: str, view: int, frame: int) -> str:
    return f"X-DigiSkull/{domain.replace('_', '/')}/view{view:02d}/{frame:04d}.png"


def flat(domain: str, view: int, frame: int) -> str:
    kind, dose = domain.split("_")
    return f"{kind.title()}_{dose.title()}_view{view:02d}_{frame:04d}.png"


def mixed(domain: str, view: int, frame: int) -> str:
    return (nested if domain.startswith("real") else flat)(domain, view, frame)


def frame_numbers(domain: str, view: int, frame: int) -> str:
    return f"{domain}/{FRAMES * view + frame}.png"


def scrambled(domain: str, view: int, frame: int) -> str:
    number = np.random.default_rng([view, frame, DOMAINS.index(domain)]).integers(10**9)
    return f"{domain}/{number}.png"


def index() -> list[Item]:
    return read_index(images_folder() / "index.csv")


def by_split(items: list[Item]) -> dict[str, set[str]]:
    return {s: {i.group for i in items if i.split == s} for s in ("train", "val", "test")}


# --- names


@pytest.mark.parametrize(
    ("file", "domain"),
    [
        ("synthetic/low/1.png", "synthetic_low"),
        ("Low/Synthetic/1.png", "synthetic_low"),
        ("SYNTH-HIGH-0001.png", "synthetic_high"),
        ("sim high dose/1.png", "synthetic_high"),
        ("VIST_lowDose/1.png", "synthetic_low"),
        ("SimulatedHigh/1.png", "synthetic_high"),
        ("LOWdose/SIM/1.png", "synthetic_low"),
        ("simlow1.png", "synthetic_low"),
        ("high/1.png", "synthetic_high"),
        ("Real/Low/1.png", "real_low"),
        ("low-dose-real.png", "real_low"),
        ("phantom_low/1.png", "real_low"),
        ("Azurion/Normal dose/1.png", "real_normal"),
        ("normal/1.png", "real_normal"),
        ("PhilipsExposure01.tif", "real_exposure"),
        ("a/exposure/1.dcm", "real_exposure"),
        ("sim_phantom_low/1.png", "synthetic_low"),
        ("real/synthetic/low/1.png", "synthetic_low"),
        ("synthetic_high/real_low_1.png", "real_low"),
        ("low/1.png", None),
        ("real/1.png", None),
        ("real/high/1.png", None),
        ("synthetic/normal/1.png", None),
        ("synthetic_vs_real/low/1.png", None),
        ("real/low_high/1.png", None),
        ("realistic/lower/1.png", None),
        ("skull/1.png", None),
    ],
)
def test_domains_are_told_by_name_parts(file: str, domain: str | None) -> None:
    assert domain_of(file) == domain


def test_only_images_are_considered(tmp_path: Path) -> None:
    junk = ["__MACOSX/real/low/._1.png", "real/low/.hidden.png", "real/low/Thumbs.db", ".git/1.png"]
    for name in ["real/low/1.png", "README.md", "real/low/notes.txt", *junk]:
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_bytes(b"")
    found = recognise(tmp_path)
    assert found.items["real_low"] == ["real/low/1.png"]
    assert found.unrecognised == []


def test_a_mapping_goes_before_names_and_leaves_files_out(tmp_path: Path) -> None:
    names = ["real/low/1.png", "real/low/1_mask.png", "ultra/low/1.png", "x[1]/1.png", "odd.png"]
    for name in names:
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_bytes(b"")
    rules = [("*_mask.png", "skip"), ("ultra/*", "real_exposure"), ("low/*", "real_normal")]
    found = recognise(tmp_path, rules)
    assert found.skipped == ["real/low/1_mask.png"]
    assert found.items["real_exposure"] == ["ultra/low/1.png"]
    assert found.items["real_normal"] == ["real/low/1.png"]
    assert summary(found)[-2:] == [
        {"domain": "unrecognised", "files": 2, "example": "odd.png"},
        {"domain": "skipped", "files": 1, "example": "real/low/1_mask.png"},
    ]
    assert [row["domain"] for row in summary(found)[:5]] == DOMAINS


@pytest.mark.parametrize(
    ("text", "match"),
    [
        ("*/ultra/*", "PATTERN=DOMAIN"),
        ("=real_low", "PATTERN=DOMAIN"),
        ("*=real_lo", "did you mean real_low"),
        ("*/ultra/*=real_low", "matches no image"),
    ],
)
def test_a_mapping_that_cannot_be_meant(tmp_path: Path, text: str, match: str) -> None:
    source = archive(tmp_path / "a.zip", layout(nested))
    with pytest.raises(UserError, match=match):
        obtain("xdigiskull", source, [text])


# --- from an archive to index and description


@pytest.mark.parametrize("name_of", [nested, flat, mixed, frame_numbers])
def test_equal_names_are_equal_views(
    tmp_path: Path, name_of: Callable[[str, int, int], str]
) -> None:
    root = obtain("xdigiskull", archive(tmp_path / "X-DigiSkull.zip", layout(name_of)))
    description, items = read_description(root), index()
    assert description
    assert description.alignment == "id"
    assert len(items) == len(DOMAINS) * VIEWS * FRAMES
    shown = {}
    for item in items:
        shown.setdefault(item.id, {})[item.domain] = (root / item.file).read_bytes()
    truth = {tuple(png(view, domain) for domain in DOMAINS) for view in range(VIEWS * FRAMES)}
    assert {tuple(files[domain] for domain in DOMAINS) for files in shown.values()} == truth


def test_the_description_says_what_was_found(tmp_path: Path) -> None:
    root = obtain("xdigiskull", archive(tmp_path / "a.zip", layout(mixed)))
    description = read_description(root)
    assert description
    assert description.name == "xdigiskull"
    assert list(description.domains or ()) == DOMAINS
    assert description.domain_groups["synthetic_high"] == "synthetic"
    assert description.domain_groups["real_exposure"] == "real"
    assert description.polarity == "bone-dark"
    assert "12 of 12 ids" in str(description.notes)


@pytest.mark.parametrize(("name_of", "groups"), [(nested, 6), (mixed, 6), (frame_numbers, 12)])
def test_no_split_cuts_through_a_group(
    tmp_path: Path, name_of: Callable[[str, int, int], str], groups: int
) -> None:
    obtain("xdigiskull", archive(tmp_path / "a.zip", layout(name_of)))
    items = index()
    found = by_split(items)
    assert len(set.union(*found.values())) == sum(map(len, found.values())) == groups
    assert all(found.values())
    for view in {item.id for item in items}:
        assert len({(item.group, item.split) for item in items if item.id == view}) == 1


def test_many_unnamed_views_form_twenty_neighbourhoods(tmp_path: Path) -> None:
    picture = png(0)
    files = {f"{domain}/{i}.png": picture for domain in DOMAINS for i in range(1, 101)}
    obtain("xdigiskull", archive(tmp_path / "a.zip", files))
    groups: dict[str, list[int]] = {}
    for item in index():
        if item.domain == "real_low":
            groups.setdefault(item.group, []).append(int(item.id))
    assert len(groups) == 20
    for numbers in groups.values():
        assert sorted(numbers) == list(range(min(numbers), min(numbers) + 5))


def test_images_without_partners_only_train(tmp_path: Path) -> None:
    files = layout(nested)
    for view in range(VIEWS):
        files[nested("synthetic_low", view, 7)] = png(100 + view)
    for view in range(90, 100):
        files[nested("synthetic_low", view, 7)] = png(200 + view)
    obtain("xdigiskull", archive(tmp_path / "a.zip", files))
    items = index()
    alone = [item for item in items if item.id.endswith("0007")]
    train = {item.group for item in items if item.split == "train"}
    assert {item.split for item in alone} == {"train"}
    assert {item.group for item in alone} == train
    assert {f"view-{view}" for view in range(90, 100)} < train
    description = read_description(images_folder())
    assert description
    assert f"left out: {VIEWS + 10 - len(alone)} images" in str(description.notes)


def test_scrambled_names_are_registered(tmp_path: Path) -> None:
    files = layout(scrambled)
    extra = {f"real_low/{10**9 + i}.png": png(100 + i) for i in range(2)}
    root = obtain("xdigiskull", archive(tmp_path / "a.zip", files | extra))
    description, items = read_description(root), index()
    assert description
    assert description.alignment == "id"
    assert "registration" in str(description.notes)
    truth = {png(view, domain): view for domain in DOMAINS for view in range(VIEWS * FRAMES)}
    seen: dict[str, set[int]] = {}
    for item in items:
        picture = (root / item.file).read_bytes()
        if picture in truth:
            seen.setdefault(item.id, set()).add(truth[picture])
        else:
            assert item.split == "train"
    assert len(seen) == VIEWS * FRAMES
    assert all(len(views) == 1 for views in seen.values())


def test_unrelated_images_are_not_aligned(tmp_path: Path) -> None:
    files = {
        f"{domain}/{1000 * place + i}.png": png(1000 * place + i)
        for place, domain in enumerate(DOMAINS)
        for i in range(12)
    }
    obtain("xdigiskull", archive(tmp_path / "a.zip", files))
    description = read_description(images_folder())
    assert description
    assert description.alignment == "none"
    assert "registration failed" in str(description.notes)
    dataset = open_dataset()
    assert not dataset.aligned("test")
    assert all(dataset.ids("test", domain) for domain in DOMAINS)


def test_building_twice_gives_the_same_files(tmp_path: Path) -> None:
    source = archive(tmp_path / "a.zip", layout(nested))
    root = obtain("xdigiskull", source)
    first = [(root / name).read_bytes() for name in ("index.csv", "dataset.toml")]
    obtain("xdigiskull", source)
    assert [(root / name).read_bytes() for name in ("index.csv", "dataset.toml")] == first


# --- what is missing or strange


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


# --- sources


def test_a_folder_is_copied_and_left_alone(tmp_path: Path) -> None:
    source = tmp_path / "mine"
    with zipfile.ZipFile(archive(tmp_path / "a.zip", layout(nested))) as file:
        file.extractall(source)
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


# --- from the server to images


def open_dataset() -> Folder:
    kind = registry.get("xdigiskull")
    assert issubclass(kind, Folder)
    config = kind.configure(get_profile("smoke")).model_copy(update={"size": 40})
    dataset = kind(config)
    dataset.prepare()
    return dataset


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
