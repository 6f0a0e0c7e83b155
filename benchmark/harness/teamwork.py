"""Processes of one launch translate together: each a part of the images, the first collects them.

What an image draws depends on its id, so the parts are those of one process, put together in order.
The first process alone decides what is done, stores and reports; the others wait for its orders.
"""

import traceback
from collections.abc import Callable, Mapping, Sequence
from typing import TypeVar

import numpy as np

from xbench.core import processes
from xbench.core.pixels import Pixels

Key = TypeVar("Key")


def broadcast(names: Sequence[str] | None = None) -> list[str]:
    """The names that the first process gives, in all processes; none: there is no more to do."""
    from accelerate.utils import broadcast_object_list

    box = [list(names or ())]
    broadcast_object_list(box, from_process=0)
    return box[0]


def share(rows: int) -> range:
    """The rows of this process, of all of them in order."""
    number, place = processes.number(), processes.index()
    return range(rows * place // number, rows * (place + 1) // number)


def collected(work: Callable[[], Mapping[Key, Pixels]]) -> dict[Key, Pixels]:
    """What the processes make of their parts, put together, in all of them.

    Raises:
        Exception: what the work raised here.
        RuntimeError: it failed in another process.
    """
    from accelerate.utils import gather_object

    own: Exception | None = None
    made: Mapping[Key, Pixels] = {}
    try:
        made = work()
    except Exception as error:
        own = error
    text = "".join(traceback.format_exception(own)) if own else ""
    found = gather_object([(dict(made), text)])
    if own is not None:
        raise own
    for place, (_, wrong) in enumerate(found):
        if wrong:
            raise RuntimeError(f"process {place} failed:\n{wrong}")
    parts = [part for part, _ in found if part]  # few images leave some processes without any
    return {key: np.concatenate([part[key] for part in parts]) for key in parts[0]}
