"""From archives of unknown layout to a data set: recognition, views, groups, splits."""

import runpy
from collections.abc import Callable
from pathlib import Path

import pytest

from xbench.core.errors import UserError
from xbench.datasets.describe import read_description
from xbench.datasets.importers.recognise import domain_of, recognise, summary
from xbench.datasets.importers.xdigiskull import images_folder, obtain

archives = runpy.run_path(str(Path(__file__).with_name("digiskull_archives.py")))
DOMAINS = archives["DOMAINS"]
FRAMES = archives["FRAMES"]
VIEWS = archives["VIEWS"]
archive = archives["archive"]
by_split = archives["by_split"]
flat = archives["flat"]
frame_numbers = archives["frame_numbers"]
home = archives["home"]
index = archives["index"]
layout = archives["layout"]
mixed = archives["mixed"]
nested = archives["nested"]
open_dataset = archives["open_dataset"]
png = archives["png"]
scrambled = archives["scrambled"]


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
def test_domains_are_recognised_by_name_parts(file: str, domain: str | None) -> None:
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
