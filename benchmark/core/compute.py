"""How networks compute on a device: precision, memory layout, compilation, room for images.

None of it is part of a key: it changes times, and last bits of results. Records say what was used.
On a CPU all of it is off unless it is set.
"""

import re
from typing import Literal

import torch
from pydantic import BaseModel, ConfigDict, Field

from xbench.core.errors import UserError

Switch = Literal["auto", "on", "off"]


class Compute(BaseModel):
    """The section `compute` of the settings."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    precision: Literal["auto", "bfloat16", "float32"] = Field(
        default="auto", description="of products in networks; auto: bfloat16 on a GPU that has it"
    )
    compile: Switch = Field(
        default="auto",
        description="torch.compile; auto: on a GPU, where it was measured to be faster",
    )
    channels_last: Switch = Field(
        default="auto",
        description="memory layout; auto: on a GPU, where it was measured to be faster",
    )
    resident: Switch = Field(
        default="auto", description="training images kept on the GPU; auto: where they fit"
    )
    batch: int | None = Field(
        default=None,
        description="images translated at once; null: the profile's, on a GPU all that fit",
        ge=1,
    )  # fmt: skip


def has_bfloat16(device: torch.device) -> bool:
    """Whether a device computes in bfloat16 faster than in float32: GPUs since 2020."""
    return device.type == "cuda" and torch.cuda.is_bf16_supported(including_emulation=False)


def lacks_bfloat16(device: torch.device) -> bool:
    """Whether a device only emulates bfloat16; a CPU has it, if slowly."""
    return device.type == "cuda" and not has_bfloat16(device)


def check(compute: Compute, device: torch.device) -> None:
    """Refuse what a device cannot do.

    Raises:
        UserError: bfloat16 is set for a GPU that only emulates it.
    """
    if compute.precision == "bfloat16" and lacks_bfloat16(device):
        raise UserError(
            f"{torch.cuda.get_device_name(device)} has no bfloat16",
            "expected: a GPU of compute capability 8.0 or later, or another precision",
            "try: --set compute.precision=auto",
        )


def precision(compute: Compute, device: torch.device) -> torch.dtype:
    """The precision of products in networks; weights are float32 in any case."""
    if compute.precision == "auto":
        return torch.bfloat16 if has_bfloat16(device) else torch.float32
    return torch.bfloat16 if compute.precision == "bfloat16" else torch.float32


def autocast(compute: Compute, device: torch.device) -> torch.autocast:
    """Networks that are called inside compute in the precision of the settings."""
    low = precision(compute, device) == torch.bfloat16
    return torch.autocast(device.type, torch.bfloat16, enabled=low)


def dtype_name(dtype: torch.dtype) -> str:
    """What settings and records call a precision.

    >>> dtype_name(torch.float32)
    'float32'
    """
    return str(dtype).removeprefix("torch.")


def no_room(device: torch.device, work: str, fix: str) -> UserError:
    """The error of a device whose memory is too small for some work."""
    left = ""
    if device.type == "cuda":
        free, total = torch.cuda.mem_get_info(device)
        left = f" ({free / 1e9:.1f} of {total / 1e9:.1f} GB are free)"
    return UserError(
        f"memory of {device} ran out while {work}{left}",
        "expected: room for a network and its images (nvidia-smi shows what else holds memory)",
        fix,
    )


def lost_card(error: BaseException | None) -> str:
    """What to do, if an error says that a GPU does not answer any more; else nothing."""
    gone = r"CUDA error|cuDNN error|CUBLAS_STATUS|NCCL|fallen off the bus"
    if isinstance(error, torch.OutOfMemoryError) or not isinstance(error, RuntimeError):
        return ""
    if not re.search(gone, str(error)):
        return ""
    return (
        "The GPU failed. See: xbench doctor, nvidia-smi. When it works again: the same command "
        "with --retry-failed.\n"
    )
