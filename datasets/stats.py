"""Brightness, contrast and sharpness of each domain, for comparison with reference data."""

from collections.abc import Iterator, Sequence

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from xbench.core.pixels import WHITE
from xbench.datasets.base import Box, Dataset, Progress, Split
from xbench.datasets.decode import Grey
from xbench.datasets.prepare import quantise

Row = dict[str, object]

#: Maximum number of measured images per domain, evenly spaced over train and test together.
MOST = 200
#: Grey values below this count as inside the head, others as air.
INSIDE = 0.9
#: Sigma in pixels, at an image size, of the blur by which sharpness is defined; it scales with the
#: image size down to the least sigma, below which a blur does nothing.
SIGMA, SIGMA_SIZE, LEAST_SIGMA = 2.0, 760, 0.7
#: Column → quantile.
QUANTILES = {"q01": 0.01, "q05": 0.05, "q25": 0.25, "q50": 0.5, "q75": 0.75, "q95": 0.95}
#: Columns of measured values, in the order of tables.
MEASURES = ("mean", "std", *QUANTILES, "inside_mean", "inside_std", "sharpness")
#: Domain → its measures in one published example image of X-DigiSkull, about 760 pixels wide
#: (project page of MedShift, arXiv 2508.21435), read off to two digits.
PUBLISHED = {
    "synthetic_low": (0.79, 0.19, 0.45, 0.52, 0.63, 0.75, 1.0, 1.0, 0.65, 0.10, 0.023),
    "synthetic_high": (0.82, 0.19, 0.45, 0.51, 0.64, 0.91, 1.0, 1.0, 0.64, 0.10, 0.010),
    "real_low": (0.69, 0.23, 0.28, 0.36, 0.49, 0.63, 0.97, 0.98, 0.54, 0.14, 0.041),
    "real_normal": (0.69, 0.24, 0.25, 0.35, 0.48, 0.64, 0.97, 0.98, 0.53, 0.14, 0.038),
    "real_exposure": (0.67, 0.23, 0.27, 0.35, 0.46, 0.60, 0.92, 0.99, 0.51, 0.13, 0.043),
}


def domain_statistics(dataset: Dataset, progress: Progress | None = None) -> list[Row]:
    """One row for each domain of a prepared data set.

    Returns:
        Rows of `domain`; `train`, `val`, `test`: numbers of images; `images`: number of measured
        images of train and test (`MOST` at most, evenly spaced); and the `MEASURES`, pooled over
        the pixels of all these images without padding: `mean` and `std` of the grey values in
        [0, 1], quantiles, mean and standard deviation inside the head (< `INSIDE`), and
        `sharpness`: the standard deviation, inside the head, of the image minus its blur (see
        `sigma`; noise counts too). A measure is None where no pixel qualifies.
    """
    rows = []
    for domain in dataset.domains:
        train, test = len(dataset.train(domain)), len(dataset.images("test", domain))
        chosen = _evenly(train + test)
        row: Row = {"domain": domain, "train": train}
        row |= {"val": len(dataset.images("val", domain)), "test": test, "images": len(chosen)}
        images = _images(dataset, domain, chosen, progress)
        rows.append(row | _measure(images, sigma(dataset.config.size)))
    return rows


def sigma(size: int) -> float:
    """Sigma of the blur that defines `sharpness`, in pixels, for an image size."""
    return max(SIGMA * size / SIGMA_SIZE, LEAST_SIGMA)


def published() -> list[Row]:
    """The rows of the published example images."""
    rows: list[Row] = []
    for domain, values in PUBLISHED.items():
        counts = {"train": None, "val": None, "test": None, "images": 1}
        rows.append({"domain": domain, **counts, **dict(zip(MEASURES, values, strict=True))})
    return rows


def beside(rows: Sequence[Row], references: dict[str, Sequence[Row]]) -> list[Row]:
    """The rows, each followed by the reference rows of the same domain.

    A new column `data` says "these data" or the reference's name. Domains that only references
    have come last.
    """
    sources = {"these data": rows, **references}
    domains = dict.fromkeys(row["domain"] for source in sources.values() for row in source)
    return [
        {"data": name, **row}
        for domain in domains
        for name, source in sources.items()
        for row in source
        if row["domain"] == domain
    ]


def notes(size: int, *, compared: bool = True) -> list[str]:
    """Footnotes of the table, a line each.

    Args:
        size: that of the measured images.
        compared: whether the published rows are in the table.
    """
    lines = [
        f"over all pixels of at most {MOST} images of train and test, evenly spaced; "
        f"inside: grey < {INSIDE}; sharpness: std of x - blur(x) inside, noise included, "
        f"sigma {sigma(size):.2g} px",
        "published: our reading of one example image per domain of X-DigiSkull at about 760 px",
    ]
    if not compared:
        lines.pop()
    if sigma(size) > SIGMA * size / SIGMA_SIZE:
        lines.append(
            f"at {size} px sigma is {LEAST_SIGMA} px instead of {SIGMA * size / SIGMA_SIZE:.2g}, "
            "which would not blur: compare sharpness between images of the same size only"
        )
    return lines


def _evenly(total: int) -> list[int]:
    number = min(total, MOST)
    chosen: list[int] = np.linspace(0, total - 1, number).round().astype(int).tolist()
    return chosen


def _images(
    dataset: Dataset, domain: str, chosen: list[int], progress: Progress | None
) -> Iterator[Grey]:
    """The chosen images `[H, W]` of train and test together, without their padding."""
    train, test = dataset.train(domain), dataset.images("test", domain)
    boxes = _boxes(dataset, "train", domain, len(train))
    boxes += _boxes(dataset, "test", domain, len(test))
    for done, index in enumerate(chosen, start=1):
        image = train[index] if index < len(train) else test[index - len(train)]
        box = boxes[index] or Box(0, 0, *image.shape[1:])
        yield image.numpy()[0, box.top : box.top + box.height, box.left : box.left + box.width]
        if progress:
            progress(done, len(chosen), domain)


def _boxes(dataset: Dataset, split: Split, domain: str, number: int) -> list[Box | None]:
    boxes = dataset.content(split, domain) if number else None
    return [*boxes] if boxes else [None] * number


def _measure(images: Iterator[Grey], sigma: float) -> Row:
    """The `MEASURES` of images `[H, W]`, read one by one."""
    levels = np.zeros(WHITE + 1, np.int64)
    count, total, squares = 0, 0.0, 0.0
    for image in images:
        levels += np.bincount(quantise(image).ravel(), minlength=len(levels))
        fine = (image - ndimage.gaussian_filter(image, sigma))[image < INSIDE].astype(np.float64)
        count, total, squares = count + fine.size, total + fine.sum(), squares + fine @ fine
    inside = levels.copy()
    inside[np.arange(len(levels)) / WHITE >= INSIDE] = 0
    sharpness = float(max(squares / count - (total / count) ** 2, 0)) ** 0.5 if count else None
    values = (*_moments(levels), *_quantiles(levels), *_moments(inside), sharpness)
    return dict(zip(MEASURES, values, strict=True))


def _moments(levels: NDArray[np.int64]) -> tuple[float | None, float | None]:
    """Mean and standard deviation of a histogram over 16-bit levels, in [0, 1]."""
    number = int(levels.sum())
    if not number:
        return None, None
    values = np.arange(len(levels)) / WHITE
    mean = float(values @ levels) / number
    return mean, float(((values - mean) ** 2) @ levels / number) ** 0.5


def _quantiles(levels: NDArray[np.int64]) -> list[float | None]:
    below = np.cumsum(levels)
    if not below[-1]:
        return [None] * len(QUANTILES)
    return [float(np.searchsorted(below, q * below[-1])) / WHITE for q in QUANTILES.values()]
