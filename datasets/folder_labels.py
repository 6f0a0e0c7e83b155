"""Labels of the images in a folder: masks and tables in its folder `labels/`.

`labels/` mirrors the folders of the images. For the image `train/real/a.png`:

- `labels/train/real/teeth/a.png` is its mask of the structure `teeth`; one at
  `labels/train/real/a.png` is of the structure `mask`. A mask is an image of the same size in any
  readable format, and True where it is neither zero nor black (lossy JPEG has no exact zeros).
- Tables lie in `labels/train/real/`, under any name that ends with `.csv`. Their columns say what
  they hold: `id,name,x,y` has landmarks (column and row in px of the image's file; the centre of
  the first pixel is (0, 0)), `id,lao,cran` has angles in degrees. The id of this image is `a`.
"""

import csv
import io
import math
from collections.abc import Callable, Container, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path, PurePosixPath
from typing import NamedTuple, TypeVar

import numpy as np
from numpy.typing import NDArray

from xbench.core.errors import UserError
from xbench.core.processes import cores
from xbench.datasets.decode import Mask, Undecodable, read, read_mask, stem
from xbench.datasets.index import Item
from xbench.datasets.labels import ANGLES, Labels, inside
from xbench.datasets.layout import LABELS, is_label
from xbench.datasets.prepare import Fit, Frame, View, frame
from xbench.datasets.walk import walk

#: The structure of masks that lie in no folder of a structure.
MASK = "mask"
LANDMARK_COLUMNS, ANGLE_COLUMNS = ("id", "name", "x", "y"), ("id", *ANGLES)
T = TypeVar("T")


class Entry(NamedTuple):
    """The numbers of a line of a table, and where they stand."""

    first: float
    second: float
    where: str


class FolderLabels:
    """The labels of all images of a folder, as its files have them.

    Images are named by their path without its ending, such as `train/real/a`.

    Attributes:
        masks: structure → image → file.
        landmarks: name → image → column and row.
        angles: image → rotation and tilt.

    Raises:
        UserError: a label belongs to no image or comes twice, or a table is malformed.
    """

    def __init__(self, root: Path) -> None:
        self.root = root
        self.masks: dict[str, dict[str, str]] = {}
        self.landmarks: dict[str, dict[str, Entry]] = {}
        self.angles: dict[str, Entry] = {}
        files = sorted(walk(root))
        self._images = set(map(_name, files))
        for file in files:
            if is_label(root, file):
                (self._add_table if file.lower().endswith(".csv") else self._add_mask)(file)

    def of(
        self, items: Sequence[Item], size: int, fit: Fit, view: View | None = None
    ) -> Labels | None:
        """The labels of images in their order, at the working size; None if there are none.

        Landmarks that an image lacks are NaN.

        Raises:
            UserError: an image lacks a mask or angles that others have, a mask cannot be read or
                has another size than its image, or a landmark lies outside its image.
            Undecodable: an image cannot be used, which `Folder.prepare` says, too.
        """
        images = {_name(item.file) for item in items}
        masks = [name for name, files in sorted(self.masks.items()) if images & files.keys()]
        for structure in masks:
            self._check_all(items, self.masks[structure], f"mask of '{structure}'")
        angles = None
        if images & self.angles.keys():
            self._check_all(items, self.angles, "line of angles")
            angles = np.array([self.angles[_name(item.file)][:2] for item in items])
        marked = any(images & places.keys() for places in self.landmarks.values())
        names = sorted(self.landmarks) if marked else []

        def look(item: Item) -> tuple[list[Mask], NDArray[np.float64]]:
            return self._look(
                item.file, masks, names, partial(frame, size=size, fit=fit, view=view)
            )

        with ThreadPoolExecutor(cores()) as pool:  # Pillow releases Python's lock
            seen = list(pool.map(look, items if masks or names else ()))
        found = Labels(
            {structure: np.stack([m[k] for m, _ in seen]) for k, structure in enumerate(masks)},
            {name: np.stack([places[k] for _, places in seen]) for k, name in enumerate(names)},
            angles,
        )
        return found or None

    def _look(
        self, file: str, structures: list[str], names: list[str], framed: Callable[..., Frame]
    ) -> tuple[list[Mask], NDArray[np.float64]]:
        """Masks of one image, and its landmarks `[n, 2]`, at the working size."""
        image = _name(file)
        height, width = read(self.root / file).values.shape
        fitted = framed(height, width)
        files = [self.masks[structure][image] for structure in structures]
        masks = [fitted.mask(self._mask(file, height, width)) for file in files]
        places = np.full((len(names), 2), np.nan)
        for k, entry in enumerate(self.landmarks[name].get(image) for name in names):
            if entry:
                places[k] = entry.second, entry.first
                _check_inside(entry, height, width)
        return masks, fitted.places(places)

    def _mask(self, file: str, height: int, width: int) -> Mask:
        """A mask at its own size, which is that of its image."""
        try:
            mask = read_mask(self.root / file)
            if mask.shape != (height, width):
                high, wide = mask.shape
                raise Undecodable(f"has {high} x {wide} pixels, its image {height} x {width}")
        except Undecodable as error:
            raise UserError(
                f"{self.root / file} {error}",
                "expected: an undamaged mask, with the height and width of its image",
                "save it again, or delete it with those of the same structure",
            ) from None
        return mask

    def _check_all(self, items: Sequence[Item], labelled: Container[str], what: str) -> None:
        """Make sure that all images of a split and domain have a label if one has."""
        lacking = [item for item in items if _name(item.file) not in labelled]
        if lacking:
            first = lacking[0]
            raise UserError(
                f"{self.root}: {len(lacking)} of {len(items)} {first.split} images of "
                f"{first.domain} have no {what}, the first: {first.file}",
                f"expected: a {what} for all images of a split and domain, or for none",
                f"add what is missing below {self.root / LABELS}, or delete the others there",
            )

    def _add_mask(self, file: str) -> None:
        image = PurePosixPath(_name(file)).relative_to(LABELS)
        structure = MASK
        if str(image) not in self._images:
            structure, image = image.parent.name, image.parent.parent / image.name
        name = self._known(str(image), f"{self.root / file}")
        _add(self.masks.setdefault(structure, {}), name, file, f"{self.root / file}")

    def _add_table(self, file: str) -> None:
        path = self.root / file
        folder = PurePosixPath(file).relative_to(LABELS).parent
        try:
            reader = csv.reader(io.StringIO(path.read_text(encoding="utf-8-sig")), strict=True)
            rows = [(f"{path}: line {reader.line_num}", row) for row in reader if row]
        except (OSError, UnicodeDecodeError, csv.Error) as error:
            raise _malformed(f"{path} cannot be read: {error}") from error
        columns = tuple(rows[0][1]) if rows else ()
        if columns not in (LANDMARK_COLUMNS, ANGLE_COLUMNS):
            raise _malformed(f"{path} has the columns {','.join(columns)[:80]!r}")
        for where, row in rows[1:]:
            entry = _entry(row, len(columns), where)
            image = self._known(str(folder / row[0]), where)
            marks = columns == LANDMARK_COLUMNS
            _add(
                self.landmarks.setdefault(row[1], {}) if marks else self.angles, image, entry, where
            )

    def _known(self, image: str, where: str) -> str:
        if image not in self._images:
            raise UserError(
                f"{where} belongs to no image",
                f"expected: a label of an image of the same name, such as {self.root / image}.png",
                "rename or delete it; the masks of train/real/a.png are labels/train/real/a.png "
                "and labels/train/real/STRUCTURE/a.png, its tables labels/train/real/*.csv",
            )
        return image


def _name(file: str) -> str:
    """The path of a file without its ending."""
    path = PurePosixPath(file)
    return str(path.with_name(stem(path.name)))


def _entry(row: Sequence[str], columns: int, where: str) -> Entry:
    """The numbers of a line, which are its last two fields."""
    try:
        first, second = map(float, row[-2:])
    except ValueError:
        first = second = math.nan
    if len(row) != columns or not all(row) or not math.isfinite(first + second):
        raise _malformed(f"{where} is {','.join(row)[:80]!r}")
    return Entry(first, second, where)


def _check_inside(entry: Entry, height: int, width: int) -> None:
    if np.isnan(inside(np.array([[entry.second, entry.first]]), height, width)).any():
        raise UserError(
            f"{entry.where}: ({entry.first:g}, {entry.second:g}) lies outside its image",
            f"expected: x from 0 to {width - 1}, and y from 0 to {height - 1}",
            "correct the line, or delete it: single landmarks may be missing",
        )


def _add(table: dict[str, T], image: str, label: T, where: str) -> None:
    if image in table:
        raise UserError(
            f"{where} labels {image} a second time",
            "expected: one mask of a structure, one place of a landmark, and one pair of angles",
            "delete one of the two",
        )
    table[image] = label


def _malformed(what: str) -> UserError:
    return UserError(
        what,
        f"expected: {','.join(LANDMARK_COLUMNS)} (landmarks, px) or {','.join(ANGLE_COLUMNS)} "
        "(angles, degrees), with finite numbers",
        "edit or delete it",
    )
