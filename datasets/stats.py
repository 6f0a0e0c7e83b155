"""Brightness, contrast and sharpness of each domain, to be set beside reference data."""

from collections.abc import Iterator, Sequence

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from xbench.datasets.base import Box, Dataset, Progress, Split
from xbench.datasets.decode import Grey

Row = dict[str, object]

#: Images of a domain that are measured at most, taken evenly from train and then test.
MOST = 200
#: Grey values below this lie inside the head: what is brighter is air.
INSIDE = 0.9
#: Sharpness is what a blur of this sigma takes away, in pixels of an image of 760; scaled to the
#: size of the images, but no narrower than the least, below which a blur does nothing.
SIGMA, SIGMA_SIZE, LEAST_SIGMA = 2.0, 760, 0.7
#: Column → quantile.
QUANTILES = {"q01": 0.01, "q05": 0.05, "q25": 0.25, "q50": 0.5, "q75": 0.75, "q95": 0.95}
#: Columns of measured values, in the order of tables.
MEASURES = ("mean", "std", *QUANTILES, "inside_mean", "inside_std", "sharpness")
#: The same of one published example image for each domain of X-DigiSkull, about 760 pixels wide
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
        Rows of `domain`; `train`, `val`, `test`: numbers of images; `images`: how many of train
        and test were measured (`MOST` at most, taken evenly); and the `MEASURES`, over the pixels
        of all of them together, without padding: `mean` and `std` of the grey values in [0, 1],
        quantiles, mean and standard deviation inside the head (< `INSIDE`), and `sharpness`, the
        standard deviation inside of what a blur takes away (see `sigma`; noise counts too). None
        where there is nothing to measure.
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
    """Standard deviation of the blur behind `sharpness`, in pixels of images of that size."""
    return max(SIGMA * size / SIGMA_SIZE, LEAST_SIGMA)


def published() -> list[Row]:
    """The rows of the published example images."""
    rows: list[Row] = []
    for domain, values in PUBLISHED.items():
        counts = {"train": None, "val": None, "test": None, "images": 1}
        rows.append({"domain": domain, **counts, **dict(zip(MEASURES, values, strict=True))})
    return rows


def beside(rows: Sequence[Row], references: dict[str, Sequence[Row]]) -> list[Row]:
    """The rows, each followed by those of the same domain in the references.

    All get the column `data`: "these data" or the reference's name. References of domains that
    the data lack come last, domain by domain.
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


def notes(size: int) -> list[str]:
    """What a reader of the table must know, a line each; `size` is that of the measured images."""
    lines = [
        f"over the pixels of {MOST} images of train and test at most, taken evenly; "
        f"inside: below {INSIDE}; sharpness: std inside of x - blur(x), noise included, "
        f"sigma {sigma(size):.2g} px",
        "published: one example image per domain of X-DigiSkull at about 760 px, by our reading",
    ]
    if sigma(size) > SIGMA * size / SIGMA_SIZE:
        lines.append(
            f"at {size} px sigma is {LEAST_SIGMA} px, not {SIGMA * size / SIGMA_SIZE:.2g}, which "
            "would blur too little: compare sharpness with that of the same size only"
        )
    return lines


def _evenly(total: int) -> list[int]:
    number = min(total, MOST)
    chosen: list[int] = np.linspace(0, total - 1, number).round().astype(int).tolist()
    return chosen


def _images(
    dataset: Dataset, domain: str, chosen: list[int], progress: Progress | None
) -> Iterator[Grey]:
    """Images `[H, W]` without their padding, counted through train and then test."""
    train, test = dataset.train(domain), dataset.images("test", domain)
    trimmed = _boxes(dataset, "train", domain, len(train))
    trimmed += _boxes(dataset, "test", domain, len(test))
    for done, index in enumerate(chosen, start=1):
        image = train[index] if index < len(train) else test[index - len(train)]
        box = trimmed[index] or Box(0, 0, *image.shape[1:])
        yield image.numpy()[0, box.top : box.top + box.height, box.left : box.left + box.width]
        if progress:
            progress(done, len(chosen), domain)


def _boxes(dataset: Dataset, split: Split, domain: str, number: int) -> list[Box | None]:
    boxes = dataset.content(split, domain) if number else None
    return [*boxes] if boxes else [None] * number


def _measure(images: Iterator[Grey], sigma: float) -> Row:
    """The `MEASURES` of images `[H, W]`, which are read one by one."""
    levels = np.zeros(65536, np.int64)
    count, total, squares = 0, 0.0, 0.0
    for image in images:
        stored = np.rint(image * 65535).astype(np.int64)
        levels += np.bincount(stored.ravel(), minlength=len(levels))
        lost = (image - ndimage.gaussian_filter(image, sigma))[image < INSIDE].astype(np.float64)
        count, total, squares = count + lost.size, total + lost.sum(), squares + lost @ lost
    inside = levels.copy()
    inside[np.arange(len(levels)) / 65535 >= INSIDE] = 0
    mean, std = _moments(levels)
    inside_mean, inside_std = _moments(inside)
    spread = float(max(squares / count - (total / count) ** 2, 0)) ** 0.5 if count else None
    return {
        "mean": mean,
        "std": std,
        **_quantiles(levels),
        "inside_mean": inside_mean,
        "inside_std": inside_std,
        "sharpness": spread,
    }


def _moments(levels: NDArray[np.int64]) -> tuple[float | None, float | None]:
    """Mean and standard deviation of a histogram over 16-bit levels, in [0, 1]."""
    number = int(levels.sum())
    if not number:
        return None, None
    values = np.arange(len(levels)) / 65535
    mean = float(values @ levels) / number
    return mean, float(((values - mean) ** 2) @ levels / number) ** 0.5


def _quantiles(levels: NDArray[np.int64]) -> dict[str, float | None]:
    below = np.cumsum(levels)
    if not below[-1]:
        return dict.fromkeys(QUANTILES)
    return {
        name: float(np.searchsorted(below, share * below[-1])) / 65535
        for name, share in QUANTILES.items()
    }
