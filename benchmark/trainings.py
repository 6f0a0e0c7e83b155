"""Trained artefacts: addressed by their recipe, stored once, shared, resumed."""

import shutil
import warnings
from pathlib import Path
from typing import Any

from xbench.datasets.base import TrainOnly
from xbench.display import Display
from xbench.files import set_aside, write_text
from xbench.hashing import digest, file_digest, seed_from
from xbench.methods.base import Method, Training
from xbench.plan import Entry, Plan
from xbench.store import Stored, read


class TrainingLog(Stored):
    """The done-marker of a training."""

    recipe: dict[str, Any]
    weights_sha256: str
    images: int
    seconds: float
    curve: dict[str, list[float]]


def folders(plan: Plan, entry: Entry, method: Method, seed: int) -> list[tuple[Training, Path]]:
    """The trainings that a method needs for the plan's pairs, and where each lies."""
    return [
        (training, plan.trainings / training_key(plan, entry, training, seed))
        for training in method.trainings(plan.pairs)
    ]


def training_key(plan: Plan, entry: Entry, training: Training, seed: int) -> str:
    """Hash of recipe, method version (for a plug-in: of its file), data, budget and seed."""
    return digest(
        {
            "recipe": training.recipe,
            "version": entry.version,
            "dataset": plan.dataset.key,
            "images": entry.train_images,
            "seed": seed,
        }
    )


def obtain(
    training: Training, folder: Path, plan: Plan, entry: Entry, seed: int, display: Display
) -> TrainingLog:
    """Load a finished training, or train (or go on training) and store it."""
    log = read_log(folder)
    if log is None:
        folder.mkdir(parents=True, exist_ok=True)
        with display.training(entry.label, seed) as progress:
            result = training.fit(
                TrainOnly(plan.dataset),
                entry.train_images,
                seed_from("training", seed),
                folder,
                progress,
            )
        training.save(folder)
        log = TrainingLog(
            recipe=training.recipe,
            weights_sha256=weights_digest(folder),
            images=entry.train_images,
            seconds=result.seconds,
            curve=result.curve,
        )
        write_text(folder / "training.json", log.model_dump_json(indent=1) + "\n")
        for checkpoint in folder.glob("*checkpoint*"):
            checkpoint.unlink()
    # Also after training: what is used is what lies in the file.
    training.load(folder)
    return log


def read_log(folder: Path) -> TrainingLog | None:
    """The log of a finished training whose weights are whole; else None.

    Damaged weights are named and moved aside: the training is done anew.
    """
    marker = folder / "training.json"
    log = read(marker, TrainingLog) if marker.exists() else None
    if log is None or weights_digest(folder) == log.weights_sha256:
        return log
    shutil.rmtree(folder.with_name(folder.name + ".corrupt"), ignore_errors=True)
    warnings.warn(
        f"the weights in {folder} are damaged; moved to {set_aside(folder).name}, "
        "they are trained anew",
        stacklevel=2,
    )
    return None


def weights_digest(folder: Path) -> str:
    """One hash over all weight files of a training."""
    files = sorted(folder.glob("*.safetensors"))
    return digest({path.name: file_digest(path) for path in files}, length=64)
