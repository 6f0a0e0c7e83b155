"""What is published names no patients, people or machines; where it might, that is said first."""

import csv
import getpass
import json
import runpy
import shlex
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from xbench.analysis.identifying import identifying
from xbench.analysis.reproduce import commands
from xbench.core.errors import UserError
from xbench.core.files import home
from xbench.core.places import address, folders_in, without_folders
from xbench.datasets import pseudonyms
from xbench.datasets.folder import Folder
from xbench.datasets.patients import masked, suspicious
from xbench.records.store import Store

Xbench = Callable[..., Any]
made = runpy.run_path(str(Path(__file__).with_name("made_records.py")))
USUAL = [f"img_{number:04}" for number in range(8)]
NAMES = [f"MUELLER_HANS_{number}" for number in range(8)]
PATIENTS = [f"{name}_{number}" for name in ("Abel_Jo", "Braun_Eva", "Cole_Max") for number in "123"]
PLUGIN = """
from xbench.methods.base import Method
class Mine(Method):
    def translate(self, images, source, target, *, generators):
        return images
class Bad(Mine):
    def translate(self, images, source, target, *, generators):
        raise ValueError(f"cannot read {__file__}")
"""
RUN = ("run", "--dataset", "ds", "--profile", "smoke", "--pairs", "sim:real")


def write_images(root: Path, names: Sequence[str], *, hashed: bool) -> Path:
    """Two domains of small images of these names."""
    for domain in ("sim", "real"):
        (root / domain).mkdir(parents=True)
        for number, name in enumerate(names):
            pixels = np.random.default_rng(number).integers(0, 200, (32, 32), np.uint8)
            Image.fromarray(pixels).save(root / domain / f"{name}.png")
    (root / "dataset.toml").write_text('ids = "hashed"\n' if hashed else "")
    return root


def opened(root: Path) -> Folder:
    """The data set in a folder as it is now."""
    kind = Folder.at(root)
    dataset = kind(kind.configure_size(32))
    assert dataset.key
    return dataset


@pytest.mark.parametrize(
    "name",
    [
        *("MUELLER_HANS_3", "mueller.hans.3", "HansMueller1", "Doe^Jane", "Doe, Jane", "Li_Wei_1"),
        *("h_mueller_2", "SCHMIDT_01", "Müller_Änne", "Иванов_1", "王伟_1", "MUELLER_HANS--view1"),
        *("HM_1961-03-04", "hm19610304", "HM_04031961", "JD 12.05.1980", "ab19610304"),
        *("4711081", "K12345678", "0012345678", "case_48291123", "pid_12345", "123-45-6789"),
    ],
)
def test_names_and_numbers_of_patients_are_found(name: str) -> None:
    assert suspicious([name, "head12"]) == [name]
    hidden = masked(name)
    assert name not in hidden
    assert len(hidden) == len(name)
    assert hidden[0] == name[0]


@pytest.mark.parametrize(
    "name",
    [
        *(
            "head12",
            "img_0001",
            "IM-0001-0001",
            "image_000123",
            "0012",
            "a1",
            "patient0001--view_4",
            "test000-2-caldwell",
        ),
        *("chest_normal_1", "skull_phantom_7", "testimage7", "XRay12", "covid-19-pneumonia-2"),
        *("CHNCXR_0001_0", "JPCLN001", "00000013_005", "DSC_0001", "head03-v1", "lateralLeft2"),
        *("1.2.840.10008.1.2.1.99", "550e8400-e29b-41d4-a716-446655440000", "042f06a9_53c9be49"),
    ],
)
def test_usual_names_are_not_taken_for_patients(name: str) -> None:
    assert suspicious([name]) == []


def test_short_words_that_differ_are_names_and_hashes_are_none() -> None:
    assert suspicious(["weber_1", "cole_2", "abel_3"]) == ["weber_1", "cole_2", "abel_3"]
    assert suspicious(["cole_1", "cole_2"]) == []  # one word that all share
    assert suspicious(["482913048291", "0a12bc34de56", "77de11f0a4b2"]) == []


def test_data_commands_warn_of_names_and_mask_the_example(xbench: Xbench) -> None:
    write_images(Path("ds"), NAMES, hashed=False)
    for command in (("init", "ds", "--force"), ("verify", "ds")):
        result = xbench("data", *command)
        said = result.out + result.err
        assert "8 names of files or groups look like names or numbers of patients" in said
        assert 'ids = "hashed"' in said
        assert "MUELLER_HANS" not in "".join(li for li in said.splitlines() if "look like" in li)
    write_images(Path("usual"), USUAL, hashed=False)
    assert "look like" not in xbench("data", "verify", "usual").out


def test_hashed_ids_name_nobody_and_the_map_stays_here(xbench: Xbench) -> None:
    write_images(Path("ds"), NAMES, hashed=True)
    assert xbench("data", "init", "ds", "--force").code == 0  # keeps `ids`
    said = xbench("data", "verify", "ds")
    table = pseudonyms.place(Path("ds"))
    assert str(table) in said.out + said.err
    run = xbench("run", "--method", "identity", "--dataset", "ds", "--profile", "smoke")
    assert run.code == 0
    assert xbench("report", "--dataset", "ds", "--profile", "smoke").code == 0
    published = xbench("publish", "--to", "public")
    assert "file names" not in published.err
    files = [path for folder in ("runs", "public") for path in Path(folder).rglob("*")]
    assert not [path for path in files if "MUELLER" in path.name]
    assert not [path for path in files if path.is_file() and b"MUELLER" in path.read_bytes()]

    record = Store(Path("public/ds/smoke")).records()[0]
    names = {row["id"]: row["file"] for row in csv.DictReader(table.open(encoding="utf-8"))}
    assert all("MUELLER_HANS" in names[name] for name in record.data.ids)
    secret = home() / "pseudonyms" / "secret"
    assert [path.stat().st_mode & 0o777 for path in (table, secret)] == [0o600, 0o600]
    assert not [
        path
        for path in files
        if path.is_file() and secret.read_bytes().strip() in path.read_bytes()
    ]


def test_publish_says_first_that_ids_look_like_names(xbench: Xbench) -> None:
    write_images(Path("ds"), NAMES, hashed=False)
    assert xbench("run", "--method", "identity", "--dataset", "ds", "--profile", "smoke").code == 0
    published = xbench("publish", "--to", "public")
    assert published.code == 0  # it goes on
    assert "records hold file names, as ids" in published.err
    assert "M******_H***_" in published.err
    assert list(Path("public").rglob("*.json"))


def test_the_secret_changes_ids_and_key_but_no_split(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    root = write_images(tmp_path / "ds", PATIENTS, hashed=True)
    seen = []
    for machine in ("one", "one", "other"):
        monkeypatch.setenv("XBENCH_HOME", str(tmp_path / machine))
        seen.append(opened(root))
    one, again, other = seen
    assert one.key == again.key != other.key
    (root / "dataset.toml").unlink()
    plain = opened(root)
    assert plain.key not in (one.key, other.key)

    def places(dataset: Folder) -> dict[str, str]:
        return {item.file: item.split for item in dataset.layout.items}

    def partners(dataset: Folder) -> set[frozenset[str]]:
        by_group: dict[str, set[str]] = {}
        for item in dataset.layout.items:
            by_group.setdefault(item.group, set()).add(item.file)
        return set(map(frozenset, by_group.values()))

    assert places(one) == places(other) == places(plain)
    assert partners(one) == partners(other) == partners(plain)
    assert one.aligned("test")
    assert one.ids("test", "sim") == one.ids("test", "real")
    assert not set(one.ids("test", "sim")) & set(other.ids("test", "sim"))
    assert all(len(name) == 12 and int(name, 16) >= 0 for name in one.ids("test", "sim"))


def test_other_images_have_another_key_under_equal_hashes(tmp_path: Path) -> None:
    root = write_images(tmp_path / "ds", PATIENTS, hashed=True)
    before = opened(root)
    Image.fromarray(np.full((32, 32), 7, np.uint8)).save(root / "sim" / f"{PATIENTS[0]}.png")
    after = opened(root)
    assert before.ids("test", "sim") == after.ids("test", "sim")
    assert before.key != after.key


def test_equal_hashes_and_a_damaged_secret_are_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XBENCH_HOME", str(tmp_path / "home"))
    root = write_images(tmp_path / "ds", [f"img{k}" for k in range(20)], hashed=True)
    with monkeypatch.context() as patch:
        patch.setattr(pseudonyms, "DIGITS", 1)  # 20 names, 16 hashes
        with pytest.raises(UserError, match="have the same hash"):
            opened(root)
    secret = tmp_path / "home" / "pseudonyms" / "secret"
    secret.chmod(0o644)
    opened(root)
    assert secret.stat().st_mode & 0o777 == 0o600
    secret.write_text("short")
    with pytest.raises(UserError, match="is damaged"):
        opened(root)


@pytest.fixture
def alice(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A plug-in in a folder that is not the one where commands run."""
    folder = tmp_path_factory.mktemp("alice")
    (folder / "p.py").write_text(PLUGIN)
    return folder


def test_a_plug_in_elsewhere_is_published_by_its_name(xbench: Xbench, alice: Path) -> None:
    write_images(Path("ds"), USUAL, hashed=False)
    assert xbench(*RUN, "--method", f"{alice}/p.py:Mine,{alice}/p.py:Bad").code == 1
    assert xbench("report", "--dataset", "ds", "--profile", "smoke").code == 0
    published = xbench("publish", "--to", "public")
    assert "paths" not in published.err
    report = Path("runs/ds/smoke/report.html")
    failure = next(Path("runs").rglob("failed/**/*.json"))
    for file in (report, failure, *Path("public").rglob("*.*")):
        assert alice.name.encode() not in file.read_bytes(), file
    traceback = json.loads(failure.read_text())["traceback"]
    assert 'File "…/p.py", line 8' in traceback
    assert "cannot read …/p.py" in traceback
    assert not folders_in(traceback)
    board = Path("public/ds/smoke/leaderboard.md").read_text().splitlines()
    warned = board.index("# runs code of its own: p.py, look at it first")
    assert "--method p.py:Mine" in board[warned + 1]
    assert "# runs code of its own: p.py" in report.read_text()

    record = next(path for path in Path("runs").rglob("records/mine/**/*.json"))
    printed = xbench("rerun", record)
    assert printed.code == 0
    assert "--method path/to/p.py:Mine" in printed.err
    assert "--method path/to/p.py:Mine" in xbench("rerun", record, "--run", "--dataset", "ds").err
    assert "--method path/to/p.py:Mine" in xbench("verify", record, "--dataset", "ds").out


def test_a_plug_in_below_the_working_folder_is_found_again(xbench: Xbench) -> None:
    write_images(Path("ds"), USUAL, hashed=False)
    Path("lib").mkdir()
    Path("lib/p.py").write_text(PLUGIN)
    assert xbench(*RUN, "--method", f"{Path.cwd()}/lib/p.py:Mine").code == 0
    record = next(Path("runs").rglob("records/mine/**/*.json"))
    assert json.loads(record.read_text())["method"]["given"] == "lib/p.py:Mine"
    before = record.stat().st_mtime_ns
    printed = xbench("rerun", record, "--dataset", "ds")
    assert not printed.err
    assert xbench(*shlex.split(printed.out)[1:]).code == 0
    assert record.stat().st_mtime_ns == before  # nothing was left to do: the key is the same
    assert xbench("verify", record, "--method", "lib/p.py:Mine", "--dataset", "ds").code == 0


def test_commands_warn_of_code_and_of_nothing_else() -> None:
    pair = made["PAIRS"][0]
    own = [made["record"]("cut", pair, {}), made["record"]("fda", pair, {})]
    assert not [line for line in commands(own) if line.startswith("#")]
    evil = made["record"]("x", pair, {}, given="/home/jane/a b.py:X,evil.py:Y")
    *before, warning, command = commands([*own, evil])
    assert not [line for line in before if line.startswith("#")]
    assert "evil.py" in warning
    assert warning.startswith("# runs code of its own: ")
    assert "evil.py:Y" in command


@pytest.mark.parametrize(
    ("text", "short"),
    [
        (
            'File "/home/jane/venv/lib/python3.12/site-packages/torch/nn/x.py", line 3',
            'File "…/site-packages/torch/nn/x.py", line 3',
        ),
        ('File "/usr/lib/python3.12/ast.py", line 3', 'File "…/lib/python3.12/ast.py", line 3'),
        ("'/Users/Jane Roe/scans/a.png' is gone", "'…/a.png' is gone"),
        ("not found:/data/jane/a.npy, /data/b.npy", "not found:…/a.npy, …/b.npy"),
        (r"C:\Users\jane\p.py and 'D:\\Jane Roe\\q.py'", "…/p.py and '…/q.py'"),
        ("see file:///home/jane/x.html", "see …/x.html"),
        ("https://a.org/b/c, s/mm, 1/2/3 and / or a/b.png", None),
        ("matches '/' or \"//\"", None),
    ],
)
def test_paths_from_the_root_are_cut(text: str, short: str | None) -> None:
    assert without_folders(text) == (text if short is None else short)
    assert bool(folders_in(text)) == (short is not None)
    assert without_folders(without_folders(text)) == without_folders(text)


def test_paths_are_relative_to_the_working_folder_if_it_names_nobody(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    assert without_folders(f"{tmp_path}/a/b.py:3") == "a/b.py:3"
    assert address(f"{tmp_path}/a/b.py:B") == "a/b.py:B"
    assert address("../x/b.py:B") == "b.py:B"
    monkeypatch.setenv("HOME", str(tmp_path / "jane"))
    assert address("~/b.py:B") == "b.py:B"
    assert address("jane/b.py:B") == "b.py:B"  # the working folder holds those of all users
    assert without_folders(f"{tmp_path}/jane/b.py") == "…/b.py"


def test_what_identifies_is_named_record_by_record(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(getpass, "getuser", lambda: "janeroe")
    pair = made["PAIRS"][0]
    harmless = made["record"]("cut", pair, {})
    assert identifying([harmless]) == []
    path = made["record"]("a", pair, {}, given="/home/kim/p.py:A")
    user = made["record"]("b", pair, {}, assignments=["b.note=of JaneRoe"])
    lines = identifying([harmless, path, user])
    assert lines[0].startswith("1 of 3 records hold paths")
    assert "/home/kim/p.py" in lines[0]
    assert lines[1].startswith("1 of 3 records hold the name of this user or machine")
