"""Patients: which images show one, and that no split cuts through one."""

import re
from collections import defaultdict
from collections.abc import Callable, Iterable
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from xbench.core.errors import UserError
from xbench.datasets.folder import Folder
from xbench.datasets.layout import Layout


def _png() -> bytes:
    stored = BytesIO()
    Image.fromarray(np.arange(1024, dtype=np.uint16).reshape(32, 32)).save(stored, "PNG")
    return stored.getvalue()


PNG = _png()


def make(root: Path, names: Iterable[str], toml: str = "") -> Layout:
    """The layout of a folder with images of these names."""
    for name in names:
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(PNG)
    if toml:
        (root / "dataset.toml").write_text(toml)
    kind = Folder.at(root)
    return kind(kind.configure_size(32)).layout


def splits(layout: Layout, patient: Callable[[str], str]) -> dict[str, set[str]]:
    """Patient → the splits in which images of it lie, in any domain."""
    found = defaultdict(set)
    for item in layout.items:
        found[patient(item.file)].add(item.split)
    return found


def both(names: Iterable[str]) -> list[str]:
    """Names in two domains, which share no view."""
    return [f"{domain}/{name.format(d=domain)}" for name in names for domain in ("a", "b")]


@pytest.mark.parametrize(
    ("names", "patient"),
    [
        # domain/patient/study/series/image, and what else lies above the patient
        (
            [f"p{p}/study{s}/series1/IM{i}.png" for p in range(9) for s in "12" for i in "12"],
            r"/(p\d)/",
        ),
        ([f"images/p{p}/{i}.png" for p in range(9) for i in "123"], r"/(p\d)/"),
        ([f"DICOM/PA{p}/ST{s}/{i}.png" for p in range(9) for s in "12" for i in "1"], r"/(PA\d)/"),
        # names that begin with the patient
        ([f"patient{p}_{i}.png" for p in range(20) for i in range(3)], r"(patient\d+)_"),
        ([f"P{p}-{view}.png" for p in range(10, 20) for view in ("ap", "lat")], r"(P\d+)-"),
        ([f"{p:04d}_{i:02d}.png" for p in range(12) for i in range(1 + p % 3)], r"/(\d{4})_"),
        ([f"{p:08d}_{i}.png" for p in range(12) for i in range(2)], r"/(\d{8})_"),
        ([f"chest_{p}_{i}.png" for p in range(12) for i in range(2)], r"/(chest_\d+)_"),
        ([f"case {p} ({i}).png" for p in range(12) for i in range(2)], r"/(case \d+) "),
        ([f"p{p}_study{s}_{i}.png" for p in range(9) for s in "12" for i in "12"], r"/(p\d)_"),
        ([f"{name}_{i}.png" for name in ("ann", "bob", "eve", "kim") for i in "123"], r"/(\w+)_"),
        # folders of views
        ([f"{view}/{p:03d}.png" for view in ("ap", "lat") for p in range(12)], r"(\d{3})\.png"),
    ],
)
def test_all_images_of_a_patient_lie_in_one_split(
    tmp_path: Path, names: list[str], patient: str
) -> None:
    layout = make(tmp_path, both(names), 'alignment = "none"')
    found = splits(layout, lambda file: m[1] if (m := re.search(patient, file)) else file)
    assert all(len(where) == 1 for where in found.values()), found
    assert set.union(*found.values()) == {"train", "val", "test"}


def test_a_patient_of_two_domains_is_one_group_however_the_files_are_named(tmp_path: Path) -> None:
    names = [f"a/p{p}_{i}.png" for p in range(12) for i in range(3)]  # three views of each
    names += [f"b/p{p}.png" for p in range(6, 18)]  # one view of each
    layout = make(tmp_path, names)
    found = splits(layout, lambda file: re.split(r"[/_.]", file)[1])
    assert all(len(where) == 1 for where in found.values())
    assert layout.groups == (
        "groups: what names begin with, such as p0 in p0_0, 12 in a; "
        "what names begin with, such as p10 in p10, 12 in b"
    )


def test_equal_views_of_two_domains_share_the_group_that_one_of_them_tells(
    tmp_path: Path, save_dicom: Callable[..., Path]
) -> None:
    pixels = np.arange(1024).reshape(32, 32)
    for number in range(24):
        path = tmp_path / "scan" / f"IM{number:03d}.dcm"
        path.parent.mkdir(exist_ok=True)
        save_dicom(path, pixels, PatientID=f"MRN-{number % 8}")
    layout = make(tmp_path, [f"drawn/IM{number:03d}.png" for number in range(24)])
    assert layout.aligned["test"]
    found = splits(layout, lambda file: str(int(file[-7:-4]) % 8))
    assert all(len(where) == 1 for where in found.values())


@pytest.mark.parametrize(
    "names",
    [
        [f"img_{i:03d}" for i in range(12)],
        [f"{i:03d}" for i in range(12)],
        [f"1.2.840.10008.{i // 6}.{i}" for i in range(12)],
        [f"{side}_{i}" for side in ("left", "right") for i in range(6)],
        [f"2014-0{1 + i % 3}-1{i % 2}_{i:02d}" for i in range(12)],
        [f"{year}{i:02d}" for year in ("2014-05-", "2015-06-", "2016-07-") for i in range(10, 14)],
    ],
)
def test_numbers_dates_and_views_are_no_patients(tmp_path: Path, names: list[str]) -> None:
    layout = make(tmp_path, both(f"{name}.png" for name in names))
    assert layout.groups.startswith("groups: every image is its own, 12 in a")


def test_dicom_files_of_one_patient_are_a_group_and_the_id_is_nowhere(
    tmp_path: Path, save_dicom: Callable[..., Path], xbench: Callable[..., Any]
) -> None:
    pixels = np.random.default_rng(1).integers(0, 4095, (32, 32))
    for domain in ("a", "b"):
        for number in range(40):
            path = tmp_path / "set" / domain / f"{domain}{number:03d}.dcm"
            path.parent.mkdir(parents=True, exist_ok=True)
            save_dicom(path, pixels + number, PatientID=f"MRN{number % 5}77")
    layout = make(tmp_path / "set", [])
    found = splits(layout, lambda file: str(int(file[3:6]) % 5))
    assert all(len(where) == 1 for where in found.values())
    assert layout.groups == "groups: DICOM PatientID (hashed), 5 in a, 5 in b"
    shown = xbench("data", "init", "set")
    assert "DICOM PatientID (hashed), 5 in a" in shown.err
    xbench("run", "--method", "identity", "--dataset", "set", "--profile", "smoke")
    texts = [shown.out, shown.err, repr(layout)]
    texts += [p.read_text(errors="ignore") for p in tmp_path.rglob("*.json")]
    texts += [p.read_text(errors="ignore") for p in tmp_path.rglob("*.csv")]
    assert not any("MRN" in text for text in texts)


def test_one_id_for_all_dicom_files_tells_no_patients_apart(
    tmp_path: Path, save_dicom: Callable[..., Path]
) -> None:
    for name in both(f"{{d}}{i}.dcm" for i in range(10)):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        save_dicom(tmp_path / name, np.zeros((32, 32)), PatientID="ANONYMOUS")
    assert make(tmp_path, []).groups == "groups: every image is its own, 10 in a, 10 in b"


@pytest.mark.parametrize(
    ("rule", "groups"), [("folder", 4), ("stem", 16), ("auto", 4), (r"(st\\d)", 2)]
)
def test_what_the_user_says_wins(tmp_path: Path, rule: str, groups: int) -> None:
    names = both(f"p{p}/st{s}/{i}.png" for p in range(4) for s in "12" for i in "12")
    layout = make(tmp_path, names, f'[split]\ngroup = "{rule}"')
    assert len({item.group for item in layout.items if item.domain == "a"}) == groups


@pytest.mark.parametrize(
    ("folder", "patient"),
    [("p{p}/{i}.png", "p3"), ("p{p}_{i}.png", "p3"), ("{p:04d}-{i}.png", "0003")],
)
@pytest.mark.parametrize("places", ["{split}/{domain}", "{domain}/{split}"])
def test_a_patient_in_train_and_test_folders_is_named(
    tmp_path: Path, folder: str, patient: str, places: str, xbench: Callable[..., Any]
) -> None:
    names = [
        places.format(split=split, domain=domain) + "/" + folder.format(p=p, i=i)
        for split, patients in {"train": range(9), "test": (3, *range(10, 14))}.items()
        for domain in ("a", "b")
        for p in patients
        for i in (0, 1)
    ]
    with pytest.raises(UserError, match=f"'{patient}' lies in"):
        make(tmp_path / "set", names)
    result = xbench("run", "--method", "identity", "--profile", "smoke", "--dataset", "set")
    assert result.code == 2
    assert len(result.err.strip().splitlines()) == 3
    # The advice is accepted: they were different patients.
    advice = re.search(r'split.group = "\w+"', result.err)
    assert advice
    assert make(tmp_path / "set", [], advice[0]).aligned["test"]


def test_the_advice_fits_a_description_that_init_wrote(tmp_path: Path) -> None:
    names = [
        f"{s}/{d}/p{p}/{i}.png" for s in ("train", "test") for d in "ab" for p in "123" for i in "1"
    ]
    with pytest.raises(UserError, match=r'set group = "stem" below \[split\]'):
        make(tmp_path, names, '[split]\ngroup = "auto"\n')
    assert make(tmp_path, [], '[split]\ngroup = "stem"\n').aligned["test"]


def test_a_patient_of_one_domains_train_is_not_in_anothers_test(tmp_path: Path) -> None:
    names = [f"train/a/p{p}/{i}.png" for p in range(5) for i in "12"]
    names += [f"test/a/q{p}/{i}.png" for p in range(5) for i in "12"]
    names += [f"train/b/r{p}/{i}.png" for p in range(5) for i in "12"]
    names += [f"test/b/p{p}/{i}.png" for p in range(5) for i in "12"]
    with pytest.raises(UserError, match=r"'p0' lies in .* so do 4 more: p1, p2"):
        make(tmp_path, names)


def test_numbers_that_begin_again_in_each_split_are_no_patients(tmp_path: Path) -> None:
    names = [
        f"{split}/{d}/{i:03d}.png" for split in ("train", "test") for d in "ab" for i in range(6)
    ]
    assert {item.split for item in make(tmp_path, names).items} == {"train", "val", "test"}


def test_too_few_patients_are_explained(tmp_path: Path) -> None:
    names = both(f"p{p}/{i}.png" for p in "1" for i in range(12))
    with pytest.raises(UserError, match=r"12 images of 1 groups, none of them for test") as raised:
        make(tmp_path, names)
    advice = re.search(r'split.group = "stem"', str(raised.value))
    assert advice
    assert make(tmp_path, [], advice[0]).aligned["test"]


def test_some_images_without_a_partner_cost_a_patient_no_place_in_test(tmp_path: Path) -> None:
    names = [f"a/p{p}/{i}.png" for p in range(10) for i in range(4)]
    names += [f"b/p{p}/{i}.png" for p in range(10) for i in range(3)]
    layout = make(tmp_path, names)
    assert layout.aligned["test"]
    assert any("without partners" in reason for reason in layout.left_out)
