"""Data sets in folders: what is found, how it is split, and what is said when it cannot be used."""

import os
import shutil
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from xbench.core.errors import UserError
from xbench.core.files import home
from xbench.core.hashing import digest, file_digest
from xbench.core.profiles import get_profile
from xbench.datasets import registry
from xbench.datasets.base import Dataset
from xbench.datasets.decode import DECODER
from xbench.datasets.folder import Folder

Draw = Callable[..., None]


def picture(seed: int, contrast: float = 1.0, shape: tuple[int, int] = (40, 40)) -> np.ndarray:
    """Something like a head: bright air around a dark disc with random detail, uint16."""
    rng = np.random.default_rng(seed)
    y, x = np.indices(shape) / np.array(shape)[:, None, None] - 0.5
    detail = rng.normal(size=(5, 5)).repeat(shape[0] // 5, 0).repeat(shape[1] // 5, 1)
    head = (x**2 + y**2 < 0.16) * (0.5 * contrast + 0.1 * np.clip(detail, -2, 2))
    return np.round(np.clip(1 - head, 0, 1) * 65535).astype(np.uint16)


def draw(path: Path, seed: int, **looks: object) -> None:
    """Save one picture, making its folders."""
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(picture(seed, **looks)).save(path)  # type: ignore[arg-type]


def pair_of_domains(root: Path, number: int = 20) -> Path:
    """Two domains with the same views."""
    for seed in range(number):
        draw(root / "soft" / f"view{seed:02d}.png", seed, contrast=0.6)
        draw(root / "hard" / f"view{seed:02d}.png", seed)
    return root


def opened(root: Path, size: int = 40) -> Dataset:
    """The data set in a folder, decoded at a size at which nothing is resized."""
    kind = registry.get(str(root))
    dataset = kind(kind.configure(get_profile("smoke")).model_copy(update={"size": size}))
    dataset.prepare()
    return dataset


def counts(data: Dataset, domain: str) -> tuple[int, int, int]:
    """Training, val and test images."""
    return len(data.train(domain)), len(data.ids("val", domain)), len(data.ids("test", domain))


def test_a_folder_per_domain_is_a_data_set(tmp_path: Path) -> None:
    data = opened(pair_of_domains(tmp_path / "mine"))
    assert data.name == "mine"
    assert data.domains == ("hard", "soft")
    assert [
        len(data.train("hard")),
        len(data.ids("val", "hard")),
        len(data.ids("test", "hard")),
    ] == [*(14, 2, 4)]
    assert data.aligned("test")
    assert data.ids("test", "hard") == data.ids("test", "soft")
    name = data.ids("test", "hard")[0]
    expected = torch.from_numpy(picture(int(name[4:])) / np.float32(65535))
    assert torch.allclose(data.images("test", "hard")[0][0], expected.float(), atol=1e-6)


@pytest.mark.parametrize("layout", ["{split}/{domain}", "{domain}/{split}"])
def test_folders_of_splits_may_lie_above_or_below_the_domains(tmp_path: Path, layout: str) -> None:
    for split, seeds in {"Train": range(6), "val": range(6, 8), "test": range(8, 11)}.items():
        for domain in ("a", "b"):
            for seed in seeds:
                draw(tmp_path / layout.format(split=split, domain=domain) / f"{seed}.png", seed)
    data = opened(tmp_path)
    assert len(data.train("a")) == 6
    assert data.ids("val", "b") == ["6", "7"]
    assert data.ids("test", "b") == ["10", "8", "9"]


def test_train_a_and_test_b_are_understood(tmp_path: Path) -> None:
    for split, number in {"train": 6, "test": 3}.items():
        for domain in "AB":
            for seed in range(number):
                draw(tmp_path / f"{split}{domain}" / f"{domain}{seed}.png", seed)
    data = opened(tmp_path)
    assert data.domains == ("A", "B")
    assert not data.aligned("test")
    # Nothing is there for val: it comes out of train.
    assert (len(data.train("A")), len(data.ids("val", "A")), len(data.ids("test", "A"))) == (
        5,
        1,
        3,
    )


def test_second_exposures_become_repeats(tmp_path: Path) -> None:
    for split in ("train", "test", "test_repeat"):
        for domain in ("a", "b"):
            for seed in range(4):
                draw(tmp_path / split / domain / f"{seed}.png", seed, contrast=len(split) / 12)
    data = opened(tmp_path)
    assert data.repeated("test")
    repeats = data.repeats("test", "a")
    assert repeats is not None
    assert len(repeats) == 4
    assert not torch.equal(repeats[:], data.images("test", "a")[:])


def test_no_group_lies_on_both_sides_of_a_split(tmp_path: Path) -> None:
    for domain in ("a", "b"):
        for patient in range(9):
            for view in range(3):
                draw(tmp_path / domain / f"patient {patient}" / f"{view}.png", 10 * patient + view)
    data = opened(tmp_path)
    test, val = set(data.groups("test", "a")), set(data.groups("val", "a"))
    assert len(test) == 2
    assert len(val) == 1
    assert not test & val
    assert len(data.train("a")) == 3 * (9 - 2 - 1)
    assert "patient" in data.ids("test", "a")[0]


def test_adding_no_file_keeps_split_and_key_wherever_the_folder_lies(tmp_path: Path) -> None:
    first = opened(pair_of_domains(tmp_path / "one"))
    shutil.copytree(tmp_path / "one", tmp_path / "two")
    second = opened(tmp_path / "two")
    assert first.key == second.key
    assert first.ids("test", "hard") == second.ids("test", "hard")


def test_the_key_follows_contents_and_preprocessing(tmp_path: Path) -> None:
    root = pair_of_domains(tmp_path / "mine")
    keys = {opened(root).key, opened(root, size=32).key}
    (root / "dataset.toml").write_text('polarity = "bone-bright"')
    keys.add(opened(root).key)
    draw(root / "soft" / "view00.png", seed=99)
    keys.add(opened(root).key)
    assert len(keys) == 4


@pytest.mark.parametrize("line", ['alignment = "none"', 'domain_groups = {soft = "one"}'])
def test_what_scores_depend_on_changes_the_key_and_no_training(tmp_path: Path, line: str) -> None:
    root = pair_of_domains(tmp_path / "mine")
    before = opened(root)
    (root / "dataset.toml").write_text(line)
    after = opened(root)
    assert after.key != before.key
    assert after.images_key == before.images_key


def test_images_are_decoded_once(tmp_path: Path) -> None:
    data = opened(pair_of_domains(tmp_path / "mine"))
    before = data.train("hard")[:]
    stamps = {path: path.stat().st_mtime_ns for path in sorted(data.cache().iterdir())}  # type: ignore[union-attr]
    shutil.rmtree(tmp_path / "mine" / "hard")  # what is cached needs no file
    data.prepare()
    assert torch.equal(data.train("hard")[:], before)
    assert stamps == {path: path.stat().st_mtime_ns for path in sorted(data.cache().iterdir())}  # type: ignore[union-attr]


def test_images_of_an_older_decoder_are_decoded_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    root = pair_of_domains(tmp_path / "mine")
    with monkeypatch.context() as patch:
        patch.setattr(Folder, "version", DECODER - 1)
        old = opened(root)
        for array in (old.cache() or root).glob("*.npy"):  # pixels that were read wrong
            np.save(array, np.zeros_like(np.load(array)))
        assert not old.train("hard")[:].any()
    new = opened(root)
    assert Folder.version == DECODER
    assert (new.key, new.images_key, new.cache()) != (old.key, old.images_key, old.cache())
    assert new.train("hard")[:].any()


def test_what_computers_and_annotators_leave_is_left_out(tmp_path: Path) -> None:
    root = pair_of_domains(tmp_path / "mine")
    clean = opened(root).key
    for name in (".DS_Store", "Thumbs.db", "soft/.hidden.png", "soft/notes.txt", "overview.png"):
        (root / name).write_bytes(b"junk")
    for name in ("soft/view00_mask.png", "hard/masks/view00.png", "__MACOSX/hard/view01.png"):
        draw(root / name, seed=5)
    data = opened(root)
    assert data.key == clean
    assert any("masks" in note and "view00" in note for note in data.notes())


def test_links_in_a_circle_are_followed_once(tmp_path: Path) -> None:
    root = pair_of_domains(tmp_path / "mine")
    clean = opened(root).key
    (root / "soft" / "again").symlink_to(root, target_is_directory=True)
    assert opened(root).key == clean


def linked(tmp_path: Path) -> Path:
    """A data set whose domains are links to folders outside."""
    pair_of_domains(tmp_path / "disk")
    (tmp_path / "mine").mkdir()
    for domain in ("hard", "soft"):
        (tmp_path / "mine" / domain).symlink_to(tmp_path / "disk" / domain)
    return tmp_path / "mine"


def test_links_out_of_a_folder_are_followed_on_request_alone(
    tmp_path: Path, xbench: Callable[..., Any]
) -> None:
    root = linked(tmp_path)
    refused = xbench("data", "verify", root)
    assert refused.code == 2
    assert "--follow-links" in refused.err
    assert xbench("data", "verify", root, "--follow-links").code == 0
    with pytest.raises(UserError, match="outside"):
        opened(root)


def test_links_within_a_folder_are_read(tmp_path: Path) -> None:
    root = pair_of_domains(tmp_path / "mine")
    (root / "soft").rename(root / ".store")
    (root / "soft").symlink_to(root / ".store")
    assert len(opened(root).train("soft")) == 14


def test_names_with_spaces_and_any_alphabet_work(tmp_path: Path) -> None:
    for seed in range(5):
        for domain in ("Röntgen echt", "模拟"):
            draw(tmp_path / domain / f"Schädel {seed} (α).png", seed)
    data = opened(tmp_path)
    assert data.ids("test", "模拟")[0].startswith("Schädel")


def test_domains_of_unequal_count_keep_the_shared_views_for_evaluation(tmp_path: Path) -> None:
    root = pair_of_domains(tmp_path / "mine", number=10)
    for seed in range(10, 30):
        draw(root / "soft" / f"view{seed}.png", seed)
    data = opened(root)
    assert data.aligned("test")
    assert data.ids("test", "soft") == data.ids("test", "hard")
    assert len(data.train("soft")) == len(data.train("hard")) + 20


def test_other_names_mean_unaligned_domains(tmp_path: Path) -> None:
    for seed in range(10):
        draw(tmp_path / "a" / f"left{seed}.png", seed)
        draw(tmp_path / "b" / f"right{seed}.png", seed)
    data = opened(tmp_path)
    assert not data.aligned("test")
    assert len(data.ids("test", "a")) == len(data.ids("test", "b")) == 2


def test_a_description_rules(tmp_path: Path) -> None:
    root = pair_of_domains(tmp_path / "mine")
    (root / "dataset.toml").write_text(
        'name = "heads"\ndomains = ["soft", "hard"]\nalignment = "none"\n'
        'polarity = {hard = "bone-bright"}\nwindow = [0, 32767.5]\n'
        'domain_groups = {soft = "synthetic", hard = "real"}\n[split]\ntest = 0.5\nval = 0.0\n'
    )
    data = opened(root)
    assert data.name == "heads"
    assert data.domains == ("soft", "hard")
    assert data.domain_groups == {"soft": "synthetic", "hard": "real"}
    assert not data.aligned("test")
    assert len(data.ids("test", "soft")) == 10
    number = int(data.ids("test", "hard")[0][4:])
    expected = 1 - np.clip(picture(number) / 32767.5, 0, 1)
    assert data.images("test", "hard")[0][0].numpy() == pytest.approx(expected, abs=1e-4)


def test_an_index_describes_any_layout(tmp_path: Path) -> None:
    lines = ["file,domain,split,id,group"]
    for seed in range(6):
        for domain in ("x", "y"):
            draw(tmp_path / "all" / f"{domain}{seed}.png", seed)
            split = "test" if seed > 3 else "train"
            lines.append(f"all/{domain}{seed}.png,{domain},{split},view{seed},head{seed}")
    (tmp_path / "index.csv").write_text("\n".join(lines))
    (tmp_path / "dataset.toml").write_text('index = "index.csv"')
    data = opened(tmp_path)
    assert data.ids("test", "y") == ["view4", "view5"]
    assert data.groups("test", "y") == ["head4", "head5"]


def _namesakes(root: Path) -> None:
    draw(root / "soft" / "view00.tif", seed=0)


def _one_image(root: Path) -> None:
    for path in sorted((root / "soft").iterdir())[1:]:
        path.unlink()


def _one_domain(root: Path) -> None:
    shutil.rmtree(root / "soft")


def _half_split(root: Path) -> None:
    draw(root / "train" / "soft" / "view99.png", seed=0)


def _comma(root: Path) -> None:
    os.rename(root / "soft", root / "soft,new")


def _toml(text: str) -> Callable[[Path], None]:
    return lambda root: (root / "dataset.toml").write_text(text) and None


def _index(line: str) -> Callable[[Path], None]:
    def write(root: Path) -> None:
        (root / "dataset.toml").write_text('index = "index.csv"')
        (root / "index.csv").write_text("file,domain,split,id,group\n" + line)

    return write


@pytest.mark.parametrize(
    ("spoil", "said"),
    [
        (_namesakes, "soft/view00.tif"),
        (_one_image, "'soft' has 1 images"),
        (_one_domain, "holds one domain, hard,"),
        (_half_split, "train/soft/view99.png"),
        (_comma, "soft,new"),
        (_toml('domains = ["soft", "sharp"]'), "sharp"),
        (_toml('polarty = "bone-dark"'), "polarty"),
        (_toml('polarity = "bone"'), "bone-bright"),
        (_toml('polarity = "bone"'), "polarity = 'bone' is not allowed"),
        (_toml('polarity = {soft = "bone"}'), "polarity = "),
        (_toml("split = {test = 20}"), "split.test = 20 is not allowed"),
        (_toml("window = [9, 3]"), "LOW below HIGH"),
        (_toml("window = "), "dataset.toml"),
        (_toml('split = {group = "["}'), "expected: a regular expression (unterminated"),
        (_toml('split = {group = "^patient(\\\\d+)"}'), "matches no id"),
        (_index("../../secret.png,soft,test,a,b"), "lies outside"),
        (_index("soft/view00.png,soft,exam,a,b"), "no split 'exam'"),
        (_index("soft/view00.png,soft"), "line 2"),
    ],
)
def test_a_folder_that_cannot_be_used_is_explained(
    tmp_path: Path, spoil: Callable[[Path], None], said: str
) -> None:
    root = pair_of_domains(tmp_path / "mine")
    spoil(root)
    with pytest.raises(UserError) as raised:
        opened(root)
    assert said in str(raised.value)
    assert str(raised.value).count("\n") == 2


def test_all_files_that_cannot_be_decoded_are_counted_and_the_first_named(tmp_path: Path) -> None:
    root = pair_of_domains(tmp_path / "mine")
    (root / "soft" / "view03.png").write_bytes(b"")
    Image.new("L", (1, 1)).save(root / "hard" / "view05.png")
    with pytest.raises(UserError, match="2 files cannot be used") as raised:
        opened(root)
    assert "hard/view05.png" in str(raised.value)
    assert "soft/view03.png" in str(raised.value)


def test_a_folder_called_like_a_built_in_data_set_needs_a_name(tmp_path: Path) -> None:
    root = pair_of_domains(tmp_path / "phantom")
    with pytest.raises(UserError, match="name = "):
        registry.get(str(root))
    (root / "dataset.toml").write_text('name = "heads"')
    assert registry.get(str(root)).name == "heads"


def flip(path: Path, place: int, bit: int = 1) -> None:
    """Change one bit of a file, as a failing disk does."""
    content = bytearray(path.read_bytes())
    content[place] ^= bit
    path.write_bytes(bytes(content))


@pytest.mark.parametrize("suffix", [".npy", ".json"])
def test_a_flipped_bit_in_the_cache_is_found_at_the_next_use(tmp_path: Path, suffix: str) -> None:
    root = pair_of_domains(tmp_path / "mine")
    data = opened(root)
    arrays = sorted((data.cache() or root).glob("*.npy"))
    before = {array: array.read_bytes() for array in arrays}
    damaged = arrays[0].with_suffix(suffix)
    # In the pixels, or in a digit of the first image's place.
    flip(damaged, -100 if suffix == ".npy" else damaged.read_text().index("[[0") + 2)
    with pytest.warns(UserWarning, match="damaged"):
        again = opened(root)
    assert {array: array.read_bytes() for array in arrays} == before
    assert damaged.with_name(f"{damaged.name}.corrupt").exists()
    assert torch.equal(again.train("hard")[:], data.train("hard")[:])
    assert again.content("train", "hard") is None


def test_hashes_of_files_are_not_believed_when_they_changed(tmp_path: Path) -> None:
    root = pair_of_domains(tmp_path / "mine")
    key = opened(root).key
    for file in root.rglob("*.png"):
        os.utime(file, (1, 1))
    time.sleep(2.1)  # hashes are kept once a file is that old
    assert opened(root).key == key
    (kept,) = [
        file
        for file in (home() / "folders").glob("hashes-*.json")
        if "view00" in file.read_text() and digest(str(root.resolve())) in file.name
    ]
    text = kept.read_text()
    digit = file_digest(root / "hard" / "view00.png")[0]
    flip(
        kept,
        text.index(file_digest(root / "hard" / "view00.png")),
        ord(digit) ^ ord("0" if digit != "0" else "1"),
    )
    assert kept.read_text() != text
    assert opened(root).key == key
