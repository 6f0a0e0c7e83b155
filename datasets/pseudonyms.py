"""`ids = "hashed"`: keyed hashes instead of ids and names of groups, which no one else can undo.

A hash is the start of the HMAC-SHA256 of a name by a secret, which is made once and stays in the
cache. Without the secret no one can try names until one fits. Equal names have equal hashes, in all
domains and data sets, so aligned images stay aligned.

With another secret, such as on another machine, ids and names of groups differ, the order of
the images, the key of the data set, and with them all that is drawn by chance. Images, domains,
groups and splits are the same: they follow from the names. For equal results copy the secret.

Other programs are given the images under their hashes: `xbench data export`.
"""

import csv
import hmac
import io
import os
import re
import secrets
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from uuid import uuid4

from xbench.core.errors import UserError
from xbench.core.files import home, write_private
from xbench.core.hashing import digest
from xbench.core.text import in_csv
from xbench.datasets.describe import FILE
from xbench.datasets.index import Item
from xbench.datasets.patients import remarks

#: In the cache: the secret, and what the hashes stand for.
FOLDER = "pseudonyms"
SECRET = "secret"
#: Hexadecimal digits of a hash.
DIGITS = 12


def hashed(root: Path, items: Sequence[Item]) -> list[Item]:
    """Images with hashes as ids and groups; what they stand for is written to `place(root)`.

    Raises:
        UserError: two names have one hash, or the secret is damaged.
    """
    key = _secret()
    names = {name for item in items for name in (item.id, item.group)}
    codes = {name: hmac.digest(key, name.encode(), "sha256").hex()[:DIGITS] for name in names}
    of_code = {code: name for name, code in codes.items()}
    if len(of_code) < len(codes):
        one = next(name for name, code in codes.items() if of_code[code] != name)
        raise UserError(
            f"{root}: '{one}' and '{of_code[codes[one]]}' have the same hash",
            "expected: names with hashes of their own",
            "rename one of the two",
        )
    done = [replace(item, id=codes[item.id], group=codes[item.group]) for item in items]
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(("id", "group", "file", "group_name"))
    for item, plain in zip(done, items, strict=True):
        writer.writerow((item.id, item.group, in_csv(item.file), in_csv(plain.group)))
    _keep(place(root), text.getvalue())
    return done


def notes(root: Path, items: Sequence[Item], ids: str) -> list[str]:
    """A line on ids that may identify a patient, or on the file that says what hashes stand for.

    Args:
        root: the folder of the data set.
        items: its images.
        ids: see `Description`.
    """
    if ids == "hashed":
        return [f"ids are hashed; what they stand for is kept on this machine: {place(root)}"]
    names = (name for item in items for name in (item.id, item.group))
    return remarks(names, f'to hash them, put ids = "hashed" at the top of {root / FILE}')


def place(root: Path) -> Path:
    """The table of what the ids and groups of a folder stand for; it stays on this machine."""
    return home() / FOLDER / f"{digest(str(root.resolve()))}.csv"


def _keep(path: Path, text: str) -> None:
    """Write a file that only its owner may read, unless it is there and the same."""
    with suppress(OSError, UnicodeDecodeError):
        if path.read_text(encoding="utf-8") == text:
            return
    write_private(path, text)


def _secret() -> bytes:
    """The secret of this machine, made when it is first wanted."""
    path = home() / FOLDER / SECRET
    if not path.exists():
        part = path.with_name(f".{SECRET}.{uuid4().hex}")
        write_private(part, secrets.token_hex(32) + "\n")
        with suppress(FileExistsError):  # another process was quicker: its secret counts
            os.link(part, path)
        part.unlink()
    if path.stat().st_mode & 0o077:
        path.chmod(0o600)  # it was copied from another machine
    text = path.read_text(encoding="ascii", errors="replace").strip()
    if not re.fullmatch("[0-9a-f]{64}", text):
        raise UserError(
            f"{path} is damaged",
            "expected: 64 hexadecimal digits",
            "restore it; or delete it, and all hashed ids become new ones",
        )
    return bytes.fromhex(text)
