"""Pictures of a report: views of each unit side by side in one 8-bit PNG, up to a total size."""

import base64
import hashlib
import math
from bisect import bisect_right
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path
from statistics import fmean

import numpy as np
from PIL import Image

from xbench.core.pairs import Pair
from xbench.records.images import (
    STRIP_VIEWS,
    make_strip,
    read_pngs,
    read_strip,
    spread,
    without_padding,
)
from xbench.records.schema import Record
from xbench.records.store import Store

#: Units whose pictures are made to estimate the size of a view.
PROBES = 5
#: Views of each that are looked at; a picture of few is larger for each view.
PROBED = 6


@dataclass(frozen=True)
class Source:
    """The stored images of one unit.

    Attributes:
        record: of the unit.
        views: places of the ids whose image is stored.
        folder: where the 16-bit images lie; None if there is only the strip.
        strip: the 8-bit strip of some views.
    """

    record: Record
    views: tuple[int, ...]
    folder: Path | None
    strip: Path

    def png(self, views: Sequence[int]) -> bytes:
        """These views side by side, 8 bit, at most 128 pixels high.

        Raises:
            OSError: an image is damaged or missing.
        """
        if self.folder is None:
            return self._of_strip(views)
        data = self.record.data
        pixels = read_pngs(self.folder, [data.ids[view] for view in views])
        content = data.content and [data.content[view] for view in views]
        return encoded(make_strip(without_padding(pixels, content)))

    def _of_strip(self, views: Sequence[int]) -> bytes:
        parts = np.split(read_strip(self.strip), len(self.views), axis=1)
        return encoded(np.concatenate([parts[self.views.index(view)] for view in views], axis=1))


@dataclass(frozen=True)
class Album:
    """The pictures of a page.

    Attributes:
        files: name → PNG in base64.
        places: (label, pair) → name of the picture, and places of its ids from left to right.
        shown: number of views of each unit that all rows show.
        stored: number of views of a unit that are stored.
    """

    files: dict[str, str]
    places: dict[tuple[str, Pair], tuple[str, list[int]]]
    shown: int
    stored: int


def album(
    folder: Path, records: Sequence[Record], wanted: Mapping[tuple[str, Pair], set[str]], size: int
) -> Album:
    """As many views of every unit as fit, the same views of all; wanted ones come first.

    Args:
        folder: of the records.
        records: units to show.
        wanted: (label, pair) → ids that are shown even where other views do not fit.
        size: characters that all pictures together may take.
    """
    sources = [source for record in records if (source := _stored(folder, record))]
    most = max((len(source.views) for source in sources), default=0)
    asked = _with_references(sources, wanted)
    each = fmean(_sizes(sources)) if sources else 0

    def needed(count: int) -> int:
        return math.ceil(each * sum(len(_views(s, count, asked[id(s)])) for s in sources))

    count = bisect_right(range(1, most + 1), size, key=needed)
    files: dict[str, str] = {}
    places = {}
    for source in sources if count else ():
        views = _views(source, count, asked[id(source)])
        try:
            png = source.png(views)
        except OSError:
            continue  # damaged; `xbench verify` reports it
        name = "p" + hashlib.sha256(png).hexdigest()[:16]
        files[name] = base64.b64encode(png).decode()
        places[_unit(source.record)] = (name, views)
    return Album(files, places, count, most)


def encoded(pixels: np.ndarray) -> bytes:
    """8-bit pixels `[H, W]` as a PNG."""
    file = BytesIO()
    Image.fromarray(pixels).save(file, "PNG")
    return file.getvalue()


def _stored(folder: Path, record: Record) -> Source | None:
    """Where a unit's images are; None if there are none."""
    store, ids = Store(folder), record.data.ids
    try:
        images, strip = store.images_path(record.unit), store.strip_path(record.unit)
    except OSError:
        return None
    if images.is_dir() and all((images / f"{name}.png").is_file() for name in ids):
        return Source(record, tuple(range(len(ids))), images, strip)
    try:
        height, width = read_strip(strip).shape
    except OSError:
        return None
    views = spread(len(ids), STRIP_VIEWS)
    # In a strip with another number of views, each would have a wrong name.
    return Source(record, tuple(views), None, strip) if width == len(views) * height else None


def _with_references(
    sources: Iterable[Source], wanted: Mapping[tuple[str, Pair], set[str]]
) -> dict[int, set[str]]:
    """The ids wanted of each unit; a reference shows all ids that a row shows of its domains."""
    domains: dict[str, set[str]] = {}
    for (_, pair), ids in wanted.items():
        for domain in pair:
            domains.setdefault(domain, set()).update(ids)
    return {
        id(source): wanted.get(_unit(source.record), set())
        | (domains.get(source.record.source, set()) if source.record.method.reference else set())
        for source in sources
    }


def _views(source: Source, count: int, wanted: set[str]) -> list[int]:
    """Places of the views that are shown: `count` spread ones, and those wanted."""
    ids = source.record.data.ids
    common = set(range(len(ids)) if count >= len(ids) else spread(len(ids), count))
    return [view for view in source.views if view in common or ids[view] in wanted]


def _sizes(sources: Sequence[Source]) -> Iterable[float]:
    """Characters per view, in some of the units."""
    for place in spread(len(sources), PROBES):
        source = sources[place]
        views = source.views[:PROBED]
        try:
            yield len(source.png(views)) * 4 / 3 / len(views)
        except OSError:
            yield 0


def _unit(record: Record) -> tuple[str, Pair]:
    return record.method.label, (record.source, record.target)
