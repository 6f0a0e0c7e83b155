"""Fetching a Zenodo record and extracting its archives, also when things go wrong."""

import io
import json
import random
import runpy
import stat
import tarfile
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from xbench.core.errors import UserError
from xbench.datasets.importers import zenodo
from xbench.datasets.importers.archives import extract

serve = runpy.run_path(str(Path(__file__).with_name("zenodo_server.py")))["serve"]
RECORD = "16535437"
ARCHIVE = random.Random(0).randbytes(1_500_000)


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    with serve({"skulls.zip": ARCHIVE, "README.md": b"read me"}) as running:
        monkeypatch.delenv("XBENCH_OFFLINE", raising=False)
        monkeypatch.setenv("XBENCH_ZENODO", running.url)
        monkeypatch.setenv("NO_PROXY", "127.0.0.1")
        yield running


# --- records


def test_all_files_of_a_record_are_fetched(server: Any, tmp_path: Path) -> None:
    calls: list[tuple[int, int, str]] = []
    files = zenodo.fetch(RECORD, tmp_path / "new", lambda *facts: calls.append(facts))
    assert [file.name for file in files] == ["skulls.zip", "README.md"]
    assert files[0].read_bytes() == ARCHIVE
    assert files[1].read_bytes() == b"read me"
    assert calls[-1][:2] == (7, 7)
    assert (len(ARCHIVE), len(ARCHIVE)) in {facts[:2] for facts in calls}


def test_what_is_there_is_not_fetched_again(server: Any, tmp_path: Path) -> None:
    first = zenodo.fetch(RECORD, tmp_path)
    server.asked.clear()
    assert zenodo.fetch(RECORD, tmp_path) == first
    assert server.asked == []


def test_a_broken_download_goes_on_where_it_stopped(server: Any, tmp_path: Path) -> None:
    server.break_after = 900_000
    with pytest.raises(UserError, match=r"skulls\.zip: the download stopped"):
        zenodo.fetch(RECORD, tmp_path)
    kept = (tmp_path / "skulls.zip.part").stat().st_size
    assert 0 < kept <= 900_000
    assert not (tmp_path / "skulls.zip").exists()
    zenodo.fetch(RECORD, tmp_path)
    assert [wanted for name, wanted in server.asked if name == "skulls.zip"] == [
        None,
        f"bytes={kept}-",
    ]
    assert (tmp_path / "skulls.zip").read_bytes() == ARCHIVE
    assert sorted(path.name for path in tmp_path.iterdir()) == ["README.md", "skulls.zip"]


def test_a_server_without_ranges_starts_over(server: Any, tmp_path: Path) -> None:
    server.break_after, server.honours_range = 900_000, False
    with pytest.raises(UserError):
        zenodo.fetch(RECORD, tmp_path)
    zenodo.fetch(RECORD, tmp_path)
    assert server.asked[1][1]
    assert (tmp_path / "skulls.zip").read_bytes() == ARCHIVE


def test_a_complete_part_is_checked_without_a_request(server: Any, tmp_path: Path) -> None:
    (tmp_path / "skulls.zip.part").write_bytes(ARCHIVE)
    zenodo.fetch(RECORD, tmp_path)
    assert [name for name, _ in server.asked] == ["README.md"]
    assert (tmp_path / "skulls.zip").read_bytes() == ARCHIVE


def test_a_wrong_checksum_is_refused_and_the_same_command_repairs_it(
    server: Any, tmp_path: Path
) -> None:
    server.wrong = True
    with pytest.raises(UserError, match=r"skulls\.zip .*wrong checksum") as caught:
        zenodo.fetch(RECORD, tmp_path)
    assert len(str(caught.value).splitlines()) == 3
    assert list(tmp_path.iterdir()) == []
    server.wrong = False
    assert zenodo.fetch(RECORD, tmp_path)[0].read_bytes() == ARCHIVE


def test_a_damaged_part_costs_one_attempt(server: Any, tmp_path: Path) -> None:
    (tmp_path / "skulls.zip.part").write_bytes(b"other" * 1000)
    with pytest.raises(UserError, match="wrong checksum"):
        zenodo.fetch(RECORD, tmp_path)
    assert zenodo.fetch(RECORD, tmp_path)[0].read_bytes() == ARCHIVE


def test_a_file_that_was_changed_here_is_downloaded_again(server: Any, tmp_path: Path) -> None:
    (tmp_path / "skulls.zip").write_bytes(b"other")
    assert zenodo.fetch(RECORD, tmp_path)[0].read_bytes() == ARCHIVE


def test_a_server_cannot_send_more_than_the_record_says(server: Any, tmp_path: Path) -> None:
    server.extra, calls = bytes(3_000_000), []
    with pytest.raises(UserError, match=r"skulls\.zip: the download stopped"):
        zenodo.fetch(RECORD, tmp_path, lambda *facts: calls.append(facts))
    assert list(tmp_path.iterdir()) == []
    assert max(done for done, _, _ in calls) <= len(ARCHIVE)


def test_a_full_disk_is_refused_before_any_file(server: Any, tmp_path: Path) -> None:
    server.declared["skulls.zip"] = 4 * 10**18
    with pytest.raises(UserError, match=r"4000000000.0 GB for the download and 6000000000.0 GB"):
        zenodo.fetch(RECORD, tmp_path)
    assert server.asked == []
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("name", ["../evil.zip", "/evil.zip", "a\\b.zip", "..", "C:evil.zip", ""])
def test_a_record_cannot_write_elsewhere(server: Any, tmp_path: Path, name: str) -> None:
    server.files[name] = b"evil"
    with pytest.raises(UserError, match="would leave the folder"):
        zenodo.fetch(RECORD, tmp_path / "in")
    assert server.asked == []
    assert not list(tmp_path.rglob("*evil*"))


@pytest.mark.parametrize(
    "record",
    [
        b"<html>maintenance</html>",
        b"{}",
        b"[]",
        b'{"files": []}',
        b'{"files": [{"key": "a.zip", "size": -1, "checksum": "md5:0", "links": {"self": "x"}}]}',
        b'{"files": [{"key": "a.zip", "size": 1, "checksum": "md5:0", "links": {"self": "x"}}]}',
    ],
)
def test_a_strange_record_is_refused(server: Any, tmp_path: Path, record: bytes) -> None:
    server.record = record
    with pytest.raises(UserError, match=f"api/records/{RECORD}") as caught:
        zenodo.fetch(RECORD, tmp_path)
    assert len(str(caught.value).splitlines()) == 3


def test_an_unknown_record_says_what_the_server_says(server: Any, tmp_path: Path) -> None:
    with pytest.raises(UserError, match="404"):
        zenodo.fetch("1", tmp_path)


def test_a_file_link_that_is_no_address(server: Any, tmp_path: Path) -> None:
    record = json.loads(server.describe())
    record["files"][0]["links"]["self"] = "file:///etc/passwd"
    server.record = json.dumps(record).encode()
    with pytest.raises(UserError, match=r"skulls\.zip"):
        zenodo.fetch(RECORD, tmp_path)
    assert not (tmp_path / "skulls.zip").exists()


def test_without_a_server_the_files_can_be_placed_by_hand(
    server: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XBENCH_ZENODO", "http://127.0.0.1:9")
    with pytest.raises(UserError, match="--from FOLDER"):
        zenodo.fetch(RECORD, tmp_path)


def test_offline_nothing_is_asked(
    server: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XBENCH_OFFLINE", "1")
    server.record = b"would be another error"
    with pytest.raises(UserError, match="XBENCH_OFFLINE=1"):
        zenodo.fetch(RECORD, tmp_path)


# --- archives

Make = Callable[[Path, dict[str, bytes]], Path]


def make_zip(path: Path, files: dict[str, bytes]) -> Path:
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as file:
        for name, content in files.items():
            # Set after the entry was made, which would turn backslashes round on Windows.
            entry = zipfile.ZipInfo("x")
            entry.filename, entry.compress_type = name, zipfile.ZIP_DEFLATED
            file.writestr(entry, content)
    return path


def make_tar(path: Path, files: dict[str, bytes], kind: bytes = tarfile.REGTYPE) -> Path:
    mode = "w:gz" if path.suffix == ".gz" else "w"
    with tarfile.open(path, mode) as file:
        for name, content in files.items():
            entry = tarfile.TarInfo(name)
            entry.size, entry.type = len(content), kind
            if kind != tarfile.REGTYPE:
                entry.size, entry.linkname = 0, "../secret"
            file.addfile(entry, io.BytesIO(content))
    return path


def make_tar_gz(path: Path, files: dict[str, bytes]) -> Path:
    return make_tar(path.with_suffix(".tar.gz"), files)


makers = pytest.mark.parametrize("make", [make_zip, make_tar, make_tar_gz])
FILES = {"top/a.png": b"A" * 5000, "top/deep/b c ü.png": b"B", "empty": b""}


def contents(folder: Path) -> dict[str, bytes]:
    return {
        path.relative_to(folder).as_posix(): path.read_bytes()
        for path in folder.rglob("*")
        if path.is_file()
    }


def refuse(archive: Path, match: str, limit: int = 10**6) -> None:
    """The archive is refused by name, and nothing of it is left, neither inside nor outside."""
    before = sorted(archive.parent.rglob("*"))
    with pytest.raises(UserError, match=match) as caught:
        extract(archive, archive.parent / "inner" / "to", limit)
    lines = str(caught.value).splitlines()
    assert len(lines) == 3
    assert archive.name in lines[0]
    (archive.parent / "inner").rmdir()
    assert sorted(archive.parent.rglob("*")) == before


@makers
def test_archives_are_extracted_whole(make: Make, tmp_path: Path) -> None:
    archive, calls = make(tmp_path / "archive", FILES), []
    extract(archive, tmp_path / "to", 5001, lambda *facts: calls.append(facts))
    assert contents(tmp_path / "to") == FILES
    assert calls[-1][0] == calls[-1][1] == archive.stat().st_size
    assert {path.name for path in tmp_path.iterdir()} == {archive.name, "to"}


def test_backslashes_of_windows_are_folders(tmp_path: Path) -> None:
    extract(make_zip(tmp_path / "a.zip", {"top\\a.png": b"A"}), tmp_path / "to", 10)
    assert contents(tmp_path / "to") == {"top/a.png": b"A"}


@makers
@pytest.mark.parametrize(
    "name",
    [
        "../evil",
        "top/../../evil",
        "/ELSEWHERE/evil",
        "C:/evil",
        "c:evil",
        "..\\evil",
        "\\evil",
        "//s/evil",
    ],
)
def test_no_member_leaves_the_folder(make: Make, tmp_path: Path, name: str) -> None:
    name = name.replace("/ELSEWHERE", str(tmp_path))
    archive = make(tmp_path / "archive.zip", {"fine.png": b"fine", name: b"evil"})
    refuse(archive, "would leave the folder")


def test_links_in_a_zip_are_refused(tmp_path: Path) -> None:
    archive = tmp_path / "archive.zip"
    with zipfile.ZipFile(archive, "w") as file:
        link = zipfile.ZipInfo("link")
        link.create_system, link.external_attr = 3, (stat.S_IFLNK | 0o777) << 16
        file.writestr(link, "../secret")
        file.writestr("link/evil", "evil")
    refuse(archive, "'link' is a link")


@pytest.mark.parametrize(
    "kind", [tarfile.SYMTYPE, tarfile.LNKTYPE, tarfile.FIFOTYPE, tarfile.CHRTYPE]
)
def test_links_and_devices_in_a_tar_are_refused(tmp_path: Path, kind: bytes) -> None:
    refuse(make_tar(tmp_path / "archive.tar", {"strange": b""}, kind), "'strange' is a link")


@makers
def test_bombs_are_stopped_while_they_unpack(make: Make, tmp_path: Path) -> None:
    archive = make(tmp_path / "bomb.zip", {f"{i}.png": bytes(600_000) for i in range(4)})
    refuse(archive, "unpacks to more than 1.0 MB")


@makers
def test_two_members_of_one_name_are_refused(make: Make, tmp_path: Path) -> None:
    archive = make(tmp_path / "archive.zip", {"a": b"A", "a/b": b"B"})
    refuse(archive, "is in it twice")


@makers
def test_truncated_archives_are_refused(make: Make, tmp_path: Path) -> None:
    whole = make(tmp_path / "archive", {"a.png": random.Random(1).randbytes(50_000)})
    archive = tmp_path / f"short{whole.suffix}"
    archive.write_bytes(whole.read_bytes()[:30_000])
    refuse(archive, "cannot be extracted")


def test_flipped_bytes_are_found(tmp_path: Path) -> None:
    archive = make_zip(tmp_path / "archive.zip", {"a.png": random.Random(1).randbytes(50_000)})
    content = bytearray(archive.read_bytes())
    content[20_000] ^= 255
    archive.write_bytes(content)
    refuse(archive, "cannot be extracted")


def test_encrypted_archives_are_refused(tmp_path: Path) -> None:
    archive = make_zip(tmp_path / "archive.zip", {"a.png": b"A"})
    content = bytearray(archive.read_bytes())
    content[content.index(b"PK\1\2") + 8] |= 1
    archive.write_bytes(content)
    refuse(archive, "is encrypted")


def test_what_is_no_archive_is_refused(tmp_path: Path) -> None:
    archive = tmp_path / "archive.zip"
    archive.write_bytes(b"<html>sign in</html>" * 100)
    refuse(archive, "neither zip nor tar")
