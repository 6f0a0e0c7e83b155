"""Sorts the images of a folder into domains, splits, ids and groups, by their paths alone."""

import re
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

from xbench.core.errors import UserError, unknown
from xbench.core.files import read_text
from xbench.core.names import plain
from xbench.datasets import groups
from xbench.datasets.decode import is_image, stem
from xbench.datasets.describe import FILE, Description
from xbench.datasets.index import Item, read_index
from xbench.datasets.split import assign_splits
from xbench.datasets.walk import LeftOut, inside, walk

#: Folder name → split.
SPLIT_NAMES = {
    **dict.fromkeys(("train", "training"), "train"),
    **dict.fromkeys(("val", "valid", "validation"), "val"),
    **dict.fromkeys(("test", "testing"), "test"),
    "val_repeat": "val_repeat",
    "test_repeat": "test_repeat",
}
#: The folder of masks and tables of labels, beside those of the images.
LABELS = "labels"
#: Ends of file and folder names of masks beside the images.
MASK = re.compile(r"(^|[ _.-])(mask|masks|seg|segmentation|label|labels|annotation|annotations)$")
#: Likewise of small copies of the images.
THUMBNAIL = re.compile(r"(^|[ _.-])(thumb|thumbs|thumbnail|thumbnails|preview|previews)$")
#: So many files are named, of those left out for one reason.
NAMED = 5
#: Ids count as aligned if all domains have at least this share of the smallest domain's ids.
SHARED = 0.5


@dataclass
class Layout:
    """The images of a folder.

    Attributes:
        items: the images, in the order of their files.
        domains: in the order of tables.
        aligned: split → whether equal ids show the same view in all domains.
        groups: how groups were found, and how many there are, in one line.
        left_out: reason → unused files.
        present: all domains with images, of which the description may have chosen some.
    """

    items: list[Item]
    domains: tuple[str, ...]
    aligned: dict[str, bool]
    groups: str = ""
    left_out: LeftOut = field(default_factory=dict)
    present: tuple[str, ...] = ()


def find(root: Path, description: Description) -> Layout:
    """The images of a folder, by its index or by the names of files and folders.

    Raises:
        UserError: fewer than two domains, too few images of one, or two images of one name.
    """
    left_out: LeftOut = {}
    if description.index:
        found = read_index(_index_of(root, description.index), root)
    else:
        found = _search(root, left_out)
    _refuse_namesakes(root, found)
    domains = _domains(root, found, description, left_out)
    items = [item for item in found if item.domain in domains]
    if len(items) < len(found):
        others = [item.file for item in found if item.domain not in domains]
        left_out[f"of domains that {FILE} does not list"] = others
    grouped = _grouped(root, items, description)
    present = tuple(sorted({item.domain for item in found}))
    layout = Layout(grouped.items, domains, {}, grouped.line(), left_out, present)
    for split in ("val", "test"):
        layout.aligned[split] = description.alignment == "id" and _align(layout, split)
    _check(root, layout)
    return layout


def _index_of(root: Path, name: str) -> Path:
    """The table that a description names.

    Raises:
        UserError: it lies outside the folder of the data set.
    """
    path = inside(root, root / name)
    if Path(name).is_absolute() or ".." in Path(name).parts:
        raise UserError(
            f"{root / FILE}: the index {name} lies outside {root}",
            "expected: a file below that folder",
            "copy it there, and edit the line index",
        )
    return path


def _search(root: Path, left_out: LeftOut) -> list[Item]:
    """The images, by the names of files and folders; adds unused files to `left_out`."""
    items = []
    for file in sorted(walk(root, left_out)):
        if is_label(root, file):
            continue
        reason = _unusable(root, file)
        item = None if reason else _parse(file)
        if item is None:
            left_out.setdefault(reason or "in no folder of a domain", []).append(file)
        else:
            items.append(item)
    _refuse_half_split(root, items)
    return items


def _grouped(root: Path, items: Sequence[Item], description: Description) -> groups.Grouped:
    """The images with their groups and splits.

    Raises:
        UserError: a group lies in two splits.
    """
    if description.index:
        grouped = groups.indexed(items)
        fix = f"edit {description.index}: its columns split and group"
    else:
        rule, aligned = description.split.group, description.alignment == "id"
        grouped = groups.group(root, items, rule, aligned=aligned)
        fix = f"move its images into one split; if they show different patients, {_alone(root)}"
    groups.refuse_cut(root, grouped, fix)
    splits = _splits(grouped.items, description)
    return replace(grouped, items=[replace(i, split=splits[i.file]) for i in grouped.items])


def is_label(root: Path, file: str) -> bool:
    """Whether a file is a mask or a table below `labels/`."""
    if not file.startswith(f"{LABELS}/"):
        return False
    return file.lower().endswith(".csv") or is_image(root / file)


def _unusable(root: Path, file: str) -> str | None:
    """The reason why a file is not an image of the data set, or None."""
    path = Path(file)
    if path.name.upper() == "DICOMDIR":
        return "tables of contents of DICOM disks"
    if not is_image(root / path):
        return "no images that can be read"
    parts = [part.lower() for part in (*path.parts[:-1], stem(path.name))]
    if any(map(MASK.search, parts)):
        return "masks and labels, by their names"
    if any(map(THUMBNAIL.search, parts)):
        return "small copies, by their names"
    return None


def _parse(file: str) -> Item | None:
    """Domain, split (or ""), id, and sub-folder as group, by a path; None outside domains."""
    *folders, name = map(plain, Path(file).parts)
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
    return Item(file, domain, split, "--".join([*rest, stem(name)]), "--".join(rest))


def _refuse_namesakes(root: Path, items: Sequence[Item]) -> None:
    first: dict[tuple[str, ...], str] = {}
    for item in items:
        other = first.setdefault((item.domain, item.split, item.id), item.file)
        if other != item.file:
            raise UserError(
                f"{root}: {plain(other)} and {plain(item.file)} have the same name, '{item.id}'",
                "expected: one image per name in a domain",
                "delete or rename one of the two",
            )


def _refuse_half_split(root: Path, items: Sequence[Item]) -> None:
    inside = [item.file for item in items if item.split]
    outside = [item.file for item in items if not item.split]
    if inside and outside:
        raise UserError(
            f"{root}: {plain(inside[0])} lies in a folder of a split, {plain(outside[0])} does not",
            "expected: train and test folders for all images, or for none",
            "move the files, or describe them in an index: see xbench data init --help",
        )


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
    # In aligned data, groups without any id that all domains have are for training only.
    paired = {item.group for item in items if item.id in partners}
    alone = {item.group for item in items if aligned} - paired
    rest = [item for item in items if item.group not in alone]
    groups = {d: [i.group for i in rest if i.domain == d] for d in domains}
    splits = dict.fromkeys(alone, "train") | assign_splits(groups, rule.val, rule.test)
    return {item.file: splits[item.group] for item in items}


def are_aligned(shared: set[str], names: Sequence[set[str]]) -> bool:
    """Whether enough ids are `shared` by all domains; `names` are the ids of each."""
    return len(names) > 1 and len(shared) >= max(1, SHARED * min(map(len, names)))


def _alone(root: Path) -> str:
    """How to make every image a group of its own."""
    path = root / FILE
    if path.exists() and re.search(r"^\s*\[split\]", read_text(path), re.MULTILINE):
        return f'set group = "stem" below [split] in {path}'
    return f'put split.group = "stem" at the top of {path}'


def _domains(
    root: Path, items: Sequence[Item], description: Description, left_out: LeftOut
) -> tuple[str, ...]:
    """The domains in order.

    Raises:
        UserError: fewer than two, one that is described but has no images, or a name with a
            character that commands use between names.
    """
    present = sorted({item.domain for item in items})
    wanted = description.domains or tuple(present)
    refuse_unknown("domains", wanted, present, root / FILE)
    refuse_unknown("domain_groups", description.domain_groups, present, root / FILE)
    for key, value in (("polarity", description.polarity), ("window", description.window)):
        refuse_unknown(key, value if isinstance(value, dict) else (), present, root / FILE)
    for domain in wanted:
        if re.search(r"[:,\[\]]", domain):
            raise UserError(
                f"{root}: the domain '{domain}' has one of : , [ ] in its name",
                "expected: a folder's name without them",
                "rename the folder",
            )
    if len(wanted) < 2:
        unused = "; ".join(left_out_lines(left_out))
        raise UserError(
            f"{root} holds {f'one domain, {wanted[0]},' if wanted else 'no domain'} with readable "
            "images" + (f" ({unused})" if unused else ""),
            "expected: a folder for each of two or more domains, with PNG, TIFF, JPEG, NPY or "
            "DICOM files",
            f"for example: {root}/real/image1.png and {root}/synthetic/image1.png",
        )
    return wanted


def refuse_unknown(
    key: str, named: Iterable[str], domains: Sequence[str], where: Path | str
) -> None:
    """Make sure that a key of the description names domains with images.

    Raises:
        UserError: a name is none of them.
    """
    for name in named:
        if name not in domains:
            raise unknown("domain", name, domains, f"edit {key} in {where}")


def left_out_lines(left_out: LeftOut) -> list[str]:
    """One line for each reason: how many files, and some of their names."""
    lines = []
    for reason, files in left_out.items():
        names = ", ".join(map(plain, sorted(files)[:NAMED]))
        names += f" and {len(files) - NAMED} more" if len(files) > NAMED else ""
        lines.append(f"left out: {len(files)} files ({reason}): {names}")
    return lines


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
                own = [item for item in layout.items if item.domain == domain]
                number = len({item.group for item in own})
                raise UserError(
                    f"{root}: the domain '{domain}' has {len(own)} images of {number} groups, "
                    f"none of them for {split} ({layout.groups})",
                    "expected: at least three groups (patients, or single images), to be split",
                    f"add images, or make {root}/train/{domain} and {root}/test/{domain}; if every "
                    f"image shows another patient, {_alone(root)}",
                )
