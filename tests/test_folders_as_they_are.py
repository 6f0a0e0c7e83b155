"""Folders as people have them: what lies between the images, and how names and tables are spelt."""

import os
import shutil
import time
import unicodedata
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from xbench.core.errors import UserError
from xbench.core.profiles import get_profile
from xbench.datasets.folder import Folder

Xbench = Callable[..., Any]


def draw(path: Path, seed: int) -> None:
    """A 16-bit picture of noise."""
    path.parent.mkdir(parents=True, exist_ok=True)
    values = np.random.default_rng(seed).integers(0, 65535, (32, 32)).astype(np.uint16)
    Image.fromarray(values).save(path)


def two_domains(root: Path, names: str = "img{:03d}.png", number: int = 12) -> Path:
    """Images of the domains `real` and `synthetic`."""
    for offset, domain in enumerate(("real", "synthetic")):
        for seed in range(number):
            draw(root / domain / names.format(seed), 100 * offset + seed)
    return root


def opened(root: Path) -> Folder:
    """The data set in a folder."""
    kind = Folder.at(root)
    return kind(kind.configure(get_profile("smoke")))


def dry_run(xbench: Xbench, *more: object) -> Any:
    """What `xbench run` says before any work."""
    options = ("--method", "histogram", "--profile", "smoke", "--out", "out", "--dry-run")
    return xbench("run", *options, *more)


@pytest.mark.parametrize(
    "name",
    [
        "real/@eaDir/img000.png/SYNOPHOTO_THUMB_M.png",
        "real/.thumbnails/img000.png",
        "real/thumbnails/img000.png",
        "real/img000_thumb.png",
        "__MACOSX/real/._img000.png",
        "real/._img000.png",
        "#recycle/real/img000.png",
        "$RECYCLE.BIN/S-1-5-21/img000.png",
        "System Volume Information/img000.png",
        "real/Thumbs.db",
        "real/.DS_Store",
        "real/DICOMDIR",
    ],
)
def test_what_is_no_image_of_the_set_is_passed_over_and_named(tmp_path: Path, name: str) -> None:
    root = two_domains(tmp_path / "set")
    clean = opened(root).key
    draw(tmp_path / "junk.png", 7)
    (root / name).parent.mkdir(parents=True, exist_ok=True)
    shutil.move(tmp_path / "junk.png", root / name)
    dirty = opened(root)
    assert dirty.key == clean
    (note,) = [note for note in dirty.notes() if note.startswith("left out: 1 files (")]
    assert any(part in note for part in Path(name).parts[:2])


def test_our_own_results_and_caches_are_no_domains(
    xbench: Xbench, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    root = two_domains(tmp_path / "set")
    clean = opened(root).key
    monkeypatch.setenv("XBENCH_HOME", str(root / "cache"))
    monkeypatch.chdir(root)
    for out in ("runs", "."):
        ran = xbench(
            *("run", "--method", "histogram", "--profile", "smoke", "--dataset", "."),
            *("--pairs", "real:synthetic", "--out", out),
        )
        assert ran.code == 0, ran.err
    xbench("data", "export", ".", "exported", "--profile", "smoke")
    assert opened(root).key == clean
    monkeypatch.setenv("XBENCH_HOME", str(tmp_path / "another"))  # the old cache is still known
    assert opened(root).domains == ("real", "synthetic")


def test_links_that_lead_nowhere_are_named(xbench: Xbench, tmp_path: Path) -> None:
    root = two_domains(tmp_path / "set")
    for number in (3, 7):
        (root / f"real/img00{number}.png").unlink()
        (root / f"real/img00{number}.png").symlink_to("../../annex/nowhere")
    shown = dry_run(xbench, "--dataset", root)
    assert shown.code == 0
    assert "2 files (links that lead nowhere): real/img003.png, real/img007.png" in shown.out


def test_a_domain_behind_a_dead_link_is_named(tmp_path: Path) -> None:
    root = two_domains(tmp_path / "set")
    shutil.rmtree(root / "real")
    (root / "real").symlink_to(tmp_path / "unmounted")
    with pytest.raises(UserError, match=r"holds one domain, synthetic, .*lead nowhere\): real"):
        opened(root).key  # noqa: B018


def test_names_of_any_bytes_work_and_keep_their_ids(xbench: Xbench, tmp_path: Path) -> None:
    root = two_domains(tmp_path / "set", names="image{:03d}.png")
    try:
        for path in sorted(root.glob("*/*")):
            name = path.name.encode().replace(b"image", b"sch\xe4del")
            os.rename(bytes(path), os.path.join(bytes(path.parent), name))
    except OSError:
        pytest.skip("this file system takes no such names")
    assert opened(root)._items("test", "real")[0].id.startswith("sch%E4del")
    done = xbench("data", "init", root, "--to", "preview.png")
    assert done.code == 0, done.err
    options = ("--method", "histogram", "--profile", "smoke", "--dataset", root)
    assert xbench("run", *options).code == 0
    assert xbench("run", *options).code == 0  # and are found again
    assert xbench("data", "verify", root, "--json").code in (0, 1)


def test_accents_are_equal_however_they_are_spelt(xbench: Xbench, tmp_path: Path) -> None:
    root = tmp_path / "set"
    one, other = (unicodedata.normalize(form, "Schädel") for form in ("NFC", "NFD"))
    for seed in range(8):
        draw(root / f"{other} echt" / f"{one}{seed}.png", seed)
        draw(root / "synthetic" / f"{other}{seed}.png", 50 + seed)
    (root / "dataset.toml").write_text(
        f'[polarity]\n"{one} echt" = "bone-bright"\n', encoding="utf-8"
    )
    data = opened(root)
    assert data.domains == (f"{one} echt", "synthetic")
    assert data.aligned("test")
    assert dry_run(xbench, "--dataset", root, "--pairs", f"{other} echt:synthetic").code == 0
    rows = ["file,domain,split,id,group"]
    for seed in range(6):
        split = "train" if seed < 4 else "test"
        rows += [f"{one} echt/{one}{seed}.png,echt,{split},{seed},{seed}"]
        rows += [f"synthetic/{one}{seed}.png,gemalt,{split},{seed},{seed}"]
    (root / "index.csv").write_text("\n".join(rows), encoding="utf-8")
    (root / "dataset.toml").write_text('index = "index.csv"\n')
    assert len(opened(root).layout.items) == 12


def write_index(root: Path, lines: list[str], coding: str = "utf-8", end: str = "\n") -> None:
    """An index, and the description that names it."""
    (root / "index.csv").write_bytes(
        end.join(["file,domain,split,id,group", *lines]).encode(coding)
    )
    (root / "dataset.toml").write_text('index = "index.csv"\n')


def lines_of(root: Path) -> list[str]:
    """The lines of an index of `two_domains`."""
    return [
        f"{d}/img{i:03d}.png,{d},{'train' if i < 9 else 'test'},i{i},g{i}"
        for d in ("real", "synthetic")
        for i in range(12)
    ]


def test_an_index_of_other_programs_is_read(tmp_path: Path) -> None:
    root = two_domains(tmp_path / "set")
    lines = lines_of(root)
    write_index(root, lines)
    plain = opened(root)
    for change, coding, end in (
        (str, "utf-8-sig", "\r\n"),
        (str, "utf-16", "\n"),
        (lambda text: text.replace("/", "\\"), "utf-8", "\n"),
        (lambda text: text.replace(",", ", "), "utf-8", "\n"),
        (lambda text: "./" + text, "utf-8", "\n,,,,\n"),
    ):
        write_index(root, [change(line) for line in lines], coding, end)
        assert opened(root).key == plain.key
    for separator in ";\t":
        text = "\n".join(["file,domain,split,id,group", *lines]).replace(",", separator)
        (root / "index.csv").write_text(text)
        assert opened(root).key == plain.key


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (("real/img003.png", "real/nowhere.png"), "1 of its files are not there: real/nowhere.png"),
        (("real/img003.png", "real\\nowhere.png"), "real\\nowhere.png"),
        (("real/img003.png", "..\\real\\x.png"), "lies outside"),
        (("real/img003.png", "real/img004.png"), "line 6 names real/img004.png a second time"),
        (("real/img003.png,real,train,i3,g3", "real/img003.png,real,train,i4,g4"), "same name"),
        (("real/img003.png,real,train", "real/img003.png,real,tset"), "did you mean test?"),
        (
            ("i3,g3", "i3,g10"),
            "'g10' lies in train (real/img003.png) and in test (real/img010.png)",
        ),
    ],
)
def test_mistakes_in_an_index_are_reported(
    xbench: Xbench, tmp_path: Path, change: tuple[str, str], said: str
) -> None:
    root = two_domains(tmp_path / "set")
    text = "\n".join(lines_of(root))
    write_index(root, text.replace(*change).splitlines())
    result = dry_run(xbench, "--dataset", root)
    assert result.code == 2
    assert len(result.err.strip().splitlines()) == 3
    assert said in result.err
    assert "--out" not in result.err


def test_a_file_that_keeps_its_size_and_time_but_not_its_contents_is_noticed(
    tmp_path: Path,
) -> None:
    root = two_domains(tmp_path / "set")
    path = root / "real" / "img000.png"
    stored = path.read_bytes()
    before = opened(root).key
    times = path.stat().st_atime_ns, path.stat().st_mtime_ns
    time.sleep(0.02)
    for change in ("in place", "another file"):
        if change == "another file":
            path.unlink()
        path.write_bytes(stored[:-20] + bytes(byte ^ 1 for byte in stored[-20:]))
        os.utime(path, ns=times)
        assert opened(root).key != before
        path.write_bytes(stored)
        os.utime(path, ns=times)
        assert opened(root).key == before


def test_domains_that_dataset_toml_does_not_list_are_named(tmp_path: Path) -> None:
    root = two_domains(tmp_path / "set")
    alone = opened(root)._items("test", "real")
    draw(root / "third" / "other.png", 3)
    (root / "dataset.toml").write_text('domains = ["real", "synthetic"]')
    data = opened(root)
    assert [item.id for item in data._items("test", "real")] == [item.id for item in alone]
    assert any("third/other.png" in note for note in data.notes())
