"""Metrics of folders of images, whoever translated them: `xbench score`.

Files belong together by their names without endings. Images are scored with 16 bits, as stored
units are, so that a file's format and a folder's order change nothing.
"""

import re
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch

from xbench.core.errors import Unavailable, UserError, unknown
from xbench.core.files import home
from xbench.core.pixels import Pixels
from xbench.core.weights import WEIGHTS, path_of
from xbench.datasets.base import Images
from xbench.metrics import extractors
from xbench.metrics.base import FRECHET_MIN_N, METRICS, Kind, Metric
from xbench.metrics.extractors import Extractor
from xbench.metrics.spaces import FeatureSpace
from xbench.metrics.texture import DESCRIPTOR_NAMES
from xbench.records.schema import Value
from xbench.scoring.image_files import Location, image_files, read_images, size_of
from xbench.scoring.measure import Case, Sample, Space, lacking, measure
from xbench.scoring.scorer import SPACES

#: Distances on the features of a user's extractor: Fréchet, conditional Fréchet, kernel.
OWN = ("fd", "cfd", "kd")
#: End of the identity of a metric whose units were fitted on the very images of the call.
FITTED = "+fit"


@dataclass(frozen=True)
class Scores:
    """What metrics say of a folder.

    Attributes:
        values: of each metric asked for, with the reason where there is none.
        metrics: their facts.
        n: number of translated images.
        n_target: number of target images, None without any.
        notes: what else a user should know, a line each.
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
        stats: units of the texture descriptors, a file that a run keeps in
            `XBENCH_HOME/features/<data key>/texture-v1.safetensors`. Without it they are fitted on
            source and target, and the identities of the metrics end in `+fit`.
        group: regular expression whose first bracketed part is the group (head, patient) within a
            name; an image whose name has none is a group of its own, as all are by default.
            Intervals rest on groups.
        device: where networks compute.

    Raises:
        UserError: a folder or file is not as it should be, or a name is not known.
    """
    own = _load_extractor(extractor, device) if extractor else None
    facts = _wanted(metrics, own)
    units = _read_units(Path(stats)) if stats else None
    if source is None and target is None:
        raise UserError(
            f"there is nothing to compare {translated} with",
            "expected: the folder of the sources, of true target images, or both",
            f"try: xbench score --translated {translated} --source FOLDER --target FOLDER",
        )
    folders = {"translated": translated, "source": source, "target": target}
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
    spaces = _Spaces(samples, own, units, device, fetch=metrics is not None)
    values = {name: _value(metric, samples, aligned, spaces) for name, metric in facts.items()}
    return Scores(
        values,
        facts,
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
            f"try: ls {places[0]} {places[1]}",
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


def _read_units(path: Path) -> FeatureSpace:
    """Statistics of texture descriptors from a file."""
    try:
        units = FeatureSpace.load(path)
        wrong = "" if len(units.mean) == len(DESCRIPTOR_NAMES) else "is of other features"
    except FileNotFoundError:
        wrong = "is not there"
    except ValueError as error:
        wrong = f"cannot be read: {error}"
    if wrong:
        raise UserError(
            f"--stats {path} {wrong}",
            "expected: XBENCH_HOME/features/<data key>/texture-v1.safetensors, as a run writes it",
            "leave --stats out to fit the units on source and target",
        )
    return units


def _wanted(names: Sequence[str] | None, own: Extractor | None) -> dict[str, Metric]:
    """Facts of the metrics asked for."""
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
    """Facts of the three distances on a user's features."""
    kinds: dict[str, tuple[str, Kind]] = {
        "fd": ("Fréchet distance", "frechet"),
        "cfd": ("conditional Fréchet distance", "conditional"),
        "kd": ("kernel distance", "kernel"),
    }
    return {
        name: Metric(
            name,
            name.upper(),
            f"{name}-{extractor.version}",
            f"{what} on the features of {extractor.name}",
            kind=kind,
            space="user",
            span=(None if kind == "kernel" else 0, None),
            decimals=4,
            min_n=FRECHET_MIN_N,
            paired=kind == "conditional",
        )
        for name, (what, kind) in kinds.items()
    }


class _Spaces:
    """Features and their units, made when a metric asks for them."""

    def __init__(
        self,
        samples: Mapping[str, Sample],
        own: Extractor | None,
        units: FeatureSpace | None,
        device: torch.device | str,
        *,
        fetch: bool,
    ) -> None:
        self._samples = samples
        self._given = units
        self._device = device
        self._fetch = fetch
        self._loaded: dict[str, Extractor | Unavailable] = {"user": own} if own else {}
        self._units: dict[str, FeatureSpace] = {}

    def of(self, metric: Metric) -> tuple[Space | None, str]:
        """Where a metric's features live, and what that adds to its identity.

        Raises:
            Unavailable: weights are missing, or there is nothing to project on.
        """
        if metric.space == "pixels":
            return None, ""
        raw = Space(self._extractor(metric.space), home() / "features" / "sets")
        texture = metric.space == "texture"
        if texture and self._given is not None:
            return replace(raw, units=self._given), ""
        if metric.kind != "conditional" and not texture:
            return raw, ""
        output = raw.features(self._samples["translated"])
        if metric.space == "user" and len(output) > 4 * output.shape[1]:
            return raw, ""
        units = self._fit(metric.space, raw)
        if metric.kind == "conditional" and not units.axes.shape[1]:
            raise Unavailable("the features of source and target do not vary")
        projected = metric.space == "user"
        return replace(raw, units=units), ("-pca32" if projected else "") + FITTED

    def _fit(self, name: str, raw: Space) -> FeatureSpace:
        """Statistics over source and target."""
        if name not in self._units:
            found = [raw.features(s) for kind, s in self._samples.items() if kind != "translated"]
            components, scale = SPACES.get(name, SPACES["inception"])
            self._units[name] = FeatureSpace.fit(np.concatenate(found), components, scale=scale)
        return self._units[name]

    def _extractor(self, name: str) -> Extractor:
        if name not in self._loaded:
            self._loaded[name] = self._load(name)
        found = self._loaded[name]
        if isinstance(found, Unavailable):
            raise found
        return found

    def _load(self, name: str) -> Extractor | Unavailable:
        """An extractor; weights are fetched for metrics that were asked for by name alone."""
        if name in WEIGHTS and not self._fetch and not path_of(name).exists():
            return Unavailable(f"{name} weights are not here, to have them: xbench fetch {name}")
        try:
            return extractors.load(name, self._device)
        except Unavailable as reason:
            return reason


def _value(metric: Metric, samples: Mapping[str, Sample], aligned: bool, spaces: _Spaces) -> Value:
    """The value of a metric, or the reason why there is none."""
    output, source, target = (samples.get(kind) for kind in ("translated", "source", "target"))
    truth = source if target is None else target
    assert output is not None
    assert truth is not None
    # Without targets the sources stand in for them: what needs targets has a reason already.
    case = Case(output, source, truth, aligned)
    reason = _absent(metric, source, target, aligned) or lacking(metric, case)
    if reason is None:
        try:
            space, suffix = spaces.of(metric)
            value = measure(replace(metric, identity=metric.identity + suffix), case, space)
            if value.value is None or np.isfinite(value.value):
                return value
            reason = "the value is beyond all numbers"
        except Unavailable as error:
            reason = str(error)
        except ValueError as error:
            if metric.space != "user":
                raise
            reason = str(error)  # features of any size may come out of a user's extractor
    return Value(identity=metric.identity, value=None, reason=reason)


def _absent(
    metric: Metric, source: Sample | None, target: Sample | None, aligned: bool
) -> str | None:
    """Which folder a metric lacks, if any."""
    if source is None and (metric.of_source or metric.kind == "conditional"):
        return "no source images were given"
    if target is None and not metric.of_source:
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
    found = []
    for row in range(len(samples["translated"])):
        given, made = (samples[name][row].flatten().numpy() for name in ("source", "translated"))
        flat = np.ptp(given) == 0 or np.ptp(made) == 0
        found.append(0.0 if flat else np.corrcoef(given, made)[0, 1])
    mean = np.mean(found)
    return [f"inverted polarity: correlation with the source {mean:.2f}"] if mean < 0 else []


def _fitted(values: Mapping[str, Value]) -> list[str]:
    """A line on units that were fitted on the images of this call."""
    names = [name for name, value in values.items() if value.identity.endswith(FITTED)]
    if not names:
        return []
    return [
        f"units of {', '.join(names)} were fitted on source and target ({FITTED} in the identity): "
        "such values compare only where these folders are the same"
    ]
