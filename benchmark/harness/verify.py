"""Verify a record: translate some of its images again, and compute its metrics again.

Nothing is trained. A plug-in that the record names is run only if the user names it too.
"""

from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from xbench.core.checks import Check
from xbench.core.compute import Compute, dtype_name, lacks_bfloat16
from xbench.core.errors import UserError
from xbench.core.hashing import seed_from
from xbench.core.pixels import from_pixels, pixels_digest
from xbench.datasets.visible import TrainOnly
from xbench.harness import plan, trainings
from xbench.harness.inputs import inputs_of
from xbench.harness.plan import Plan, Unit
from xbench.harness.request import request
from xbench.harness.trainings import make_method
from xbench.harness.translation import fix_numerics, translate
from xbench.harness.verify_facts import verify_facts
from xbench.methods.base import Method, Training
from xbench.metrics.base import METRICS
from xbench.records.freshness import why_stale
from xbench.records.provenance import provenance
from xbench.records.schema import Record, Value
from xbench.records.store import Store
from xbench.scoring.scorer import Scorer

Pixels = NDArray[np.uint16]
#: Grey levels of 65535 by which a pixel may change with the batch that it is translated in.
ROUNDING = 2
#: On another device or with another torch: largest change, and mean over all pixels.
OTHER_LARGEST, OTHER_MEAN = 655, 66
#: On another machine, or in another precision, where either computes in bfloat16, of 8 bits.
LOW_LARGEST, LOW_MEAN = 6554, 655
#: Tolerances of metrics: relative, and absolute.
RELATIVE, ABSOLUTE = 1e-3, 1e-6


class _Not(Exception):
    """Something cannot be verified; the text says why."""


def verify_record(
    path: Path,
    record: Record,
    number: int,
    device: torch.device,
    method: str = "",
    dataset: str = "",
) -> list[Check]:
    """Compare a record with what its images, its method and its data give today.

    Args:
        path: of the record; its images and trainings lie in the same results folder.
        record: what that file holds.
        number: how many images to translate again. If it is all of them, they are compared by
            their hash, which also works where the images are not stored.
        device: where to compute.
        method: what the user gives to `--method`; needed for what is not built in.
        dataset: the same for `--dataset`.

    Returns:
        Checks of images, values, translation, metrics, method, data, trainings and times, each
        `same` (within a tolerance that its note gives), `differs` or `not verified`.
    """
    folder = _folder(path, record)
    stored, images = _stored(folder, record)
    checks = [images, *_values(record)]
    try:
        todo, unit = _planned(record, folder, method, dataset)
    except (_Not, UserError) as reason:
        wrong, *rest = str(reason).splitlines()
        note = "; ".join([wrong, *rest[1:]])  # what is wrong, and what to give
        return [*checks, *(Check(c, "not verified", note) for c in ("translation", "metrics"))]
    todo = replace(todo, compute=_as_recorded(record, device))
    fix_numerics(device, todo.profile.threads)
    scorer = Scorer(todo.dataset, todo.split, device)
    parts: dict[str, Callable[[], Check]] = {
        "translation": partial(_translation, todo, unit, record, stored, number, scorer),
        "metrics": partial(_metrics, todo, unit, record, stored, scorer),
    }
    for name, compare in parts.items():
        try:
            checks.append(compare())
        except _Not as reason:
            checks.append(Check(name, "not verified", str(reason)))
    made = make_method(todo, unit.entry, device)
    todo.dataset.prepare()
    return [*checks, *verify_facts(todo, unit, record, made, inputs_of(todo, unit, scorer))]


def _folder(path: Path, record: Record) -> Path | None:
    """The results folder in which a record lies; None if it lies elsewhere."""
    place = Path("records", f"{record.unit.path}.json")
    whole = path.resolve()
    return whole.parents[3] if whole.parts[-4:] == place.parts else None


def _as_recorded(record: Record, device: torch.device) -> Compute:
    """The record's precision where the device has it; networks as they are."""
    then: Any = record.provenance.compute.get("precision")
    able = then == "float32" or (then == "bfloat16" and not lacks_bfloat16(device))
    return Compute(precision=then if able else "auto", compile="off", channels_last="off")


def _stored(folder: Path | None, record: Record) -> tuple[Pixels | None, Check]:
    """The stored images, if they are all there and those of the record."""
    if folder is None:
        return None, Check("images", "not verified", "the record lies in no results folder")
    try:
        pixels = Store(folder).images_of(record)
    except FileNotFoundError:
        return None, Check("images", "not verified", "the 16-bit images are not there")
    except OSError as error:
        return None, Check("images", "differs", f"the 16-bit images cannot be read: {error}")
    if pixels_digest(pixels) != record.images_sha256:
        return None, Check("images", "differs", "the 16-bit images are not those of the record")
    return pixels, Check("images", "same", f"{len(pixels)} images have the hash of the record")


def _values(record: Record) -> list[Check]:
    """A failed check if a value is not the mean of its values per image: it was edited by hand."""
    wrong = [
        name
        for name, value in record.metrics.items()
        if value.per_image and not _close(value.value, float(np.mean(value.per_image)))
    ]
    note = f"not the means of the values of single images: {', '.join(wrong)}"
    return [Check("values", "differs", note)] if wrong else []


def _planned(record: Record, folder: Path | None, method: str, dataset: str) -> tuple[Plan, Unit]:
    """The plan of the record's unit, in the record's own folder; `_Not` if it is stale."""
    here = folder or Path("somewhere", "else", "entirely")  # where no training is found
    todo = plan.make(request([record], here.parent.parent, method, dataset))
    name = here.name.removesuffix("-val")
    todo = replace(todo, folder=here, trainings=here.with_name(name) / "trainings")
    for unit in todo.units:
        if unit.id == record.unit:
            if reason := why_stale(record, unit.key, unit.setup):
                raise _Not(reason)
            return todo, unit
    raise _Not("the row has another name today: its settings changed")


def _translation(
    todo: Plan,
    unit: Unit,
    record: Record,
    stored: Pixels | None,
    number: int,
    scorer: Scorer,
) -> Check:
    """Translate images again; compare them with the stored ones, or all with their hash."""
    ids = record.data.ids
    if stored is None and number < len(ids):
        raise _Not(f"no images to compare with; all are compared by hash: --images {len(ids)}")
    rows = sorted(sorted(range(len(ids)), key=lambda row: seed_from("verify", ids[row]))[:number])
    made = _made_again(todo, unit, record, rows, scorer)
    if len(rows) == len(ids) and pixels_digest(made) == record.images_sha256:
        return Check("translation", "same", f"all {len(ids)} images, to the last bit")
    if stored is None:
        raise _Not(f"all {len(ids)} images have another hash, and none are there to compare with")
    gap = np.abs(made.astype(np.int64) - stored[rows])
    now = dtype_name(make_method(todo, unit.entry, scorer.device).computes_in)
    return _judged(gap, record, str(scorer.device), now)


def _judged(gap: NDArray[np.int64], record: Record, device: str, precision: str) -> Check:
    """The outcome for differences in grey levels `[n, H, W]`; `precision` is that of today."""
    largest, mean = int(gap.max()), float(gap.mean())
    if not largest:
        return Check("translation", "same", f"{len(gap)} images, to the last bit")
    note = f"{len(gap)} images, largest difference {largest} of 65535 grey levels, mean {mean:.3g}"
    if largest <= ROUNDING:
        return Check("translation", "same", f"{note}: rounding")
    other, then = _other_machine(record, device), record.provenance.compute
    both = {then.get("precision", precision), precision}
    if len(both) > 1:
        other = f"precision ({' and '.join(sorted(both))})"
    elif {then.get("compile", "off"), then.get("channels_last", "off")} != {"off"}:
        other = other or "form of the network"
    bounds = (LOW_LARGEST, LOW_MEAN) if "bfloat16" in both else (OTHER_LARGEST, OTHER_MEAN)
    if other and largest <= bounds[0] and mean <= bounds[1]:
        allowed = f"up to {bounds[0]}, mean {bounds[1]}"
        return Check("translation", "same", f"{note}: another {other} may change {allowed}")
    return Check("translation", "differs", note)


def _other_machine(record: Record, device: str) -> str:
    """What differs from the machine of the record and may change last bits; empty if nothing."""
    now, then = provenance(device), record.provenance
    for name in ("cpu", "gpu", "threads"):
        if getattr(then, name) != now.get(name):
            return name
    return "" if then.packages.get("torch") == now["packages"]["torch"] else "torch"


def _made_again(
    todo: Plan, unit: Unit, record: Record, rows: Sequence[int], scorer: Scorer
) -> Pixels:
    """Images of some rows of the record's ids, uint16 `[n, H, W]`."""
    dataset, method = todo.dataset, make_method(todo, unit.entry, scorer.device)
    method.check()
    found = _check_trainings(todo, unit, record, method)
    dataset.prepare()
    inputs = inputs_of(todo, unit, scorer)
    if list(inputs.ids) != record.data.ids:
        raise _Not("the ids of the record are not those of the data")
    method.setup(TrainOnly(dataset, whole=not method.any_size))
    for training, folder in found:
        training.load(folder)
    made = translate(
        method,
        inputs.images.only(rows),
        [record.data.ids[row] for row in rows],
        unit.source,
        [unit.target],
        seed=unit.seed,
        batch=todo.profile.batch,
    )
    pixels: Pixels = made[unit.target]
    return pixels


def _check_trainings(
    todo: Plan, unit: Unit, record: Record, method: Method
) -> list[tuple[Training, Path]]:
    """The trainings, each of which must be here, and be the record's, or `_Not` is raised."""
    pair = (unit.source, unit.target)
    found = trainings.folders(todo, unit.entry, method, [pair], unit.seed)
    for training, folder in found:
        log = trainings.read_log(folder, training, repair=False)
        if log is None:
            raise _Not(f"the training {folder.name} is not there, or damaged")
        if record.method.weights_sha256.get(folder.name) != log.weights_sha256:
            raise _Not(f"the training {folder.name} was repeated: it has other weights")
    return found


def _metrics(
    todo: Plan, unit: Unit, record: Record, stored: Pixels | None, scorer: Scorer
) -> Check:
    """Compute the metrics again from the stored images; `_Not` if there are none."""
    if stored is None:
        raise _Not("they need all images, which are not stored")
    todo.dataset.prepare()
    lacking = scorer.missing(fetch=False)
    known = [
        name
        for name, value in record.metrics.items()
        if name in METRICS and value.identity in METRICS[name].identities
    ]
    names = [n for n in known if not record.metrics[n].pending and n not in lacking]
    if not names:
        raise _Not("no metric of the record has the definition of today")
    inputs, images = inputs_of(todo, unit, scorer), from_pixels(stored)
    found = scorer.score(images, unit.source, unit.target, names, inputs.halves)
    wrong = [name for name in names if not _agree(record.metrics[name], found[name])]
    polarity = scorer.polarity(images, unit.source) if inputs.shows_source else None
    if not _close(record.polarity, polarity):
        return Check("metrics", "differs", f"polarity is {record.polarity}, computed {polarity}")
    rest = [n for n, v in record.metrics.items() if v.value is not None and n not in names]
    note = f"{len(names)} computed again" + (f"; not computed: {', '.join(rest)}" if rest else "")
    if wrong:
        first = record.metrics[wrong[0]].value, found[wrong[0]].value
        note = f"{', '.join(wrong)}; the record has {first[0]}, computed {first[1]}"
    return Check("metrics", "differs" if wrong else "same", note)


def _agree(one: Value, other: Value) -> bool:
    """Whether all that tables may show of a value agrees, where the record has it."""
    if (one.value is None) != (other.value is None):
        return False
    numbers = ("value", "ci_low", "ci_high", "inf")
    counts = ("n", "d")
    return (
        all(_close(getattr(one, name), getattr(other, name)) for name in numbers)
        and all(getattr(one, name) in (None, getattr(other, name)) for name in counts)
        and _alike(one.per_image, other.per_image)
        and (other.left_out is None or _alike(one.left_out, other.left_out))
    )


def _alike(one: list[float] | None, other: list[float] | None) -> bool:
    """Whether a record's numbers are the computed ones; a record may lack them."""
    if one is None:
        return True
    return other is not None and len(one) == len(other) and all(map(_close, one, other))


def _close(one: float | None, other: float | None) -> bool:
    """Whether a record's number is the computed one; a record may lack some."""
    if one is None:
        return True
    return other is not None and abs(one - other) <= RELATIVE * abs(other) + ABSOLUTE
