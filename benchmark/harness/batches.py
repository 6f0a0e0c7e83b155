"""Work on images batch by batch: as many at once as memory holds, fewer where it runs out."""

import warnings
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from typing import TypeVar

import numpy as np
import torch
from torch import Tensor

from xbench.core import forms
from xbench.core.compute import no_room
from xbench.core.forms import Trial
from xbench.core.pixels import Pixels, to_pixels
from xbench.datasets.base import Box, Images
from xbench.datasets.prepare import padded
from xbench.methods.base import Method
from xbench.scoring.cases import cut

#: Share of a GPU's free memory that a batch may take, and how many times a profile's batch.
SHARE, LARGEST = 0.7, 16
#: Images to translate from which on it pays to measure forms of networks.
WORTH = 128

Key = TypeVar("Key")
#: Images `[B, 1, H, W]` on the method's device, and the name of each, to results by key.
Work = Callable[[Tensor, Sequence[str]], Mapping[Key, Tensor]]


class Room:
    """The memory of a GPU, by which a batch may grow."""

    def __init__(self, device: torch.device) -> None:
        self.device = device

    def watch(self) -> None:
        """Begin to look at what some work takes."""
        torch.cuda.reset_peak_memory_stats(self.device)
        self.before = torch.cuda.memory_allocated(self.device)

    def holds(self, worked: int) -> int:
        """How many images there is room for, by what the work on some of them took."""
        each = (torch.cuda.max_memory_allocated(self.device) - self.before) / worked
        free = torch.cuda.mem_get_info(self.device)[0]
        # What torch holds and does not use is free as well.
        free += torch.cuda.memory_reserved(self.device) - torch.cuda.memory_allocated(self.device)
        return int(SHARE * free / max(each, 1))


def room_of(method: Method) -> Room | None:
    """The room in which a method's batch may grow; None where it stays as it is."""
    settled = method.computing.batch or method.at_once
    return None if settled or method.device.type != "cuda" else Room(method.device)


def grown(batch: int, room: int) -> int:
    """The batch doubled as often as there is room for it.

    >>> grown(32, 20), grown(32, 64), grown(32, 200), grown(32, 10**6)
    (32, 64, 128, 512)
    """
    most = batch * LARGEST
    while batch * 2 <= min(room, most):
        batch *= 2
    return batch


def in_batches(
    work: Work[Key], images: Images, ids: Sequence[str], batch: int, method: Method
) -> dict[Key, Pixels]:
    """Work batch by batch; on a GPU in larger ones after the first, in smaller ones if need be.

    Of padded images only the content is worked on, unless the method takes whole images alone. The
    results are padded by reflection, as the images are.

    Args:
        work: what to do.
        images: `[n, 1, H, W]`.
        ids: one per image.
        batch: how many at once, unless the method's settings say it.
        method: whose networks work.

    Returns:
        Pixels uint16 `[n, H, W]` by key.

    Raises:
        UserError: memory does not hold one image.
    """
    boxes = [images.content(row) for row in range(len(images))]
    if not method.any_size:
        boxes = [Box(0, 0, *images[0].shape[1:])] * len(images)
    made: dict[Key, Pixels] = {}
    batch, room = method.at_once or method.computing.batch or batch, room_of(method)
    todo = _alike(boxes)
    while todo:
        rows = todo[0][:batch]
        given = torch.stack([cut(images[row], boxes[row]) for row in rows]).to(method.device)
        try:
            if room is not None:
                room.watch()
            names = [ids[row] for row in rows]
            if room is None and len(rows) == batch:
                _settle(work, given, names, method, len(images))
            with _as_compiled(method, whole=len(rows) == batch):
                results = work(given, names)
            if room is not None and len(rows) == batch:
                batch, room = grown(batch, room.holds(batch)), None
                method.at_once = batch
        except (MemoryError, RuntimeError) as error:
            batch, room = _halved(batch, given, method, error), None
            continue
        for key, result in results.items():
            whole = made.setdefault(key, np.empty((len(images), *images[0].shape[1:]), np.uint16))
            for row, pixels in zip(rows, to_pixels(result), strict=True):
                whole[row] = padded(pixels, boxes[row], len(whole[row]))
        todo[0] = todo[0][len(rows) :]
        todo = list(filter(None, todo))
    return made


def _halved(batch: int, given: Tensor, method: Method, error: Exception) -> int:
    """The next batch to try where memory ran out; any other error is raised again."""
    if not _out_of_memory(error):
        raise error
    if batch == 1:
        work = f"one image of {given.shape[2]} × {given.shape[3]} px was translated"
        fix = "try: a smaller --profile, or --device cpu"
        raise no_room(method.device, work, fix) from error
    torch.cuda.empty_cache()
    method.at_once = max(1, batch // 2)
    warnings.warn(f"out of memory; going on with batches of {method.at_once}", stacklevel=3)
    return method.at_once


def _settle(
    work: Work[Key], given: Tensor, names: Sequence[str], method: Method, number: int
) -> None:
    """Settle the form of a method's networks, by a first batch."""
    nets = method.busy_networks()
    if method.form is not None or not nets:
        return
    identity = ["translate", list(given.shape), *forms.identity(nets)]
    again = Trial(lambda: work(given, names), method.device, list(nets), identity, number >= WORTH)
    method.form = forms.settle(nets, method.computing, again)


def _as_compiled(method: Method, *, whole: bool) -> AbstractContextManager[None]:
    """Leave out what is compiled for a last, smaller batch: compiling takes longer than that."""
    compiled = method.form is not None and method.form.compiled
    return forms.eager(method.busy_networks()) if compiled and not whole else nullcontext()


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
