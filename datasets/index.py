"""`index.csv`: a table of the images in a folder, with domain, split, id and group."""

import csv
import io
from collections.abc import Sequence
from dataclasses import astuple, dataclass, fields
from pathlib import Path, PurePosixPath

from xbench.core.errors import UserError
from xbench.core.files import write_text

#: `*_repeat`: second exposures of the same views, under the same ids.
SPLITS = ("train", "val", "test", "val_repeat", "test_repeat")


@dataclass(frozen=True, order=True)
class Item:
    """One image.

    Attributes:
        file: path below the data set's folder, with `/` between its parts.
        domain: its domain.
        split: one of `SPLITS`.
        id: names the view; in an aligned data set equal ids of two domains show the same view.
        group: head, patient or acquisition; never split up.
    """

    file: str
    domain: str
    split: str
    id: str
    group: str


HEADER = tuple(field.name for field in fields(Item))


def write_index(path: Path, items: Sequence[Item]) -> None:
    """Write `index.csv`, one line per image."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerows([HEADER, *map(astuple, items)])
    write_text(path, text.getvalue())


def read_index(path: Path) -> list[Item]:
    """Read the table, written by `write_index` or by hand.

    Raises:
        UserError: the table is missing or malformed, or a file lies outside the folder.
    """
    try:
        rows = list(csv.DictReader(io.StringIO(path.read_text(encoding="utf-8-sig"))))
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise _wrong(path, f"cannot be read: {error}") from error
    items = []
    for line, row in enumerate(rows, start=2):
        if set(row) != set(HEADER) or None in row.values():
            raise _wrong(path, f"line {line} does not have the columns {','.join(HEADER)}")
        item = Item(**row)
        file = PurePosixPath(item.file)
        if file.is_absolute() or ".." in file.parts:
            raise _wrong(path, f"line {line}: {item.file} lies outside {path.parent}")
        if item.split not in SPLITS:
            raise _wrong(path, f"line {line}: there is no split '{item.split}'")
        if not all(astuple(item)):
            raise _wrong(path, f"line {line} has an empty field")
        items.append(item)
    if not items:
        raise _wrong(path, "lists no images")
    return items


def _wrong(path: Path, what: str) -> UserError:
    return UserError(
        f"{path}: {what}",
        f"expected: a table {','.join(HEADER)}, splits: {', '.join(SPLITS)}",
        "edit it; or delete the line index in dataset.toml, so that folder names decide",
    )
