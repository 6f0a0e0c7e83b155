"""The images on which two rows differ most: which ones they are, and their pixels."""

import glob
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

from xbench.analysis.results import read_image
from xbench.core.pairs import Pair
from xbench.core.pixels import Pixels
from xbench.records.schema import Record
from xbench.records.store import Store
from xbench.records.units import UnitId

#: Images that are shown.
VIEWS = 5


@dataclass(frozen=True)
class View:
    """An image on which two rows differ much, with its value in the lowest seed of each."""

    source: str
    target: str
    id: str
    metric: str
    a: float
    b: float
    seed_a: int
    seed_b: int


class Panels(NamedTuple):
    """The images of one view, uint16 `[H, W]`; None where an untranslated image is missing."""

    view: View
    source: Pixels | None
    a: Pixels
    b: Pixels
    target: Pixels | None


def views(both: Mapping[Pair, tuple[Record, Record]], metrics: Sequence[str]) -> list[View]:
    """The images with the largest differences, by the first of the metrics with values per image.

    Args:
        both: pair → a record of each row, with the same images.
        metrics: names.
    """
    for name in metrics:
        every: list[View] = []
        for pair, records in both.items():
            a, b = (record.metrics.get(name) for record in records)
            if a and b and a.per_image and b.per_image:
                seeds = records[0].seed, records[1].seed
                values = zip(records[0].data.ids, a.per_image, b.per_image, strict=True)
                every += [View(*pair, image, name, x, y, *seeds) for image, x, y in values]
        if every:
            return sorted(every, key=lambda view: -abs(view.a - view.b))[:VIEWS]
    return []


def stored(
    folder: Path, labels: tuple[str, str], chosen: Sequence[View], *, aligned: bool
) -> list[Panels]:
    """The images of some views of two rows, without views whose translations are not stored.

    Published results have no images; data that are not `aligned` have no true targets.
    """
    panels = []
    for view in chosen:
        a, b = (
            read_image(
                Store(folder).images_path(UnitId(label, seed, view.source, view.target))
                / f"{view.id}.png"
            )
            for label, seed in zip(labels, (view.seed_a, view.seed_b), strict=True)
        )
        if a is not None and b is not None and a.shape == b.shape:
            target = _untranslated(folder, view.target, view.id) if aligned else None
            source = _untranslated(folder, view.source, view.id)
            panels.append(Panels(view, source, a, b, target))
    return panels


def _untranslated(folder: Path, domain: str, image: str) -> Pixels | None:
    """An image of a domain, as the identity keeps it for any target."""
    units = sorted((folder / "images").glob(f"identity/seed0/{glob.escape(domain)}--*"))
    images = (read_image(unit / f"{image}.png") for unit in units)
    return next((pixels for pixels in images if pixels is not None), None)
