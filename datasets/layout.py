"""Sorts the images of a folder into domains, splits, ids and groups, by their paths alone."""

import os
import re
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

from xbench.core.errors import UserError
from xbench.datasets.decode import is_image
from xbench.datasets.describe import FILE, Description
from xbench.datasets.index import Item, read_index
from xbench.datasets.split import assign_splits

#: Folder name → split.
SPLIT_NAMES = {
    **dict.fromkeys(("train", "training"), "train"),
    **dict.fromkeys(("val", "valid", "validation"), "val"),
    **dict.fromkeys(("test", "testing"), "test"),
    "val_repeat": "val_repeat",
    "test_repeat": "test_repeat",
}
#: Files and folders that operating systems leave behind.
JUNK = frozenset({"thumbs.db", "desktop.ini", "__macosx"})
#: The folder of masks and tables of labels, beside those of the images.
LABELS = "labels"
#: Ends of file and folder names of masks beside the images.
MASK = re.compile(r"(^|[ _.-])(mask|masks|seg|segmentation|label|labels|annotation|annotations)$")
#: Ids count as aligned if all domains have at least this share of the smallest domain's ids.
SHARED = 0.5


@dataclass
class Layout:
    """The images of a folder.

    Attributes:
        items: the images, in the order of their files.
        domains: in the order of tables.
        aligned: split → whether equal ids show the same view in all domains.
        left_out: reason → unused files.
    """

    items: list[Item]
    domains: tuple[str, ...]
    aligned: dict[str, bool]
    left_out: dict[str, list[str]] = field(default_factory=dict)


def find(root: Path, description: Description) -> Layout:
    """The images of a folder, by its index or by the names of files and folders.

    Raises:
        UserError: fewer than two domains, too few images of one, or two images of one name.
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
    """The images, by the names of files and folders; adds unused files to `left_out`."""
    items = []
    for file in sorted(walk(root)):
        if is_label(root, file):
            continue
        reason = _unusable(root, file)
        item = None if reason else _parse(file)
        if item is None:
            left_out.setdefault(reason or "in no folder of a domain", []).append(file)
        else:
            items.append(item)
    _refuse_namesakes(root, items)
    _refuse_half_split(root, items)
    items = _group(root, items, description.split.group)
    splits = _splits(items, description)
    return [replace(item, split=splits[item.file]) for item in items]


def walk(root: Path) -> Iterator[str]:
    """Files below a folder, as paths with `/`; links are followed, but not in circles.

    Hidden files and folders, and those of operating systems, are left out.
    """
    seen = set()
    for folder, folders, files in os.walk(root, followlinks=True):
        real = os.path.realpath(folder)
        if real in seen:
            folders.clear()
            continue
        seen.add(real)
        folders[:] = sorted(name for name in folders if not is_junk(name))
        for name in files:
            if not is_junk(name) and name != FILE:
                yield (Path(folder) / name).relative_to(root).as_posix()


def is_junk(name: str) -> bool:
    """Whether a file or folder is hidden, or left behind by an operating system.

    >>> is_junk("Thumbs.db"), is_junk(".git"), is_junk("skull.png")
    (True, True, False)
    """
    return name.startswith(".") or name.lower() in JUNK


def is_label(root: Path, file: str) -> bool:
    """Whether a file is a mask or a table below `labels/`."""
    if not file.startswith(f"{LABELS}/"):
        return False
    return file.lower().endswith(".csv") or is_image(root / file)


def _unusable(root: Path, file: str) -> str | None:
    """The reason why a file is not an image of the data set, or None."""
    path = Path(file)
    if not is_image(root / path):
        return "no images that can be read"
    if any(MASK.search(part.lower()) for part in (*path.parts[:-1], path.stem)):
        return "masks and labels, by their names"
    return None


def _parse(file: str) -> Item | None:
    """Domain, split (or ""), id, and sub-folder as group, by a path; None outside domains."""
    *folders, name = Path(file).parts
    split = ""
    for position, folder in enumerate(folders[:2]):
        pooled = re.fullmatch(r"(train|val|test)([A-Z])", folder)
        if pooled:  # trainA, testB: a usual form of data sets of two domains
            split, folders[position] = pooled.groups()
            break
        if folder.lower() in SPLIT_NAMES:
            split = SPLIT_NAMES[folder.lower()]
            del folders[position]
            break
    if not folders:
        return None
    domain, *rest = folders
    return Item(file, domain, split, "--".join([*rest, Path(name).stem]), "--".join(rest))


def _refuse_namesakes(root: Path, items: Sequence[Item]) -> None:
    first: dict[tuple[str, ...], str] = {}
    for item in items:
        other = first.setdefault((item.domain, item.split, item.id), item.file)
        if other != item.file:
            raise UserError(
                f"{root}: {other} and {item.file} have the same name, '{item.id}'",
                "expected: one image per name in a domain",
                "delete or rename one of the two",
            )


def _refuse_half_split(root: Path, items: Sequence[Item]) -> None:
    inside = [item.file for item in items if item.split]
    outside = [item.file for item in items if not item.split]
    if inside and outside:
        raise UserError(
            f"{root}: {inside[0]} lies in a folder of a split, {outside[0]} does not",
            "expected: train and test folders for all images, or for none",
            "move the files, or describe them in an index: see xbench data init --help",
        )


def _group(root: Path, items: Sequence[Item], rule: str) -> list[Item]:
    """The images with their groups by `SplitRule.group`; each has its sub-folder as group so far.

    Raises:
        UserError: a regular expression matches no id at all.
    """
    if rule == "folder":
        return [replace(item, group=item.group or item.id) for item in items]
    if rule == "stem":
        return [replace(item, group=item.id) for item in items]
    matches = [re.search(rule, item.id) for item in items]
    if items and not any(matches):
        raise UserError(
            f"{root}: the expression '{rule}' matches no id, such as '{items[0].id}'",
            "expected: a regular expression whose first bracketed part is the group's name",
            f"edit split.group in {root / FILE}",
        )
    pairs = zip(items, matches, strict=True)
    return [replace(item, group=match[1] if match else item.id) for item, match in pairs]


def _splits(items: Sequence[Item], description: Description) -> dict[str, str]:
    """File → split: that of the folder if there are such folders, else by groups."""
    rule = description.split
    domains = dict.fromkeys(item.domain for item in items)
    given = {item.file: item.split for item in items}
    if "val" in given.values():
        return given
    if any(given.values()):  # val is taken out of train
        train = [item for item in items if item.split == "train"]
        groups = {d: [i.group for i in train if i.domain == d] for d in domains}
        val = {g for g, s in assign_splits(groups, val=0, test=rule.val).items() if s == "test"}
        return given | {item.file: "val" for item in train if item.group in val}
    names = [{item.id for item in items if item.domain == domain} for domain in domains]
    partners = set.intersection(*names) if names else set()
    aligned = description.alignment == "id" and are_aligned(partners, names)
    # In aligned data, groups with ids that a domain lacks are for training only.
    alone = {item.group for item in items if aligned and item.id not in partners}
    rest = [item for item in items if item.group not in alone]
    groups = {d: [i.group for i in rest if i.domain == d] for d in domains}
    splits = dict.fromkeys(alone, "train") | assign_splits(groups, rule.val, rule.test)
    return {item.file: splits[item.group] for item in items}


def are_aligned(shared: set[str], names: Sequence[set[str]]) -> bool:
    """Whether enough ids are `shared` by all domains; `names` are the ids of each."""
    return len(names) > 1 and len(shared) >= max(1, SHARED * min(map(len, names)))


def _domains(root: Path, items: Sequence[Item], description: Description) -> tuple[str, ...]:
    """The domains in order.

    Raises:
        UserError: fewer than two, one that is described but has no images, or a name with a
            character that commands use between names.
    """
    present = sorted({item.domain for item in items})
    wanted = description.domains or tuple(present)
    for domain in wanted:
        if domain not in present:
            raise UserError(
                f"{root}: there are no images of the domain '{domain}'",
                f"expected: one of the folders {', '.join(present) or '(there are none)'}",
                f"edit domains in {root / FILE}",
            )
        if re.search(r"[:,\[\]]", domain):
            raise UserError(
                f"{root}: the domain '{domain}' has one of : , [ ] in its name",
                "expected: a folder's name without them",
                "rename the folder",
            )
    if len(wanted) < 2:
        raise UserError(
            f"{root} holds {len(wanted)} domains with readable images",
            "expected: a folder for each of two or more domains, with PNG, TIFF, JPEG, NPY or "
            "DICOM files",
            f"for example: {root}/real/image1.png and {root}/synthetic/image1.png",
        )
    return wanted


def _align(layout: Layout, split: str) -> bool:
    """Keep only the views of a split that all domains have; False, and keep all, if too few."""
    exposures = (split, f"{split}_repeat")
    names = [
        {item.id for item in layout.items if item.split == split and item.domain == domain}
        for domain in layout.domains
    ]
    shared = set.intersection(*names)
    if not are_aligned(shared, names):
        return False
    dropped = [i.file for i in layout.items if i.split in exposures and i.id not in shared]
    if dropped:
        layout.left_out.setdefault(f"{split} images without partners", []).extend(dropped)
        unused = set(dropped)
        layout.items = [item for item in layout.items if item.file not in unused]
    return True


def _check(root: Path, layout: Layout) -> None:
    """Make sure that every domain has images for training and for testing."""
    counts = Counter((item.domain, item.split) for item in layout.items)
    totals = Counter(item.domain for item in layout.items)
    for domain in sorted(layout.domains, key=totals.__getitem__):  # blame the smallest
        for split in ("train", "test"):
            if not counts[domain, split]:
                count = totals[domain]
                raise UserError(
                    f"{root}: the domain '{domain}' has {count} images, none of them for {split}",
                    "expected: at least three images (or groups of images), which can be split",
                    f"add images, or make {root}/train/{domain} and {root}/test/{domain}",
                )
