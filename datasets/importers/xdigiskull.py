"""X-DigiSkull (Zenodo record 16535437): downloaded or copied, recognised, described.

Skull X-rays of a simulator (two doses) and of a fluoroscope (three doses), 780×780 pixels. The
archive's layout is not documented: domains and views are recognised by names (`recognise`), or
views by registration if their names differ. The result lies beside the images as `index.csv` and
`dataset.toml`, which `XDigiSkull` reads like those of any other folder.
"""

import os
import shutil
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from xbench.core.errors import UserError, unknown
from xbench.core.files import home
from xbench.datasets.base import Progress
from xbench.datasets.decode import Grey, Undecodable, read
from xbench.datasets.describe import FILE, Description, read_description, write_description
from xbench.datasets.folder import Folder
from xbench.datasets.importers import zenodo
from xbench.datasets.importers.archives import check_space, extract, is_archive, stem
from xbench.datasets.importers.recognise import (
    DOMAINS,
    LEAST_GROUPS,
    Name,
    Recognised,
    demand_complete,
    escaped,
    group_views,
    image_files,
    natural,
    parse_mapping,
    recognise,
    view_names,
)
from xbench.datasets.index import Item, write_index
from xbench.datasets.layout import are_aligned
from xbench.datasets.prepare import normalise
from xbench.datasets.similarity import edges, thumbnail
from xbench.datasets.split import assign_splits

NAME = "xdigiskull"
RECORD = "16535437"
INDEX = "index.csv"
#: Least share of mutual matches (each image is the other's most similar one) in a registration.
MUTUAL = 0.8
#: An archive may unpack to at most this many times its size plus this many bytes.
LARGEST_RATIO, ALLOWANCE = 20, 2**30


def images_folder() -> Path:
    """The folder of the images, with `index.csv` and `dataset.toml`."""
    return home() / "data" / NAME / "images"


class XDigiSkull(Folder):
    """Skull X-rays in two simulated and three real domains (Zenodo record 16535437)."""


def fetched() -> type[Folder]:
    """The class of the fetched data set.

    Raises:
        UserError: it has not been fetched.
    """
    root = images_folder()
    if not (root / FILE).exists():
        raise UserError(
            f"X-DigiSkull has not been fetched: there is no {root / FILE}",
            f"expected: the images of Zenodo record {RECORD} in {root}",
            f"try: xbench data fetch {NAME}",
        )
    return XDigiSkull.at(root)


def obtain(
    name: str,
    source: Path | None = None,
    mapping: Sequence[str] = (),
    progress: Progress | None = None,
    say: Callable[[Recognised], None] | None = None,
) -> Path:
    """Fetch, extract, recognise and build the data set; finished steps are not repeated.

    Extracted images are kept even if names are not recognised: a later call with a mapping starts
    from them. Archives are kept in `archives` beside the images, and can be deleted.

    Args:
        name: `xdigiskull`.
        source: an archive, a folder of archives or a folder of images, used instead of the
            download and of earlier images; images are copied.
        mapping: `PATTERN=domain` for unrecognised images; replaces an earlier mapping.
        progress: called with bytes and images.
        say: called with the recognised images before the data set is built.

    Returns:
        The data set's folder.

    Raises:
        UserError: see `zenodo.fetch`, `archives.extract`, `recognise` and `build`.
    """
    if name != NAME:
        raise unknown("data set to fetch", name, [NAME], f"try: xbench data fetch {NAME}")
    rules = parse_mapping(mapping)
    root = images_folder()
    if source is not None:
        _take(source, root, progress)
    elif not root.is_dir():
        files = zenodo.fetch(RECORD, root.with_name("archives"), progress)
        _unpack(files, root, progress)
    elif (built := read_description(root)) and not rules:
        if say:
            say(recognise(root, built.mapping))
        return root
    recognised = recognise(root, rules)
    if say:
        say(recognised)
    build(root, recognised, progress)
    return root


def _take(source: Path, root: Path, progress: Progress | None) -> None:
    """Put the user's own copy into `root`."""
    if source.is_dir() and source.resolve() == root.resolve():
        return
    archives = sorted(path for path in source.glob("*") if path.is_file() and is_archive(path))
    if source.is_file() or archives:
        _unpack(archives or [source], root, progress)
    elif source.is_dir() and image_files(source):
        _copy(source, root, progress)
    else:
        raise UserError(
            f"--from {source} holds neither images nor archives",
            "expected: an archive (zip, tar), a folder of archives, or a folder of images",
            f"see https://doi.org/10.5281/zenodo.{RECORD} for the archive",
        )


def _unpack(files: Sequence[Path], root: Path, progress: Progress | None) -> None:
    """Extract archives to `root`: one directly, several into folders of their names."""
    archives = [path for path in files if is_archive(path)] or list(files)
    root.parent.mkdir(parents=True, exist_ok=True)
    stage = root.with_name(".new")
    shutil.rmtree(stage, ignore_errors=True)
    for archive in archives:
        free = shutil.disk_usage(root.parent).free
        limit = min(free, LARGEST_RATIO * archive.stat().st_size + ALLOWANCE)
        extract(archive, stage / stem(archive) if len(archives) > 1 else stage, limit, progress)
    _replace(root, stage)


def _copy(source: Path, root: Path, progress: Progress | None) -> None:
    """Copy the images below a folder to `root`."""
    files = image_files(source)
    root.parent.mkdir(parents=True, exist_ok=True)
    check_space(root.parent, {"a copy": sum((source / file).stat().st_size for file in files)})
    stage = root.with_name(".new")
    shutil.rmtree(stage, ignore_errors=True)
    for done, file in enumerate(files, start=1):
        (stage / file).parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(source / file, stage / file)
        if progress:
            progress(done, len(files), "copy images")
    _replace(root, stage)


def _replace(root: Path, stage: Path) -> None:
    """Replace a folder by a new one."""
    old = root.with_name(".old")
    shutil.rmtree(old, ignore_errors=True)
    if root.exists():
        os.replace(root, old)
    os.replace(stage, root)
    shutil.rmtree(old, ignore_errors=True)


@dataclass(frozen=True)
class _Views:
    """The view of every image.

    Attributes:
        ids: file → id.
        groups: file → group.
        aligned: whether equal ids of two domains show the same view.
        notes: how ids and groups were chosen.
    """

    ids: dict[str, str]
    groups: dict[str, str]
    aligned: bool
    notes: str


def build(root: Path, recognised: Recognised, progress: Progress | None = None) -> None:
    """Write `index.csv` and `dataset.toml` beside the images.

    Views are aligned by equal names if all domains share enough of them (see `are_aligned`), else
    by registration (see `_register`), else not at all. Groups of views are assigned to splits as a
    whole. In aligned data, val and test hold only views that all domains have; images of other
    views are used for training if their group is, and left out otherwise.

    Raises:
        UserError: unrecognised images or missing domains, two images of one view in a domain,
            images that cannot be decoded, or too few groups.
    """
    demand_complete(recognised)
    views = _find_views(root, recognised, progress)
    items, left_out = _split(recognised.items, views)
    _check(items, root)
    notes = views.notes
    if left_out:
        notes += f"; left out: {left_out} images without partners, in groups of val and test"
    # The description is written last: without it, the data set counts as not built.
    (root / FILE).unlink(missing_ok=True)
    write_index(root / INDEX, items)
    description = Description(
        name=NAME,
        domains=tuple(DOMAINS),
        domain_groups=DOMAINS,
        index=INDEX,
        polarity="bone-dark",
        alignment="id" if views.aligned else "none",
        mapping=recognised.mapping,
        notes=notes,
    )
    about = f"X-DigiSkull, DOI 10.5281/zenodo.{RECORD}, as xbench data fetch {NAME} found it.\n"
    write_description(root, description, about + "Images are bone-dark, as xbench has them.")


def _find_views(root: Path, recognised: Recognised, progress: Progress | None) -> _Views:
    names = view_names(recognised)
    items = recognised.items
    own = [{names[file].id for file in files} for files in items.values()]
    shared = set.intersection(*own)
    ids = {file: name.id for file, name in names.items()}
    share = f"{len(shared)} of {min(map(len, own))} ids of the smallest domain are in all domains"
    if are_aligned(shared, own):
        groups, how = group_views(names, {file for file, id_ in ids.items() if id_ in shared})
        return _Views(ids, groups, aligned=True, notes=f"ids: names ({share}); groups: {how}")
    if registered := _register(root, items, names, progress):
        return registered
    groups, how = group_views(names)
    notes = f"ids: names, not aligned ({share}, and registration failed); groups: {how}"
    return _Views(ids, groups, aligned=False, notes=notes)


def _register(
    root: Path,
    items: Mapping[str, Sequence[str]],
    names: Mapping[str, Name],
    progress: Progress | None,
) -> _Views | None:
    """Find equal views by the edges of their thumbnails (see `similarity.edges`).

    Edges hardly depend on contrast, dose or polarity. Every domain is matched to the smallest one,
    one to one, with the largest sum of correlations. Matched images get the id and group of the
    smallest domain's image; others keep their own id and get the group of the most similar image.

    Returns:
        None if in one of the matchings less than `MUTUAL` of the pairs are mutual.
    """
    from scipy.optimize import linear_sum_assignment

    smallest = min(items, key=lambda domain: len(items[domain]))
    reference = items[smallest]
    reference_groups, how = group_views({file: names[file] for file in reference})
    ids = {file: names[file].id for file in reference}
    groups = dict(reference_groups)
    edges_of = _edges(root, items, progress)
    for domain, files in items.items():
        if domain == smallest:
            continue
        likeness = edges_of[smallest] @ edges_of[domain].T
        rows, columns = linear_sum_assignment(likeness, maximize=True)
        nearest, nearest_back = likeness.argmax(axis=1), likeness.argmax(axis=0)
        mutual = (nearest[rows] == columns) & (nearest_back[columns] == rows)
        if mutual.mean() < MUTUAL:
            return None
        partner = dict(zip(columns.tolist(), rows.tolist(), strict=True))
        for place, file in enumerate(files):
            alike = reference[partner.get(place, int(nearest_back[place]))]
            ids[file] = names[alike].id if place in partner else f"{domain}-{names[file].id}"
            groups[file] = reference_groups[alike]
    notes = f"ids: registration to {smallest}; groups: {how} of {smallest}"
    return _Views(ids, groups, aligned=True, notes=notes)


def _edges(
    root: Path, items: Mapping[str, Sequence[str]], progress: Progress | None
) -> dict[str, Grey]:
    """Domain → edges of its images `[n, d]`."""
    total, done = sum(map(len, items.values())), 0
    result = {}
    for domain, files in items.items():
        thumbnails = []
        for file in files:
            thumbnails.append(_thumbnail(root, file))
            done += 1
            if progress:
                progress(done, total, "register views")
        result[domain] = edges(np.stack(thumbnails))
    return result


def _thumbnail(root: Path, file: str) -> NDArray[np.float32]:
    try:
        return thumbnail(normalise(read(root / file), None, invert=False))
    except Undecodable as error:
        raise UserError(
            f"{root / file} {error}",
            "expected: a readable image",
            f"leave it out: xbench data fetch {NAME} --map '{escaped(file)}=skip'",
        ) from error


def _split(items: Mapping[str, Sequence[str]], views: _Views) -> tuple[list[Item], int]:
    """The images with their splits, and the number of images left out."""
    everywhere = set.intersection(*({views.ids[f] for f in files} for files in items.values()))

    def partnered(file: str) -> bool:
        return not views.aligned or views.ids[file] in everywhere

    divided = {
        domain: [views.groups[file] for file in files if partnered(file)]
        for domain, files in items.items()
    }
    splits = assign_splits(divided)
    chosen, left_out = [], 0
    for domain, files in items.items():
        for file in sorted(files, key=lambda file: natural(views.ids[file])):
            split = splits.get(views.groups[file], "train")
            if split == "train" or partnered(file):
                chosen.append(Item(file, domain, split, views.ids[file], views.groups[file]))
            else:
                left_out += 1
    return chosen, left_out


def _check(items: Sequence[Item], root: Path) -> None:
    """Check that every domain has images in every split."""
    have = {(item.domain, item.split) for item in items}
    for domain in DOMAINS:
        for split in ("train", "val", "test"):
            if (domain, split) not in have:
                groups = {item.group for item in items if item.domain == domain}
                raise UserError(
                    f"{root}: {domain} has no images for {split}: {len(groups)} groups of views",
                    f"expected: at least {LEAST_GROUPS} groups in every domain",
                    "add images, or map unrecognised ones with --map",
                )
