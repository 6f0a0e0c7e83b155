"""What networks of `xbench utility` saw in test images, drawn over them with the truth.

Only here a report needs the data set: it imports torch where there are such predictions.
"""

import base64
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from xbench.analysis.leaderboard import ranked
from xbench.analysis.results import Results
from xbench.core.errors import UserError
from xbench.core.pixels import to_pixels
from xbench.core.places import without_folders
from xbench.records.images import make_strip
from xbench.records.schema import UtilityRecord
from xbench.records.store import UtilityStore
from xbench.report.pictures import encoded
from xbench.tasks.measures import TASKS, Task

if TYPE_CHECKING:
    from xbench.datasets.labels import Labels
    from xbench.harness.plan import Plan

#: Images of each row, and best and worst rows that are shown.
IMAGES, ROWS = 3, 4
#: Pixels by which an outline may be simplified.
TOLERANCE = 0.3


@dataclass(frozen=True)
class Seen:
    """One test image with what was seen in it.

    Attributes:
        id: of the image.
        pair: source and target.
        score: in words.
        png: the image in base64.
        size: its side; outlines and places are in this unit, from its corner.
        found: outlines of all predicted masks, as an SVG path.
        true: those of the true masks.
        places: landmark, predicted (x, y) and true (x, y).
    """

    id: str
    pair: tuple[str, str]
    score: str
    png: str
    size: int
    found: str
    true: str
    places: list[tuple[str, float, float, float, float]]


@dataclass(frozen=True)
class Predictions:
    """Label → its images, the worst first; and why there are none, or which are left out."""

    rows: dict[str, list[Seen]]
    note: str = ""


def predictions(folder: Path, results: Results, dataset: str = "") -> Predictions:
    """The worst images of the best and worst methods.

    Args:
        folder: of the records, below which the masks lie.
        results: of the folder.
        dataset: what the user gives to `--dataset`; needed for what is not built in.
    """
    known = {n: r.utility.value for n, r in ranked(results.by_label).items() if not r.reference}
    rows = results.trials.rows
    order = sorted(known.keys() & rows.keys(), key=lambda label: (-known[label], label))
    order = [label for label in order if np.isfinite(known[label])]
    shown = order if len(order) <= 2 * ROWS else [*order[:ROWS], *order[-ROWS:]]
    if not shown:
        return Predictions({})
    store = UtilityStore(folder)
    if not all(store.masks_path(r.unit).is_file() for n in shown for r in rows[n].records):
        return Predictions({}, "the predicted masks are not stored here (they are not published)")
    from xbench.harness import utility
    from xbench.harness.request import request

    try:
        made = utility.make(request(rows[shown[0]].records, Path(), "identity", dataset))
    except UserError as error:
        return Predictions({}, without_folders(str(error).splitlines()[0]))
    record, cache = rows[shown[0]].records[0], made.dataset.cache()
    if (made.dataset.key, made.dataset.labels_key) != (record.data.key, record.labels):
        return Predictions({}, "the data set or its labels are others today")
    if cache is not None and not cache.is_dir():
        return Predictions({}, "the images of the data set are not prepared on this machine")
    made.dataset.prepare()
    left = len(order) - len(shown)
    note = f"{left} rows between the best and the worst are left out" if left else ""
    try:
        return Predictions({n: _worst(made, store, rows[n].records) for n in shown}, note)
    except (OSError, ValueError, UserError) as error:
        return Predictions({}, f"they or the labels cannot be read ({error})")


def _worst(made: "Plan", store: UtilityStore, records: Sequence[UtilityRecord]) -> list[Seen]:
    """The images of the row's lowest seed in which most was wrong, over all pairs."""
    own = [record for record in records if record.seed == min(r.seed for r in records)]
    task = next(t for t in TASKS if t.values(own[0].measures).size)
    found = []
    for record in own:
        values = task.values(record.measures)[0]  # [measures, images]
        shown = np.isfinite(values)
        means = np.where(shown, values, 0).sum(axis=0) / np.maximum(shown.sum(axis=0), 1)
        loss = -means if task.higher_is_better else means
        rows = np.flatnonzero(shown.any(axis=0)).tolist()
        found += [(-loss[k], record, k, float(means[k])) for k in rows]
    found.sort(key=lambda entry: (entry[0], entry[1].target, entry[2]))
    return [_seen(made, store, record, k, task, mean) for _, record, k, mean in found[:IMAGES]]


def _seen(
    made: "Plan", store: UtilityStore, record: UtilityRecord, row: int, task: Task, mean: float
) -> Seen:
    """One image."""
    from xbench.harness.utility import known
    from xbench.harness.verify_utility import predicted

    dataset = made.dataset
    pixels = to_pixels(dataset.images("test", record.target)[[row]])
    strip = make_strip(pixels)
    scale = strip.shape[0] / pixels.shape[1]
    true = known(dataset, record.unit.pair, record.method.label).test.rows([row])
    found = predicted(record, store.masks_of(record)).rows([row])
    return Seen(
        id=record.data.ids[row],
        pair=record.unit.pair,
        score=f"{task.unit(record.measures)} {mean:.{task.decimals}f}".strip(),
        png=base64.b64encode(encoded(strip)).decode(),
        size=strip.shape[0],
        found=_outlines(found, scale),
        true=_outlines(true, scale),
        places=_places(found, true, scale),
    )


def _outlines(labels: "Labels", scale: float) -> str:
    """Outlines of the masks of one image as an SVG path."""
    from skimage.measure import approximate_polygon, find_contours

    parts = []
    for masks in labels.masks.values():
        for line in find_contours(np.pad(masks[0], 1).astype(float), 0.5):
            corners = (approximate_polygon(line, TOLERANCE / scale)[:-1] - 0.5) * scale
            parts.append("M" + "L".join(f"{x:.4g} {y:.4g}" for y, x in corners) + "Z")
    return "".join(parts)


def _places(
    found: "Labels", true: "Labels", scale: float
) -> list[tuple[str, float, float, float, float]]:
    """Landmarks that the image shows."""

    def place(points: NDArray[np.float64]) -> tuple[float, float]:
        y, x = ((points[0] + 0.5) * scale).round(2).tolist()
        return x, y

    return [
        (name, *place(found.landmarks[name]), *place(points))
        for name, points in true.landmarks.items()
        if name in found.landmarks and np.isfinite(points).all()
    ]
