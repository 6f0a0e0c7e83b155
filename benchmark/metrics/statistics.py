"""Statistics of the features of training images, by which features of test images are scaled."""

from dataclasses import dataclass
from pathlib import Path
from typing import Self

import numpy as np
from numpy.typing import NDArray

from xbench.core.arrays import load_arrays, save_arrays
from xbench.metrics.frechet import Features, feature_matrix

Array = NDArray[np.float64]

# Most components a conditional distance uses: of standardised descriptors, of Inception features.
TEXTURE_COMPONENTS = 16
INCEPTION_COMPONENTS = 32


@dataclass(frozen=True, eq=False)
class FeatureStatistics:
    """Statistics of features over the pooled train split of all domains.

    Attributes:
        mean: [d].
        std: [d], population standard deviation; ones where features are only centred. A feature
            that is constant over the train split has 1 too: it contributes nothing as long as it
            keeps that constant, and its plain difference where an image departs from it.
        axes: [d, K], principal axes of the standardised features as orthonormal columns, largest
            variance first; the entry of largest size is positive in each.
    """

    mean: Array
    std: Array
    axes: Array

    def __post_init__(self) -> None:
        """Refuse statistics that do not belong together."""
        size = len(self.mean)
        arrays = (self.mean, self.std, self.axes)
        fits = self.mean.shape == self.std.shape == (size,) and self.axes.shape[:-1] == (size,)
        if not fits or not all(np.isfinite(array).all() for array in arrays):
            shapes = [list(array.shape) for array in arrays]
            raise ValueError(f"expected finite mean [d], std [d] and axes [d, K], got {shapes}")
        if not (self.std > 0).all():
            raise ValueError("expected positive standard deviations")

    @property
    def scaled(self) -> bool:
        """Whether features are divided by their standard deviations, not only centred."""
        return bool((self.std != 1).any())

    @classmethod
    def fit(cls, features: Features, components: int, *, scale: bool = True) -> Self:
        """Statistics of the pooled training features.

        Args:
            features: [N, d] of all domains together, N at least 2, any float type.
            components: principal axes to keep at most; there are fewer where the features span
                less.
            scale: divide by the standard deviation (texture descriptors, whose units differ) or
                only centre (Inception features).

        Raises:
            ValueError: fewer than 2 samples, features that are not finite, or no component asked.
        """
        if components < 1:
            raise ValueError(f"expected at least 1 component, got {components}")
        matrix = feature_matrix(features, "features")
        mean, deviation = matrix.mean(axis=0), matrix.std(axis=0)
        # Rounding leaves a constant with a tiny deviation; dividing by it would blow it up, and an
        # axis along it would show nothing else.
        varies = deviation > 1e-12 * np.abs(matrix).max(axis=0)
        std = np.where(varies, deviation, 1.0) if scale else np.ones_like(mean)
        return cls(mean, std, _principal_axes(varies * (matrix - mean) / std, components))

    def standardise(self, features: Features) -> Array:
        """Features [N, d] minus mean, divided by standard deviation, float64."""
        matrix = feature_matrix(features, "features")
        if matrix.shape[1] != len(self.mean):
            raise ValueError(f"expected features [N, {len(self.mean)}], got {list(matrix.shape)}")
        standardised: Array = (matrix - self.mean) / self.std
        return standardised

    def project(self, features: Features, k: int) -> Array:
        """Standardised features on the first k principal axes, [N, k].

        Raises:
            ValueError: k is not between 1 and K, or the features do not fit.
        """
        if not 1 <= k <= self.axes.shape[1]:
            raise ValueError(f"expected 1 to {self.axes.shape[1]} components, got {k}")
        return self.standardise(features) @ self.axes[:, :k]

    def dimensions(self, n: int) -> int:
        """Components for n samples: min(K, n // 4), since a conditional form needs n ≫ k."""
        return min(int(self.axes.shape[1]), n // 4)

    def save(self, path: Path) -> None:
        """Write a safetensors file, whole or not at all."""
        save_arrays(path, {"mean": self.mean, "std": self.std, "axes": self.axes})

    @classmethod
    def load(cls, path: Path, *, hashed: bool = False) -> Self:
        """Read what `save` wrote; `hashed`: also refuse a file without a hash.

        Raises:
            FileNotFoundError: there is no such file.
            ValueError: the file is damaged or holds something else.
        """
        try:
            arrays = load_arrays(path, hashed=hashed)
            return cls(arrays["mean"], arrays["std"], arrays["axes"])
        except (KeyError, ValueError) as error:
            raise ValueError(f"{path.name}: no statistics of features ({error})") from error


def _principal_axes(centred: Array, components: int) -> Array:
    """The first principal axes [d, K ≤ components] of centred rows [N, d]."""
    count, size = centred.shape
    # The smaller of the two Gram matrices has the same non-zero eigenvalues.
    gram = centred @ centred.T if count < size else centred.T @ centred
    values, vectors = np.linalg.eigh(gram)
    order = np.argsort(values)[::-1][:components]
    order = order[values[order] > 1e-12 * max(values[-1], 0)]
    axes = vectors[:, order]
    if count < size:
        axes = centred.T @ axes / np.sqrt(values[order])
    largest = np.abs(axes).argmax(axis=0)
    signed: Array = axes * np.sign(axes[largest, np.arange(axes.shape[1])])
    # One memory order, as after loading: products then round alike to the last bit.
    return np.ascontiguousarray(signed)
