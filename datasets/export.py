"""Writes a data set as a folder of 16-bit PNG files, which `--dataset FOLDER` reads."""

import csv
import io
import re
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import cast, get_args

import numpy as np
from PIL import Image

from xbench.core.errors import UserError
from xbench.core.files import atomic, write_text
from xbench.core.pixels import to_pixels
from xbench.datasets.base import Dataset, Images, Progress, Split
from xbench.datasets.describe import Description, SplitRule, write_description
from xbench.datasets.folder_labels import ANGLE_COLUMNS, LANDMARK_COLUMNS
from xbench.datasets.labels import Labels
from xbench.datasets.layout import LABELS
from xbench.datasets.walk import EXPORTED

#: Finds the group in ids of the phantom, such as `test003` in `test003-1-lateral`.
GROUP = r"^(.+?)-\d+-"


def export(dataset: Dataset, to: Path, progress: Progress | None = None) -> None:
    """Write `to/<split>/<domain>/<id>.png` and `dataset.toml`.

    Training images have no ids: their names are numbers. Second exposures go to `<split>_repeat`.
    Labels, where the data set has some, go to `to/labels/<split>/<domain>`: see `folder_labels`.

    Raises:
        UserError: the folder is not empty.
    """
    if to.exists() and any(to.iterdir()):
        raise UserError(
            f"{to} is not empty",
            "expected: a new folder to export to",
            "try: another folder, or delete this one",
        )
    parts = list(_parts(dataset))
    total, done = sum(len(images) for _, _, images, _ in parts), 0
    for split, domain, images, names in parts:
        folder = to / split / domain
        folder.mkdir(parents=True)
        for row, name in enumerate(names):
            (pixels,) = to_pixels(images[[row]])
            with atomic(folder / f"{name}.png") as part:
                Image.fromarray(pixels).save(part, compress_level=1)
            done += 1
            if progress and (done % 10 == 0 or done == total):
                progress(done, total, "files")
        if split in get_args(Split) and (labels := dataset.labels(cast(Split, split), domain)):
            _write_labels(to / LABELS / split / domain, labels, names)
    write_description(to, _describe(dataset), f"{EXPORTED} from {dataset.key}.")


def _write_labels(folder: Path, labels: Labels, names: Sequence[str]) -> None:
    """Write `<structure>/<name>.png`, `landmarks.csv` and `angles.csv` of some images."""
    for structure, masks in labels.masks.items():
        for name, mask in zip(names, masks, strict=True):
            with atomic(folder / structure / f"{name}.png") as part:
                Image.fromarray(mask.astype(np.uint8) * 255).save(part)
    landmarks = [
        (name, landmark, f"{column:.6f}", f"{row:.6f}")
        for landmark, places in labels.landmarks.items()
        for name, (row, column) in zip(names, places, strict=True)
        if np.isfinite(row + column)
    ]
    _write_table(folder / "landmarks.csv", LANDMARK_COLUMNS, landmarks)
    if labels.angles is not None:
        angles = zip(names, *labels.angles.T.tolist(), strict=True)
        _write_table(folder / "angles.csv", ANGLE_COLUMNS, list(angles))


def _write_table(path: Path, columns: Sequence[str], rows: Sequence[Sequence[object]]) -> None:
    """Write a CSV file, if it has any rows."""
    if rows:
        text = io.StringIO()
        csv.writer(text, lineterminator="\n").writerows([columns, *rows])
        write_text(path, text.getvalue())


def _parts(dataset: Dataset) -> Iterator[tuple[str, str, Images, Sequence[str]]]:
    """(split, domain, images, their file names) for each folder to write."""
    evaluated: tuple[Split, ...] = ("val", "test")
    for domain in dataset.domains:
        images = dataset.train(domain)
        yield "train", domain, images, [f"{row:05d}" for row in range(len(images))]
        for split in evaluated:
            ids = dataset.ids(split, domain)
            yield split, domain, dataset.images(split, domain), ids
            repeats = dataset.repeats(split, domain)
            if repeats is not None:
                yield f"{split}_repeat", domain, repeats, ids


def _describe(dataset: Dataset) -> Description:
    first = dataset.domains[0]
    ids, groups = dataset.ids("test", first), dataset.groups("test", first)
    matches = [re.search(GROUP, name) for name in ids]
    matched = all(m and m.group(1) == group for m, group in zip(matches, groups, strict=True))
    return Description(
        name=f"{dataset.name}-{dataset.config.size}px",
        domains=dataset.domains,
        domain_groups=dataset.domain_groups,
        alignment="id" if dataset.aligned("test") else "none",
        split=SplitRule(group=GROUP if matched else "stem"),
    )
