"""The training loop: seeded step by step, averaged weights, resumable to the same result."""

import hashlib
import io
import math
import time
import warnings
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Protocol

import torch
from torch import Tensor, nn

from xbench.files import atomic, set_aside
from xbench.hashing import seed_from
from xbench.methods.base import Log, Progress

CHECKPOINT_SECONDS = 10.0
#: Of the training time, saving takes at most one part in this many.
CHECKPOINT_SHARE = 30
#: Points of a stored loss curve, each the mean over its share of the steps.
CURVE_POINTS = 200


class Learner(Protocol):
    """What the loop drives: networks, their optimisers, and one step on one batch."""

    modules: dict[str, nn.Module]
    optimizers: dict[str, torch.optim.Optimizer]

    def step(self, step: int, generator: torch.Generator) -> dict[str, Tensor]:
        """Draw a batch, update every optimiser once, return the losses (detached).

        `step` counts from 0; nothing random may come from elsewhere than the generator.
        """


def warmup_cosine(step: int, steps: int, warmup: float = 0.05) -> float:
    """Factor on the learning rate: linear up over `warmup` of the steps, then cosine down to 0."""
    rise = max(1, round(warmup * steps))
    if step < rise:
        return (step + 1) / rise
    return 0.5 * (1 + math.cos(math.pi * (step - rise) / max(1, steps - rise)))


def update_average(average: nn.Module, module: nn.Module, step: int, decay: float) -> None:
    """Exponential moving average of weights, its decay warmed up as (1 + step) / (10 + step)."""
    weight = 1 - min(decay, (1 + step) / (10 + step))
    with torch.no_grad():
        for kept, new in zip(average.parameters(), module.parameters(), strict=True):
            kept.lerp_(new, weight)


def load_state(learner: Learner, path: Path) -> tuple[int, Log]:
    """Restore a checkpoint; a damaged one is named, moved aside, and training starts anew."""
    if not path.exists():
        return 0, Log()
    try:
        expected, content = path.read_bytes().split(b"\n", 1)
        if hashlib.sha256(content).hexdigest().encode() != expected:
            raise ValueError("its hash is wrong")
        stream = io.BytesIO(content)
        state: dict[str, Any] = torch.load(stream, map_location="cpu", weights_only=True)
        for name, module in learner.modules.items():
            module.load_state_dict(state["modules"][name])
        for name, optimizer in learner.optimizers.items():
            optimizer.load_state_dict(state["optimizers"][name])
        return int(state["step"]), Log(float(state["seconds"]), state["curve"])
    except Exception as error:  # whatever a damaged file raises
        warnings.warn(
            f"checkpoint {path} is damaged ({error}); moved to "
            f"{set_aside(path).name}, training starts anew",
            stacklevel=2,
        )
        return -1, Log()


def save_state(learner: Learner, path: Path, step: int, log: Log) -> None:
    """Write a checkpoint whole or not at all, its SHA-256 in the first line."""
    stream = io.BytesIO()
    torch.save(
        {
            "step": step,
            "seconds": log.seconds,
            "curve": log.curve,
            "modules": {name: m.state_dict() for name, m in learner.modules.items()},
            "optimizers": {name: o.state_dict() for name, o in learner.optimizers.items()},
        },
        stream,
    )
    content = stream.getvalue()
    with atomic(path) as part:
        part.write_bytes(hashlib.sha256(content).hexdigest().encode() + b"\n" + content)


def train(
    make: Callable[[], Learner],
    *,
    steps: int,
    seed: int,
    device: torch.device,
    checkpoint: Path,
    progress: Progress,
    schedule: Callable[[int, int], float] = warmup_cosine,
) -> tuple[Learner, Log]:
    """Run `steps` steps of the learner that `make` builds, or what is left of them.

    Every step draws from a generator of its own, seeded by name, so a resumed run sees the same
    numbers as an undisturbed one without any random state being stored.
    """
    path = checkpoint / "checkpoint.pt"
    learner = make()
    start, log = load_state(learner, path)
    if start < 0:  # a damaged checkpoint may have been loaded half
        learner, start = make(), 0
    began = saved = time.monotonic()
    earlier, cost = log.seconds, 0.0
    pending: list[Mapping[str, Tensor]] = []
    every = max(1, steps // CURVE_POINTS)
    for step in range(start, steps):
        for optimizer in learner.optimizers.values():
            for group in optimizer.param_groups:
                group["lr"] = group.setdefault("initial_lr", group["lr"]) * schedule(step, steps)
        generator = torch.Generator(device).manual_seed(seed_from(seed, "step", step))
        pending.append(learner.step(step, generator))
        if (step + 1) % every == 0:
            losses = {name: sum(float(p[name]) for p in pending) / every for name in pending[0]}
            for name, loss in losses.items():
                log.curve.setdefault(name, []).append(loss)
            pending.clear()
            progress(step + 1, steps, losses)
            # Only here is nothing pending, so a resumed curve equals an undisturbed one.
            now = time.monotonic()
            if now - saved > max(CHECKPOINT_SECONDS, CHECKPOINT_SHARE * cost):
                log.seconds = earlier + now - began
                save_state(learner, path, step + 1, log)
                saved = time.monotonic()
                cost = saved - now
    log.seconds = earlier + time.monotonic() - began
    return learner, log
