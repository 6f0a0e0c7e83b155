"""A first `dataset.toml` for a folder: what can be told by looking at some of its images."""

from collections.abc import Sequence
from pathlib import Path
from typing import TypeVar

import numpy as np

from xbench.datasets.decode import Picture, Undecodable, read
from xbench.datasets.describe import Description, Polarity, Window
from xbench.datasets.folder import Folder
from xbench.datasets.importers.recognise import KINDS, words
from xbench.datasets.index import Item

#: Images looked at per domain.
SAMPLE = 24
#: Bit depths of detectors whose values are often stored in 16 bits.
DEPTHS = (10, 12, 14)
T = TypeVar("T")


def suggest(root: Path) -> tuple[Description, list[str]]:
    """A description of the images below a folder, and a sentence on each thing that was guessed.

    Polarity: the border of an X-ray is mostly air, so bone is bright where the border is darker
    than the centre. Window: the least usual bit depth that holds all values, where they fill a
    small part of the file's own range. Groups of domains: synthetic and real, where all names say
    so.

    Raises:
        UserError: the folder holds no data set.
    """
    folder = Folder.at(root)
    layout = folder(folder.configure_size(64)).layout
    polarity: dict[str, Polarity] = {}
    window: dict[str, Window] = {}
    remarks = []
    for domain in layout.domains:
        items = [item for item in layout.items if item.domain == domain]
        pictures = _decodable(root, items)
        if not pictures:
            continue
        share = float(np.mean([_border(p) > _centre(p) for p in pictures]))
        if share < 0.5:
            polarity[domain] = "bone-bright"
            remarks.append(
                f"{domain}: the border is darker than the centre in {1 - share:.0%} of "
                f"{len(pictures)} images, so bone seems to be bright: polarity is inverted"
            )
        if (guessed := _window(pictures)) is not None:
            window[domain] = guessed
            most = max(float(p.values.max()) for p in pictures)
            remarks.append(
                f"{domain}: the largest of {len(pictures)} images' values is {most:g}: "
                f"the window is {guessed[0]:g} to {guessed[1]:g}"
            )
    kinds = [{KINDS[word] for word in words(domain) if word in KINDS} for domain in layout.domains]
    groups = {d: next(iter(k)) for d, k in zip(layout.domains, kinds, strict=True) if len(k) == 1}
    if len(groups) < len(layout.domains) or len(set(groups.values())) < 2:
        groups = {}
    told = folder.description
    description = told.model_copy(
        update={
            "name": folder.name,
            "domains": layout.domains,
            "domain_groups": groups,
            "polarity": _shared(polarity, layout.domains, "bone-dark"),
            "window": _shared(window, layout.domains, None) or None,
            "alignment": "id" if layout.aligned["test"] else "none",
        }
    )
    return description, remarks


def _decodable(root: Path, items: Sequence[Item]) -> list[Picture]:
    """Up to `SAMPLE` of a domain's images, evenly chosen, that can be decoded."""
    rows = np.linspace(0, len(items) - 1, min(SAMPLE, len(items))).astype(int)
    pictures = []
    for row in rows:
        try:
            pictures.append(read(root / items[row].file))
        except Undecodable:
            continue
    return pictures


def _border(picture: Picture) -> float:
    values, edge = picture.values, max(1, min(picture.values.shape) // 16)
    inner = values[edge:-edge, edge:-edge]
    return float((values.sum() - inner.sum()) / max(1, values.size - inner.size))


def _centre(picture: Picture) -> float:
    height, width = picture.values.shape
    middle = picture.values[height // 4 : -height // 4, width // 4 : -width // 4]
    return float(middle.mean()) if middle.size else float(picture.values.mean())


def _window(pictures: Sequence[Picture]) -> Window | None:
    """A window for values that fill less than a third of their range, or have no range."""
    least = min(float(p.values.min()) for p in pictures)
    most = max(float(p.values.max()) for p in pictures)
    high = pictures[0].high
    if pictures[0].bits == 0 and least >= 0 and most <= 1:
        return None
    if high is None or pictures[0].bits == 0:
        return (least, most) if most > least else None
    fitting = [float(2**bits - 1) for bits in DEPTHS if most < 2**bits]
    told = pictures[0].low not in (None, 0.0)  # a DICOM window
    return (0.0, fitting[0]) if fitting and not told and fitting[0] < high / 3 else None


def _shared(values: dict[str, T], domains: Sequence[str], default: T) -> T | dict[str, T]:
    """One value for all domains if they agree, else the values by domain."""
    found = [values.get(domain, default) for domain in domains]
    return found[0] if all(value == found[0] for value in found) else values
