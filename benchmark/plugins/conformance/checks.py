"""The promises of a method, a function for each.

A function looks at a method on its `Bench` and returns a remark or nothing; it raises `Broken` if
the promise is not kept, and `Skipped` if it does not apply.
"""

import tempfile
import traceback
from collections.abc import Sequence
from pathlib import Path
from typing import get_args

import torch
from pydantic import ValidationError
from torch import Tensor

from xbench.core.errors import UserError
from xbench.core.hashing import digest
from xbench.core.isolation import undisturbed
from xbench.core.pixels import MOST_CUT, cut_off
from xbench.core.profiles import PROFILES
from xbench.core.registry import one_line, source_file
from xbench.methods.base import Method, Stage, Training
from xbench.plugins.conformance.bench import (
    DOMAINS,
    PAIRS,
    Bench,
    Broken,
    Look,
    Skipped,
    called_modules,
    parameters,
)

#: Results that differ by less count as equal: batches of different sizes add in another order.
TOLERANCE = 1e-4
ODD = "pad and crop (`pad_to`, `crop_to` of xbench.methods.codecs), or declare `any_size = False`"


def _close(one: Tensor, other: Tensor, what: str, fix: str) -> None:
    """Two translations must agree."""
    if one.shape != other.shape:
        raise Broken(f"{what}: {tuple(one.shape)} and {tuple(other.shape)}", fix)
    difference = (one - other).abs().max().item()
    if not difference <= TOLERANCE:
        raise Broken(f"{what}: values differ by up to {difference:.2g}", fix)


def _declares(bench: Bench) -> None:
    kind = bench.kind
    if not kind.about:
        raise Broken("has no description", 'add `about = "one line"` to the class')
    bare = sorted(set(kind.Config.model_fields) - set(kind.Config.fields(*get_args(Stage))))
    if bare:
        raise Broken(
            f"settings without a stage: {', '.join(bare)}",
            'make them by `setting(default, "train" or "infer", "what it is")`',
        )
    if kind.knob is not None and kind.knob not in kind.Config.fields("infer"):
        raise Broken(
            f"the knob '{kind.knob}' is not an \"infer\" setting",
            'name a field of Config with the stage "infer", or use `knob = None`',
        )
    for profile in PROFILES.values():
        config = kind.configure(profile)
        if not isinstance(config, kind.Config):
            raise Broken(
                f"configure returns {type(config).__name__} at the profile {profile.name}",
                f"return a {kind.Config.__name__}",
            )
        digest(config.identity())


def _runs(bench: Bench) -> str | None:
    try:
        bench.make().check()
    except UserError as error:
        raise Skipped(one_line(error)) from error
    bench.start()
    if bool(bench.trainings) != bench.kind.needs_training:
        raise Broken(
            f"needs_training = {bench.kind.needs_training}, "
            f"but there are {len(bench.trainings)} trainings",
            f"write `needs_training = {bool(bench.trainings)}` in the class",
        )
    return f"{len(bench.trainings)} trainings" if bench.trainings else "nothing to train"


def _shape(bench: Bench) -> None:
    output, images = bench.output, bench.images()
    if not isinstance(output, Tensor):
        raise Broken(f"returned {type(output).__name__}", "return a torch tensor")
    if output.shape != images.shape:
        raise Broken(
            f"returned {tuple(output.shape)} for images {tuple(images.shape)}",
            "return as many images, with one channel and the same height and width",
        )
    if output.device != images.device:
        raise Broken(f"returned on {output.device}", "make tensors on the device of `images`")


def _dtype(bench: Bench) -> None:
    if bench.output.dtype != torch.float32:
        raise Broken(f"returned {bench.output.dtype}", "end with `.float()`, or `.to(images)`")


def _finite(bench: Bench) -> None:
    if not torch.isfinite(bench.output).all():
        raise Broken("returned NaN or infinity", "look for divisions, logarithms and roots")


def _range(bench: Bench) -> str | None:
    output = bench.output
    outside = ((output < 0) | (output > 1)).float().mean().item()
    if not outside:
        return None
    note = f"{outside:.1%} of the values lie outside [0, 1]"
    if (outside > 0.5 or cut_off(output) > MOST_CUT) and not bench.trainings:
        raise Broken(
            f"{note}: {output.min():.3g} to {output.max():.3g}",
            "images are in [0, 1], in and out: undo every other scale",
        )
    return f"{note}; they are clamped"


def _repeats(bench: Bench) -> None:
    with undisturbed(seed=1):
        again = bench.translate(bench.method, bench.images())
    fix = "draw only from `generators`, one for each image, and keep nothing between calls"
    _close(bench.output, again, "the same generators give different images", fix)


def _stochastic(bench: Bench) -> None:
    other = bench.translate(bench.method, bench.images(), seed=1)
    differs = (other - bench.output).abs().max().item() > TOLERANCE
    if differs != bench.kind.stochastic:
        images = "different" if differs else "the same"
        raise Broken(
            f"other generators give {images} images, but stochastic = {bench.kind.stochastic}",
            f"write `stochastic = {differs}` in the class",
        )


def _batch(bench: Bench) -> None:
    rows = zip(bench.images().split(1), bench.generators(3), strict=True)
    alone = [bench.method.translate(row, *PAIRS[0], generators=[g]) for row, g in rows]
    fix = "treat each image by itself, without statistics over the batch (as in batch norm)"
    _close(bench.output, torch.cat(alone), "three images at once and one by one", fix)


def _input(bench: Bench) -> None:
    if bench.input_changed:
        raise Broken("changed the images that it was given", "work on `images.clone()`")


def _all_targets(bench: Bench) -> None:
    images, targets = bench.images(), [target for _, target in PAIRS]
    generators = {target: bench.generators(len(images)) for target in targets}
    together = bench.method.translate_all(images, DOMAINS[0], targets, generators=generators)
    for pair in PAIRS:
        one = bench.translate(bench.method, images, pair)
        fix = "return from `translate_all`, for each target, what `translate` returns"
        _close(together[pair[1]], one, f"translate_all to '{pair[1]}' and translate", fix)


def _knob(bench: Bench) -> str:
    knob = bench.kind.knob
    if knob is None:
        raise Skipped("the method has no trade-off knob")
    value = getattr(bench.method.config, knob)
    images, (source, target) = bench.images(), PAIRS[0]
    generators = {target: bench.generators(len(images))}
    path = bench.method.translate_path(images, source, [target], [value], generators=generators)
    fix = "return from `translate_path`, for each value, what `translate` returns with it"
    what = f"translate_path at {knob} = {value} and translate"
    _close(path[value][target], bench.output, what, fix)
    return knob


def _recipe(bench: Bench) -> None:
    recipes = [digest(training.recipe) for training in _trainings(bench)]
    with undisturbed(seed=1):
        again = [digest(training.recipe) for training in bench.make().trainings(PAIRS)]
    if recipes != again:
        raise Broken(
            "the recipe of a training is not always the same",
            "put into `recipe` only what decides the result of the training",
        )
    knob, method = bench.kind.knob, bench.make()
    if knob is not None:
        try:
            values = {**method.config.model_dump(), knob: getattr(method.config, knob) / 2}
            method.config = type(method.config).model_validate(values)
        except (TypeError, ValidationError):
            return
        if recipes != [digest(training.recipe) for training in method.trainings(PAIRS)]:
            raise Broken(
                f"another value of {knob} would train again",
                'put only settings of the stage "train" into `recipe`: `config.recipe()`',
            )


def _training_repeats(bench: Bench) -> None:
    _trainings(bench)
    with undisturbed(seed=1):
        method, _ = bench.trained(DOMAINS, PAIRS[:1])
    fix = "seed weights and draws only from the `seed` of `fit`"
    again = bench.translate(method, bench.images())
    _close(bench.output, again, "two trainings with one seed", fix)


def _save_load(bench: Bench) -> None:
    method = bench.make()
    method.setup(bench.data)
    fresh = method.trainings(PAIRS)
    with tempfile.TemporaryDirectory() as folder:
        for number, (old, new) in enumerate(zip(_trainings(bench), fresh, strict=True)):
            place = Path(folder, str(number))
            place.mkdir()
            old.save(place)
            files = [path.name for path in place.rglob("*") if path.is_file()]
            if wrong := [f for f in files if not f.endswith((".safetensors", ".json"))]:
                raise Broken(
                    f"saves {', '.join(wrong)}",
                    "write only safetensors and JSON: a file from someone else must run no code",
                )
            if not any(f.endswith(".safetensors") for f in files):
                raise Broken("saves no weights", "write a file that ends in .safetensors")
            new.load(place)
    fix = "save and load everything that `fit` has learned, buffers and averages included"
    again = bench.translate(method, bench.images())
    _close(bench.output, again, "a method that was saved and loaded", fix)


def _train_split(bench: Bench) -> None:
    if bench.data.refused:
        raise Broken(
            f"asked the training data for {', '.join(sorted(set(bench.data.refused)))}",
            "learn only from `data.train(domain)`",
        )


def _parameters(bench: Bench) -> str:
    cost = bench.make().cost()
    owned = [net for net in vars(bench.method).values() if isinstance(net, torch.nn.Module)]
    with called_modules() as called:
        bench.translate(bench.method, bench.images(1))
    used, kept = parameters(called), parameters([*called, *owned])
    if not called and cost.params:
        raise Skipped(f"declares {cost.params:,}; calls no torch.nn.Module that could be counted")
    if cost.params not in (used, kept):
        raise Broken(
            f"declares {cost.params:,} parameters; the networks that it called have {used:,}",
            f"return Cost(params={used}, …) from `cost`",
        )
    if cost.params_total < cost.params:
        raise Broken(
            f"declares {cost.params:,} parameters for a pair, {cost.params_total:,} for all pairs",
            "count in `params_total` the parameters that all pairs need together",
        )
    return f"{cost.params:,}"


def _domains(number: int) -> Look:
    def look(bench: Bench) -> None:
        domains = [f"domain{index}" for index in range(number)]
        pair = (domains[-1], domains[0])
        method, _ = bench.trained(domains, [pair])
        _same_shape(bench.translate(method, bench.images(1), pair), bench.images(1))

    return look


def _odd_sizes(bench: Bench) -> None:
    if not getattr(bench.kind, "any_size", True):
        raise Skipped("declares `any_size = False`: takes only the size that it was trained on")
    side = bench.profile.size
    for height, width in ((side + 1, side + 1), (side - 5, side + 5)):
        images = bench.images(1, height, width)
        try:
            output = bench.translate(bench.method, images)
        except Exception as error:
            reason, _ = raised(error, bench.kind)
            raise Broken(f"images of {height} × {width} pixels: {reason}", ODD) from error
        _same_shape(output, images)


def _same_shape(output: Tensor, images: Tensor) -> None:
    if output.shape != images.shape or not torch.isfinite(output).all():
        raise Broken(
            f"returned {tuple(output.shape)} for images {tuple(images.shape)}, or NaN", ODD
        )


def _state(bench: Bench) -> None:
    if bench.changed:
        raise Broken(
            f"changed for the whole process: {', '.join(bench.changed)}",
            "use your own generators (`torch.random.fork_rng` around fresh networks), pass "
            "dtype and device to each call, `with torch.no_grad():`",
        )


def _stdout(bench: Bench) -> None:
    if bench.printed:
        first = bench.printed.splitlines()[0][:60]
        raise Broken(f"printed to stdout: {first!r}", "use `logging` or `warnings` instead")


def _trainings(bench: Bench) -> Sequence[Training]:
    if not bench.trainings:
        raise Skipped("nothing to train")
    return bench.trainings


def raised(error: Exception, kind: type[Method]) -> tuple[str, str]:
    """What a method raised, with the line in its own file that led to it, and a fix."""
    own = source_file(kind)
    frames = traceback.extract_tb(error.__traceback__)
    mine = [frame for frame in frames if own and Path(frame.filename).resolve() == own]
    frame = (mine or frames)[-1]
    first = (str(error).splitlines() or [""])[0]
    if isinstance(error, TypeError) and f"{kind.__name__}.translate()" in first:
        return first, "write: def translate(self, images, source, target, *, generators)"
    place = f"{Path(frame.filename).name}, line {frame.lineno}"
    return f"raised {type(error).__name__}: {first} ({place})", f"look at {place}"


#: Promise → the function that looks at it, in the order of reports.
CHECKS: dict[str, Look] = {
    "declares itself": _declares,
    "runs": _runs,
    "shape": _shape,
    "dtype": _dtype,
    "finite": _finite,
    "range": _range,
    "repeats": _repeats,
    "stochastic": _stochastic,
    "batch of 3 = 3 singles": _batch,
    "input unchanged": _input,
    "translate_all": _all_targets,
    "translate_path": _knob,
    "recipe": _recipe,
    "training repeats": _training_repeats,
    "save and load": _save_load,
    "train split only": _train_split,
    "parameters": _parameters,
    "2 domains": _domains(2),
    "7 domains": _domains(7),
    "odd sizes": _odd_sizes,
    "process unchanged": _state,
    "stdout unused": _stdout,
}
#: Promises that all later ones rest on.
ESSENTIAL = ("runs", "shape", "finite")
