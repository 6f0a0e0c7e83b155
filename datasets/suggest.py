"""Guesses a first `dataset.toml` for a folder by looking at some of its images.

Polarity: by the headers, by comparing domains with one another, and by where air is (`polarity`).
Window: the smallest usual bit depth that holds all values, if they fill a small part of the file's
own range, and all files have one bit depth. Alignment: if images of equal names are more similar
than others. Groups of domains: synthetic and real, if all names say so. What is not sure is not
guessed.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import TypeVar

import numpy as np

from xbench.core.hashing import digest
from xbench.core.names import plain, quoted
from xbench.datasets import similarity
from xbench.datasets.decode import Grey, Picture, Undecodable, read
from xbench.datasets.describe import Description, Polarity, Window
from xbench.datasets.folder import Folder
from xbench.datasets.importers.recognise import KINDS, words
from xbench.datasets.index import Item
from xbench.datasets.layout import Layout
from xbench.datasets.polarity import Belief, agreed, believe, inverted
from xbench.datasets.problems import depths

#: Number of images looked at per domain, and of names that all domains share.
SAMPLE = 24
#: Bit depths of detectors whose values are often stored in 16 bits.
DEPTHS = (10, 12, 14)
T = TypeVar("T")
Look = Callable[[Item], Picture | None]


def suggest(root: Path) -> tuple[Description, list[str]]:
    """A description of the images below a folder, and a sentence on each guess.

    Raises:
        UserError: the folder does not hold a data set.
    """
    folder = Folder.at(root)
    layout = folder(folder.configure_size(64)).layout
    faults: dict[str, str] = {}
    look = _looking(root, faults)
    window: dict[str, Window] = {}
    shown: dict[str, bool | None] = {}
    thumbnails: dict[str, Grey] = {}
    remarks = []
    for domain in layout.domains:
        items = _sample([item for item in layout.items if item.domain == domain])
        pictures = [picture for item in items if (picture := look(item)) is not None]
        remarks += _unusable(root, domain, items, faults)
        if not pictures:
            continue
        guessed, said = _window(domain, pictures)
        remarks += said
        if guessed is not None:
            window[domain] = guessed
        small = np.stack([similarity.thumbnail(p.values) for p in pictures])
        thumbnails[domain] = small[np.ptp(small, axis=(1, 2)) > 0]
        headers = {p.shown for p in pictures}
        shown[domain] = agreed(s == "bone-bright" if s else None for s in headers)
        remarks += _mixed(domain, thumbnails[domain], headers)
    beliefs = believe({d: t for d, t in thumbnails.items() if len(t)}, shown)
    polarity: dict[str, Polarity] = {b.domain: "bone-bright" for b in beliefs if b.bone_bright}
    remarks += _on_polarity(beliefs)
    alignment, said = _alignment(layout, look)
    remarks += said
    kinds = [{KINDS[word] for word in words(domain) if word in KINDS} for domain in layout.domains]
    groups = {d: next(iter(k)) for d, k in zip(layout.domains, kinds, strict=True) if len(k) == 1}
    if len(groups) < len(layout.domains) or len(set(groups.values())) < 2:
        groups = {}
    description = folder.description.model_copy(
        update={
            "name": folder.name,
            "domains": layout.domains,
            "domain_groups": groups,
            "polarity": _shared(polarity, layout.domains, "bone-dark"),
            "window": _shared(window, layout.domains, None) or None,
            "alignment": alignment,
        }
    )
    return description, remarks


def _looking(root: Path, faults: dict[str, str]) -> Look:
    """A function that decodes the file of an item; None if it cannot be used, with the reason."""

    def look(item: Item) -> Picture | None:
        try:
            return read(root / item.file)
        except Undecodable as error:
            faults[item.file] = str(error)
            return None

    return look


def _unusable(
    root: Path, domain: str, items: Sequence[Item], faults: Mapping[str, str]
) -> list[str]:
    """A remark if some files of a domain cannot be used, with the first of them."""
    found = [item.file for item in items if item.file in faults]
    if not found:
        return []
    return [
        f"{domain}: {len(found)} of {len(items)} images cannot be used, such as {plain(found[0])}, "
        f"which {faults[found[0]]}: see xbench data verify {quoted(root)}"
    ]


def _sample(items: Sequence[Item]) -> list[Item]:
    """Some items, by the hashes of their files: even steps may follow a rhythm of the names."""
    return sorted(items, key=lambda item: digest(item.file))[:SAMPLE]


def _mixed(domain: str, thumbnails: Grey, headers: Iterable[str | None]) -> list[str]:
    """A remark if some images of a domain are negatives of the others."""
    said = {shown for shown in headers if shown}
    odd = int(inverted(thumbnails).sum()) if len(thumbnails) > 1 else 0
    if not odd and len(said) < 2:
        return []
    what = (
        "the headers of some files say that bone is bright, those of others that it is dark"
        if len(said) > 1
        else f"{odd} of {len(thumbnails)} images seem to be negatives of the others"
    )
    return [f"{domain}: {what}: see xbench data verify"]


def _on_polarity(beliefs: Sequence[Belief]) -> list[str]:
    """A sentence for each domain whose polarity was guessed, or could not be."""
    remarks = []
    for belief in beliefs:
        how = "sure" if belief.sure else "not sure"
        if belief.bone_bright:
            remarks.append(
                f"{belief.domain}: polarity is inverted, since bone seems to be bright ({how}): "
                f"{belief.why}"
            )
        elif belief.sure:
            remarks.append(f"{belief.domain}: bone seems to be dark ({how}): {belief.why}")
        else:
            remarks.append(
                f"{belief.domain}: polarity was not guessed, bone is taken as dark: {belief.why}; "
                'if bone is bright, set polarity = "bone-bright"'
            )
    return remarks


def _alignment(layout: Layout, look: Look) -> tuple[str, list[str]]:
    """`id` if images of equal names are more similar than others, with the figures."""
    if not layout.aligned["test"]:
        return "none", []
    views = {(i.split, i.id, i.domain): i for i in layout.items}
    shared = [
        views[item.split, item.id, layout.domains[0]]
        for item in views.values()
        if item.domain == layout.domains[0]
        and all((item.split, item.id, domain) in views for domain in layout.domains)
    ]
    found: dict[str, list[Grey]] = {domain: [] for domain in layout.domains}
    for item in _sample(shared):
        pictures = {d: look(views[item.split, item.id, d]) for d in layout.domains}
        if all(pictures.values()):
            for domain, picture in pictures.items():
                assert picture is not None
                found[domain].append(similarity.thumbnail(picture.values))
    number = min(map(len, found.values()))
    edges = {d: similarity.edges(np.stack(t)) for d, t in found.items()} if number > 1 else {}
    first, *others = edges.values() or [np.empty((0, 1), np.float32)]
    shares = [similarity.closer_others(first, other) for other in others]
    if shares and all(map(similarity.are_partners, shares)):
        least = 1 - max(float(share.mean()) for share in shares)
        remark = (
            f"images of equal names are more similar than {least:.0%} of others ({number} names)"
        )
        return "id", [f"alignment is by id: {remark}"]
    why = f"only {number} names are in all domains, which says nothing"
    if shares and number >= 4:
        least = 1 - max(float(share.mean()) for share in shares)
        why = (
            f"images of equal names are more similar than {least:.0%} of others ({number} names), "
            "where chance gives 50%"
        )
    return "none", [f'alignment is none: {why}; if they show the same views, set alignment = "id"']


def _window(domain: str, pictures: Sequence[Picture]) -> tuple[Window | None, list[str]]:
    """A window if the values fill less than a third of their range, or the range is undefined.

    None, with a remark, for files of several bit depths: no window fits all of them.
    """
    bits = [picture.bits for picture in pictures]
    if len(set(bits)) > 1:
        return None, [
            f"{domain}: files differ in bit depth, {depths(bits)}: no window is guessed, each file "
            "has its own range; if greys differ, store all with one depth"
        ]
    least = min(float(p.values.min()) for p in pictures)
    most = max(float(p.values.max()) for p in pictures)
    window: Window | None = None
    high = pictures[0].high
    if bits[0] == 0 and least >= 0 and most <= 1:
        return None, []
    if high is None or bits[0] == 0:
        window = (least, most) if most > least else None
    else:
        fitting = [float(2**depth - 1) for depth in DEPTHS if most < 2**depth]
        known = pictures[0].low not in (None, 0.0)  # the window of a DICOM file
        window = (0.0, fitting[0]) if fitting and not known and fitting[0] < high / 3 else None
    if window is None:
        return None, []
    return window, [
        f"{domain}: the largest of {len(pictures)} images' values is {most:g}: "
        f"the window is {window[0]:g} to {window[1]:g}"
    ]


def _shared(values: Mapping[str, T], domains: Sequence[str], default: T) -> T | dict[str, T]:
    """One value for all domains if they agree, else the values by domain."""
    first, *others = [values.get(domain, default) for domain in domains]
    return first if all(value == first for value in others) else dict(values)
