"""Feature spaces of one pool of images: extractors, and the statistics that scale features."""

import warnings
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from xbench.core.arrays import load_arrays, save_arrays
from xbench.core.errors import Unavailable
from xbench.core.files import home, set_aside
from xbench.core.weights import WEIGHTS, obtain, path_of
from xbench.metrics import extractors
from xbench.metrics.base import Metric
from xbench.metrics.extractors import Extractor
from xbench.metrics.statistics import INCEPTION_COMPONENTS, TEXTURE_COMPONENTS, FeatureStatistics
from xbench.scoring.cases import Case, Sample
from xbench.scoring.described import describe
from xbench.scoring.measure import Space

#: Space → principal components kept, and whether features are scaled or only centred.
STATISTICS = {
    "texture": (TEXTURE_COMPONENTS, True),
    "inception": (INCEPTION_COMPONENTS, False),
    "clip": (INCEPTION_COMPONENTS, False),
    "clip_l336": (INCEPTION_COMPONENTS, False),
    "user": (INCEPTION_COMPONENTS, False),
}
#: Ends of the identity of metrics whose statistics were fitted on the images of the call: of
#: features, and of the cells of `ltd`.
FITTED, POOLED = "+fit", "/pooled"


class Spaces:
    """Feature spaces, made when a metric asks for them.

    Args:
        pool: returns the samples whose features give the statistics (training images, say).
        device: where networks compute.
        folder: where the statistics are kept; None to keep none.
        fitted: whether the pool are the very images that are scored: the identity of a metric that
            rests on their statistics then ends in `FITTED` or `POOLED`.
        given: statistics that are known already, by space.
        deviations: those of descriptors that are known already, by metric.
        own: the user's extractor, for the space `user`.
    """

    def __init__(
        self,
        pool: Callable[[], Sequence[Sample]],
        device: torch.device | str,
        *,
        folder: Path | None = None,
        fitted: bool = False,
        given: Mapping[str, FeatureStatistics] | None = None,
        deviations: Mapping[str, NDArray[np.float64]] | None = None,
        own: Extractor | None = None,
    ) -> None:
        self._pool, self._device, self._folder, self._own_pool = pool, device, folder, fitted
        self._given = dict(given or {})
        self._given_deviations = dict(deviations or {})
        self._extractors = {"user": own} if own else {}
        self._fitted: dict[str, FeatureStatistics] = {}
        self._reasons: dict[str, str] = {}
        self._deviations: dict[str, NDArray[np.float64]] = {}

    def why_not(self, metric: Metric, *, fetch: bool = True) -> str | None:
        """Why a metric has no features or no network: weights are missing; None if it has.

        Args:
            metric: its declaration.
            fetch: get weights that are missing, once; else say that they are.
        """
        name = metric.weights or metric.space
        if name == "pixels" or name in self._extractors:
            return None
        if not fetch and name in WEIGHTS and not path_of(name).exists():
            return f"{name} weights are not here, to have them: xbench fetch {name}"
        if name not in self._reasons:
            try:
                if metric.weights:
                    obtain(name)
                else:
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
            own = metric.scaled and self._own_pool and metric.name not in self._given_deviations
            return None, POOLED if own else ""
        raw = Space(self._extractors[name], home() / "features" / "sets")
        conditional, scaled = metric.kind == "conditional", STATISTICS[name][1]
        if not (conditional or scaled):
            return raw, ""
        if name in self._given:
            statistics, mark = self._given[name], ""
        elif name == "user" and len(case.output) > 4 * raw.features(case.output).shape[1]:
            return raw, ""  # enough images for a covariance of all dimensions
        else:
            statistics, mark = self._statistics(name, raw), FITTED if self._own_pool else ""
        if conditional and not statistics.axes.shape[1]:
            raise Unavailable("the features do not vary")
        return replace(raw, statistics=statistics), ("-pca32" if name == "user" else "") + mark

    def deviations(self, metric: Metric) -> NDArray[np.float64]:
        """Standard deviation of each descriptor over all descriptions of the pool's images.

        0 for a descriptor that does not vary.
        """
        if metric.name in self._given_deviations:
            return self._given_deviations[metric.name]
        if metric.name not in self._deviations:
            path = self._folder / deviations_file(metric) if self._folder else None
            kept = _load_array(path) if path else None
            if kept is None:
                parts = [part for sample in self._pool() for part in describe(metric, sample)]
                kept = _deviations(np.concatenate([x.reshape(-1, x.shape[-1]) for x in parts]))
                if path:
                    save_arrays(path, {"deviations": kept})
            self._deviations[metric.name] = kept
        return self._deviations[metric.name]

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


def deviations_file(metric: Metric) -> str:
    """Name of the file with the deviations of a metric's descriptors."""
    return f"{metric.identity}.safetensors"


def load_deviations(path: Path, *, hashed: bool = False) -> NDArray[np.float64]:
    """Read the deviations of descriptors, `[d]`; `hashed`: also refuse a file without a hash.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: the file is damaged or holds something else.
    """
    try:
        array: NDArray[np.float64] = load_arrays(path, hashed=hashed)["deviations"]
    except (KeyError, ValueError) as error:
        raise ValueError(f"{path.name}: no deviations of descriptors ({error})") from error
    if array.ndim != 1 or not np.isfinite(array).all() or array.min(initial=0) < 0:
        raise ValueError(f"{path.name}: the deviations are not finite, or below 0")
    return array


def _deviations(rows: NDArray[np.float64]) -> NDArray[np.float64]:
    """Standard deviations `[d]` over rows `[n, d]`; rows of NaN (padding) are left out."""
    seen = rows[np.isfinite(rows).all(axis=1)]
    if not len(seen):
        return np.zeros(rows.shape[1])
    deviations = seen.std(axis=0)
    # Rounding leaves a constant with a tiny deviation; dividing by it would blow it up.
    varies = deviations > 1e-12 * np.maximum(1, np.abs(seen).max(axis=0))
    return np.where(varies, deviations, 0.0)


def _load(path: Path) -> FeatureStatistics | None:
    """Read stored statistics; damaged ones are named, moved aside and recomputed."""
    if not path.exists():
        return None
    try:
        return FeatureStatistics.load(path, hashed=True)
    except ValueError as error:
        aside = set_aside(path)
        warnings.warn(f"{path} is damaged ({error}); moved to {aside.name}", stacklevel=2)
        return None


def _load_array(path: Path) -> NDArray[np.float64] | None:
    """Stored deviations; damaged ones are moved aside with a warning and recomputed."""
    try:
        return load_deviations(path, hashed=True)
    except FileNotFoundError:
        return None
    except ValueError as error:
        warnings.warn(f"{path} is damaged ({error}); moved to {set_aside(path).name}", stacklevel=2)
        return None
