"""Verify a record of `xbench utility`: measure its stored predictions again. Nothing is trained."""

from pathlib import Path

import numpy as np

from xbench.core.checks import Check
from xbench.core.errors import UserError
from xbench.core.pixels import Pixels, pixels_digest
from xbench.datasets.labels import Labels
from xbench.harness import utility
from xbench.harness.plan import Plan
from xbench.harness.request import request
from xbench.records.freshness import why_stale
from xbench.records.schema import UtilityRecord
from xbench.records.store import UtilityStore
from xbench.tasks.measures import measure

#: Predicted places (px) and angles (degrees) are stored to two digits, measures to five.
ROUNDED, STORED = 0.0101, 1.1e-5


def verify_utility(
    path: Path, record: UtilityRecord, method: str = "", dataset: str = ""
) -> list[Check]:
    """Compare a record with its predictions and with the labels of its data.

    Args:
        path: of the record; masks lie in the same results folder.
        record: what that file holds.
        method: what the user gives to `--method`; needed for what is not built in.
        dataset: the same for `--dataset`.

    Returns:
        Checks of masks, key and measures (of the first task seed, whose predictions are stored),
        each `same`, `differs` or `not verified`.
    """
    masks, check = _masks(path, record)
    try:
        made = utility.make(request([record], Path(), method, dataset))
    except UserError as error:
        note = str(error).splitlines()[0]
        return [check, *(Check(c, "not verified", note) for c in ("key", "measures"))]
    return [check, _key(made, record), _measures(made, record, masks)]


def _masks(path: Path, record: UtilityRecord) -> tuple[Pixels | None, Check]:
    """The stored masks, if they are those of the record."""
    place = Path("utility", "records", f"{record.unit.path}.json")
    whole = path.resolve()
    if whole.parts[-5:] != place.parts:
        return None, Check("masks", "not verified", "the record lies in no results folder")
    try:
        masks = UtilityStore(whole.parents[4]).masks_of(record)
    except FileNotFoundError:
        return None, Check("masks", "not verified", "the predicted masks are not there")
    except (OSError, ValueError, SyntaxError) as error:
        return None, Check("masks", "differs", f"the predicted masks cannot be read: {error}")
    if pixels_digest(masks) != record.masks_sha256:
        return None, Check("masks", "differs", "the predicted masks are not those of the record")
    return masks, Check("masks", "same", f"masks of {len(masks)} images have their hash")


def _key(made: Plan, record: UtilityRecord) -> Check:
    """Whether the record would count for its unit today."""
    for unit in made.units:
        if unit.id == record.unit:
            reason = why_stale(record, unit.key, unit.setup)
            return Check("key", "differs" if reason else "same", reason or "that of today")
    return Check("key", "differs", "the row has another name today: its settings changed")


def _measures(made: Plan, record: UtilityRecord, masks: Pixels | None) -> Check:
    """The measures of stored predictions, computed again with the labels of today."""
    dataset, target = made.dataset, record.target
    if (dataset.key, dataset.labels_key) != (record.data.key, record.labels):
        return Check("measures", "not verified", "the data or their labels are others today")
    dataset.prepare()
    true = utility.known(dataset, record.unit.pair, record.method.label).test
    found = predicted(record, masks)
    true = true.shared(found)
    sides = dataset.sides_mm("test", target)
    mm = None if sides is None else np.array(sides) / dataset.config.size
    # Shares within a bound jump where an error is near it.
    again = {n: v for n, v in measure(found, true, mm).items() if not n.startswith("found_")}
    wrong = []
    for name, values in again.items():
        stored = np.array(record.measures.get(name, [[None]])[0], dtype=np.float64)
        near = STORED
        if name.startswith(("radial", "angle")):
            near += ROUNDED * (mm.max() if mm is not None and name.endswith("mm") else 1)
        if stored.shape != values.shape or not np.allclose(
            stored, values, rtol=0, atol=near, equal_nan=True
        ):
            wrong.append(name)
    if wrong:
        return Check("measures", "differs", f"not those of the predictions: {', '.join(wrong)}")
    note = f"{len(again)} computed again from {'masks, ' * bool(found.masks)}places and angles"
    return Check("measures", "same", note)


def predicted(record: UtilityRecord, masks: Pixels | None) -> Labels:
    """What the networks of the first seed saw; without masks where these are not stored."""
    seen = {}
    if masks is not None:
        seen = {name: masks & (1 << bit) > 0 for bit, name in enumerate(record.structures)}
    return Labels(
        seen,
        {name: np.array(places) for name, places in record.places.items()},
        np.array(record.angles) if record.angles else None,
    )
