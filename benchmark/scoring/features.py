"""Features on disk: computed once per set of images and extractor, found by content.

One safetensors file holds the features of one set of images (the images of a domain, the
translations of a unit), named by the hash of its contents, below a folder per extractor. The order
of the images, repetitions among them and where they came from do not matter: every metric, method,
seed and run that meets the same set reads the same file. Files depend on nothing but contents, so
they can be deleted at any time and written by several processes at once.
"""

import hashlib
import warnings
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import Protocol

import numpy as np
import torch
from safetensors import SafetensorError
from torch import Tensor

from xbench.core.arrays import load_arrays, save_arrays
from xbench.core.errors import UserError
from xbench.core.files import set_aside
from xbench.core.pixels import Pixels, from_pixels, to_pixels
from xbench.metrics.extractors import Extractor
from xbench.metrics.images import check_images


class ImageSet(Protocol):
    """Indexable images, float [1, H, W] in [0, 1] each: a Tensor [n, 1, H, W], `Images`, a list.

    Images of a list may differ in size.
    """

    def __len__(self) -> int:
        """Number of images."""

    def __getitem__(self, index: int, /) -> Tensor:
        """One image [1, H, W]."""


def cached_features(
    extractor: Extractor, images: ImageSet, folder: Path, batch: int = 64
) -> Tensor:
    """Features of images, read where they were computed before.

    Images count as equal if their sizes and 16-bit pixels are; features are those of the 16-bit
    pixels. Equal images are computed once, in batches of equal sizes and in an order that their
    contents give. A damaged file is moved aside with a warning and recomputed.

    Args:
        extractor: what computes them; its `key` names the folder.
        images: at least one image.
        folder: where the files lie, made if missing.
        batch: images handed to the extractor at once.

    Returns:
        [n, d], float64, in the order of the images.

    Raises:
        ValueError: no images, one that is not [1, H, W], or values outside [0, 1].
        UserError: a user's extractor failed.
    """
    if not len(images) or batch < 1:
        raise ValueError(f"expected images and a batch above 0, got {len(images)} and {batch}")
    keys = []
    known: dict[bytes, tuple[int, tuple[int, ...]]] = {}  # a row that has it, height and width
    for row in range(len(images)):
        pixels = _pixels(images[row])
        keys.append(_key(pixels))
        known.setdefault(keys[-1], (row, pixels.shape))
    ordered = sorted(known)
    name = hashlib.sha256(b"".join(ordered)).hexdigest()
    path = folder / extractor.key / f"{name}.safetensors"
    features = _read(path, len(ordered))
    if features is None:
        features = _compute(extractor, images, [known[key] for key in ordered], batch)
        _write(path, features)
    place = {key: row for row, key in enumerate(ordered)}
    return features[[place[key] for key in keys]].double()


def _pixels(image: Tensor) -> Pixels:
    """One image [1, H, W] in 16 bits, [H, W]: as units store it."""
    check_images(image[None], 1, "features")
    pixels: Pixels = to_pixels(image[None])[0]
    return pixels


def _key(pixels: Pixels) -> bytes:
    """SHA-256 of size and pixels."""
    height, width = pixels.shape
    return hashlib.sha256(f"{height}x{width}:".encode() + pixels.astype("<u2").tobytes()).digest()


def _compute(
    extractor: Extractor,
    images: ImageSet,
    wanted: Sequence[tuple[int, tuple[int, ...]]],
    batch: int,
) -> Tensor:
    """Features of the images in these rows and of these sizes, in this order."""
    alike: dict[tuple[int, ...], list[int]] = {}
    for place, (_, shape) in enumerate(wanted):
        alike.setdefault(shape, []).append(place)
    found: dict[int, Tensor] = {}
    for places in alike.values():
        for start in range(0, len(places), batch):
            chosen = places[start : start + batch]
            stack = np.stack([_pixels(images[wanted[place][0]]) for place in chosen])
            found.update(zip(chosen, extractor.features(from_pixels(stack)), strict=True))
    lengths = sorted({len(row) for row in found.values()})
    if len(lengths) > 1:
        raise UserError(
            f"extractor {extractor.name} returns {lengths} features, depending on the image size",
            "expected: as many features for images of any size",
            "try: an average over the image, or images of one size",
        )
    return torch.stack([found[place] for place in range(len(wanted))])


def _read(path: Path, count: int) -> Tensor | None:
    """Stored features; None where there are none or the file is damaged."""
    try:
        features = torch.from_numpy(load_arrays(path)["features"])
        if len(features) != count:
            raise ValueError("contents changed")
        return features
    except OSError:  # not there, or not to be read
        return None
    except (KeyError, ValueError, TypeError) as error:
        with suppress(FileNotFoundError):  # another process was faster
            set_aside(path)
        warnings.warn(
            f"{path} is damaged ({error}); moved to {path.name}.corrupt and recomputed",
            stacklevel=3,
        )
        return None


def _write(path: Path, features: Tensor) -> None:
    """Store features, in float32 where nothing is lost by it."""
    short = features.float()
    kept = short if torch.equal(short.double(), features) else features
    try:
        save_arrays(path, {"features": kept.numpy()})
    except (OSError, SafetensorError) as error:  # the features are still returned
        warnings.warn(f"features are not kept for the next time: {error}", stacklevel=3)
