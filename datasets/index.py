"""`index.csv`: a table of the images in a folder, with domain, split, id and group."""

import csv
import io
from collections.abc import Mapping, Sequence
from dataclasses import astuple, dataclass, fields
from difflib import get_close_matches
from pathlib import Path, PurePosixPath
from typing import Any

from xbench.core.errors import UserError
from xbench.core.files import read_text, write_text
from xbench.core.names import plain

#: `*_repeat`: second exposures of the same views, under the same ids.
SPLITS = ("train", "val", "test", "val_repeat", "test_repeat")


#: So many missing files are named.
NAMED = 20


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


def read_index(path: Path, root: Path | None = None) -> list[Item]:
    """Read the table, written by `write_index` or by hand.

    Columns may be separated by semicolons or tabs, folders by backslashes, and accents be spelt
    in any way, as spreadsheets and other systems do.

    Args:
        path: the table.
        root: the folder below which its files lie; that of the table by default.

    Raises:
        UserError: the table is missing or malformed, names a file twice, or a file lies outside
            the folder or is not there.
    """
    folder = _Folder(root or path.parent)
    try:
        text = read_text(path)
    except (OSError, UnicodeDecodeError) as error:
        raise _wrong(path, f"cannot be read: {error}") from error
    separator = max(",;\t", key=text.partition("\n")[0].count)
    reader = csv.DictReader(io.StringIO(text), delimiter=separator, skipinitialspace=True)
    items: dict[str, Item] = {}
    try:
        for row in reader:
            if not any(row.values()):
                continue  # spreadsheets write rows of nothing
            item = _item(path, reader.line_num, row, folder)
            if item.file in items:
                raise _wrong(path, f"line {reader.line_num} names {plain(item.file)} a second time")
            items[item.file] = item
    except csv.Error as error:
        raise _wrong(path, f"cannot be read: {error}") from error
    if not items:
        raise _wrong(path, "lists no images")
    if folder.missing:
        names = ", ".join(folder.missing[:NAMED])
        more = len(folder.missing) - NAMED
        raise UserError(
            f"{path}: {len(folder.missing)} of its files are not there: {names}"
            + (f" and {more} more" if more > 0 else ""),
            f"expected: paths below {folder.root}",
            "put the files there, or delete or correct their lines",
        )
    return list(items.values())


def _item(path: Path, line: int, row: Mapping[Any, Any], folder: "_Folder") -> Item:
    """The image of one line."""
    if set(row) != set(HEADER) or None in row.values():
        raise _wrong(path, f"line {line} does not have the columns {','.join(HEADER)}")
    texts = {name: plain(text.strip()) for name, text in row.items()}
    if not all(texts.values()):
        raise _wrong(path, f"line {line} has an empty field")
    if texts["split"] not in SPLITS:
        near = get_close_matches(texts["split"], SPLITS, n=1)
        hint = f", did you mean {near[0]}?" if near else ""
        raise _wrong(path, f"line {line}: there is no split '{texts['split']}'{hint}")
    file = folder.find(row["file"])
    if file is None:
        raise _wrong(path, f"line {line}: {texts['file']} lies outside {folder.root}")
    return Item(**{**texts, "file": file})


class _Folder:
    """Finds files by the paths that a table gives, as they were written on another system."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.missing: list[str] = []
        self._names: dict[str, dict[str, str]] = {}

    def find(self, text: str) -> str | None:
        """The path below the folder, with `/`; None if it leads out of the folder.

        A file that is not there is noted as missing.
        """
        for given in dict.fromkeys((text, text.strip(), text.strip().replace("\\", "/"))):
            file = PurePosixPath(given)
            if file.is_absolute() or ".." in file.parts:
                return None
            if (self.root / file).exists():
                return file.as_posix()
        found = self._spelt(file)
        if found is None:
            self.missing.append(text)
        return found or text

    def _spelt(self, file: PurePosixPath) -> str | None:
        """The path with the accents of the files that are there, or None."""
        place = ""
        for part in file.parts:
            if place not in self._names:
                here = self.root / place
                entries = here.iterdir() if here.is_dir() else ()
                self._names[place] = {plain(entry.name): entry.name for entry in entries}
            name = self._names[place].get(plain(part))
            if name is None:
                return None
            place = f"{place}/{name}" if place else name
        return place if (self.root / place).exists() else None


def _wrong(path: Path, what: str) -> UserError:
    return UserError(
        f"{path}: {what}",
        f"expected: a table {','.join(HEADER)}, splits: {', '.join(SPLITS)}",
        "edit it; or delete the line index in dataset.toml, so that folder names decide",
    )
