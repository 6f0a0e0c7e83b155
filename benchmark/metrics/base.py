"""What each metric declares about itself. Importing this module imports neither torch nor numpy."""

from dataclasses import dataclass
from typing import Literal

Space = Literal["pixels", "texture", "inception"]


class Unavailable(Exception):
    """A metric cannot be computed here; the text is one line, fit for a footnote of a table."""


@dataclass(frozen=True)
class Metric:
    """One column of the tables.

    Attributes:
        name: what records, CSV columns and `--metric` call it.
        label: how tables and plots head the column.
        identity: definition and version; two identities never share a table.
        higher_is_better: which way the column is ranked.
        unit: unit of the value, empty for a pure number.
        decimals: digits after the point in tables.
        min_n: fewest images for which the value is computed; below, the field stays empty.
        paired: whether target images aligned with the sources are needed.
        space: what is compared: pixels, texture descriptors or Inception features.
        about: one line for the user.
    """

    name: str
    label: str
    identity: str
    higher_is_better: bool
    unit: str
    decimals: int
    min_n: int
    paired: bool
    space: Space
    about: str


# A covariance of fewer images says next to nothing, and at 16 the conditional forms still have
# 16 // 4 = 4 dimensions. The definitions ask it of `ftd` and `cfid`; `cftd` and `fid` follow suit.
FRECHET_MIN_N = 16

METRICS: dict[str, Metric] = {
    metric.name: metric
    for metric in (
        Metric(
            "ssim",
            "SSIM",
            "ssim-gauss11-v1",
            higher_is_better=True,
            unit="",
            decimals=3,
            min_n=1,
            paired=False,
            space="pixels",
            about="structural similarity of output and source: is the anatomy kept?",
        ),
        Metric(
            "psnr",
            "PSNR",
            "psnr-v1",
            higher_is_better=True,
            unit="dB",
            decimals=2,
            min_n=1,
            paired=False,
            space="pixels",
            about="peak signal-to-noise ratio of output and source",
        ),
        Metric(
            "ssim_ref",
            "SSIM ref",
            "ssim-gauss11-v1",
            higher_is_better=True,
            unit="",
            decimals=3,
            min_n=1,
            paired=True,
            space="pixels",
            about="structural similarity of output and aligned target image",
        ),
        Metric(
            "psnr_ref",
            "PSNR ref",
            "psnr-v1",
            higher_is_better=True,
            unit="dB",
            decimals=2,
            min_n=1,
            paired=True,
            space="pixels",
            about="peak signal-to-noise ratio of output and aligned target image",
        ),
        Metric(
            "ftd",
            "FTD",
            "ftd-v1",
            higher_is_better=False,
            unit="",
            decimals=2,
            min_n=FRECHET_MIN_N,
            paired=False,
            space="texture",
            about="Fréchet texture distance: 62 standardised descriptors, no weights needed",
        ),
        Metric(
            "cftd",
            "CFTD",
            "cftd-v1",
            higher_is_better=False,
            unit="",
            decimals=2,
            min_n=FRECHET_MIN_N,
            paired=True,
            space="texture",
            about="conditional Fréchet texture distance: given the source, is it this target?",
        ),
        Metric(
            "fid",
            "FID",
            "fid-inception-clean-v1",
            higher_is_better=False,
            unit="",
            decimals=1,
            min_n=FRECHET_MIN_N,
            paired=False,
            space="inception",
            about="Fréchet Inception distance on the features of clean-fid",
        ),
        Metric(
            "cfid",
            "CFID",
            "cfid-inception-pca32-v1",
            higher_is_better=False,
            unit="",
            decimals=1,
            min_n=FRECHET_MIN_N,
            paired=True,
            space="inception",
            about="conditional Fréchet Inception distance on up to 32 principal components",
        ),
    )
}
