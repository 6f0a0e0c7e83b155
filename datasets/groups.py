"""Finds the images of one patient, head or acquisition: a group, which no split cuts through."""

import re
import time
from collections import Counter
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from pathlib import Path

import regex

from xbench.core.errors import UserError
from xbench.core.hashing import digest
from xbench.core.names import plain
from xbench.core.processes import cores
from xbench.datasets.decode import kind_of
from xbench.datasets.describe import FILE
from xbench.datasets.index import Item

#: Folders below a domain that name no patient: what the files are, or which view they show.
NO_PATIENT = frozenset(
    {
        *("images", "image", "imgs", "img", "files", "data", "raw", "xray", "xrays", "x-ray"),
        *("dicom", "dcm", "png", "jpg", "jpeg", "tif", "tiff", "npy"),
        *("ap", "pa", "lat", "lateral", "frontal", "front", "left", "right"),
    }
)
SEPARATOR = re.compile(r"[\s_.-]+")
#: Names such as `patient12` or `0012`: a word, which all names share, and a number.
NUMBERED = re.compile(r"(\D*)\d+")
#: Dates, which name no patient.
DATED = re.compile(r"(.*[\s_.-])?(19|20)\d\d([\s_.-]?\d\d){0,2}")
#: Identifiers of DICOM: their parts name makers and devices.
UID = re.compile(r"[0-2](\.\d+){4,}")
#: Fewer groups than this cannot be split into train, val and test.
LEAST = 3
#: Seconds that an expression may take for all ids together.
SECONDS = 5

BY_FOLDER = "first folder below the domain"
BY_HEADER = "DICOM PatientID (hashed)"
ALONE = "every image is its own"


@dataclass(frozen=True)
class Grouped:
    """Images with their groups.

    Attributes:
        items: the images.
        how: domain → how its groups were found.
        known: names of groups for which there is evidence; the others are single images.
    """

    items: list[Item]
    how: dict[str, str]
    known: frozenset[str]

    def line(self) -> str:
        """How the groups were found, and how many each domain has."""
        names: dict[str, set[str]] = {}
        for item in self.items:
            names.setdefault(item.domain, set()).add(item.group)
        ways: dict[str, list[str]] = {}
        for domain in sorted(names):
            ways.setdefault(self.how[domain], []).append(f"{len(names[domain])} in {domain}")
        return "groups: " + "; ".join(", ".join([way, *n]) for way, n in ways.items())


def group(root: Path, items: Sequence[Item], rule: str, *, aligned: bool) -> Grouped:
    """The images with their groups by `SplitRule.group`.

    Args:
        root: the folder of the data set.
        items: its images; so far each has the folders between domain and file as its group.
        rule: see `SplitRule`.
        aligned: whether equal ids of two domains may show the same view.

    Raises:
        UserError: a regular expression matches no id at all.
    """
    if rule == "auto":
        grouped = _automatic(root, items)
        return _joined(grouped) if aligned else grouped
    if rule == "stem":
        return _from(items, lambda item: "", ALONE)
    if rule == "folder":
        return _from(items, first_folder, BY_FOLDER)
    matches = _matches(root, items, rule)
    if items and not any(matches.values()):
        raise UserError(
            f"{root}: the expression '{rule}' matches no id, such as '{items[0].id}'",
            "expected: a regular expression whose first bracketed part is the group's name",
            f"edit split.group in {root / FILE}",
        )

    def matched(item: Item) -> str:
        match = matches[item.id]
        return (match[1] or "") if match else ""

    return _from(items, matched, f"by split.group, {rule}")


def _matches(root: Path, items: Sequence[Item], rule: str) -> dict[str, regex.Match[str] | None]:
    """Id → where it matches an expression, which may be anyone's and take for ever."""
    end = time.monotonic() + SECONDS
    try:
        return {
            item.id: regex.search(rule, item.id, timeout=max(0.001, end - time.monotonic()))
            for item in items
        }
    except TimeoutError as error:
        raise UserError(
            f"{root}: the expression '{rule}' takes more than {SECONDS} s",
            "expected: a regular expression without repeated repetitions, such as (a+)+",
            f"edit split.group in {root / FILE}",
        ) from error


def first_folder(item: Item) -> str:
    """The first folder below the domain; empty if there is none."""
    return item.group.partition("--")[0]


def indexed(items: Sequence[Item]) -> Grouped:
    """The images of an index, which has a column of groups."""
    ways = dict.fromkeys((item.domain for item in items), "column group of the index")
    return Grouped(list(items), ways, frozenset(item.group for item in items))


def _from(items: Iterable[Item], name: Callable[[Item], str], how: str) -> Grouped:
    """Groups by a name; images without a name are groups of their own."""
    named = {item: name(item) for item in items}
    done = [replace(item, group=given or item.id) for item, given in named.items()]
    used = {item.domain for item, given in named.items() if given}
    ways = {item.domain: how if item.domain in used else ALONE for item in named}
    return Grouped(done, ways, frozenset(filter(None, named.values())))


def _automatic(root: Path, items: Sequence[Item]) -> Grouped:
    """Groups by folders, else by what the names of files begin with, else by DICOM headers."""
    names: dict[str, str] = {}
    how: dict[str, str] = {}
    loose: dict[str, list[Item]] = {}
    for item in items:
        if patient := _patient_folder(item):
            names[item.file] = patient
            how[item.domain] = BY_FOLDER
        else:
            loose.setdefault(item.domain, []).append(item)
            how.setdefault(item.domain, ALONE)
    cuts = _cuts(loose)
    for domain, own in loose.items():
        found, way = _by_names(own, cuts[domain]) if cuts[domain] else _by_headers(root, own)
        names |= found
        if found and how[domain] == ALONE:
            how[domain] = way
    done = [replace(item, group=names.get(item.file) or item.id) for item in items]
    return Grouped(done, how, frozenset(names.values()))


def _patient_folder(item: Item) -> str:
    """The first folder below the domain that can name a patient; empty if there is none."""
    folders = item.group.split("--")
    return next((name for name in folders if name.lower() not in NO_PATIENT), "")


def _stem(item: Item) -> str:
    """The file's name without the folders that its id begins with."""
    return item.id.removeprefix(f"{item.group}--")


def _cuts(loose: Mapping[str, Sequence[Item]]) -> dict[str, int]:
    """Domain → after how many parts of its names the name of a group ends; 0 if they name none.

    A domain in which no group has a second image is read like one whose groups it shares.
    """
    cuts = {domain: _cut(items) for domain, items in loose.items()}
    named: dict[int, set[str]] = {}
    for domain, cut in cuts.items():
        if cut:
            named.setdefault(cut, set()).update(prefix(_stem(i), cut) for i in loose[domain])
    for domain, items in loose.items():
        if not cuts[domain]:
            own = {cut: {prefix(_stem(item), cut) for item in items} for cut in named}
            cuts[domain] = next((cut for cut in named if own[cut] & named[cut]), 0)
    return cuts


def _cut(items: Sequence[Item]) -> int:
    """The least number of parts by which names fall into several groups, of which some repeat.

    All parts, if a whole name repeats: in folders of views.
    """
    stems = [_stem(item) for item in items]
    if all(map(UID.fullmatch, stems)):
        return 0
    for cut in range(1, max(len(SEPARATOR.split(name)) for name in stems) + 1):
        names = [prefix(name, cut) for name in stems]
        repeats = Counter(zip((item.split for item in items), names, strict=True))
        if max(repeats.values()) > 1 and _tell_apart({*names}):
            return cut
    return 0


def _tell_apart(names: Collection[str]) -> bool:
    """Whether names can be those of several patients: not of one, of dates, or of views."""
    heads = {match[1] for name in names if (match := NUMBERED.fullmatch(name))}
    numbered = len(heads) == 1 and all(map(NUMBERED.fullmatch, names))
    if len(names) < (2 if numbered else LEAST):
        return False
    views = all(name.lower() in NO_PATIENT for name in names)
    return not views and not all(map(DATED.fullmatch, names))


def prefix(stem: str, parts: int) -> str:
    """The first parts of a name.

    >>> prefix("patient12_3", 1), prefix("CHN-12 b", 2), prefix("0012", 1)
    ('patient12', 'CHN-12', '0012')
    """
    ends = [match.start() for match in SEPARATOR.finditer(stem)]
    return stem[: ends[parts - 1]] if len(ends) >= parts else stem


def _by_names(items: Sequence[Item], cut: int) -> tuple[dict[str, str], str]:
    """File → group, by what names begin with; and an example."""
    names = {item.file: prefix(_stem(item), cut) for item in items}
    longer = (item for item in items if names[item.file] != _stem(item))
    example = next(longer, items[0])
    return names, f"what names begin with, such as {names[example.file]} in {_stem(example)}"


def _by_headers(root: Path, items: Sequence[Item]) -> tuple[dict[str, str], str]:
    """File → group, by the PatientID of DICOM files; none if they do not distinguish patients."""
    with ThreadPoolExecutor(cores()) as pool:
        patients = list(pool.map(lambda item: _patient(root / item.file), items))
    if len({*patients} - {""}) < 2:
        return {}, ALONE
    found = {i.file: p for i, p in zip(items, patients, strict=True) if p}
    return found, BY_HEADER


def _patient(path: Path) -> str:
    """A name for the patient of a DICOM file; empty if there is none.

    The ID itself is never kept. Six digits are few on purpose: with a list of all possible IDs one
    finds several that fit. Two patients with one name only become one group.
    """
    try:
        if kind_of(path) != "DICOM":
            return ""
        import pydicom

        header = pydicom.dcmread(path, stop_before_pixels=True, specific_tags=["PatientID"])
        identity = str(header.get("PatientID") or "").strip()
    except Exception:  # no pydicom, no DICOM, or damaged, which decoding explains
        return ""
    return f"patient-{digest(['PatientID', identity], 6)}" if identity else ""


def _joined(grouped: Grouped) -> Grouped:
    """Groups of different domains with images of one id, and so of one view, become one.

    Where hardly any groups would be left, equal ids are running numbers: nothing is joined.
    """
    parent: dict[str, str] = {}

    def first(name: str) -> str:
        while parent.get(name, name) != name:
            name = parent[name]
        return name

    views: dict[tuple[str, str], str] = {}
    known = grouped.known
    for item in grouped.items:
        other = first(views.setdefault((item.split, item.id), item.group))
        mine = first(item.group)
        # A name for which there is evidence stays.
        keep, drop = sorted((mine, other), key=lambda name: (name not in known, name))
        parent[drop] = keep
    joined = [replace(item, group=first(item.group)) for item in grouped.items]
    before, after = _numbers(grouped.items), _numbers(joined)
    if any(after[domain] < min(LEAST, before[domain]) for domain in before):
        return grouped
    return Grouped(joined, grouped.how, known)


def _numbers(items: Iterable[Item]) -> Counter[str]:
    """Domain → number of its groups."""
    return Counter(domain for domain, _ in {(item.domain, item.group) for item in items})


def refuse_cut(root: Path, grouped: Grouped, fix: str) -> None:
    """Make sure that the given splits cut through no group.

    Second exposures (`test_repeat`) belong to the split that they repeat.

    Raises:
        UserError: images of one group lie in two splits.
    """
    places: dict[str, dict[str, str]] = {}
    for item in grouped.items:
        if item.split and item.group in grouped.known:
            split = item.split.removesuffix("_repeat")
            places.setdefault(item.group, {}).setdefault(split, item.file)
    cut = {name: files for name, files in places.items() if len(files) > 1}
    if not cut:
        return
    name, files = next(iter(sorted(cut.items())))
    where = " and ".join(f"in {split} ({plain(file)})" for split, file in files.items())
    others = ", ".join(sorted(cut)[1:10])
    more = f"; so do {len(cut) - 1} more: {others}" if others else ""
    raise UserError(
        f"{root}: the patient (group) '{name}' lies {where}{more}",
        "expected: all images of a patient, head or acquisition in one split, in all domains",
        fix,
    )
