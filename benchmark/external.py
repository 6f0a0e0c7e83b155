"""Images that other programs translated: reading them, and making them a row of the leaderboard.

`xbench score --as NAME` scores and stores them like the units of a method. Nothing is known of
what made them: their records have the version `external`, no parameters and no times.
"""

import re
import warnings
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from itertools import permutations
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from xbench import facts, plan
from xbench.commands import EXTERNAL
from xbench.datasets.decode import SUFFIXES, Undecodable, is_image, read
from xbench.datasets.layout import JUNK
from xbench.datasets.prepare import LEAST_SIDE, normalise
from xbench.errors import UserError, unknown
from xbench.hashing import digest
from xbench.methods import registry
from xbench.methods.base import MethodConfig, Pair
from xbench.plan import Entry, Plan, Request, Unit
from xbench.processes import cores
from xbench.provenance import provenance
from xbench.runner import Runner
from xbench.settings import file_name
from xbench.store import MethodFacts, Record, Store, from_pixels, pixels_digest
from xbench.survey import can_be_filled

Location = str | Path
Pixels = NDArray[np.uint16]
_READABLE = ", ".join(sorted(suffix.lstrip(".") for suffix in SUFFIXES))


def image_files(folder: Path) -> dict[str, Path]:
    """Name without ending → image file, in order of the names.

    Hidden files and what computers leave behind are passed over; links to files are followed.

    Raises:
        UserError: there is no such folder, it is empty, holds something that is no image, or two
            files of one name.
    """
    if not folder.is_dir():
        raise UserError(
            f"there is no folder {folder}",
            f"expected: a folder of images ({_READABLE})",
            f"try: ls {folder.parent}",
        )
    found: dict[str, Path] = {}
    for path in sorted(folder.iterdir()):
        if path.name.startswith(".") or path.name.lower() in JUNK:
            continue
        if (path.exists() and not path.is_file()) or not is_image(path):
            raise UserError(
                f"{path} is no image",
                f"expected: nothing but images in {folder} ({_READABLE})",
                f"try: mv {path} SOMEWHERE_ELSE",
            )
        if path.stem in found:
            raise UserError(
                f"{found[path.stem]} and {path} have one name",
                "expected: one file for each name, whatever its ending",
                f"try: mv {path} SOMEWHERE_ELSE",
            )
        found[path.stem] = path
    if not found:
        raise UserError(
            f"there are no images in {folder}",
            f"expected: files that can be read ({_READABLE})",
            f"try: ls -a {folder}",
        )
    return dict(sorted(found.items()))


def read_images(paths: Sequence[Path]) -> list[Pixels]:
    """Grey values of image files, uint16 `[H, W]` each.

    Raises:
        UserError: a file cannot be used; it names the first.
    """
    with ThreadPoolExecutor(cores()) as pool:  # Pillow decodes without holding the GIL
        return list(pool.map(_read_image, paths))


def size_of(image: Pixels) -> str:
    """Height and width of an image, for messages."""
    return f"{image.shape[0]} x {image.shape[1]}"


def _read_image(path: Path) -> Pixels:
    try:
        grey = normalise(read(path), None, invert=False)
        if min(grey.shape) < LEAST_SIDE:
            height, width = grey.shape
            raise Undecodable(f"has {height} x {width} pixels, at least {LEAST_SIDE} are needed")
    except Undecodable as error:
        # The advice of data sets on the range, a line in dataset.toml, helps nobody here.
        reason = str(error).partition(": set window")[0]
        raise UserError(
            f"{path} {reason}",
            "expected: a whole image, grey or RGB, of 8 or 16 bits, or floating point in [0, 1]",
            "mend it and save it as a PNG with 16 bits of grey, for example",
        ) from error
    pixels: Pixels = np.round(grey * 65535).astype(np.uint16)
    return pixels


def check_name(name: str) -> None:
    """A row's name must be free and fit for files.

    Raises:
        UserError: it is that of a method, or has other characters.
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
    if not translated.is_dir():
        raise UserError(
            f"there is no folder {translated}",
            "expected: a folder with a sub-folder <source>--<target> for each pair",
            f"try: ls {translated.parent}",
        )
    names = [_pair_name(pair) for pair in permutations(whole.dataset.domains, 2)]
    for path in sorted(translated.iterdir()):
        if path.is_dir() and "--" in path.name and path.name not in names:
            raise unknown(f"pair in {translated}", path.name, names, f"rename or move {path}")
    found = tuple(pair for pair in whole.pairs if (translated / _pair_name(pair)).is_dir())
    if not found:
        example = translated / _pair_name(whole.pairs[0])
        raise UserError(
            f"there is no folder of a pair in {translated}",
            f"expected: {example}/<id>.png, and so on for other pairs of {whole.dataset_label}",
            f"try: ls {translated}, or --dataset and --profile of your images",
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
    with runner.display:
        dataset.prepare(runner.display.data)
        wanted = {pair: _pair_files(runner.plan, translated, pair) for pair in runner.plan.pairs}
        runner.display.total = len(wanted)
        missing = runner.scorer.missing()
        for pair, files in wanted.items():
            pixels = _read_pair(files, dataset.config.size)
            unit = _unit(runner.plan, name, seed, pair, pixels)
            record = runner.store.find(unit)
            if record is None or can_be_filled(record, missing):
                failed |= not _score_unit(runner, unit, pixels)
    return failed


def _pair_name(pair: Pair) -> str:
    return f"{pair[0]}--{pair[1]}"


def _check_row(store: Store, name: str) -> None:
    """A row that a plug-in made is not written over."""
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
    if not ids:
        raise UserError(
            f"the data set {todo.dataset.name} has no {todo.split} images of '{pair[0]}'",
            "expected: one at least in every domain",
            "try: --split test, or see: xbench data show",
        )
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


def _unit(todo: Plan, name: str, seed: int, pair: Pair, pixels: Pixels) -> Unit:
    """The unit of these images; it has another key if one of them changes."""
    entry = Entry(name, name, None, MethodConfig(), (seed,), 0, reference=False, given=EXTERNAL)
    key = digest(
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
    return Unit(entry, seed, *pair, key)


def _score_unit(runner: Runner, unit: Unit, pixels: Pixels) -> bool:
    """Score and store what a unit stands for; False, with its traceback stored, if that failed."""
    try:
        record = _record(runner, unit, pixels)
        runner.store.write_unit(unit, record, pixels)
    except Exception:
        runner.fail(unit)
        return False
    runner.display.unit(unit, record)
    return True


def _record(runner: Runner, unit: Unit, pixels: Pixels) -> Record:
    """The record of a unit; it has no times, since nobody knows them."""
    images = from_pixels(pixels)
    return Record(
        key=unit.key,
        method=_method_facts(unit),
        data=facts.data_facts(runner.plan, unit.source),
        profile=runner.plan.profile.name,
        seed=unit.seed,
        source=unit.source,
        target=unit.target,
        metrics=runner.scorer.score(images, unit.source, unit.target),
        polarity=runner.scorer.polarity(images, unit.source),
        images_sha256=pixels_digest(pixels),
        seconds={},
        provenance=provenance(str(runner.device)),
        finished=facts.now(),
    )


def _method_facts(unit: Unit) -> MethodFacts:
    """All that is known of a method that is not xbench's: its name."""
    return MethodFacts(
        name=unit.entry.name,
        label=unit.entry.label,
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
