"""Which images a folder holds: domains, splits, ids and groups, told by paths alone."""

import os
import re
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from xbench.core.errors import UserError
from xbench.datasets.decode import is_image
from xbench.datasets.describe import FILE, Description
from xbench.datasets.index import Item, read_index
from xbench.datasets.split import assign_splits

#: Folder names that say what an image is for.
SPLIT_NAMES = {
    **dict.fromkeys(("train", "training"), "train"),
    **dict.fromkeys(("val", "valid", "validation"), "val"),
    **dict.fromkeys(("test", "testing"), "test"),
    "val_repeat": "val_repeat",
    "test_repeat": "test_repeat",
}
#: What computers leave behind.
JUNK = frozenset({"thumbs.db", "desktop.ini", "__macosx"})
#: Endings of stems, and folders, of masks that lie beside the images.
MASK = re.compile(r"(^|[ _.-])(mask|masks|seg|segmentation|label|labels|annotation|annotations)$")
#: Aligned ids are believed in if at least this share of the smallest domain has partners.
SHARED = 0.5


@dataclass
class Layout:
    """What a folder holds.

    Attributes:
        items: the images, in the order of their files.
        domains: in the order of tables.
        aligned: split → whether its ids name the same views in all domains.
        left_out: reason → files that are not used.
    """

    items: list[Item]
    domains: tuple[str, ...]
    aligned: dict[str, bool]
    left_out: dict[str, list[str]] = field(default_factory=dict)


@dataclass(frozen=True)
class _Found:
    """An image before its split is decided."""

    file: str
    domain: str
    split: str | None
    id: str
    folder: str


def find(root: Path, description: Description) -> Layout:
    """The images of a folder and what each is for.

    Raises:
        UserError: no domains, or too few images of one, or names that clash.
    """
    left_out: dict[str, list[str]] = {}
    if description.index:
        items = read_index(root / description.index)
    else:
        items = _search(root, description, left_out)
    domains = _domains(root, items, description)
    items = [item for item in items if item.domain in domains]
    layout = Layout(items, domains, {}, left_out)
    for split in ("val", "test"):
        layout.aligned[split] = description.alignment == "id" and _align(layout, split)
    _check(root, layout)
    return layout


def _search(root: Path, description: Description, left_out: dict[str, list[str]]) -> list[Item]:
    """Find images by the folders' names."""
    found = []
    for file in sorted(_walk(root)):
        reason = _unusable(root, file)
        place = None if reason else _place(file)
        if place is None:
            left_out.setdefault(reason or "in no folder of a domain", []).append(file)
        else:
            found.append(place)
    _refuse_namesakes(root, found)
    _refuse_half_split(root, found)
    groups = _groups(root, found, description.split.group)
    splits = _split(found, groups, description)
    items = [
        Item(place.file, place.domain, splits[place.file], place.id, groups[place.file])
        for place in found
    ]
    return items


def _walk(root: Path) -> Iterator[str]:
    """Files below a folder; links to folders are followed, but never in a circle."""
    seen = set()
    for folder, folders, files in os.walk(root, followlinks=True):
        real = os.path.realpath(folder)
        if real in seen:
            folders.clear()
            continue
        seen.add(real)
        folders[:] = sorted(name for name in folders if not _is_junk(name))
        for name in files:
            if not _is_junk(name) and name != FILE:
                yield (Path(folder) / name).relative_to(root).as_posix()


def _is_junk(name: str) -> bool:
    return name.startswith(".") or name.lower() in JUNK


def _unusable(root: Path, file: str) -> str | None:
    """Why a file is no image of the data set, None if it may be one."""
    path = Path(file)
    if not is_image(root / path):
        return "no images that can be read"
    if any(MASK.search(part.lower()) for part in (*path.parts[:-1], path.stem)):
        return "masks and labels, by their names"
    return None


def _place(file: str) -> _Found | None:
    """Domain, split and id by the parts of a path; None outside of any domain."""
    *folders, name = Path(file).parts
    split = None
    for position, folder in enumerate(folders[:2]):
        pooled = re.fullmatch(r"(train|val|test)([A-Z])", folder)
        if pooled:  # trainA, testB: as data sets of two domains are often shared
            split, folders[position] = pooled.groups()
            break
        if folder.lower() in SPLIT_NAMES:
            split = SPLIT_NAMES[folder.lower()]
            del folders[position]
            break
    if not folders:
        return None
    domain, *rest = folders
    return _Found(file, domain, split, "--".join([*rest, Path(name).stem]), "--".join(rest))


def _refuse_namesakes(root: Path, found: Sequence[_Found]) -> None:
    first: dict[tuple[object, ...], str] = {}
    for place in found:
        other = first.setdefault((place.domain, place.split, place.id), place.file)
        if other != place.file:
            raise UserError(
                f"{root}: {other} and {place.file} have the same name, '{place.id}'",
                "expected: one image for one name in a domain",
                "delete or rename one of the two",
            )


def _refuse_half_split(root: Path, found: Sequence[_Found]) -> None:
    inside = [place.file for place in found if place.split]
    outside = [place.file for place in found if not place.split]
    if inside and outside:
        raise UserError(
            f"{root}: {inside[0]} lies in a folder of a split, {outside[0]} does not",
            "expected: train and test folders for all images, or for none",
            "move the files, or describe them in an index: see xbench data init --help",
        )


def _groups(root: Path, found: Sequence[_Found], rule: str) -> dict[str, str]:
    """File → group.

    Raises:
        UserError: a regular expression finds a group in no id at all.
    """
    if rule == "stem":
        return {place.file: place.id for place in found}
    if rule == "folder":
        return {place.file: place.folder or place.id for place in found}
    matches = {place.file: re.search(rule, place.id) for place in found}
    if found and not any(matches.values()):
        raise UserError(
            f"{root}: the expression '{rule}' finds a group in no id, as '{found[0].id}'",
            "expected: a regular expression whose first bracketed part is the group's name",
            f"mend split.group in {root / FILE}",
        )
    # An id in which it finds none is a group of its own.
    return {p.file: match.group(1) if (match := matches[p.file]) else p.id for p in found}


def _split(
    found: Sequence[_Found], groups: dict[str, str], description: Description
) -> dict[str, str]:
    """File → split; by the folders where these tell, else by groups."""
    rule = description.split
    by_domain: dict[str, list[_Found]] = {}
    for place in found:
        by_domain.setdefault(place.domain, []).append(place)
    told = any(place.split for place in found)
    if told and any(place.split == "val" for place in found):
        return {place.file: str(place.split) for place in found}
    if told:  # val comes out of train
        own = {
            domain: [groups[p.file] for p in places if p.split == "train"]
            for domain, places in by_domain.items()
        }
        splits = assign_splits(own, val=0, test=rule.val)
        return {
            place.file: "val"
            if place.split == "train" and splits[groups[place.file]] == "test"
            else str(place.split)
            for place in found
        }
    names = {domain: {place.id for place in places} for domain, places in by_domain.items()}
    partners = set.intersection(*names.values()) if names else set()
    aligned = description.alignment == "id" and _enough(partners, list(names.values()))
    # Where views are aligned, what has no partners serves training alone.
    alone = {groups[p.file] for p in found if aligned and p.id not in partners}
    divided = {
        domain: [groups[p.file] for p in places if groups[p.file] not in alone]
        for domain, places in by_domain.items()
    }
    splits = dict.fromkeys(alone, "train") | assign_splits(divided, rule.val, rule.test)
    return {place.file: splits[groups[place.file]] for place in found}


def _enough(shared: set[str], names: Sequence[set[str]]) -> bool:
    return len(names) > 1 and len(shared) >= max(1, SHARED * min(map(len, names)))


def _domains(root: Path, items: Sequence[Item], description: Description) -> tuple[str, ...]:
    """The domains in order.

    Raises:
        UserError: fewer than two, one that is described but not there, or names that no command
            could tell apart.
    """
    found = sorted({item.domain for item in items})
    wanted = description.domains or tuple(found)
    for domain in wanted:
        if domain not in found:
            raise UserError(
                f"{root}: there are no images of the domain '{domain}'",
                f"expected: one of the folders {', '.join(found) or '(there are none)'}",
                f"mend domains in {root / FILE}",
            )
        if re.search(r"[:,\[\]]", domain):
            raise UserError(
                f"{root}: the domain '{domain}' has one of : , [ ] in its name",
                "expected: a folder's name without them",
                "rename the folder",
            )
    if len(wanted) < 2:
        raise UserError(
            f"{root} holds {len(wanted)} domains with images that can be read",
            "expected: a folder for each of two or more domains, with PNG, TIFF, JPEG, NPY or "
            "DICOM files",
            f"for example: {root}/real/image1.png and {root}/synthetic/image1.png",
        )
    return wanted


def _align(layout: Layout, split: str) -> bool:
    """Keep the views of a split that all domains have; False, keeping all, if they are few."""
    parts = (split, f"{split}_repeat")
    names = [
        {item.id for item in layout.items if item.split == split and item.domain == domain}
        for domain in layout.domains
    ]
    shared = set.intersection(*names)
    if not _enough(shared, names):
        return False
    dropped = [i.file for i in layout.items if i.split in parts and i.id not in shared]
    if dropped:
        layout.left_out.setdefault(f"{split} images without partners", []).extend(dropped)
        gone = set(dropped)
        layout.items = [item for item in layout.items if item.file not in gone]
    return True


def _check(root: Path, layout: Layout) -> None:
    """Every domain needs images to train with and to test on.

    Raises:
        UserError: one has none.
    """
    counts = Counter((item.domain, item.split) for item in layout.items)
    totals = Counter(item.domain for item in layout.items)
    for domain in sorted(layout.domains, key=totals.__getitem__):  # the smallest is to blame
        for split in ("train", "test"):
            if not counts[domain, split]:
                have = totals[domain]
                raise UserError(
                    f"{root}: the domain '{domain}' has {have} images, none of them for {split}",
                    "expected: three images (or groups of images) or more, to be split",
                    f"add images, or make {root}/train/{domain} and {root}/test/{domain}",
                )
