"""Feature spaces of one pool of images: extractors, and the units in which features compare."""

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
from xbench.metrics.spaces import INCEPTION_COMPONENTS, TEXTURE_COMPONENTS, FeatureSpace
from xbench.scoring.measure import Case, Sample, Space

#: Space → principal components kept, and whether features are scaled or only centred.
UNITS = {
    "texture": (TEXTURE_COMPONENTS, True),
    "inception": (INCEPTION_COMPONENTS, False),
    "clip": (INCEPTION_COMPONENTS, False),
    "user": (INCEPTION_COMPONENTS, False),
}


class Spaces:
    """Feature spaces, made when a metric asks for them.

    Args:
        pool: the samples whose features give the units (the training images, say).
        device: where networks compute.
        statistics: folder in which the units are kept; None to keep none.
        mark: end of the identity of metrics whose units are those of the pool.
        given: units that are known already, by space.
        own: the user's extractor, for the space `user`.
    """

    def __init__(
        self,
        pool: Callable[[], Sequence[Sample]],
        device: torch.device | str,
        *,
        statistics: Path | None = None,
        mark: str = "",
        given: Mapping[str, FeatureSpace] | None = None,
        own: Extractor | None = None,
    ) -> None:
        self._pool, self._device, self._statistics, self._mark = pool, device, statistics, mark
        self._given = dict(given or {})
        self._extractors = {"user": own} if own else {}
        self._fitted: dict[str, FeatureSpace] = {}
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
        conditional, scaled = metric.kind == "conditional", UNITS[name][1]
        if not (conditional or scaled):
            return raw, ""
        if name in self._given:
            units, mark = self._given[name], ""
        elif name == "user" and len(case.output) > 4 * raw.features(case.output).shape[1]:
            return raw, ""  # enough images for a covariance of all dimensions
        else:
            units, mark = self._units(name, raw), self._mark
        if conditional and not units.axes.shape[1]:
            raise Unavailable("the features do not vary")
        return replace(raw, units=units), ("-pca32" if name == "user" else "") + mark

    def _units(self, name: str, raw: Space) -> FeatureSpace:
        """Statistics of the pool's features, fitted once, or read where they were kept."""
        if name not in self._fitted:
            folder = self._statistics
            path = folder / f"{raw.extractor.version}.safetensors" if folder else None
            units = _load(path) if path else None
            if units is None:
                components, scale = UNITS[name]
                features = np.concatenate([raw.features(sample) for sample in self._pool()])
                units = FeatureSpace.fit(features, components, scale=scale)
                if path:
                    units.save(path)
            self._fitted[name] = units
        return self._fitted[name]


def _load(path: Path) -> FeatureSpace | None:
    """Read stored statistics; damaged ones are named, moved aside and recomputed."""
    if not path.exists():
        return None
    try:
        return FeatureSpace.load(path)
    except Exception as error:
        aside = set_aside(path)
        warnings.warn(f"{path} is damaged ({error}); moved to {aside.name}", stacklevel=2)
        return None
