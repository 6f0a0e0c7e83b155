"""The training loop of all methods, GANs included; a resumed training ends with the same weights.

A `Learner` says what a step draws, which losses follow, and which optimiser minimises them. The
loop does the rest: precision and form of the networks (`core.compute`, `core.forms`), gradient
accumulation, several processes (`accelerate launch`), weight averages, learning-rate schedules,
checkpoints, and the check that losses are finite.
"""

import hashlib
import io
import math
import time
import warnings
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.optim.swa_utils import get_ema_multi_avg_fn

from xbench.core import compute as computing
from xbench.core.compute import Compute
from xbench.core.errors import UserError
from xbench.core.files import atomic, set_aside
from xbench.core.forms import Form
from xbench.core.hashing import seed_from
from xbench.methods import settling
from xbench.methods.base import Log, Progress
from xbench.methods.team import Team, make_accelerator

#: Seconds between two checkpoints, at least.
CHECKPOINT_SECONDS = 10.0
#: The time between two checkpoints is at least this many times that of saving one.
CHECKPOINT_SHARE = 30
#: Points of a stored loss curve; each is the mean over the steps since the point before.
CURVE_POINTS = 200

#: Parts of a learner that a checkpoint holds.
KEPT = ("networks", "averages", "optimizers")

#: What one step draws: tensors whose first dimension is the batch.
Batch = dict[str, Tensor]


def warmup_cosine(step: int, steps: int, warmup: float = 0.05) -> float:
    """Factor on the learning rate: linear up over a share `warmup` of the steps, then cosine to 0.

    A function of the step, so that checkpoints need no scheduler's state. diffusers' schedule of
    this kind starts at 0 and so gives other numbers.

    >>> [round(warmup_cosine(step, 8, warmup=0.25), 3) for step in range(8)]
    [0.5, 1.0, 1.0, 0.933, 0.75, 0.5, 0.25, 0.067]
    """
    rise = max(1, round(warmup * steps))
    if step < rise:
        return (step + 1) / rise
    return 0.5 * (1 + math.cos(math.pi * (step - rise) / max(1, steps - rise)))


class DamagedError(Exception):
    """A checkpoint cannot be used."""


class Learner(ABC):
    """Networks and optimisers, what one step draws, and what it minimises.

    Attributes:
        networks: every module with weights or memory.
        optimizers: by the names that `losses` yields.
        averages: exponential moving averages of the networks of the same name.
        batch: images per step.
        accumulate: chunks in which a batch is worked off, to save memory.
        clip: bound on the gradient norm of each optimiser's weights.
        ema_decay: decay of the moving averages.
        eager: names of networks that cannot be compiled.
    """

    networks: dict[str, nn.Module]
    optimizers: dict[str, torch.optim.Optimizer]
    averages: dict[str, nn.Module]
    batch: int
    accumulate: int = 1
    clip: float | None = None
    ema_decay: float = 0.999
    eager: tuple[str, ...] = ()

    def schedule(self, step: int, steps: int) -> float:
        """Factor on every learning rate at `step` of `steps`, counted from 0."""
        return warmup_cosine(step, steps)

    def prepare(self, step: int, steps: int) -> None:  # noqa: B027 - optional
        """Called before each step is drawn, counted from 0; a resumed training starts in between.

        What it keeps for later steps must follow from `networks`, which checkpoints hold, and from
        numbers seeded by the step: then a resumed training ends with the same weights.
        """

    @abstractmethod
    def draw(self, generator: torch.Generator) -> Batch:
        """Draw everything random of one step; `losses` must not draw anything."""

    @abstractmethod
    def losses(self, batch: Batch) -> Iterator[tuple[str, dict[str, Tensor]]]:
        """Yield the name of an optimiser and the losses (float32 scalars) that it minimises.

        The loop back-propagates their sum and steps the optimiser before it resumes this
        function: a GAN yields its discriminator's losses, then its generator's.
        """


def update_average(average: nn.Module, module: nn.Module, step: int, ema_decay: float) -> None:
    """Update the moving average of weights; its decay warms up as (1 + step) / (10 + step).

    torch's `AveragedModel` would copy the weights at its first update and rename them in
    checkpoints, which gives other numbers; its averaging function is used.
    """
    move = get_ema_multi_avg_fn(min(ema_decay, (1 + step) / (10 + step)))
    move(list(average.parameters()), list(module.parameters()), step)


def load_state(learner: Learner, path: Path) -> tuple[int, Log]:
    """Restore a checkpoint, and return its number of steps and its log.

    Raises:
        DamagedError: it is damaged, or of other networks; the learner may be half loaded.
    """
    if not path.exists():
        return 0, Log()
    try:
        expected, content = path.read_bytes().split(b"\n", 1)
        if hashlib.sha256(content).hexdigest().encode() != expected:
            raise ValueError("its hash is wrong")
        stream = io.BytesIO(content)
        state: dict[str, Any] = torch.load(stream, map_location="cpu", weights_only=True)
        for kind in KEPT:
            for name, part in getattr(learner, kind).items():
                part.load_state_dict(state[kind][name])
        return int(state["step"]), Log(float(state["seconds"]), state["curve"])
    except (MemoryError, torch.OutOfMemoryError):
        raise  # not the file's fault
    except Exception as error:  # a damaged file may raise anything
        raise DamagedError(str(error)) from error


def save_state(learner: Learner, path: Path, step: int, log: Log) -> None:
    """Write a checkpoint atomically, with its SHA-256 in the first line."""
    stream = io.BytesIO()
    torch.save(
        {
            "step": step,
            "seconds": log.seconds,
            "curve": log.curve,
            **{
                kind: {name: part.state_dict() for name, part in getattr(learner, kind).items()}
                for kind in KEPT
            },
        },
        stream,
    )
    content = stream.getvalue()
    with atomic(path) as part:
        part.write_bytes(hashlib.sha256(content).hexdigest().encode() + b"\n" + content)


def train(
    make: Callable[[], Learner],
    *,
    images: int,
    seed: int,
    device: torch.device,
    checkpoint: Path,
    progress: Progress,
    alone: bool = False,
    settings: Compute | None = None,
) -> tuple[Learner, Log]:
    """Train the learner that `make` builds, or resume its training; see `Training.fit`.

    Every step has its own generator, seeded by the step's number, so a resumed training draws the
    same numbers as an uninterrupted one and no random state is stored. Several processes share
    the training, unless each of them trains `alone`.

    Raises:
        FloatingPointError: a loss or a weight is not finite; earlier checkpoints stay.
        UserError: the batch cannot be shared among processes and chunks, or memory ran out.
    """
    settings = settings or Compute()
    team = Team(make_accelerator(device, settings), alone=alone)
    path = checkpoint / "checkpoint.pt"
    learner, start, log = _begin(make, path, team)
    steps = max(1, images // learner.batch)
    with _room(learner, device, team):
        form = _settle(learner, start, steps, seed, device, team, settings)
    log.compute = {"precision": computing.dtype_name(computing.precision(settings, device))}
    log.compute |= form.facts()
    began = saved = time.monotonic()
    earlier, cost = log.seconds, 0.0
    pending: list[Mapping[str, Tensor]] = []
    every = max(1, steps // CURVE_POINTS)
    for step in range(start, steps):
        with _room(learner, device, team):
            pending.append(_step(learner, step, steps, seed, device, team))
        if (step + 1) % every == 0:
            losses = _means(pending, team)
            _check_finite(losses, step + 1, steps)
            # In all processes: if only one stopped, the others would wait for it.
            _check_weights(learner, step + 1)
            for name, loss in losses.items():
                log.curve.setdefault(name, []).append(loss)
            pending.clear()
            progress(step + 1, steps, losses)
            # Here no losses are pending, so a resumed curve equals an uninterrupted one.
            now = time.monotonic()
            if team.index == 0 and now - saved > max(CHECKPOINT_SECONDS, CHECKPOINT_SHARE * cost):
                log.seconds = earlier + now - began
                save_state(learner, path, step + 1, log)
                saved = time.monotonic()
                cost = saved - now
    if pending:  # the steps after the last point of the curve
        _check_finite(_means(pending, team), steps, steps)
    _check_weights(learner, steps)
    log.seconds = earlier + time.monotonic() - began
    return learner, log


def _begin(make: Callable[[], Learner], path: Path, team: Team) -> tuple[Learner, int, Log]:
    """A learner, fresh or from its checkpoint; a damaged checkpoint is moved, with a warning."""
    learner = make()
    _check_batch(learner, team)
    try:
        start, log = load_state(learner, path)
        damage = None
    except DamagedError as error:
        learner, start, log, damage = make(), 0, Log(), error
    team.wait()  # all must have read it before the first one moves it
    if damage and team.index == 0:
        warnings.warn(
            f"checkpoint {path} is damaged ({damage}); moved to {set_aside(path).name}, "
            "training starts again",
            stacklevel=3,
        )
    return learner, start, log


def _settle(
    learner: Learner,
    start: int,
    steps: int,
    seed: int,
    device: torch.device,
    team: Team,
    settings: Compute,
) -> Form:
    """Settle the form of the networks by the step that comes first, without other processes."""
    solo = Team(team.helper, alone=team.number == 1, silent=True)
    return settling.settle(
        learner.networks,
        learner.averages,
        learner.optimizers,
        lambda: _step(learner, start, steps, seed, device, solo),
        device,
        settings,
        eager=learner.eager,
        batch=learner.batch // (team.number * learner.accumulate),
        left=steps - start,
        together=team.number > 1,
    )


@contextmanager
def _room(learner: Learner, device: torch.device, team: Team) -> Iterator[None]:
    """Say what to do where a GPU's memory runs out."""
    try:
        yield
    except torch.OutOfMemoryError as error:
        if team.number > 1:  # the others wait for this process, which must end
            raise
        work = f"training on {learner.batch // learner.accumulate} images at once"
        smaller = "a smaller --profile, or --device cpu"
        parts = f"--set METHOD.accumulate={2 * learner.accumulate} (same result), "
        fix = f"try: {parts if learner.batch > learner.accumulate else ''}{smaller}"
        raise computing.no_room(device, work, fix) from error


def _step(
    learner: Learner, step: int, steps: int, seed: int, device: torch.device, team: Team
) -> dict[str, Tensor]:
    """One step on one batch: each optimiser that the learner yields steps once."""
    for optimizer in learner.optimizers.values():
        for group in optimizer.param_groups:
            rate = group.setdefault("initial_lr", group["lr"])
            group["lr"] = rate * learner.schedule(step, steps)
    learner.prepare(step, steps)
    generator = torch.Generator(device).manual_seed(seed_from(seed, "step", step))
    # Each process draws the whole batch, so that its numbers do not depend on how it is shared.
    batch = learner.draw(generator)
    share = learner.batch // team.number
    mine = slice(team.index * share, (team.index + 1) * share)
    chunk = share // learner.accumulate
    parts = [
        {name: tensor[mine][start : start + chunk] for name, tensor in batch.items()}
        for start in range(0, share, chunk)
    ]
    losses = _update(learner, parts, team)
    for name, average in learner.averages.items():
        update_average(average, learner.networks[name], step, learner.ema_decay)
    return losses


def _update(learner: Learner, parts: list[Batch], team: Team) -> dict[str, Tensor]:
    """Work off the chunks; an optimiser steps when all chunks have back-propagated its losses."""
    runs = [learner.losses(part) for part in parts]
    total: dict[str, Tensor] = {}
    while True:
        optimizer = None
        for run in runs:
            with team.helper.autocast():
                phase = next(run, None)
            if phase is None:
                return total
            name, losses = phase
            if optimizer is None:
                optimizer = learner.optimizers[name]
                optimizer.zero_grad()
            team.helper.backward(sum(losses.values()) / len(parts))
            for key, loss in losses.items():
                total[key] = total.get(key, 0) + loss.detach() / len(parts)
        assert optimizer is not None
        weights = [weight for group in optimizer.param_groups for weight in group["params"]]
        if team.number > 1:
            _average_gradients(weights, team)
        if learner.clip is not None:
            nn.utils.clip_grad_norm_(weights, learner.clip)
        optimizer.step()


def _average_gradients(weights: list[Tensor], team: Team) -> None:
    """Average the gradients over the processes, in one message.

    Not with torch's `DistributedDataParallel`: a GAN runs its networks several times a step and
    leaves some without gradients, which such wrappers handle badly.
    """
    gradients = [weight.grad for weight in weights if weight.grad is not None]
    flat = team.mean(torch.cat([gradient.flatten() for gradient in gradients]))
    for gradient, mean in zip(gradients, flat.split([g.numel() for g in gradients]), strict=True):
        gradient.copy_(mean.view_as(gradient))


def _means(pending: list[Mapping[str, Tensor]], team: Team) -> dict[str, float]:
    """Mean losses over steps and processes."""
    names = list(pending[0])
    means = torch.stack([torch.stack([step[n] for step in pending]).mean() for n in names])
    return dict(zip(names, team.mean(means).tolist(), strict=True))


def _check_finite(losses: Mapping[str, float], step: int, steps: int) -> None:
    for name, loss in losses.items():
        if not math.isfinite(loss):
            raise FloatingPointError(f"loss '{name}' is {loss} at step {step} of {steps}")


def _check_weights(learner: Learner, step: int) -> None:
    """Look at the weights too: no loss has seen the last update."""
    for name, net in learner.networks.items():
        # One norm of all weights takes a fraction of the time of one check per weight.
        if not nn.utils.get_total_norm(list(net.parameters())).isfinite():
            raise FloatingPointError(f"weights of '{name}' are not finite after step {step}")


def _check_batch(learner: Learner, team: Team) -> None:
    shares = team.number * learner.accumulate
    if learner.batch % shares:
        raise UserError(
            f"a batch of {learner.batch} cannot be shared by {team.number} processes "
            f"in {learner.accumulate} chunks each",
            f"expected: a multiple of {shares}",
            "change --set METHOD.batch=…, or start fewer processes",
        )
