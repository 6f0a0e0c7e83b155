"""What each metric declares about itself. Importing this module imports neither torch nor numpy."""

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Literal

if TYPE_CHECKING:
    from torch import Tensor

Space = Literal["pixels", "texture", "inception", "clip", "user"]
Kind = Literal["per image", "frechet", "conditional", "kernel", "measures"]


@dataclass(frozen=True)
class Metric:
    """One column of the tables.

    Attributes:
        name: what records, CSV columns and `--metric` call it.
        label: how tables and plots head the column.
        identity: definition and version; two identities never share a table.
        about: one line for the user.
        kind: `per image`: a number for each image, averaged; `frechet`, `conditional` and
            `kernel`: distances between sets of features; `measures`: a difference between means
            of what is measured in each image.
        space: what is compared: pixels, or the features of an extractor.
        higher_is_better: which way the column is ranked.
        unit: unit of the value, empty for a pure number.
        span: least and greatest possible value; None where there is no end.
        decimals: digits after the point in tables.
        min_n: fewest images for which the value is computed; below, the field stays empty.
        paired: whether target images aligned with the sources are needed.
        of_source: whether outputs are compared with what they were made of, and not with targets.
        needs_masks: whether true bone masks are needed.
        in_tables: whether leaderboards for people have the column; CSV files have all.
        function: of a plug-in, which brings its own: output and target (or source, `of_source`)
            `[B, 1, H, W]` to one value per image `[B]`.
    """

    name: str
    label: str
    identity: str
    about: str
    kind: Kind = "per image"
    space: Space = "pixels"
    higher_is_better: bool = False
    unit: str = ""
    span: tuple[float | None, float | None] = (0, None)
    decimals: int = 2
    min_n: int = 1
    paired: bool = False
    of_source: bool = False
    needs_masks: bool = False
    in_tables: bool = True
    function: "Callable[[Tensor, Tensor], Tensor] | None" = field(
        default=None, repr=False, compare=False
    )


# A covariance of fewer images says next to nothing, and at 16 the conditional forms still have
# 16 // 4 = 4 dimensions. The definitions ask it of `ftd` and `cfid`; the others follow suit.
FRECHET_MIN_N = 16

# The first eight columns of `pairs.csv` are fixed; new ones follow them. Plug-ins add theirs at
# the end (see `custom`), before a plan is made: what depends on it must not be fixed on import.
METRICS: dict[str, Metric] = {
    metric.name: metric
    for metric in (
        Metric(
            "ssim",
            "SSIM",
            "ssim-gauss11-v1",
            "structural similarity of output and source: is the anatomy kept?",
            higher_is_better=True,
            span=(-1, 1),
            decimals=3,
            of_source=True,
        ),
        Metric(
            "psnr",
            "PSNR",
            "psnr-v1",
            "peak signal-to-noise ratio of output and source",
            higher_is_better=True,
            unit="dB",
            span=(0, 96.33),
            of_source=True,
        ),
        Metric(
            "ssim_ref",
            "SSIM ref",
            "ssim-gauss11-v1",
            "structural similarity of output and aligned target image",
            higher_is_better=True,
            span=(-1, 1),
            decimals=3,
            paired=True,
        ),
        Metric(
            "psnr_ref",
            "PSNR ref",
            "psnr-v1",
            "peak signal-to-noise ratio of output and aligned target image",
            higher_is_better=True,
            unit="dB",
            span=(0, 96.33),
            paired=True,
        ),
        Metric(
            "ftd",
            "FTD",
            "ftd-v1",
            "Fréchet texture distance: 62 standardised descriptors, no weights needed",
            kind="frechet",
            space="texture",
            min_n=FRECHET_MIN_N,
        ),
        Metric(
            "cftd",
            "CFTD",
            "cftd-v1",
            "conditional Fréchet texture distance: given the source, is it this target?",
            kind="conditional",
            space="texture",
            min_n=FRECHET_MIN_N,
            paired=True,
        ),
        Metric(
            "fid",
            "FID",
            "fid-inception-clean-v1",
            "Fréchet Inception distance on the features of clean-fid",
            kind="frechet",
            space="inception",
            decimals=1,
            min_n=FRECHET_MIN_N,
        ),
        Metric(
            "cfid",
            "CFID",
            "cfid-inception-pca32-v1",
            "conditional Fréchet Inception distance on up to 32 principal components",
            kind="conditional",
            space="inception",
            decimals=1,
            min_n=FRECHET_MIN_N,
            paired=True,
        ),
        Metric(
            "ktd",
            "KTD",
            "ktd-v1",
            "kernel texture distance: unbiased for any number of images",
            kind="kernel",
            space="texture",
            span=(None, None),
            decimals=3,
            min_n=FRECHET_MIN_N,
            in_tables=False,
        ),
        Metric(
            "kid",
            "KID",
            "kid-inception-v1",
            "kernel Inception distance: unbiased for any number of images",
            kind="kernel",
            space="inception",
            span=(None, None),
            decimals=4,
            min_n=FRECHET_MIN_N,
            in_tables=False,
        ),
        Metric(
            "clip_fid",
            "CLIP-FID",
            "fid-clip-b32-v1",
            "Fréchet distance on the CLIP features of clean-fid",
            kind="frechet",
            space="clip",
            min_n=FRECHET_MIN_N,
            in_tables=False,
        ),
        Metric(
            "clip_cfid",
            "CLIP-CFID",
            "cfid-clip-b32-pca32-v1",
            "conditional Fréchet distance on up to 32 principal components of CLIP features",
            kind="conditional",
            space="clip",
            min_n=FRECHET_MIN_N,
            paired=True,
            in_tables=False,
        ),
        Metric(
            "nps",
            "NPS",
            "nps-v1",
            "noise power spectrum: difference from the target's, no weights needed",
            kind="measures",
            unit="dB",
            in_tables=False,
        ),
        Metric(
            "hist_emd",
            "grey EMD",
            "hist-emd-dark25-v1",
            "attenuation: how far the darkest quarter of the grey values lies from the target's",
            kind="measures",
            span=(0, 1),
            decimals=4,
            in_tables=False,
        ),
        Metric(
            "edge_ratio",
            "edges",
            "edge-ratio-v1",
            "sharpness of the steepest edges: |log2| of the ratio to the target's",
            kind="measures",
            decimals=3,
            in_tables=False,
        ),
        Metric(
            "tissue_contrast",
            "tissue",
            "tissue-share-v1",
            "soft tissue that shows beside bone: difference from the target's share",
            kind="measures",
            span=(0, 1),
            decimals=4,
            in_tables=False,
        ),
        Metric(
            "bone_dice",
            "bone Dice",
            "bone-dice-otsu-v1",
            "overlap of the output's dark part with the true bone: does it keep its place?",
            higher_is_better=True,
            span=(0, 1),
            decimals=3,
            of_source=True,
            needs_masks=True,
            in_tables=False,
        ),
    )
}
