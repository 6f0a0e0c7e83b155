"""What in records may identify a patient, or the user or machine that made them."""

import getpass
import platform
import re
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import suppress

from xbench.core.places import folders_in
from xbench.core.text import visible
from xbench.datasets.patients import masked, suspicious
from xbench.records.schema import Finished

#: Names of users and machines that name nobody, or mean something else in a record.
_ANYBODY = """
admin build ci cpu cuda debian docker gpu linux localhost main nobody phantom root runner test
train ubuntu user val worker xbench
"""
ANYBODY = frozenset(_ANYBODY.split())
#: Long lists of a record without texts.
NUMBERS = {"metrics": {"__all__": {"per_image", "left_out"}}}


def identifying(records: Sequence[Finished]) -> list[str]:
    """Lines on ids, paths and names in records that identify people or machines; none if none do.

    Only texts are looked at: names may also be burnt into the pixels of the images.
    """
    texts = [list(_texts(record.model_dump(mode="json", exclude=NUMBERS))) for record in records]
    lines = _on_ids(records)
    if found := _having(texts, folders_in):
        number = f"{len(found)} of {len(records)} records"
        lines.append(f"{number} hold paths, which may name people, such as {visible(found[0])}")
    own = _own_names()
    if own and (found := _having(texts, own.findall)):
        number = f"{len(found)} of {len(records)} records"
        lines.append(f"{number} hold the name of this user or machine: {visible(found[0])}")
    return lines


def _on_ids(records: Sequence[Finished]) -> list[str]:
    """A line on ids and groups that look like names or numbers of patients."""
    by_data: dict[str, set[str]] = {}
    for record in records:
        by_data.setdefault(record.data.key, set()).update(record.data.ids, record.data.groups)
    found = {key: suspicious(sorted(names)) for key, names in by_data.items()}
    number = sum(bool(found[record.data.key]) for record in records)
    if not number:
        return []
    example = next(names[0] for names in found.values() if names)
    return [
        f"{number} of {len(records)} records hold file names, as ids, that look like names or "
        f"numbers of patients, such as {masked(example)}: to publish others, put "
        'ids = "hashed" at the top of dataset.toml, or rename the files, and run again'
    ]


def _own_names() -> re.Pattern[str] | None:
    """The names of the user and of the machine, as whole words; None if they name nobody."""
    names = {platform.node(), platform.node().partition(".")[0]}
    with suppress(OSError, KeyError, ImportError):  # nobody is logged in, as in some containers
        names.add(getpass.getuser())
    own = sorted(re.escape(n) for n in names if len(n) > 2 and n.lower() not in ANYBODY)
    return re.compile(rf"(?<![^\W_])(?:{'|'.join(own)})(?![^\W_])", re.I) if own else None


def _having(records: Iterable[Iterable[str]], find: Callable[[str], Sequence[str]]) -> list[str]:
    """The first thing that is found in the texts of each record that has one."""
    firsts = (next((part for text in texts for part in find(text)), "") for texts in records)
    return [first for first in firsts if first]


def _texts(value: object) -> Iterator[str]:
    """All texts in a JSON value."""
    if isinstance(value, str):
        yield value
    elif isinstance(value, dict):
        for key, part in value.items():
            yield from (str(key), *_texts(part))
    elif isinstance(value, list | tuple):
        for part in value:
            yield from _texts(part)
