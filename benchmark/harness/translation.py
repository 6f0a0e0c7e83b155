"""Translates images and checks what a method returns."""

from collections.abc import Sequence

import torch
from torch import Tensor

from xbench.core import processes
from xbench.core.hashing import digest, seed_from
from xbench.core.pixels import MOST_CUT, MOST_CUT_LEARNED, Pixels, cut_off
from xbench.core.registry import warn
from xbench.datasets.base import Images
from xbench.harness.batches import in_batches
from xbench.harness.plan import Entry
from xbench.methods.base import Method

Generators = dict[str, list[torch.Generator]]


def fix_numerics(device: torch.device, threads: int) -> None:
    """Make results repeat: as many CPU threads as a profile says, and what a GPU can promise."""
    # More threads than cores wait for each other.
    torch.set_num_threads(min(threads, processes.cores()))
    if device.type == "cuda":
        # Equal results on equal devices; what has no such algorithm only warns.
        torch.use_deterministic_algorithms(True, warn_only=True)
        torch.backends.cudnn.benchmark = False


def translate(
    method: Method,
    images: Images,
    ids: Sequence[str],
    source: str,
    targets: Sequence[str],
    *,
    seed: int,
    batch: int,
) -> dict[str, Pixels]:
    """Translate all images of one source to some targets.

    Args:
        method: trained for these pairs.
        images: of the source domain, float32 in [0, 1].
        ids: one per image; what an image draws depends on its id, not on its place.
        source: domain of the images.
        targets: domains to translate into.
        seed: root of the random numbers.
        batch: images per batch, unless the method's `compute` says another number.

    Returns:
        Pixels uint16 `[n, H, W]` by target.

    Raises:
        TypeError, ValueError: the method returned no tensor, or one of another shape.
    """

    def work(part: Tensor, names: Sequence[str]) -> dict[str, Tensor]:
        generators = _generators(method, names, source, targets, seed)
        results = method.translate_all(part, source, targets, generators=generators)
        return {target: checked(method, results[target], part) for target in targets}

    return in_batches(work, images, ids, batch, method)


def translate_path(
    method: Method,
    images: Images,
    ids: Sequence[str],
    source: str,
    targets: Sequence[str],
    values: Sequence[float],
    *,
    seed: int,
    batch: int,
) -> dict[tuple[float, str], Pixels]:
    """Translate as `translate` does, at several `values` of the trade-off knob.

    The same pixels as by a method for each value, but shared work is done once.

    Returns:
        Pixels uint16 `[n, H, W]` by value and target.
    """

    def work(part: Tensor, names: Sequence[str]) -> dict[tuple[float, str], Tensor]:
        generators = _generators(method, names, source, targets, seed)
        path = method.translate_path(part, source, targets, values, generators=generators)
        return {
            (value, target): checked(method, path[value][target], part)
            for value in values
            for target in targets
        }

    return in_batches(work, images, ids, batch, method)


def family(entry: Entry) -> str:
    """A name that rows share if they are translated together by `translate_path`.

    Those rows differ only in the knob of a method that shares work along it. The plain row is not
    among them: its time per image must be that of a translation alone.
    """
    method = entry.method
    if (
        method.knob is None
        or method.translate_path is Method.translate_path
        or entry.label == entry.name
    ):
        return entry.label
    rest = entry.config.model_dump(mode="json", exclude={method.knob})
    return f"{entry.name}/{digest([entry.version, entry.train_images, rest])}"


def checked(method: Method, result: Tensor, images: Tensor) -> Tensor:
    """What a method returned for images, if it has their type and shape; warns of a wrong scale.

    Raises:
        TypeError: it is no tensor.
        ValueError: it has another shape.
    """
    if not isinstance(result, Tensor):
        raise TypeError(f"{method.name} returned {type(result).__name__}, not a torch tensor")
    if result.shape != images.shape:
        raise ValueError(
            f"{method.name} returned {tuple(result.shape)} for images {tuple(images.shape)}"
        )
    most = MOST_CUT_LEARNED if method.needs_training else MOST_CUT
    if not method.warned and cut_off(result) > most:
        method.warned = True
        warn(
            f"{method.name} returned values from {result.min():.3g} to {result.max():.3g}; images "
            "are in [0, 1], and what lies outside is cut off"
        )
    return result


def _generators(
    method: Method, ids: Sequence[str], source: str, targets: Sequence[str], seed: int
) -> Generators:
    """A generator for every image, by target: batch size and order change nothing."""
    return {
        target: [
            torch.Generator(method.device).manual_seed(
                seed_from(seed, method.name, source, target, name)
            )
            for name in ids
        ]
        for target in targets
    }
