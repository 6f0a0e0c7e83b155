"""Forms of networks: memory layout, and which of them are compiled; chosen by a measurement.

The choice is kept in the cache (`XBENCH_HOME/compute`), so that the same work is measured once on a
machine and always computed alike there. So is what `torch.compile` makes (`XBENCH_HOME/compiled`).
"""

import json
import os
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from time import perf_counter
from typing import NamedTuple

import torch
from torch import nn

from xbench.core.compute import Compute
from xbench.core.files import home, write_text
from xbench.core.hashing import digest

#: Calls before the clock starts, and while it runs.
WARM, ROUNDS = 2, 5
#: A form that is no more than this much faster is not worth it.
MARGIN = 0.03
#: What `torch.compile` makes code with.
BACKEND = "inductor"

Networks = Mapping[str, nn.Module]


class Form(NamedTuple):
    """The form of some networks.

    Attributes:
        channels_last: whether their weights have the channels as innermost dimension.
        compiled: names of those that are compiled.
    """

    channels_last: bool = False
    compiled: tuple[str, ...] = ()

    def facts(self) -> dict[str, str]:
        """For records."""
        return {
            "compile": " ".join(self.compiled) or "off",
            "channels_last": "on" if self.channels_last else "off",
        }


def give(nets: Networks, form: Form) -> None:
    """Give networks a form; what they compute stays the same up to rounding."""
    if form.compiled:
        os.environ.setdefault("TORCHINDUCTOR_CACHE_DIR", str(home() / "compiled"))
        # It makes no more than a few versions of a function, and all networks share some.
        torch.compiler.reset()
    layout = torch.channels_last if form.channels_last else torch.contiguous_format
    for name, net in nets.items():
        net.to(memory_format=layout)
        net._compiled_call_impl = None
        if name in form.compiled:
            net.compile(backend=BACKEND)


@contextmanager
def eager(nets: Networks) -> Iterator[None]:
    """Call networks inside as they are: another shape would be recompiled."""
    compiled = {name: net._compiled_call_impl for name, net in nets.items()}
    try:
        for net in nets.values():
            net._compiled_call_impl = None
        yield
    finally:
        for name, net in nets.items():
            net._compiled_call_impl = compiled[name]


class Trial(NamedTuple):
    """How forms are tried.

    Attributes:
        work: calls the networks; what it changes besides is thrown away.
        device: where.
        names: of the networks that may be compiled.
        identity: names the work for all times: kinds and shapes of networks and data.
        worth: whether there is so much to do that measuring pays.
    """

    work: Callable[[], object]
    device: torch.device
    names: Sequence[str]
    identity: Sequence[object]
    worth: bool


def asked(compute: Compute, names: Sequence[str]) -> Form:
    """The form that the settings ask for in so many words."""
    return Form(compute.channels_last == "on", tuple(names) if compute.compile == "on" else ())


def open_questions(compute: Compute, trial: Trial) -> list[str]:
    """Settings that a measurement decides; none on a CPU."""
    if trial.device.type != "cuda" or not trial.worth:
        return []
    return [n for n in ("channels_last", "compile") if getattr(compute, n) == "auto"]


def settle(nets: Networks, compute: Compute, trial: Trial) -> Form:
    """Give networks the form that the settings ask for, or that is the fastest.

    Where compiling fails there is a warning, and the network stays as it is.
    """
    start, questions = asked(compute, trial.names), open_questions(compute, trial)
    if start == Form() and not questions:
        return start
    if not questions:
        return _runs(nets, start, trial)
    path = _place(compute, trial)
    form = _kept(path)
    if form is None:
        form = _fastest(nets, start, questions, trial)
        with suppress(OSError):  # a cache that may only be read: measured again next time
            if (first := _kept(path)) is not None:  # another process was faster
                form = first
            else:
                write_text(path, json.dumps(form._asdict()) + "\n")
    return _runs(nets, form, trial)


def _runs(nets: Networks, form: Form, trial: Trial) -> Form:
    """The form, given to the networks; without those that cannot be compiled."""
    give(nets, form)
    if form.compiled and _seconds(form, trial, rounds=0) is None:
        form = form._replace(compiled=())
        give(nets, form)
    return form


def _fastest(nets: Networks, start: Form, questions: Sequence[str], trial: Trial) -> Form:
    """The fastest form, one change after the other; each must be worth it."""
    give(nets, start)
    best, least = start, _seconds(start, trial)
    if least is None:
        best = start._replace(compiled=())
        give(nets, best)
        least = _seconds(best, trial)
        assert least is not None
    changes: list[Callable[[Form], Form]] = []
    if "channels_last" in questions:
        changes.append(lambda form: form._replace(channels_last=True))
    if "compile" in questions:
        changes += [
            lambda form, name=name: form._replace(compiled=(*form.compiled, name))  # type: ignore[misc]
            for name in trial.names
        ]
    for change in changes:
        form = change(best)
        give(nets, form)
        took = _seconds(form, trial)
        if took is not None and took < least * (1 - MARGIN):
            best, least = form, took
    return best


def _seconds(form: Form, trial: Trial, rounds: int = ROUNDS) -> float | None:
    """Seconds of the work; None, and a warning, where something cannot be compiled."""
    try:
        for _ in range(WARM if rounds else 1):
            trial.work()
        _wait(trial.device)
        began = perf_counter()
        for _ in range(rounds):
            trial.work()
        _wait(trial.device)
        return perf_counter() - began
    except Exception as error:
        if not form.compiled:
            raise
        reason = (str(error).splitlines() or [type(error).__name__])[0]
        warnings.warn(
            f"torch.compile failed for {', '.join(form.compiled)} ({reason}); going on without "
            "(--set compute.compile=off does not try)",
            stacklevel=4,
        )
        return None


def _wait(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.synchronize(device)


def _place(compute: Compute, trial: Trial) -> Path:
    """Where the choice for some work on this machine is kept."""
    fixed = compute.model_dump(include={"precision", "compile", "channels_last"})
    machine = torch.cuda.get_device_name(trial.device), torch.__version__, torch.version.cuda
    return home() / "compute" / f"{digest([fixed, *machine, *trial.identity])}.json"


def _kept(path: Path) -> Form | None:
    """The choice that was made before, if there is one."""
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
        return Form(bool(found["channels_last"]), tuple(map(str, found["compiled"])))
    except (OSError, ValueError, KeyError, TypeError):
        return None


def identity(nets: Networks) -> list[object]:
    """Kinds of networks and shapes of their weights."""
    return [[n, type(net).__name__, [list(p.shape) for p in net.parameters()]]
            for n, net in nets.items()]  # fmt: skip
