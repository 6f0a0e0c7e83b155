"""Translates images batch by batch and checks what a method returns."""

import warnings
from collections.abc import Callable, Mapping, Sequence
from typing import TypeVar

import numpy as np
import torch
from torch import Tensor

from xbench.core import processes
from xbench.core.hashing import digest, seed_from
from xbench.core.pixels import Pixels, to_pixels
from xbench.datasets.base import Box, Images
from xbench.datasets.prepare import padded
from xbench.harness.plan import Entry
from xbench.methods.base import Method
from xbench.scoring.cases import cut

Generators = dict[str, list[torch.Generator]]
Key = TypeVar("Key")


def fix_numerics(device: torch.device, threads: int) -> None:
    """Make results repeat: as many CPU threads as a profile says, and what a GPU can promise."""
    # More threads than cores wait for each other.
    torch.set_num_threads(min(threads, processes.cores()))
    if device.type == "cuda":
        # Equal results on equal devices; what has no such algorithm only warns.
        torch.use_deterministic_algorithms(True, warn_only=True)
        torch.backends.cudnn.benchmark = False


def translate(
    method: Method,
    images: Images,
    ids: Sequence[str],
    source: str,
    targets: Sequence[str],
    *,
    seed: int,
    batch: int,
) -> dict[str, Pixels]:
    """Translate all images of one source to some targets.

    Args:
        method: trained for these pairs.
        images: of the source domain, float32 in [0, 1].
        ids: one per image; what an image draws depends on its id, not on its place.
        source: domain of the images.
        targets: domains to translate into.
        seed: root of the random numbers.
        batch: images per batch; halved where memory runs out.

    Returns:
        Pixels uint16 `[n, H, W]` by target.

    Raises:
        TypeError, ValueError: the method returned no tensor, or one of another shape.
    """

    def work(part: Tensor, names: Sequence[str]) -> dict[str, Tensor]:
        generators = _generators(method, names, source, targets, seed)
        results = method.translate_all(part, source, targets, generators=generators)
        return {target: checked(method, results[target], part) for target in targets}

    return _in_batches(work, images, ids, batch, method)


def translate_path(
    method: Method,
    images: Images,
    ids: Sequence[str],
    source: str,
    targets: Sequence[str],
    values: Sequence[float],
    *,
    seed: int,
    batch: int,
) -> dict[tuple[float, str], Pixels]:
    """Translate as `translate` does, at several `values` of the trade-off knob.

    The same pixels as by a method for each value, but shared work is done once.

    Returns:
        Pixels uint16 `[n, H, W]` by value and target.
    """

    def work(part: Tensor, names: Sequence[str]) -> dict[tuple[float, str], Tensor]:
        generators = _generators(method, names, source, targets, seed)
        path = method.translate_path(part, source, targets, values, generators=generators)
        return {
            (value, target): checked(method, path[value][target], part)
            for value in values
            for target in targets
        }

    return _in_batches(work, images, ids, batch, method)


def family(entry: Entry) -> str:
    """A name that rows share if they are translated together by `translate_path`.

    Those rows differ only in the knob of a method that shares work along it. The plain row is not
    among them: its time per image must be that of a translation alone.
    """
    method = entry.method
    if (
        method.knob is None
        or method.translate_path is Method.translate_path
        or entry.label == entry.name
    ):
        return entry.label
    rest = entry.config.model_dump(mode="json", exclude={method.knob})
    return f"{entry.name}/{digest([entry.version, entry.train_images, rest])}"


def checked(method: Method, result: Tensor, images: Tensor) -> Tensor:
    """What a method returned for images, if it has their type and shape.

    Raises:
        TypeError: it is no tensor.
        ValueError: it has another shape.
    """
    if not isinstance(result, Tensor):
        raise TypeError(f"{method.name} returned {type(result).__name__}, not a torch tensor")
    if result.shape != images.shape:
        raise ValueError(
            f"{method.name} returned {tuple(result.shape)} for images {tuple(images.shape)}"
        )
    return result


def _generators(
    method: Method, ids: Sequence[str], source: str, targets: Sequence[str], seed: int
) -> Generators:
    """A generator for every image, by target: batch size and order change nothing."""
    return {
        target: [
            torch.Generator(method.device).manual_seed(
                seed_from(seed, method.name, source, target, name)
            )
            for name in ids
        ]
        for target in targets
    }


def _in_batches(
    work: Callable[[Tensor, Sequence[str]], Mapping[Key, Tensor]],
    images: Images,
    ids: Sequence[str],
    batch: int,
    method: Method,
) -> dict[Key, Pixels]:
    """Work batch by batch, with smaller batches where memory runs out; pixels by key.

    Of padded images only the content is worked on, unless the method takes whole images alone. The
    results are padded by reflection, as the images are.
    """
    boxes = [images.content(row) for row in range(len(images))]
    if not method.any_size:
        boxes = [Box(0, 0, *images[0].shape[1:])] * len(images)
    made: dict[Key, Pixels] = {}
    todo = _alike(boxes)
    while todo:
        rows = todo[0][:batch]
        given = torch.stack([cut(images[row], boxes[row]) for row in rows])
        try:
            results = work(given.to(method.device), [ids[row] for row in rows])
        except (MemoryError, RuntimeError) as error:
            if batch == 1 or not _out_of_memory(error):
                raise
            torch.cuda.empty_cache()
            batch = max(1, batch // 2)
            warnings.warn(f"out of memory; going on with batches of {batch}", stacklevel=2)
            continue
        for key, result in results.items():
            whole = made.setdefault(key, np.empty((len(images), *images[0].shape[1:]), np.uint16))
            for row, pixels in zip(rows, to_pixels(result), strict=True):
                whole[row] = padded(pixels, boxes[row], len(whole[row]))
        todo[0] = todo[0][batch:]
        todo = list(filter(None, todo))
    return made


def _alike(boxes: Sequence[Box]) -> list[list[int]]:
    """Rows whose content has the same height and width."""
    rows: dict[tuple[int, int], list[int]] = {}
    for row, box in enumerate(boxes):
        rows.setdefault((box.height, box.width), []).append(row)
    return list(rows.values())


def _out_of_memory(error: Exception) -> bool:
    """Whether memory ran out: on a GPU by the type of the error, on a CPU by its text."""
    known = isinstance(error, MemoryError | torch.OutOfMemoryError)
    return known or "can't allocate memory" in str(error)
