"""From images to metric values: features computed once per image and space."""

import os
import warnings
from collections.abc import Collection
from pathlib import Path

import torch
from torch import Tensor
from torch.nn import functional

from xbench.core import weights
from xbench.core.errors import Unavailable
from xbench.core.files import home, set_aside
from xbench.datasets.base import Dataset, Split
from xbench.datasets.split import assign_splits
from xbench.metrics import extractors
from xbench.metrics.base import METRICS
from xbench.metrics.extractors import Extractor
from xbench.metrics.spaces import INCEPTION_COMPONENTS, TEXTURE_COMPONENTS, FeatureSpace
from xbench.records.schema import Value
from xbench.scoring.features import cached_features
from xbench.scoring.measure import Case, Sample, Space, measure

#: Feature space → principal components kept, scaled or only centred.
SPACES = {
    "texture": (TEXTURE_COMPONENTS, True),
    "inception": (INCEPTION_COMPONENTS, False),
    "clip": (INCEPTION_COMPONENTS, False),
}
#: Rows of the two halves of a domain's images.
Halves = tuple[list[int], list[int]]


class Scorer:
    """Scores translations of one split of one data set."""

    def __init__(self, dataset: Dataset, split: Split, device: torch.device) -> None:
        self.dataset = dataset
        self.split = split
        self.device = device
        self._extractors: dict[str, Extractor] = {}
        self._spaces: dict[str, Space] = {}
        self._samples: dict[str, Sample] = {}
        self._reasons: dict[str, str] = {}

    def missing(self, fetch: bool = True) -> dict[str, str]:
        """Metrics that will be empty, with the reason; known before any work.

        Args:
            fetch: get weights that are missing; else say that they are.
        """
        found = dict(self._reasons)
        for space in SPACES:
            try:
                if not fetch and _would_be_fetched(space):
                    raise Unavailable(f"{space} weights missing; a run tries to fetch them")
                self._extractor(space)
            except Unavailable as reason:
                found[space] = str(reason)
        if fetch:
            self._reasons = found
        reasons = {name: found.get(m.space) for name, m in METRICS.items()}
        if not self.dataset.aligned(self.split):
            reasons |= {n: "the data are not aligned" for n, m in METRICS.items() if m.paired}
        return {name: reason for name, reason in reasons.items() if reason}

    def score(
        self,
        output: Tensor,
        source: str,
        target: str,
        only: Collection[str] | None = None,
        halves: Halves | None = None,
    ) -> dict[str, Value]:
        """Score translations of all views of the split.

        Args:
            output: float32 `[n, 1, H, W]`, in the order of the source's ids.
            source: domain that was translated.
            target: domain that was aimed at.
            only: names of the metrics wanted; all by default.
            halves: the output is the first half of the target's own images and is compared with
                the second; only distances between sets of images have a value then.
        """
        missing = self.missing()
        case = self._case(output, source, target, halves)
        values = {}
        for name in METRICS if only is None else only:
            metric = METRICS[name]
            if name in missing:
                values[name] = Value(
                    identity=metric.identity,
                    value=None,
                    reason=missing[name],
                    pending=metric.space in self._reasons,
                )
            else:
                space = None if metric.space == "pixels" else self._space(metric.space)
                values[name] = measure(metric, case, space)
        return values

    def halves(self, domain: str) -> Halves:
        """Rows of two halves of a domain's images that share no group, unless there is but one."""
        groups = self.dataset.groups(self.split, domain)
        side = assign_splits({domain: groups}, val=0, test=0.5)
        rows = range(len(groups))
        first = [row for row in rows if side[groups[row]] == "test"]
        second = [row for row in rows if side[groups[row]] != "test"]
        if not first:
            middle = (len(groups) + 1) // 2
            first, second = second[:middle], second[middle:] or second
        return first, second

    def polarity(self, output: Tensor, source: str) -> float:
        """Pearson correlation of each output with its input, averaged; flat images count as 0."""
        inputs, step = self.dataset.images(self.split, source), 8
        parts = []
        for rows in (slice(start, start + step) for start in range(0, len(output), step)):
            flat = (x[rows].flatten(1) for x in (inputs, output))
            given, made = (x - x.mean(1, keepdim=True) for x in flat)
            parts.append(functional.cosine_similarity(given, made))
        return float(torch.cat(parts).mean())

    def _case(self, output: Tensor, source: str, target: str, halves: Halves | None) -> Case:
        truth = self._sample(target)
        if halves:
            first, second = halves
            own = truth.rows(first)
            made = Sample(output, own.groups, own.boxes)
            return Case(made, None, truth.rows(second), aligned=False)
        given = self._sample(source)
        made = Sample(output, given.groups, given.boxes, given.masks)
        return Case(made, given, truth, self.dataset.aligned(self.split))

    def _sample(self, domain: str) -> Sample:
        """A domain's images, kept with their features: every pair needs them."""
        if domain not in self._samples:
            data, split = self.dataset, self.split
            self._samples[domain] = Sample(
                data.images(split, domain),
                data.groups(split, domain),
                data.content(split, domain),
                data.masks(split, domain),
            )
        return self._samples[domain]

    def _space(self, name: str) -> Space:
        """Features, and their statistics over the pooled train split, kept under the data's key."""
        if name not in self._spaces:
            extractor = self._extractor(name)
            sets = home() / "features" / "sets"
            path = home() / "features" / self.dataset.key / f"{extractor.version}.safetensors"
            units = _load(path)
            if units is None:
                components, scale = SPACES[name]
                units = FeatureSpace.fit(
                    self._train_features(extractor, sets), components, scale=scale
                )
                units.save(path)
            self._spaces[name] = Space(extractor, sets, units)
        return self._spaces[name]

    def _train_features(self, extractor: Extractor, sets: Path) -> Tensor:
        """Features `[n, d]` of the training images of all domains."""
        parts = []
        for domain in self.dataset.domains:
            images = self.dataset.train(domain)
            boxes = self.dataset.content("train", domain)
            parts.append(cached_features(extractor, Sample(images, [], boxes), sets))
        return torch.cat(parts)

    def _extractor(self, space: str) -> Extractor:
        if space not in self._extractors:
            if space in self._reasons:
                raise Unavailable(self._reasons[space])
            self._extractors[space] = extractors.load(space, self.device)
        return self._extractors[space]


def _would_be_fetched(space: str) -> bool:
    """Whether an extractor's weights are not here yet, and may be fetched."""
    if space not in weights.WEIGHTS or os.environ.get("XBENCH_OFFLINE") == "1":
        return False
    return not weights.path_of(space).exists()


def _load(path: Path) -> FeatureSpace | None:
    """Read stored statistics; damaged ones are named, moved aside and made anew."""
    if not path.exists():
        return None
    try:
        return FeatureSpace.load(path)
    except Exception as error:
        aside = set_aside(path)
        warnings.warn(f"{path} is damaged ({error}); moved to {aside.name}", stacklevel=2)
        return None
