"""Recognises the images of X-DigiSkull by their paths: domain, view, folder of the view.

The layout of the archive is not documented. So the parts of a path are searched for words of the
domains, in any order, case and separation, in folder and file names.
"""

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase
from pathlib import Path, PurePosixPath
from posixpath import commonpath
from typing import Any

from xbench.core.errors import UserError, unknown
from xbench.datasets.decode import is_image
from xbench.datasets.walk import walk

#: Domain → group of domains, in the order of tables and figures.
DOMAINS = {
    "synthetic_low": "synthetic",
    "synthetic_high": "synthetic",
    "real_low": "real",
    "real_normal": "real",
    "real_exposure": "real",
}
SKIP = "skip"
#: Word → group of domains. The real images show a skull phantom, but a simulator may show one too:
#: weak words count only if their part of the path has no other word of these.
KINDS = {
    **dict.fromkeys(
        ("synthetic", "synth", "sim", "simulated", "simulation", "simulator", "vist", "mentice"),
        "synthetic",
    ),
    **dict.fromkeys(("real", "philips", "azurion"), "real"),
}
WEAK_KINDS = {"phantom": "real"}
DOSES = frozenset({"low", "normal", "high", "exposure"})
#: Dose → group of domains, for doses that only one group has.
KIND_OF_DOSE = {"high": "synthetic", "normal": "real", "exposure": "real"}
#: Words that name domains, not views.
WORDS = frozenset({*KINDS, *WEAK_KINDS, *DOSES, "dose"})
_WORD = re.compile("|".join(sorted(WORDS, key=len, reverse=True)))
_WORDS = re.compile(f"(?:{_WORD.pattern})+")

#: Least number of groups that can be split into train, val and test.
LEAST_GROUPS = 3
#: Number of groups of neighbouring views, if names do not give groups.
BLOCKS = 20
#: (pattern, domain or `skip`); the first matching pattern decides.
Rules = Sequence[tuple[str, str]]


@dataclass(frozen=True)
class Recognised:
    """The images below a folder by their domains, as sorted paths with `/`.

    Attributes:
        items: domain → its images, for all domains in their order.
        unrecognised: images whose path names no domain, or two.
        skipped: images that the mapping leaves out.
        mapping: (pattern, domain) as given.
    """

    items: dict[str, list[str]]
    unrecognised: list[str]
    skipped: list[str]
    mapping: tuple[tuple[str, str], ...]


@dataclass(frozen=True)
class Name:
    """The view of an image: `id`, and `folder`, the part of the id in folder names."""

    id: str
    folder: str


def parse_mapping(texts: Sequence[str]) -> list[tuple[str, str]]:
    """Read `PATTERN=domain` (or `PATTERN=skip`).

    Raises:
        UserError: no equals sign, an empty pattern, or an unknown domain.
    """
    mapping = []
    for text in texts:
        pattern, equals, domain = text.rpartition("=")
        if not (pattern and equals):
            raise UserError(
                f"--map {text} cannot be read",
                "expected: PATTERN=DOMAIN",
                "for example: --map '*/fluoro_low/*=real_low' or --map '*_mask.png=skip'",
            )
        if domain not in (*DOMAINS, SKIP):
            raise unknown(
                "domain", domain, (*DOMAINS, SKIP), f"try: --map '{pattern}={next(iter(DOMAINS))}'"
            )
        mapping.append((pattern, domain))
    return mapping


def image_files(root: Path) -> list[str]:
    """Sorted paths of the images below a folder (see `walk`)."""
    return sorted(file for file in walk(root) if is_image(root / file))


def recognise(root: Path, mapping: Rules = ()) -> Recognised:
    """Assign the images below a folder to domains.

    Args:
        root: the folder.
        mapping: (pattern, domain or `skip`): the first pattern that matches a path below the
            folder, or its end from any sub-folder on, decides; names decide about the others. `*`
            matches anything, slashes too.

    Raises:
        UserError: no images, or a pattern that matches none of them.
    """
    files = image_files(root)
    if not files:
        raise UserError(
            f"{root} holds no images",
            "expected: PNG, TIFF, JPEG, NPY or DICOM files in any sub-folders",
            "if there are archives in it, extract them and use --from FOLDER",
        )
    for pattern, domain in mapping:
        if not any(_matches(file, pattern) for file in files):
            raise UserError(
                f"--map '{pattern}={domain}' matches no image",
                f"expected: a pattern for paths such as {files[0]}",
                f"try: --map '{_example_pattern(files[0])}={domain}'",
            )
    items: dict[str, list[str]] = {domain: [] for domain in DOMAINS}
    rest: dict[str, list[str]] = {SKIP: [], "": []}
    for file in files:
        mapped = next((domain for pattern, domain in mapping if _matches(file, pattern)), None)
        domain = mapped or domain_of(file) or ""
        (items if domain in items else rest)[domain].append(file)
    return Recognised(items, rest[""], rest[SKIP], tuple(mapping))


def domain_of(file: str) -> str | None:
    """The domain of a path; None if it names no domain or is ambiguous.

    The deepest part of the path with a word for the group (synthetic, real) decides about the
    group, likewise for the dose; `normal` and `exposure` alone are real, `high` alone is synthetic.

    >>> domain_of("SimulatedHigh/1.png"), domain_of("phantom_low/1.png"), domain_of("low/1.png")
    ('synthetic_high', 'real_low', None)
    """
    path = PurePosixPath(file)
    parts = [set(words(part)) for part in (path.stem, *reversed(path.parts[:-1]))]
    kinds = next(filter(None, map(_kinds, parts)), set())
    doses = next(filter(None, (part & DOSES for part in parts)), set())
    if len(kinds) > 1 or len(doses) != 1:
        return None
    (dose,) = doses
    kind = next(iter(kinds), KIND_OF_DOSE.get(dose))
    domain = f"{kind}_{dose}"
    return domain if domain in DOMAINS else None


def _kinds(part: set[str]) -> set[str]:
    strong = {KINDS[word] for word in part & KINDS.keys()}
    return strong or {WEAK_KINDS[word] for word in part & WEAK_KINDS.keys()}


def words(text: str) -> list[str]:
    """Words and numbers of a name in lower case.

    Split at other characters than letters and digits, between letters and digits, before the
    capitals of camelCase, and between words of domains.

    >>> words("XDigiSkull_lowDose-003"), words("simlow1")
    (['x', 'digi', 'skull', 'low', 'dose', '003'], ['sim', 'low', '1'])
    """
    result: list[str] = []
    for run in re.findall(r"\d+|[^\W\d_]+", text):
        pieces = [run]
        if not _WORDS.fullmatch(run.lower()):
            pieces = re.findall(r"[A-Z]+(?![a-z])|[A-Z]?[a-z]+|\d+|[^\W\d_A-Za-z]+", run)
        for piece in map(str.lower, pieces):
            result += _WORD.findall(piece) if _WORDS.fullmatch(piece) else [piece]
    return result


def view_names(recognised: Recognised) -> dict[str, Name]:
    """File → the view: the words of its path that do not name the domain.

    `real/low/view03/0001.png` and `Synthetic_Low_view03_0001.png` are both `view-03-0001`. Left
    out are words of domains, leading folders that all images of a domain share, and, once each, the
    words of the pattern that maps the file.

    Raises:
        UserError: two images of a domain with one id.
    """
    names = {}
    for domain, files in recognised.items.items():
        lead = len(PurePosixPath(commonpath([PurePosixPath(f).parent for f in files])).parts)
        first: dict[str, str] = {}
        for file in files:
            name = _view_name(file, lead, recognised.mapping)
            other = first.setdefault(name.id, file)
            if other != file:
                raise UserError(
                    f"{domain}: {other} and {file} would both be the view '{name.id}'",
                    "expected: one image per view in a domain",
                    f"leave one of them out, for example: --map '{escaped(file)}=skip'",
                )
            names[file] = name
    return names


def _view_name(file: str, lead: int, mapping: Rules) -> Name:
    path = PurePosixPath(file)
    pattern = next((pattern for pattern, _ in mapping if _matches(file, pattern)), "")
    # The words of a pattern without wildcards are the file's own name, and name the view.
    mapped = words(re.sub(r"\[.*?\]", " ", pattern)) if re.search(r"[*?]", pattern) else []
    parts: list[list[str]] = []
    for part in (*path.parts[:-1], path.stem):
        parts.append([])
        for word in words(part):
            if word in mapped:
                mapped.remove(word)
            elif word not in WORDS:
                parts[-1].append(word)
    folder = [word for part in parts[lead:-1] for word in part]
    return Name("-".join([*folder, *parts[-1]]) or "view", "-".join(folder))


def group_views(names: Mapping[str, Name], among: Iterable[str] = ()) -> tuple[dict[str, str], str]:
    """File → group, by the first rule that gives enough groups, and that rule in words.

    Args:
        names: file → name.
        among: the files that must have enough groups; all by default.
    """
    prefixes = {file: re.sub(r"-?\d+$", "", name.id) for file, name in names.items()}
    rules = {
        "folders of views": {file: name.folder for file, name in names.items()},
        "ids without the number at their end": prefixes,
    }
    for how, groups in rules.items():
        if all(groups.values()) and len({groups[f] for f in among or groups}) >= LEAST_GROUPS:
            return groups, how
    ids = sorted({name.id for name in names.values()}, key=natural)
    block = {id_: f"block-{BLOCKS * place // len(ids):02d}" for place, id_ in enumerate(ids)}
    return {file: block[name.id] for file, name in names.items()}, f"{BLOCKS} blocks of sorted ids"


def natural(text: str) -> list[tuple[int, str]]:
    """A sort key that compares numbers by value: `view-9` before `view-10`."""
    return [
        (int(part), "") if part.isdecimal() else (-1, part) for part in re.split(r"(\d+)", text)
    ]


def summary(recognised: Recognised) -> list[dict[str, Any]]:
    """Rows of a table: domain, number of files, an example."""
    rest = {"unrecognised": recognised.unrecognised, "skipped": recognised.skipped}
    listed = recognised.items | {kind: files for kind, files in rest.items() if files}
    return [
        {"domain": domain, "files": len(files), "example": files[0] if files else ""}
        for domain, files in listed.items()
    ]


def demand_complete(recognised: Recognised) -> None:
    """Check that every domain has images, and every image a domain.

    Raises:
        UserError: with examples, and a `--map` as a fix.
    """
    missing = [domain for domain, files in recognised.items.items() if not files]
    strange = recognised.unrecognised
    if not (missing or strange):
        return
    wrong = [f"no images of {', '.join(missing)} were recognised"] if missing else []
    if strange:
        examples = ", ".join(_spread(strange))
        wrong.append(f"unrecognised images: {len(strange)}, such as {examples}")
    known = strange or [file for files in recognised.items.values() for file in files]
    given = [f"--map '{pattern}={domain}'" for pattern, domain in recognised.mapping]
    target = missing[0] if missing else SKIP
    given.append(f"--map '{_example_pattern(known[0])}={target}'")
    raise UserError(
        "X-DigiSkull: " + "; ".join(wrong),
        f"expected: images of {', '.join(DOMAINS)}, or {SKIP} for other images",
        "map them, for example: xbench data fetch xdigiskull " + " ".join(given),
    )


def escaped(file: str) -> str:
    """A pattern that matches only this path."""
    return re.sub(r"([*?\[])", r"[\1]", file)


def _example_pattern(file: str) -> str:
    """A pattern for the neighbours of a file: its folder, or the start of its name."""
    path = PurePosixPath(file)
    if len(path.parts) > 1:
        return f"{escaped(path.parent.as_posix())}/*"
    start = re.match(r"\D*", path.stem)
    return f"{escaped(start.group() if start else '')}*{path.suffix}"


def _spread(files: Sequence[str], number: int = 3) -> Iterator[str]:
    """A few of the files, from different folders if possible."""
    first = list({PurePosixPath(file).parent: file for file in reversed(files)}.values())[::-1]
    yield from [*first, *(file for file in files if file not in first)][:number]


def _matches(file: str, pattern: str) -> bool:
    return fnmatchcase(file, pattern) or fnmatchcase(file, f"*/{pattern}")
