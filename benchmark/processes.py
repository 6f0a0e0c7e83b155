"""Several processes of one run, as `accelerate launch` or torchrun start them.

They train together; all else (translating, scoring, writing) is done by the first one.
"""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import torch


def number() -> int:
    """How many processes share the work."""
    return int(os.environ.get("WORLD_SIZE", "1"))


def is_first() -> bool:
    """Whether this is the process that writes and speaks."""
    return int(os.environ.get("RANK", "0")) == 0


@contextmanager
def first_before_others(device: "torch.device") -> Iterator[None]:
    """Let the first process through, then the others."""
    if number() == 1:
        yield
        return
    from accelerate import PartialState

    with PartialState(cpu=device.type == "cpu").main_process_first():
        yield


def wait(device: "torch.device") -> None:
    """Go on when all processes have come here."""
    if number() > 1:
        from accelerate import PartialState

        PartialState(cpu=device.type == "cpu").wait_for_everyone()
