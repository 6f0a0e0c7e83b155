"""From images to metric values: features computed once per image and space."""

import os
import warnings
from collections.abc import Callable, Collection
from pathlib import Path

import torch
from torch import Tensor
from torch.nn import functional

from xbench.datasets.base import Dataset, Images, Split
from xbench.files import home, set_aside
from xbench.metrics.base import METRICS, Metric, Unavailable
from xbench.metrics.frechet import conditional_frechet_distance, frechet_distance
from xbench.metrics.spaces import INCEPTION_COMPONENTS, TEXTURE_COMPONENTS, FeatureSpace
from xbench.metrics.structural import psnr, ssim
from xbench.store import Value

Extractor = Callable[[Tensor], Tensor]

#: Feature space → version of its features, principal components kept, scaled or only centred.
SPACES = {
    "texture": ("texture-v1", TEXTURE_COMPONENTS, True),
    "inception": ("inception-clean-v1", INCEPTION_COMPONENTS, False),
}
BATCH = 64


class Scorer:
    """Scores translations of one split of one data set."""

    def __init__(self, dataset: Dataset, split: Split, device: torch.device) -> None:
        self.dataset = dataset
        self.split = split
        self.device = device
        self._extractors: dict[str, Extractor] = {}
        self._spaces: dict[str, FeatureSpace] = {}
        self._features: dict[tuple[str, str], Tensor] = {}
        self._reasons: dict[str, str] = {}

    def missing(self, fetch: bool = True) -> dict[str, str]:
        """Metrics that will be empty, with the reason; known before any work.

        Args:
            fetch: get weights that are missing; else say that they are.
        """
        found = dict(self._reasons)
        for space in SPACES:
            try:
                if space == "inception" and not fetch and _would_be_fetched():
                    raise Unavailable("Inception weights missing; a run tries to fetch them")
                self._extractor(space)
            except Unavailable as reason:
                found[space] = str(reason)
        if fetch:
            self._reasons = found
        reasons = {name: found.get(m.space) for name, m in METRICS.items()}
        if not self.dataset.aligned:
            paired = {n: "the data set is not aligned" for n, m in METRICS.items() if m.paired}
            reasons |= paired
        return {name: reason for name, reason in reasons.items() if reason}

    def score(
        self, output: Tensor, source: str, target: str, only: Collection[str] = tuple(METRICS)
    ) -> tuple[dict[str, Value], dict[str, Tensor]]:
        """Score translations of all views of the split.

        Args:
            output: float32 `[n, 1, H, W]`, in the order of the data set's ids.
            source: domain that was translated.
            target: domain that was aimed at.
            only: names of the metrics wanted.

        Returns:
            Values by metric, and the output's features by space.
        """
        missing = self.missing()
        features: dict[str, Tensor] = {}
        values = {}
        for name in only:
            metric = METRICS[name]
            reason = missing.get(name)
            if len(output) < metric.min_n:
                reason = f"n = {len(output)}, needs {metric.min_n}"
            if reason:
                values[name] = Value(identity=metric.identity, value=None, reason=reason)
            elif metric.space == "pixels":
                values[name] = self._pixelwise(metric, output, source, target)
            else:
                if metric.space not in features:
                    features[metric.space] = self._extract(metric.space, output)
                values[name] = self._distance(metric, features[metric.space], source, target)
        return values, features

    def polarity(self, output: Tensor, source: str) -> float:
        """Pearson correlation of each output with its input, averaged; flat images count as 0."""
        inputs = self.dataset.images(self.split, source)[:].flatten(1)
        given, made = (x - x.mean(1, keepdim=True) for x in (inputs, output.flatten(1)))
        return float(functional.cosine_similarity(given, made).mean())

    def _pixelwise(self, metric: Metric, output: Tensor, source: str, target: str) -> Value:
        """SSIM or PSNR against the source or the aligned target, image by image."""
        function = ssim if metric.name.startswith("ssim") else psnr
        images = self.dataset.images(self.split, target if metric.paired else source)
        per_image = torch.cat(
            [
                function(
                    output[start : start + BATCH].to(self.device),
                    images[start : start + BATCH].to(self.device),
                ).cpu()
                for start in range(0, len(output), BATCH)
            ]
        )
        return Value(
            identity=metric.identity,
            value=float(per_image.mean()),
            per_image=[round(value, 6) for value in per_image.tolist()],
        )

    def _distance(self, metric: Metric, output: Tensor, source: str, target: str) -> Value:
        """Fréchet or conditional Fréchet distance in a feature space."""
        space, truth = self._space(metric.space), self._domain_features(metric.space, target)
        if not metric.paired:
            value = frechet_distance(space.standardise(output), space.standardise(truth))
        else:
            k = space.dimensions(len(output))
            given = self._domain_features(metric.space, source)
            value = conditional_frechet_distance(
                space.project(given, k), space.project(truth, k), space.project(output, k)
            )
        return Value(identity=metric.identity, value=value)

    def _domain_features(self, space: str, domain: str) -> Tensor:
        """Features of a domain's images, kept: every pair needs them."""
        if (space, domain) not in self._features:
            images = self.dataset.images(self.split, domain)
            self._features[space, domain] = self._extract(space, images)
        return self._features[space, domain]

    def _space(self, name: str) -> FeatureSpace:
        """Statistics over the pooled train split, kept on disk under the data set's key."""
        if name not in self._spaces:
            version, components, scale = SPACES[name]
            path = home() / "features" / self.dataset.key / f"{version}.safetensors"
            space = _load(path)
            if space is None:
                domains = self.dataset.domains
                parts = [self._extract(name, self.dataset.train(domain)) for domain in domains]
                space = FeatureSpace.fit(torch.cat(parts), components, scale=scale)
                space.save(path)
            self._spaces[name] = space
        return self._spaces[name]

    def _extract(self, space: str, images: Images | Tensor) -> Tensor:
        """Features float64 `[n, d]`, batch by batch."""
        extract = self._extractor(space)
        parts = [extract(images[start : start + BATCH]) for start in range(0, len(images), BATCH)]
        return torch.cat(parts)

    def _extractor(self, space: str) -> Extractor:
        if space not in self._extractors:
            if space in self._reasons:
                raise Unavailable(self._reasons[space])
            self._extractors[space] = _load_extractor(space, self.device)
        return self._extractors[space]


def _would_be_fetched() -> bool:
    from xbench.metrics.inception import weights_path

    return not weights_path().exists() and os.environ.get("XBENCH_OFFLINE") != "1"


def _load_extractor(space: str, device: torch.device) -> Extractor:
    if space == "texture":
        from xbench.metrics.texture import descriptors

        return descriptors
    from xbench.metrics.inception import InceptionExtractor

    return InceptionExtractor.load(device).features


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
