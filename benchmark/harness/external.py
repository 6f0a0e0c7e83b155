"""Images that other programs translated, as a row of the leaderboard.

`xbench score --as NAME` scores and stores them like the units of a method. Their records have the
version `external`, no parameters and no times.
"""

import re
import warnings
from collections.abc import Sequence
from dataclasses import replace
from itertools import permutations
from pathlib import Path

import numpy as np

from xbench.core.errors import UserError, unknown
from xbench.core.hashing import digest
from xbench.core.names import quoted
from xbench.core.pairs import Pair
from xbench.core.pixels import Pixels, from_pixels, pixels_digest
from xbench.core.settings import file_name
from xbench.harness import facts, plan
from xbench.harness.blocks import store_failure
from xbench.harness.plan import Plan, Request
from xbench.harness.runner import Runner
from xbench.methods import registry
from xbench.records.freshness import lacks_metrics
from xbench.records.schema import EXTERNAL, MethodFacts
from xbench.records.store import Store
from xbench.records.units import UnitId
from xbench.scoring.image_files import image_files, read_images, size_of


def check_name(name: str) -> None:
    """Make sure that a row's name is free and can name files.

    Raises:
        UserError: it is a method's name, or has other characters.
    """
    if name in {*registry.RESERVED, *registry.names(), "all"}:
        wrong = f"'{name}' is taken, there is a method of that name"
    elif not name or name.startswith(".") or re.search(r"[,\[\]]", name) or file_name(name) != name:
        wrong = f"'{name}' cannot name a row"
    else:
        return
    raise UserError(
        wrong,
        "expected: a name of its own, of letters, digits and . _ + - = alone",
        f"try: --as my-{re.sub(r'[^A-Za-z0-9]+', '-', name).strip('-') or 'method'}",
    )


def make_plan(request: Request, translated: Path) -> Plan:
    """The plan of the reference rows, for the pairs of a request that have a folder.

    Args:
        request: data set, profile, pairs, split, seed and output folder; without methods.
        translated: its sub-folders are `<source>--<target>`.

    Raises:
        UserError: a mistake in the request, no folder of a pair, or one of an unknown pair.
    """
    whole = plan.make(request)
    names = [_pair_name(pair) for pair in permutations(whole.dataset.domains, 2)]
    for path in sorted(translated.glob("*")):
        if path.is_dir() and "--" in path.name and path.name not in names:
            raise unknown(f"pair in {translated}", path.name, names, f"rename or move {path}")
    found = tuple(pair for pair in whole.pairs if (translated / _pair_name(pair)).is_dir())
    if not found:
        example = translated / _pair_name(whole.pairs[0])
        raise UserError(
            f"there is no folder of a pair in {translated}",
            f"expected: {example}/<id>.png, and so on for other pairs of {whole.dataset_label}",
            f"try: ls {quoted(translated)}, or --dataset and --profile of your images",
        )
    units = tuple(unit for unit in whole.units if (unit.source, unit.target) in found)
    return replace(whole, pairs=found, units=units)


def add(runner: Runner, name: str, translated: Path, seed: int) -> bool:
    """Score and store the images of all pairs of the runner's plan; what is stored is skipped.

    The images are part of a unit's key: others of the same name replace it. Pairs that were
    stored before and have no folder now stay in the row.

    Args:
        runner: of a plan that `make_plan` made.
        name: of the row, checked by `check_name`.
        translated: images as `<source>--<target>/<id>.png` or in another format, of the data
            set's working size, every id of the split.
        seed: of the row, under which it is stored.

    Returns:
        Whether a unit failed; its traceback is stored.

    Raises:
        UserError: a file is missing or cannot be used, or the row's name belongs to a method.
    """
    dataset = runner.plan.dataset
    runner.store.probe()
    _check_row(runner.store, name)
    failed = False
    with runner.locks, runner.display:
        dataset.prepare(runner.display.data)
        runner.check_split()
        wanted = {pair: _pair_files(runner.plan, translated, pair) for pair in runner.plan.pairs}
        runner.display.total = len(wanted)
        missing = runner.scorer.missing()
        for pair, files in wanted.items():
            pixels = _read_pair(files, dataset.config.size)
            unit, key = UnitId(name, seed, *pair), _key(runner.plan, name, seed, pair, pixels)
            record = runner.store.find(unit, key)
            if record is None or lacks_metrics(record, missing):
                failed |= not _score_unit(runner, unit, key, pixels)
    return failed


def _pair_name(pair: Pair) -> str:
    return f"{pair[0]}--{pair[1]}"


def _check_row(store: Store, name: str) -> None:
    """Refuse to write over the row of a plug-in."""
    for record in store.records():
        if record.method.label == name and record.method.version != EXTERNAL:
            raise UserError(
                f"{store.folder} has a row '{name}' that a method of xbench made",
                "expected: a name of its own",
                f"try: --as {name}-external",
            )


def _pair_files(todo: Plan, translated: Path, pair: Pair) -> list[Path]:
    """The file of each id of a pair, in their order."""
    folder = translated / _pair_name(pair)
    found = image_files(folder)
    ids = todo.dataset.ids(todo.split, pair[0])
    absent = [name for name in ids if name not in found]
    if absent:
        raise UserError(
            f"{folder / absent[0]}.png is not there",
            f"expected: an image for each of the {len(ids)} ids of the {todo.split} split of "
            f"'{pair[0]}', {len(absent)} are missing",
            f"translate it, or move {folder} away to leave the pair out",
        )
    more = sorted(found.keys() - set(ids))
    if more:
        warnings.warn(
            f"{folder}: {len(more)} images are no ids of the {todo.split} split and left out, "
            f"the first: {found[more[0]].name}",
            stacklevel=2,
        )
    return [found[name] for name in ids]


def _read_pair(files: Sequence[Path], size: int) -> Pixels:
    """Images of the working size, uint16 `[n, H, W]`."""
    images = read_images(files)
    for path, image in zip(files, images, strict=True):
        if image.shape != (size, size):
            raise UserError(
                f"{path} has {size_of(image)} pixels",
                f"expected: {size} x {size}, the working size of the data set in this profile",
                "translate images of that size, or choose another --profile",
            )
    return np.stack(images)


def _key(todo: Plan, name: str, seed: int, pair: Pair, pixels: Pixels) -> str:
    """The key of the unit of these images: another one if one of them changes."""
    return digest(
        {
            "method": name,
            "version": EXTERNAL,
            "images": pixels_digest(pixels),
            "seed": seed,
            "pair": list(pair),
            "dataset": todo.dataset.key,
            "profile": todo.profile.name,
            "split": todo.split,
        }
    )


def _score_unit(runner: Runner, unit: UnitId, key: str, pixels: Pixels) -> bool:
    """Score and store a unit; False, with its traceback stored, if that failed."""
    try:
        images = from_pixels(pixels)
        record = facts.make_record(
            runner.plan,
            unit,
            key,
            _method_facts(unit.label),
            facts.data_facts(runner.plan, unit.source),
            pixels,
            runner.scorer.score(images, *unit.pair),
            runner.scorer.polarity(images, unit.source),
            {},
            str(runner.device),
        )
        runner.store.write_unit(unit, record, pixels)
    except Exception:
        store_failure(runner.store, runner.display, unit, key)
        return False
    runner.display.unit(record)
    return True


def _method_facts(name: str) -> MethodFacts:
    """Facts of a method that is not xbench's: only its name is known."""
    return MethodFacts(
        name=name,
        label=name,
        version=EXTERNAL,
        reference=False,
        config={},
        params=None,
        params_total=None,
        params_training=None,
        nfe=None,
        stochastic=False,
        train_images=None,
        train_seconds=None,
        weights_sha256={},
        given=EXTERNAL,
    )
