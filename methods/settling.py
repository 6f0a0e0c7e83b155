"""The form in which the networks of a training compute: asked for, or measured on its first step.

Steps of a measurement leave nothing behind: weights, averages and optimisers are restored.
"""

import copy
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, nullcontext
from typing import Any

import torch
from torch import nn

from xbench.core import forms, processes
from xbench.core.compute import Compute
from xbench.core.forms import Form, Trial

#: Parts of a training by name: networks, averages or optimisers.
Parts = Mapping[str, Any]
#: Steps from which on it pays to measure.
WORTH = 1000


def settle(
    networks: Mapping[str, nn.Module],
    averages: Mapping[str, nn.Module],
    optimizers: Mapping[str, torch.optim.Optimizer],
    step: Callable[[], object],
    device: torch.device,
    compute: Compute,
    *,
    eager: Sequence[str],
    batch: int,
    left: int,
    together: bool,
) -> Form:
    """Give the networks the form that the settings ask for, or that is the fastest.

    Args:
        networks: that the step calls.
        averages: of their weights.
        optimizers: of their weights.
        step: a step of the training, without other processes.
        device: where it runs.
        compute: the settings.
        eager: networks that are never compiled.
        batch: images of a step.
        left: steps that are to be done.
        together: whether several processes train the same: the first one measures for all.
    """
    moved = {id(w) for o in optimizers.values() for g in o.param_groups for w in g["params"]}
    names = [
        name
        for name, net in networks.items()
        if name not in eager and any(id(weight) in moved for weight in net.parameters())
    ]

    def work() -> None:
        lay_out(optimizers)
        step()

    identity = ["train", batch, *forms.identity(networks)]
    trial = Trial(work, device, names, identity, worth=left >= WORTH)
    if forms.asked(compute, names) == Form() and not forms.open_questions(compute, trial):
        lay_out(optimizers)  # a checkpoint may come from another form
        return Form()
    turn = processes.first_before_others(device) if together else nullcontext()
    with turn, untouched(networks, averages, optimizers):
        form = forms.settle(networks, compute, trial)
    forms.give(averages, Form(form.channels_last))
    lay_out(optimizers)
    return form


@contextmanager
def untouched(*kinds: Parts) -> Iterator[None]:
    """Restore the state of networks, averages and optimisers after the block."""
    before = [
        {name: copy.deepcopy(part.state_dict()) for name, part in parts.items()} for parts in kinds
    ]
    try:
        yield
    finally:
        for parts, states in zip(kinds, before, strict=True):
            for name, state in states.items():
                parts[name].load_state_dict(state)


def lay_out(optimizers: Mapping[str, torch.optim.Optimizer]) -> None:
    """Lay the moments of optimisers out as their weights, which their fused form asks for."""
    for optimizer in optimizers.values():
        for weight, state in optimizer.state.items():
            for name, value in state.items():
                same = torch.is_tensor(value) and value.shape == weight.shape
                if same and value.stride() != weight.stride():
                    state[name] = torch.empty_like(weight).copy_(value)
