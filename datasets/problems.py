"""What `xbench data verify` looks for, and what it says when it finds it."""

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from xbench.core.checks import Check
from xbench.datasets.prepare import LEAST_SIDE

#: Distance of the 1st and 99th percentile below which an image is empty, ...
EMPTY_RANGE = 0.001
#: ... or uses little of the range.
LITTLE_RANGE = 0.2
#: Share of black or white pixels above which the middle half (each way) of an image is saturated.
#: The rim does not count: there, white is air and black a shutter. Phantom: no black, 4 % white.
BLACK_SHARE, WHITE_SHARE = 0.05, 0.2
#: Fewer training or test images than this train and measure little.
FEW_TRAIN, FEW_TEST = 10, 2
#: Largest accepted ratio of the numbers of training images of two domains.
UNEQUAL = 2.0

#: Checks whose failure makes results wrong, in the order of the report, ...
ERRORS = {
    "corrupt": "files that cannot be decoded",
    "too small": f"a side of less than {LEAST_SIDE} pixels",
    "too elongated": f"a side of less than {LEAST_SIDE} pixels in the usual profile",
    "empty": f"1st and 99th percentile differ by less than {EMPTY_RANGE}",
    "identical domains": "two domains that hold the same images",
    "leakage": "the same image of a domain in two splits",
    "mixed polarity": "images inverted relative to the others of their domain",
    "unaligned": "equal ids whose images are not more similar than those of unequal ids",
    "labels": "masks and tables below labels/ that cannot be used",
}
#: ... and checks whose failure may do so.
WARNINGS = {
    "shared images": "some images that are in two domains, pixel by pixel",
    "polarity": "a domain whose bone seems to be bright, or domains of opposite polarity",
    "framing": "domains that show the anatomy at another place or in another size",
    "bit depths": "files of two bit depths in a domain, of which one does not fill the range",
    "elongated": f"a side of less than {LEAST_SIDE} pixels in the smallest profile",
    "little range": f"1st and 99th percentile differ by less than {LITTLE_RANGE}",
    "saturated": f"more than {BLACK_SHARE:.0%} of the middle black, or {WHITE_SHARE:.0%} white",
    "misaligned": "single ids whose images show different views",
    "duplicates": "the same image twice in a split of a domain",
    "few images": f"less than {FEW_TRAIN} training or {FEW_TEST} test images in a domain",
    "unequal counts": f"more than {UNEQUAL:g} times as many training images as in another domain",
}
CHECKS = (*ERRORS, *WARNINGS)


@dataclass(frozen=True)
class Problem(Check):
    """A failed check of a data set: one of `CHECKS`, with the outcome `error` or `warning`.

    Attributes:
        domain: the domain, or several separated by ", ".
        files: the faulty files, as in the index; empty if the whole domain is faulty.
    """

    domain: str = ""
    files: tuple[str, ...] = ()

    @property
    def text(self) -> str:
        """Note and fix as one sentence, which names the (first) files."""
        return f"{self.note}: {self.fix}" if self.fix else self.note


def problem(
    check: str, domain: str, note: str, files: Sequence[str] = (), fix: str = ""
) -> Problem:
    """A problem with the outcome of its check."""
    outcome = "error" if check in ERRORS else "warning"
    return Problem(check, outcome, note, fix, domain, tuple(files))


def listed(files: Sequence[str], most: int = 3) -> str:
    """The first names, and the number of the others."""
    rest = f" and {len(files) - most} more" if len(files) > most else ""
    return ", ".join(files[:most]) + rest


def depths(bits: Iterable[int]) -> str:
    """How many files have which bit depth.

    >>> depths([8, 16, 8, 0])
    '8 bits (2), 16 bits (1), floating point (1)'
    """
    counts = sorted(Counter(bits).items(), key=lambda entry: entry[0] or 99)
    return ", ".join(f"{b} bits ({n})" if b else f"floating point ({n})" for b, n in counts)
