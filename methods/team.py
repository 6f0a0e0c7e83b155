"""The processes that share one training, and the precision in which they compute."""

from contextlib import nullcontext
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from xbench.core import processes
from xbench.core.compute import Compute, precision

if TYPE_CHECKING:
    from accelerate import Accelerator


class Team:
    """The processes that share one training: all of them, or only this one."""

    def __init__(self, helper: "Accelerator", *, alone: bool, silent: bool = False) -> None:
        self.helper, self.silent = helper, silent
        self.number = 1 if alone else helper.num_processes
        self.index = 0 if alone else helper.process_index

    def wait(self) -> None:
        """Wait until all processes have come here."""
        if self.number > 1:
            self.helper.wait_for_everyone()

    def mean(self, tensor: Tensor) -> Tensor:
        """Mean over the processes; what is given where this one is silent, to try something."""
        if self.number == 1 or self.silent:
            return tensor
        reduced: Tensor = self.helper.reduce(tensor, reduction="mean")
        return reduced


def make_accelerator(device: torch.device, settings: Compute | None = None) -> "Accelerator":
    """The `Accelerator` of these processes; in mixed precision the weights stay float32."""
    from accelerate import Accelerator
    from accelerate.state import AcceleratorState
    from accelerate.utils import AutocastKwargs

    cuda = device.type == "cuda"
    low = precision(settings or Compute(), device) == torch.bfloat16
    alone = processes.number() == 1
    if alone:
        # It remembers the first device and precision of a process and refuses others.
        AcceleratorState._reset_state(reset_partial_state=True)
    # Weights that were cast without gradients must not be reused where gradients are needed:
    # older versions of torch lose these gradients.
    uncached = AutocastKwargs(cache_enabled=False)
    with processes.unlaunched() if alone else nullcontext():
        return Accelerator(
            cpu=not cuda,
            mixed_precision="bf16" if low else "no",
            kwargs_handlers=[uncached],
        )
