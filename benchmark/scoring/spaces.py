"""Feature spaces of one pool of images: extractors, and the statistics that scale features."""

import warnings
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch

from xbench.core.errors import Unavailable
from xbench.core.files import home, set_aside
from xbench.core.weights import WEIGHTS, path_of
from xbench.metrics import extractors
from xbench.metrics.base import Metric
from xbench.metrics.extractors import Extractor
from xbench.metrics.statistics import INCEPTION_COMPONENTS, TEXTURE_COMPONENTS, FeatureStatistics
from xbench.scoring.measure import Case, Sample, Space

#: Space → principal components kept, and whether features are scaled or only centred.
STATISTICS = {
    "texture": (TEXTURE_COMPONENTS, True),
    "inception": (INCEPTION_COMPONENTS, False),
    "clip": (INCEPTION_COMPONENTS, False),
    "user": (INCEPTION_COMPONENTS, False),
}


class Spaces:
    """Feature spaces, made when a metric asks for them.

    Args:
        pool: returns the samples whose features give the statistics (training images, say).
        device: where networks compute.
        folder: where the statistics are kept; None to keep none.
        mark: end of the identity of metrics that rest on the statistics of the pool.
        given: statistics that are known already, by space.
        own: the user's extractor, for the space `user`.
    """

    def __init__(
        self,
        pool: Callable[[], Sequence[Sample]],
        device: torch.device | str,
        *,
        folder: Path | None = None,
        mark: str = "",
        given: Mapping[str, FeatureStatistics] | None = None,
        own: Extractor | None = None,
    ) -> None:
        self._pool, self._device, self._folder, self._mark = pool, device, folder, mark
        self._given = dict(given or {})
        self._extractors = {"user": own} if own else {}
        self._fitted: dict[str, FeatureStatistics] = {}
        self._reasons: dict[str, str] = {}

    def why_not(self, name: str, *, fetch: bool = True) -> str | None:
        """Why a space has no features: its weights are missing; None if it has.

        Args:
            name: of the space; `pixels` needs nothing.
            fetch: get weights that are missing, once; else say that they are.
        """
        if name == "pixels" or name in self._extractors:
            return None
        if not fetch and name in WEIGHTS and not path_of(name).exists():
            return f"{name} weights are not here, to have them: xbench fetch {name}"
        if name not in self._reasons:
            try:
                self._extractors[name] = extractors.load(name, self._device)
            except Unavailable as reason:
                self._reasons[name] = str(reason)
        return self._reasons.get(name)

    def of(self, metric: Metric, case: Case) -> tuple[Space | None, str]:
        """Where a metric's features come from, and what that adds to its identity.

        Raises:
            Unavailable: the features do not vary, so that there is nothing to project on.
        """
        name = metric.space
        if name == "pixels":
            return None, ""
        raw = Space(self._extractors[name], home() / "features" / "sets")
        conditional, scaled = metric.kind == "conditional", STATISTICS[name][1]
        if not (conditional or scaled):
            return raw, ""
        if name in self._given:
            statistics, mark = self._given[name], ""
        elif name == "user" and len(case.output) > 4 * raw.features(case.output).shape[1]:
            return raw, ""  # enough images for a covariance of all dimensions
        else:
            statistics, mark = self._statistics(name, raw), self._mark
        if conditional and not statistics.axes.shape[1]:
            raise Unavailable("the features do not vary")
        return replace(raw, statistics=statistics), ("-pca32" if name == "user" else "") + mark

    def _statistics(self, name: str, raw: Space) -> FeatureStatistics:
        """Statistics of the pool's features, fitted once, or read where they were kept."""
        if name not in self._fitted:
            name_of_file = f"{raw.extractor.version}.safetensors"
            path = self._folder / name_of_file if self._folder else None
            statistics = _load(path) if path else None
            if statistics is None:
                components, scale = STATISTICS[name]
                features = np.concatenate([raw.features(sample) for sample in self._pool()])
                statistics = FeatureStatistics.fit(features, components, scale=scale)
                if path:
                    statistics.save(path)
            self._fitted[name] = statistics
        return self._fitted[name]


def _load(path: Path) -> FeatureStatistics | None:
    """Read stored statistics; damaged ones are named, moved aside and recomputed."""
    if not path.exists():
        return None
    try:
        return FeatureStatistics.load(path)
    except Exception as error:
        aside = set_aside(path)
        warnings.warn(f"{path} is damaged ({error}); moved to {aside.name}", stacklevel=2)
        return None
