"""Undoes what the code of methods and metrics changes in the process."""

import os
import random
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager, redirect_stdout, suppress
from typing import Any, TextIO

import numpy as np
import torch
from torch import Tensor


def _folder() -> str | None:
    with suppress(FileNotFoundError):
        return os.getcwd()
    return None


def _set_folder(folder: str | None) -> None:
    if folder is not None:
        os.chdir(folder)


def _cuda() -> list[Tensor]:
    # Reading the states would start CUDA where nothing has used it yet.
    return torch.cuda.get_rng_state_all() if torch.cuda.is_initialized() else []


def _deterministic() -> tuple[bool, bool]:
    return (
        torch.are_deterministic_algorithms_enabled(),
        torch.is_deterministic_algorithms_warn_only_enabled(),
    )


def _set_deterministic(state: tuple[bool, bool]) -> None:
    torch.use_deterministic_algorithms(state[0], warn_only=state[1])


def _cudnn() -> tuple[bool, bool]:
    return torch.backends.cudnn.benchmark, torch.backends.cudnn.deterministic


def _set_cudnn(state: tuple[bool, bool]) -> None:
    torch.backends.cudnn.benchmark, torch.backends.cudnn.deterministic = state


def _set_device(device: torch.device) -> None:
    # None unsets the device: any set device, even the CPU, slows every call down.
    torch.set_default_device(None if device.type == "cpu" else device)


#: State of the whole process: how to read it, and how to restore it.
STATE: dict[str, tuple[Callable[[], Any], Callable[[Any], Any]]] = {
    "random state of Python": (random.getstate, random.setstate),
    "random state of numpy": (lambda: np.random.get_state(legacy=False), np.random.set_state),
    "random state of torch": (torch.get_rng_state, torch.set_rng_state),
    "random state of CUDA": (_cuda, lambda states: torch.cuda.set_rng_state_all(states)),
    "default dtype of torch": (torch.get_default_dtype, torch.set_default_dtype),
    "default device of torch": (torch.get_default_device, _set_device),
    "gradients on or off": (torch.is_grad_enabled, torch.set_grad_enabled),
    "number of threads": (torch.get_num_threads, torch.set_num_threads),
    "deterministic algorithms": (_deterministic, _set_deterministic),
    "settings of cuDNN": (_cudnn, _set_cudnn),
    "precision of matrix products": (
        torch.get_float32_matmul_precision,
        torch.set_float32_matmul_precision,
    ),
    "errors of numpy": (np.geterr, lambda state: np.seterr(**state)),
    "working folder": (_folder, _set_folder),
}


def snapshot() -> dict[str, Any]:
    """The state of the process that code of others may change, by name."""
    return {name: read() for name, (read, _) in STATE.items()}


def changes(before: dict[str, Any]) -> list[str]:
    """Names of the states that differ from a snapshot."""
    return [name for name, (read, _) in STATE.items() if not _same(before[name], read())]


def restore(before: dict[str, Any]) -> None:
    """Restore the states of a snapshot."""
    for name in changes(before):
        STATE[name][1](before[name])


@contextmanager
def undisturbed(seed: int | None = None) -> Iterator[None]:
    """Run code of others in the block, and restore the process afterwards.

    Restored are random states, default dtype and device, gradient mode, threads, deterministic
    flags and working folder. What the code prints to stdout goes to stderr.

    >>> with undisturbed():
    ...     _ = torch.set_grad_enabled(False)
    >>> torch.is_grad_enabled()
    True

    Args:
        seed: of the global random states in the block, so that code that ignores its generators
            repeats; None leaves the states as they are.
    """
    before = snapshot()
    try:
        if seed is not None:
            random.seed(seed)
            np.random.seed(seed % 2**32)
            torch.manual_seed(seed)
        with stdout_to(sys.stderr):
            yield
    finally:
        restore(before)


@contextmanager
def stdout_to(stream: TextIO) -> Iterator[None]:
    """Send stdout elsewhere, including that of compiled code and child processes."""
    _flush()
    with redirect_stdout(stream):
        kept = None
        # A stream without a file, such as a notebook's, takes only what Python prints.
        with suppress(OSError, ValueError):
            target = stream.fileno()
            kept = os.dup(1)
            os.dup2(target, 1)
        try:
            yield
        finally:
            _flush()
            if kept is not None:
                os.dup2(kept, 1)
                os.close(kept)


def _flush() -> None:
    """Write out what was printed so far, so that the order stays."""
    for stream in {sys.stdout, sys.__stdout__}:
        if stream is not None:
            with suppress(OSError, ValueError):
                stream.flush()


def _same(one: Any, other: Any) -> bool:
    """Whether two states are equal: tuples, dictionaries, lists, arrays or tensors."""
    if isinstance(one, dict):
        return one.keys() == other.keys() and all(_same(one[k], other[k]) for k in one)
    if isinstance(one, list):
        return len(one) == len(other) and all(map(_same, one, other))
    if isinstance(one, Tensor):
        return torch.equal(one, other)
    if isinstance(one, np.ndarray):
        return bool(np.array_equal(one, other))
    return bool(one == other)
