"""Loading a method that a run has trained, to use it on other images."""

import shlex
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import torch

from xbench.core.errors import UserError
from xbench.core.isolation import undisturbed
from xbench.core.pairs import Pair
from xbench.core.settings import texts
from xbench.datasets.base import Progress
from xbench.datasets.visible import TrainOnly
from xbench.harness import plan, trainings
from xbench.harness.plan import Entry, Plan, Request
from xbench.harness.translation import fix_numerics
from xbench.methods import registry as methods
from xbench.methods.base import Method, Training


def load_method(
    request: Request,
    device: torch.device,
    progress: Progress | None = None,
    run: Path | None = None,
) -> tuple[Plan, Method]:
    """A trained method, and the plan of the run that trained it; nothing is ever trained here.

    Args:
        request: of one method, one pair and one seed, as for the run.
        device: where to translate.
        progress: called where training images must be made ready (for a reference histogram, say).
        run: the run's folder, if it is not where the request's output folder has it.

    Raises:
        UserError: a mistake in the request, or a training that is missing or damaged.
    """
    made = plan.make(request)
    if run is not None:
        # All splits share the trainings of the test split's folder.
        run = run.resolve()
        made = replace(made, trainings=run.with_name(run.name.removesuffix("-val")) / "trainings")
    name = methods.get(request.methods[0]).name
    entry = next(entry for entry in reversed(made.entries) if entry.name == name)
    method = trainings.make_method(made, entry, device)
    method.check()
    found = finished(made, entry, method, made.pairs, entry.seeds[0], request)
    if type(method).setup is not Method.setup:
        made.dataset.prepare(progress)
        with undisturbed():
            method.setup(TrainOnly(made.dataset, whole=not method.any_size))
    for training, folder in found:
        training.load(folder)
    fix_numerics(device, made.profile.threads)
    return made, method


def finished(
    made: Plan, entry: Entry, method: Method, pairs: Sequence[Pair], seed: int, request: Request
) -> list[tuple[Training, Path]]:
    """The trainings that a row needs for some pairs, and their folders.

    Raises:
        UserError: one of them is missing or damaged: nothing is trained by surprise.
    """
    found = trainings.folders(made, entry, method, pairs, seed)
    for training, folder in found:
        if trainings.read_log(folder, training, repair=False) is None:
            source, target = next(p for p in pairs if training.pairs is None or p in training.pairs)
            command = _training_command(replace(request, pairs=[":".join(p) for p in pairs]), seed)
            raise UserError(
                f"{entry.label} has not learned to translate {source} into {target}",
                f"expected: its training in {folder}",
                f"try: {command}",
            )
    return found


def _training_command(request: Request, seed: int) -> str:
    """The command line that trains what a request needs."""
    words = ["xbench", "run", "--method", request.methods[0], "--profile", request.profile]
    words += ["--dataset", request.dataset, "--pairs", ",".join(request.pairs)]
    words += ["--seed", str(seed), "--out", str(request.out)]
    for text in texts(request.settings):
        words += ["--set", text]
    return shlex.join(words)
