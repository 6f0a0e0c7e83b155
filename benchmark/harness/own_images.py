"""Image files of the user's own, translated by a trained method: `xbench translate`.

An image is prepared as the images of the data set are (decoded, scaled to [0, 1], padded to a
square, resized to the working size) and translated. Then it gets back its size, range of grey
values, type, polarity and format (`datasets/encode.py`). Detail finer than the working size is
lost, and so are values outside the window. Colour becomes grey, DICOM files and volumes become PNG
with 16 bits. The outcome of each image says what was lost.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from xbench.core.errors import UserError
from xbench.core.files import atomic
from xbench.core.isolation import undisturbed
from xbench.core.names import quoted
from xbench.datasets.base import Box, Dataset, Images
from xbench.datasets.decode import Grey, Undecodable, ending, is_image, read, stem
from xbench.datasets.decoding.kinds import ENDINGS
from xbench.datasets.encode import as_stored, changes, kind_written, write
from xbench.datasets.folder import FolderConfig
from xbench.datasets.prepare import LEAST_TRANSLATED, Fit, normalise, to_square
from xbench.datasets.walk import is_junk
from xbench.harness.translation import translate
from xbench.methods.base import Method


@dataclass(frozen=True)
class Job:
    """A file and where its translation goes."""

    file: Path
    to: Path


@dataclass(frozen=True)
class Outcome:
    """The result for one file; the reason of a translated one says what was not kept."""

    file: Path
    to: Path
    state: Literal["translated", "skipped", "failed"]
    reason: str = ""


@dataclass(frozen=True)
class Preparation:
    """How files become images of a data set.

    Attributes:
        size: the working size in pixels.
        fit: how an image becomes a square.
        window: stored values that become 0 and 1; None for those of the file.
        bone_bright: whether the greys are inverted.
    """

    size: int
    fit: Fit
    window: tuple[float, float] | None
    bone_bright: bool


def preparation(
    dataset: Dataset,
    domain: str,
    window: tuple[float, float] | None = None,
    polarity: str | None = None,
) -> Preparation:
    """How a data set prepares the files of one of its domains, unless the arguments say otherwise.

    Where it crops squares from the middle or aligns domains, images are padded instead: nothing may
    be cut off.
    """
    config = dataset.config
    if not isinstance(config, FolderConfig):
        return Preparation(config.size, "pad", window, polarity == "bone-bright")
    own_window, own_polarity = config.window, config.polarity
    if isinstance(own_window, dict):
        own_window = own_window.get(domain)
    if isinstance(own_polarity, dict):
        own_polarity = own_polarity.get(domain, "bone-dark")
    fit: Fit = "stretch" if config.fit == "stretch" else "pad"
    inverted = (polarity or own_polarity) == "bone-bright"
    return Preparation(config.size, fit, window or own_window, inverted)


def find_jobs(given: Path, to: Path) -> list[Job]:
    """The images of a file or folder, and where their translations go.

    A folder keeps its sub-folders and names; hidden files and what is no image are passed over.

    Args:
        given: an image, or a folder of images.
        to: a folder; for one image also the file to write.

    Raises:
        UserError: there is no image, a folder is to become a file, or a result would replace an
            image that is to be read or lie among them.
    """
    if given.is_dir():
        if given.resolve() in (to.resolve(), *to.resolve().parents):
            raise UserError(
                f"{to} lies in {given}, whose images are translated",
                "expected: another folder, so that no result is taken for an image to translate",
                f"try: {quoted(f'{given}-translated')}",
            )
        if to.exists() and not to.is_dir():
            raise UserError(
                f"{to} is a file",
                "expected: a folder for the translations",
                f"try: {quoted(f'{given}-translated')}",
            )
        found = _images_in(given)
        jobs = [Job(path, to / _renamed(path, path.relative_to(given))) for path in found]
    elif given.exists():
        inside = to.is_dir() or not to.suffix
        jobs = [Job(given, to / _renamed(given, Path(given.name)) if inside else to)]
    else:
        jobs = []
    if not jobs:
        raise UserError(
            f"there are no images in {given}" if given.exists() else f"there is no {given}",
            "expected: an image, or a folder of images (PNG, TIFF, JPEG, NPY, DICOM and others)",
            f"try: ls {quoted(given if given.is_dir() else given.parent)}",
        )
    _refuse_clashes(jobs)
    return jobs


def _images_in(folder: Path) -> list[Path]:
    found = []
    for path in sorted(folder.rglob("*")):
        parts = path.relative_to(folder).parts
        if not any(map(is_junk, parts)) and path.is_file() and is_image(path):
            found.append(path)
    return found


def _renamed(file: Path, name: Path) -> Path:
    """A name with the ending of what is written: DICOM is read only, its translations are PNGs."""
    endings = ENDINGS[kind_written(file)]
    if ending(name.name).lower() in endings:
        return name
    return name.with_name(stem(name.name) + endings[0])


def _refuse_clashes(jobs: Sequence[Job]) -> None:
    """No result may replace an input or another result, nor have another format than its image."""
    inputs = {job.file.resolve() for job in jobs}
    seen: dict[Path, Path] = {}
    for job in jobs:
        renamed = _renamed(job.file, job.to)
        if renamed != job.to:
            raise UserError(
                f"{job.file} cannot become {job.to.name}",
                f"expected: {ending(renamed.name)}, the format is kept (DICOM becomes PNG)",
                f"try: {renamed}",
            )
        if job.to.resolve() in inputs:
            raise UserError(
                f"{job.to} would be overwritten, an image to translate",
                "expected: another folder for the results",
                f"try: {job.to.parent}-translated",
            )
        if (other := seen.setdefault(job.to, job.file)) != job.file:
            raise UserError(
                f"{other} and {job.file} would both become {job.to.name}",
                "expected: names that differ in more than their ending, where one is DICOM",
                f"rename or move {job.file}",
            )


def translate_files(
    jobs: Sequence[Job],
    method: Method,
    pair: tuple[str, str],
    prepared: Preparation,
    *,
    seed: int = 0,
    force: bool = False,
) -> Iterator[Outcome]:
    """Translate file by file, write the results, and yield an outcome for each.

    One image at a time, whose random numbers depend on its name: order and number of the others
    change nothing. A file that cannot be done is an outcome, not an exception.

    Args:
        jobs: of `find_jobs`.
        method: trained for the pair.
        pair: source and target domain.
        prepared: how files become images.
        seed: root of the random numbers.
        force: replace results that exist.
    """
    for job in jobs:
        if job.to.exists() and not force:
            yield Outcome(job.file, job.to, "skipped", "is there already")
            continue
        try:
            changed = _translate_file(job, method, pair, prepared, seed)
        except Undecodable as error:
            reason = str(error).partition(": set window")[0]
            yield Outcome(job.file, job.to, "failed", reason)
        except Exception as error:
            yield Outcome(job.file, job.to, "failed", f"{type(error).__name__}: {error}")
        else:
            yield Outcome(job.file, job.to, "translated", changed)


def _translate_file(
    job: Job, method: Method, pair: tuple[str, str], prepared: Preparation, seed: int
) -> str:
    """Translate and write one file; return what of it was not kept."""
    picture = read(job.file)
    grey = normalise(picture, prepared.window, prepared.bone_bright)
    square, box = to_square(grey, prepared.size, prepared.fit, LEAST_TRANSLATED)
    images, (source, target) = Images([square[np.newaxis]], [box]), pair
    with undisturbed():
        made = translate(method, images, [job.file.name], source, [target], seed=seed, batch=1)
    result = from_square(made[target][0], box, *grey.shape)
    if prepared.bone_bright:
        result = np.float32(1) - result
    values = as_stored(result, job.file, picture, prepared.window)
    kind = kind_written(job.file)
    if kind == "NPY":
        values = values.reshape(np.load(job.file, mmap_mode="r", allow_pickle=False).shape)
    with atomic(job.to) as part:
        write(part, values, kind, picture)
    return changes(job.file, picture)


def from_square(square: NDArray[np.uint16], box: Box, height: int, width: int) -> Grey:
    """The inverse of `to_square`: without padding, at another size, float32 `[H, W]` in [0, 1].

    Larger images are interpolated (bicubic), smaller ones averaged over areas.
    """
    inside = square[box.top : box.top + box.height, box.left : box.left + box.width]
    picture = Image.fromarray(inside.astype(np.float32) / np.float32(65535))
    if (box.height, box.width) != (height, width):
        shrinks = height < box.height or width < box.width
        how = Image.Resampling.BOX if shrinks else Image.Resampling.BICUBIC
        picture = picture.resize((width, height), how)
    grey: Grey = np.clip(np.asarray(picture), 0, 1)
    return grey
