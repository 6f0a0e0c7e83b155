"""Guesses a first `dataset.toml` for a folder by looking at some of its images."""

from collections.abc import Sequence
from pathlib import Path
from typing import TypeVar

import numpy as np

from xbench.datasets.decode import Picture, Undecodable, read
from xbench.datasets.describe import Description, Polarity, Window
from xbench.datasets.folder import Folder
from xbench.datasets.importers.recognise import KINDS, words
from xbench.datasets.index import Item
from xbench.datasets.similarity import border_less_centre, thumbnail

#: Number of images looked at per domain.
SAMPLE = 24
#: Bit depths of detectors whose values are often stored in 16 bits.
DEPTHS = (10, 12, 14)
T = TypeVar("T")


def suggest(root: Path) -> tuple[Description, list[str]]:
    """A description of the images below a folder, and a sentence on each guess.

    Polarity: the border of an X-ray is mostly air, so bone is bright if the border is darker than
    the centre. Window: the smallest usual bit depth that holds all values, if they fill a small
    part of the file's own range. Groups of domains: synthetic and real, if all names say so.

    Raises:
        UserError: the folder does not hold a data set.
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
        borders = border_less_centre(np.stack([thumbnail(p.values) for p in pictures]))
        share = float(np.mean(borders > 0))
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
    description = folder.description.model_copy(
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
    """The decodable ones among `SAMPLE` evenly spaced images of a domain."""
    rows = np.linspace(0, len(items) - 1, min(SAMPLE, len(items))).astype(int)
    pictures = []
    for row in rows:
        try:
            pictures.append(read(root / items[row].file))
        except Undecodable:
            continue
    return pictures


def _window(pictures: Sequence[Picture]) -> Window | None:
    """A window if the values fill less than a third of their range, or the range is undefined."""
    least = min(float(p.values.min()) for p in pictures)
    most = max(float(p.values.max()) for p in pictures)
    high = pictures[0].high
    if pictures[0].bits == 0 and least >= 0 and most <= 1:
        return None
    if high is None or pictures[0].bits == 0:
        return (least, most) if most > least else None
    fitting = [float(2**bits - 1) for bits in DEPTHS if most < 2**bits]
    known = pictures[0].low not in (None, 0.0)  # the window of a DICOM file
    return (0.0, fitting[0]) if fitting and not known and fitting[0] < high / 3 else None


def _shared(values: dict[str, T], domains: Sequence[str], default: T) -> T | dict[str, T]:
    """One value for all domains if they agree, else the values by domain."""
    first, *others = [values.get(domain, default) for domain in domains]
    return first if all(value == first for value in others) else values
