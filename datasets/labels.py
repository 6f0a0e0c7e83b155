"""What is known of the anatomy in images: labels for networks that work on them."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

#: The angles of a view, in the order of `Labels.angles`.
ANGLES = ("lao", "cran")


@dataclass(frozen=True)
class Labels:
    """Labels of n images; of each kind only what is known.

    Attributes:
        masks: structure → bool `[n, H, W]`; structures may overlap, as they do on X-rays.
        landmarks: name → (row, column) in px, float `[n, 2]`; the centre of the first pixel is
            (0, 0); NaN where the landmark is not in the image.
        angles: rotation to the left anterior oblique and cranial tilt in degrees, float `[n, 2]`;
            None if they are not known.
    """

    masks: Mapping[str, NDArray[np.bool_]] = field(default_factory=dict)
    landmarks: Mapping[str, NDArray[np.float64]] = field(default_factory=dict)
    angles: NDArray[np.float64] | None = None

    def __bool__(self) -> bool:
        """Whether anything is known."""
        return bool(self.masks or self.landmarks or self.angles is not None)

    def rows(self, places: Sequence[int]) -> "Labels":
        """Labels of some of the images."""
        chosen = list(places)
        return Labels(
            {name: mask[chosen] for name, mask in self.masks.items()},
            {name: points[chosen] for name, points in self.landmarks.items()},
            None if self.angles is None else self.angles[chosen],
        )

    def shared(self, other: "Labels") -> "Labels":
        """Those of a kind and name that other labels have too, by name."""
        return Labels(
            {name: self.masks[name] for name in sorted({*self.masks} & {*other.masks})},
            {name: self.landmarks[name] for name in sorted({*self.landmarks} & {*other.landmarks})},
            None if other.angles is None else self.angles,
        )


def inside(places: NDArray[np.float64], height: int, width: int) -> NDArray[np.float64]:
    """Places `[n, 2]` (row, column) in px, with NaN for those outside the image.

    >>> inside(np.array([[3.0, 4.0], [3.0, 9.0]]), 8, 8).tolist()
    [[3.0, 4.0], [nan, nan]]
    """
    low, high = np.array([-0.5, -0.5]), np.array([height - 0.5, width - 0.5])
    within = ((places >= low) & (places <= high)).all(axis=1, keepdims=True)
    return np.where(within, places, np.nan)
