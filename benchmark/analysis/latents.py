"""How well the domain can be predicted from MedShift's latents, by tau (the paper's Figure 4).

Encoding an image backward to the time tau is said to leave a latent that belongs to no domain.
That is tested here on test images: a linear probe that was fitted to latents of other heads
predicts the domain. At chance level the latents of all domains look alike.
"""

import importlib.util
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal, Protocol, runtime_checkable

import numpy as np
from numpy.typing import NDArray

from xbench.core.errors import Unavailable, UserError
from xbench.metrics.uncertainty import bootstrap_mean

if TYPE_CHECKING:
    import torch
    from torch import Tensor

    from xbench.datasets.base import Dataset, Split

Array = NDArray[np.float64]
Embedding = Literal["umap", "pca"]

#: Images encoded at once.
BATCH = 32
#: Ridge of the probe, as a share of the mean squared length of a latent.
RIDGE = 1e-2
#: Principal components that go into UMAP.
COMPONENTS = 50


@runtime_checkable
class Encoder(Protocol):
    """A method with a latent for every time tau."""

    device: "torch.device"

    def latents(self, images: "Tensor", source: str, tau: float) -> "Tensor":
        """Latents of images `[B, 1, H, W]` at tau."""


@dataclass(frozen=True)
class Latents:
    """Latents `[images, numbers]` of a split for each tau; domain and group of each image."""

    by_tau: dict[float, Array]
    domains: list[str]
    groups: list[str]


@dataclass(frozen=True)
class Separability:
    """How often a linear probe is right, in [0, 1]; the 95 % interval is over groups."""

    tau: float
    accuracy: float
    ci_low: float | None
    ci_high: float | None
    chance: float


def encode(method: Encoder, dataset: "Dataset", split: "Split", taus: Sequence[float]) -> Latents:
    """Encode every image of a split from each domain."""
    parts: dict[float, list[Array]] = {tau: [] for tau in taus}
    domains: list[str] = []
    groups: list[str] = []
    for domain in dataset.domains:
        images = dataset.images(split, domain)
        domains += [domain] * len(images)
        groups += dataset.groups(split, domain)
        for start in range(0, len(images), BATCH):
            batch = images[start : start + BATCH].to(method.device)
            for tau in taus:
                latents = method.latents(batch, domain, tau)
                parts[tau].append(latents.flatten(1).double().cpu().numpy())
    return Latents({tau: np.concatenate(part) for tau, part in parts.items()}, domains, groups)


def separability(latents: Latents) -> list[Separability]:
    """The probe's accuracy at each tau, fitted without the group (head) that it predicts."""
    rows = []
    for tau, features in latents.by_tau.items():
        right = probe(features, latents.domains, latents.groups)
        low = high = None
        with suppress(Unavailable):
            interval = bootstrap_mean(right, latents.groups)
            low, high = max(0.0, interval.low), min(1.0, interval.high)
        chance = 1 / len(set(latents.domains))
        rows.append(Separability(tau, float(right.mean()), low, high, chance))
    return rows


def probe(features: Array, labels: Sequence[str], groups: Sequence[str]) -> Array:
    """Whether a linear classifier predicts the label of each row, [rows], 1 or 0.

    Ridge regression onto one indicator per label (Hastie, Tibshirani and Friedman 2009, section
    4.2), in its dual form, fitted to the rows of all other groups.

    Args:
        features: [rows, numbers].
        labels: of each row.
        groups: of each row, two at least.
    """
    names, classes = np.unique(np.asarray(labels, dtype=str), return_inverse=True)
    _, members = np.unique(np.asarray(groups, dtype=str), return_inverse=True)
    right = np.zeros(len(classes))
    for group in range(members.max() + 1):
        train, test = members != group, members == group
        if not train.any():
            continue
        mean = features[train].mean(axis=0)
        fitted, held_out = features[train] - mean, features[test] - mean
        kernel = fitted @ fitted.T
        kernel[np.diag_indices_from(kernel)] += RIDGE * max(np.trace(kernel) / len(kernel), 1e-12)
        shares = np.eye(len(names))[classes[train]]
        prior = shares.mean(axis=0)
        scores = held_out @ fitted.T @ np.linalg.solve(kernel, shares - prior) + prior
        right[test] = scores.argmax(axis=1) == classes[test]
    return right


def embed(latents: Latents, how: Embedding) -> Iterator[tuple[float, Array]]:
    """Each tau with a point in the plane for every image, [images, 2].

    Raises:
        UserError: UMAP is not installed.
    """
    flat = {tau: _principal(features) for tau, features in latents.by_tau.items()}
    if how == "pca":
        yield from ((tau, points[:, :2]) for tau, points in flat.items())
    else:
        yield from _umap(flat)


def _principal(features: Array) -> Array:
    """Coordinates on the first principal components, [images, at most `COMPONENTS`]."""
    centred = features - features.mean(axis=0)
    left, lengths, _ = np.linalg.svd(centred @ centred.T)
    signs = np.sign(left[np.abs(left).argmax(axis=0), np.arange(len(left))])
    points: Array = (left * signs * np.sqrt(lengths))[:, :COMPONENTS]
    return points


def check_umap() -> None:
    """Check before any work that UMAP is installed.

    Raises:
        UserError: it is not installed.
    """
    if importlib.util.find_spec("umap") is None:
        raise UserError(
            "umap-learn is not installed",
            "expected: the extra umap, or another embedding",
            "try: pip install 'xbench-xray[umap]', or --embedding pca",
        )


def _umap(flat: Mapping[float, Array]) -> Iterator[tuple[float, Array]]:
    """Uniform manifold approximation and projection (McInnes et al. 2018, arXiv 1802.03426)."""
    check_umap()
    from umap import UMAP

    for tau, points in flat.items():
        neighbours = min(15, len(points) - 1)
        reducer = UMAP(n_neighbors=neighbours, min_dist=0.1, random_state=0, n_jobs=1)
        yield tau, np.asarray(reducer.fit_transform(points), dtype=np.float64)
