"""Profiles: named sizes of work, from which methods and data sets choose their defaults."""

from dataclasses import dataclass
from typing import Any

from xbench.core.errors import unknown

#: The splits that methods are scored on: `test`, and `val` to choose settings on.
SPLITS = ("test", "val")


@dataclass(frozen=True)
class Profile:
    """One size of work.

    Attributes:
        name: what `--profile` takes.
        size: image height and width in pixels.
        train_images: training images (steps × batch) for a network that serves all pairs.
        pair_images: training images of each domain for a network that serves one pair.
        batch: images translated at once; halved when memory runs out.
        threads: CPU threads per task, fixed so that numbers repeat on any machine with as many
            cores.
        about: one line for the user.
        data_seconds: to make the phantom, measured on a machine with two cores. This and the next
            four are first estimates, scaled by a probe of the machine at hand, until there are
            records; None: not measured. Those of `medium` were measured on a faster machine, with
            CycleGAN for `pair_seconds`, and multiplied by 1.54, the ratio of the two at `quick`.
        train_seconds: to train MedShift.
        pair_seconds: to train one network of a method that has one for each pair.
        translate_seconds: to translate one pair with MedShift.
        score_seconds: to score and store one pair.
    """

    name: str
    size: int
    train_images: int
    pair_images: int
    batch: int
    threads: int
    about: str
    data_seconds: float | None = None
    train_seconds: float | None = None
    pair_seconds: float | None = None
    translate_seconds: float | None = None
    score_seconds: float | None = None


PROFILES = {
    profile.name: profile
    for profile in (
        Profile(
            name="smoke",
            size=32,
            train_images=256,
            pair_images=64,
            batch=16,
            threads=1,
            about="seconds; for tests, its numbers mean nothing",
            data_seconds=7,
            train_seconds=1.4,
            pair_seconds=0.4,
            translate_seconds=0.2,
            score_seconds=0.04,
        ),
        Profile(
            name="quick",
            size=64,
            train_images=10_240,
            pair_images=512,
            batch=64,
            threads=2,
            about="minutes on a laptop, no GPU",
            data_seconds=40,
            train_seconds=192,
            pair_seconds=35,
            translate_seconds=4.8,
            score_seconds=0.7,
        ),
        Profile(
            name="medium",
            size=128,
            train_images=24_576,
            pair_images=4096,
            batch=32,
            threads=2,
            about="a night on a laptop, no GPU",
            data_seconds=120,
            train_seconds=450,
            pair_seconds=267,
            translate_seconds=4.3,
            score_seconds=1.7,
        ),
        Profile(
            name="standard",
            size=256,
            train_images=320_000,
            pair_images=80_000,
            batch=32,
            threads=8,
            about="for a GPU server",
        ),
        Profile(
            name="paper",
            size=512,
            train_images=3_200_000,
            pair_images=800_000,
            batch=16,
            threads=8,
            about="512 px, VAE latents, official network sizes",
        ),
    )
}


def get_profile(name: str) -> Profile:
    """The profile of that name.

    >>> get_profile("smoke").size
    32

    Raises:
        UserError: there is none.
    """
    if name not in PROFILES:
        raise unknown("profile", name, PROFILES, _example("profile", "quick"))
    return PROFILES[name]


def get_split(name: str) -> Any:
    """The name of a split that methods are scored on.

    Raises:
        UserError: there is none.
    """
    if name not in SPLITS:
        raise unknown("split", name, SPLITS, _example("split", "test"))
    return name


def _example(option: str, value: str) -> str:
    return f"for example: --{option} {value} (in Python: {option}='{value}')"
