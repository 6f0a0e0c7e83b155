"""Metrics of folders of images of any origin: `xbench score`.

Files of the same name, whatever their ending, belong together. Images are scored with 16 bits, as
the units of a run are, so that a file's format and a folder's order change nothing.
"""

import re
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from xbench.core.errors import Unavailable, UserError, unknown
from xbench.core.names import quoted
from xbench.core.pixels import Pixels
from xbench.datasets.base import Images
from xbench.metrics import extractors
from xbench.metrics.base import METRICS, Metric
from xbench.metrics.extractors import Extractor
from xbench.metrics.statistics import FeatureStatistics
from xbench.metrics.texture import DESCRIPTOR_NAMES
from xbench.records.schema import Value
from xbench.scoring.cases import Case, Sample
from xbench.scoring.image_files import Location, image_files, read_images, size_of
from xbench.scoring.measure import empty, polarity
from xbench.scoring.scorer import score
from xbench.scoring.spaces import FITTED, POOLED, Spaces, deviations_file, load_deviations

#: Distances on the features of a user's extractor: Fréchet, conditional Fréchet, kernel.
OWN = ("fd", "cfd", "kd")
#: Why `copied` is empty without training images.
NO_TRAINING = "needs the training images of the target: --train DIR"
#: Why `ltd` is empty where nothing says how much descriptors vary.
NO_POOL = "needs the source images beside the target, or --stats"


@dataclass(frozen=True)
class Scores:
    """The scores of a folder.

    Attributes:
        values: of each metric asked for, with the reason where there is none.
        metrics: their declarations.
        n: number of translated images.
        n_target: number of target images, None without any.
        notes: remarks for the user, a line each.
    """

    values: dict[str, Value]
    metrics: dict[str, Metric]
    n: int
    n_target: int | None
    notes: list[str]


def score_folders(
    translated: Location,
    source: Location | None = None,
    target: Location | None = None,
    metrics: Sequence[str] | None = None,
    extractor: Location | None = None,
    stats: Location | None = None,
    group: str | None = None,
    device: torch.device | str = "cpu",
    train: Location | None = None,
) -> Scores:
    """Metrics of a folder of translated images.

    Args:
        translated: folder of images of one size, grey or RGB, 8 or 16 bits, or floating point in
            [0, 1]; air bright and bone dark.
        source: what they were made of, under the same names; without it metrics of structure are
            empty.
        target: true images of the target domain; where they have the names of `translated` too,
            they are taken to show the same views, else the two are compared as sets.
        metrics: names; by default all, and those of the extractor if there is one.
        extractor: what makes features for `fd`, `cfd` and `kd`: `FILE.py:callable` or `FILE.pt`.
        stats: statistics of the texture descriptors of training images, a file that a run keeps in
            `XBENCH_HOME/features/<data key>/texture-v1.safetensors`; those of the cells of `ltd`
            are read from `ltd-v1.safetensors` beside it. Without it they are fitted on source and
            target, and the identities of the metrics end in `+fit`, that of `ltd` in `/pooled`.
        group: regular expression whose first bracketed part is the group (head, patient) within a
            name; an image whose name has none is a group of its own, as all are by default.
            Intervals rest on groups.
        device: where networks compute.
        train: training images of the target domain under any names; without it `copied` is empty.

    Raises:
        UserError: a folder or file is not as it should be, or a name is not known.
    """
    own = _load_extractor(extractor, device) if extractor else None
    wanted = _wanted(metrics, own)
    statistics = _read_statistics(Path(stats)) if stats else None
    deviations, unscaled = _read_deviations(Path(stats), wanted) if stats else ({}, {})
    if stats is None and source is None:
        unscaled = {name: NO_POOL for name, metric in wanted.items() if metric.scaled}
    if source is None and target is None and train is None:
        raise UserError(
            f"there is nothing to compare {translated} with",
            "expected: the folder of the sources, of true target images, or both",
            f"try: xbench score --translated {quoted(translated)} --source FOLDER --target FOLDER",
        )
    folders = {"translated": translated, "source": source, "target": target, "train": train}
    files = {name: image_files(Path(place)) for name, place in folders.items() if place is not None}
    if "source" in files:
        _refuse_odd_names(files["translated"], files["source"])
    pattern = _group_pattern(group, files["translated"]) if group else None
    pixels = {name: read_images(list(found.values())) for name, found in files.items()}
    _refuse_mixed_sizes(files, pixels)
    samples = {
        name: Sample(Images([np.stack(pixels[name])]), [_group(stem, pattern) for stem in found])
        for name, found in files.items()
    }
    aligned = files["translated"].keys() == files.get("target", {}).keys()
    pool = [samples[name] for name in ("source", "target") if name in samples]
    given = {"texture": statistics} if statistics else {}
    spaces = Spaces(lambda: pool, device, fitted=True, given=given, deviations=deviations, own=own)
    absent = {
        name: _absent(metric, samples, aligned) or unscaled.get(name)
        for name, metric in wanted.items()
    }
    values = _values(wanted, absent, samples, aligned, spaces, fetch=metrics is not None)
    return Scores(
        values,
        wanted,
        len(files["translated"]),
        len(files["target"]) if "target" in files else None,
        [*_constant(files, pixels), *_inverted(samples), *_fitted(values)],
    )


def _refuse_odd_names(translated: Mapping[str, Path], source: Mapping[str, Path]) -> None:
    """Every translated image needs its source, and the other way round."""
    odd = sorted(translated.keys() ^ source.keys())
    if odd:
        here, there = (translated, source) if odd[0] in translated else (source, translated)
        places = [next(iter(found.values())).parent for found in (here, there)]
        raise UserError(
            f"{here[odd[0]]} has no partner called '{odd[0]}' in {places[1]}",
            f"expected: the same names in both folders, {len(odd)} are in one of them alone",
            f"try: ls {quoted(places[0])} {quoted(places[1])}",
        )


def _refuse_mixed_sizes(
    files: Mapping[str, Mapping[str, Path]], pixels: Mapping[str, Sequence[Pixels]]
) -> None:
    """All images of a call must have one size."""
    paths = [path for found in files.values() for path in found.values()]
    images = [image for found in pixels.values() for image in found]
    for path, image in zip(paths, images, strict=True):
        if image.shape != images[0].shape:
            raise UserError(
                f"{paths[0]} has {size_of(images[0])} pixels, {path} {size_of(image)}",
                "expected: one size for all images, since resizing changes every metric",
                f"resize {path.parent} yourself, and say so where you publish the numbers",
            )


def _group_pattern(rule: str, names: Collection[str]) -> re.Pattern[str]:
    try:
        pattern = re.compile(rule)
        wrong = "" if pattern.groups else "has no bracketed part"
    except re.error as error:
        wrong = f"is no regular expression: {error}"
    if not wrong and not any(map(pattern.search, names)):
        wrong = f"finds a group in no name, as '{next(iter(names))}'"
    if wrong:
        raise UserError(
            f"--group '{rule}' {wrong}",
            "expected: a regular expression whose first bracketed part is the group's name",
            "for example: --group '^(head[0-9]+)'",
        )
    return pattern


def _group(name: str, pattern: re.Pattern[str] | None) -> str:
    """The group of an image."""
    match = pattern.search(name) if pattern else None
    return (match.group(1) if match else None) or name


def _load_extractor(extractor: Location, device: torch.device | str) -> Extractor:
    try:
        return extractors.load(str(extractor), device)
    except Unavailable as reason:
        raise UserError(
            f"the extractor {extractor} is not there: {reason}",
            "expected: FILE.py:callable, FILE.pt, or a network whose weights are here",
            f"try: xbench fetch {extractor}",
        ) from reason


def _read_statistics(path: Path) -> FeatureStatistics:
    """Statistics of texture descriptors from a file."""
    try:
        statistics = FeatureStatistics.load(path)
        wrong = "" if len(statistics.mean) == len(DESCRIPTOR_NAMES) else "is of other features"
    except FileNotFoundError:
        wrong = "is not there"
    except ValueError as error:
        wrong = f"cannot be read: {error}"
    if wrong:
        raise UserError(
            f"--stats {path} {wrong}",
            "expected: XBENCH_HOME/features/<data key>/texture-v1.safetensors, as a run writes it",
            "leave --stats out to fit the statistics on source and target",
        )
    return statistics


def _read_deviations(
    stats: Path, metrics: Mapping[str, Metric]
) -> tuple[dict[str, NDArray[np.float64]], dict[str, str]]:
    """Deviations of descriptors from the files beside the statistics, and why others lack."""
    deviations, reasons = {}, {}
    for name, metric in metrics.items():
        if not metric.scaled:
            continue
        path = stats.with_name(deviations_file(metric))
        again = "to have it, on that data set: xbench run --method identity --force"
        try:
            deviations[name] = load_deviations(path)
        except FileNotFoundError:
            reasons[name] = f"{path} is not there, {again}"
        except ValueError as error:
            reasons[name] = f"{path} cannot be read ({error}), {again}"
    return deviations, reasons


def _wanted(names: Sequence[str] | None, own: Extractor | None) -> dict[str, Metric]:
    """The metrics asked for."""
    added = _own_metrics(own) if own else {}
    if names is None:
        return METRICS | added
    for name in names:
        if name in OWN and not own:
            raise UserError(
                f"the metric '{name}' rests on features of your own",
                "expected: --extractor FILE.py:callable or --extractor FILE.pt beside it",
                "try: --metrics ftd",
            )
        if name not in METRICS and name not in OWN:
            raise unknown("metric", name, [*METRICS, *OWN], "see: xbench list metrics")
    chosen = dict.fromkeys(names)
    if not chosen.keys() & set(OWN):
        chosen |= dict.fromkeys(added)
    return {name: (METRICS | added)[name] for name in chosen}


def _own_metrics(extractor: Extractor) -> dict[str, Metric]:
    """The three distances on a user's features: those of Inception, in another space."""
    like = {"fd": "fid", "cfd": "cfid", "kd": "kid"}
    about = ("Fréchet distance", "Conditional Fréchet distance", "Kernel distance")
    return {
        name: replace(
            METRICS[like[name]],
            name=name,
            label=name.upper(),
            identity=f"{name}-{extractor.version}",
            about=f"{what} on the features of {extractor.name}.",
            space="user",
            decimals=4,
        )
        for name, what in zip(like, about, strict=True)
    }


def _values(
    metrics: Mapping[str, Metric],
    absent: Mapping[str, str | None],
    samples: Mapping[str, Sample],
    aligned: bool,
    spaces: Spaces,
    *,
    fetch: bool,
) -> dict[str, Value]:
    """The value of each metric, or the reason why there is none."""
    # Without targets others stand in for them: what needs targets has a reason already.
    truth = next(samples[name] for name in ("target", "source", "train") if name in samples)
    case = Case(samples["translated"], samples.get("source"), truth, aligned, samples.get("train"))
    able = [metric for name, metric in metrics.items() if absent[name] is None]
    values = score(case, able, spaces, fetch=fetch)
    return {
        name: values[name] if (reason := absent[name]) is None else empty(metric, reason)
        for name, metric in metrics.items()
    }


def _absent(metric: Metric, samples: Mapping[str, Sample], aligned: bool) -> str | None:
    """Which folder a metric lacks, if any."""
    if metric.against == "training" and "train" not in samples:
        return NO_TRAINING
    on_source = metric.against == "source" or metric.kind == "conditional"
    if "source" not in samples and (on_source or (metric.against == "anatomy" and not aligned)):
        return "no source images were given"
    if "target" not in samples and not metric.of_source:
        return "no target images were given"
    return "the targets have other names" if metric.paired and not aligned else None


def _constant(
    files: Mapping[str, Mapping[str, Path]], pixels: Mapping[str, Sequence[Pixels]]
) -> list[str]:
    """A line for each folder with images that show nothing."""
    notes = []
    for name, found in files.items():
        flat = [
            path
            for path, image in zip(found.values(), pixels[name], strict=True)
            if image.min() == image.max()
        ]
        if flat:
            notes.append(f"constant images: {len(flat)} of {len(found)}, the first: {flat[0]}")
    return notes


def _inverted(samples: Mapping[str, Sample]) -> list[str]:
    """A line where outputs are negatively correlated with their sources, on average."""
    if "source" not in samples:
        return []
    mean = polarity(samples["translated"].images, samples["source"].images)
    return [f"inverted polarity: correlation with the source {mean:.2f}"] if mean < 0 else []


def _fitted(values: Mapping[str, Value]) -> list[str]:
    """A line on statistics that were fitted on the images of this call."""
    names = [name for name, value in values.items() if value.identity.endswith((FITTED, POOLED))]
    if not names:
        return []
    return [
        f"the statistics behind {', '.join(names)} were fitted on source and target ({FITTED} or "
        f"{POOLED} in the identity): such values compare only where these folders are the same"
    ]
