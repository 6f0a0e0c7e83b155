"""The one scorer: cases to values of metrics, for the units of a run and for folders alike."""

from collections.abc import Collection, Iterable
from dataclasses import replace
from functools import cached_property

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from xbench.core.errors import Unavailable
from xbench.core.files import home
from xbench.datasets.base import Dataset, Split
from xbench.datasets.split import assign_splits
from xbench.metrics.base import METRICS, Metric
from xbench.records.schema import Value
from xbench.scoring.cases import Case, Sample
from xbench.scoring.enough import too_few
from xbench.scoring.measure import empty, lacking, measure, polarity
from xbench.scoring.spaces import Spaces

#: Rows of the two halves of a domain's images.
Halves = tuple[list[int], list[int]]
UNALIGNED = "the data are not aligned"


def score(
    case: Case, metrics: Iterable[Metric], spaces: Spaces, *, fetch: bool = True
) -> dict[str, Value]:
    """Values of metrics by name, each with the reason where there is none.

    Args:
        case: the images.
        metrics: what to compute.
        spaces: where features come from.
        fetch: get weights that are missing.
    """
    return {metric.name: _value(metric, case, spaces, fetch) for metric in metrics}


def _value(metric: Metric, case: Case, spaces: Spaces, fetch: bool) -> Value:
    plain = metric
    if metric.leaves_out and case.output.counts is not None:
        metric = replace(metric, identity=metric.identities[-1])
    if reason := lacking(metric, case):
        return empty(metric, reason)
    if reason := spaces.why_not(metric, fetch=fetch):
        return empty(metric, reason, pending=True)
    try:
        space, mark = spaces.of(metric, case)
        declared = replace(metric, identity=metric.identity + mark)
        return measure(declared, case, space, lambda: spaces.deviations(plain))
    except Unavailable as unavailable:
        return empty(metric, str(unavailable))
    except ValueError as error:
        if metric.space != "user":
            raise
        return empty(metric, str(error))  # a user's extractor may return numbers of any size


class Scorer:
    """Scores translations of one split of one data set."""

    def __init__(self, dataset: Dataset, split: Split, device: torch.device) -> None:
        self.dataset = dataset
        self.split = split
        self.device = device
        self.spaces = Spaces(self._train, device, folder=home() / "features" / dataset.key)
        self._samples: dict[str, Sample] = {}

    def missing(self, fetch: bool = True) -> dict[str, str]:
        """Metrics that will be empty, with the reason; known before any work.

        Args:
            fetch: get weights that are missing; else say that they are.
        """
        aligned = self.dataset.aligned(self.split)
        few = too_few(self.dataset, self.split)
        reasons = {
            name: UNALIGNED
            if metric.paired and not aligned
            else few.get(name) or self.spaces.why_not(metric, fetch=fetch)
            for name, metric in METRICS.items()
        }
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
        metrics = [METRICS[name] for name in (METRICS if only is None else only)]
        return score(self._case(output, source, target, halves), metrics, self.spaces)

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
        """Mean correlation of the outputs with the images of the source."""
        return polarity(output, self.dataset.images(self.split, source))

    def _case(self, output: Tensor, source: str, target: str, halves: Halves | None) -> Case:
        truth = self._sample(target)
        if halves:
            first, second = halves
            own = truth.rows(first)
            made = Sample(output, own.groups, own.boxes, counts=own.counts)
            other = truth.rows(second)
            return Case(made, None, other, aligned=False, training=self._training(target))
        given = self._sample(source)
        made = Sample(output, given.groups, given.boxes, given.masks, given.sides_mm, truth.counts)
        aligned = self.dataset.aligned(self.split)
        return Case(made, given, truth, aligned, self._training(target))

    def _sample(self, domain: str) -> Sample:
        """A domain's images, kept with their features: every pair needs them."""
        if domain not in self._samples:
            data, split = self.dataset, self.split
            self._samples[domain] = Sample(
                data.images(split, domain),
                data.groups(split, domain),
                data.content(split, domain),
                data.masks(split, domain),
                data.sides_mm(split, domain),
                self._counts(domain),
            )
        return self._samples[domain]

    @cached_property
    def _leaves_out(self) -> bool:
        """Whether the data have pixels to leave out; then all domains share the identities."""
        data, split = self.dataset, self.split
        hidden = (data.unpredictable(split, domain) is not None for domain in data.domains)
        return data.aligned(split) and any(hidden)

    def _counts(self, domain: str) -> NDArray[np.bool_] | None:
        """The pixels of a target that metrics do not leave out, bool `[n, H, W]`; None: all."""
        if not self._leaves_out:
            return None
        data, split = self.dataset, self.split
        hidden = data.unpredictable(split, domain)
        size = data.config.size
        return (
            np.ones((len(data.ids(split, domain)), size, size), bool) if hidden is None else ~hidden
        )

    def _training(self, domain: str) -> Sample:
        """The training images of a domain, kept with their descriptions."""
        name = f"train {domain}"
        if name not in self._samples:
            data = self.dataset
            self._samples[name] = Sample(data.train(domain), [], data.content("train", domain))
        return self._samples[name]

    def _train(self) -> list[Sample]:
        """The training images of all domains: their features give the statistics."""
        return [self._training(domain) for domain in self.dataset.domains]
