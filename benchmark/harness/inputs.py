"""What the method of a unit is given, and how the result is scored: the floor differs in both."""

from collections.abc import Sequence
from dataclasses import dataclass

from xbench.datasets.base import Images
from xbench.harness.plan import Plan, Unit
from xbench.scoring.scorer import Halves, Scorer


@dataclass(frozen=True)
class Inputs:
    """Images for a method.

    Attributes:
        images: float32 `[n, 1, H, W]` in [0, 1].
        ids: one per image.
        domain: whose images they are.
        rows: their places among the images of the domain.
        halves: set where they are one half of the target's images, to be compared with the other.
        shows_source: whether they show the views of the source, so that polarity has a meaning.
    """

    images: Images
    ids: Sequence[str]
    domain: str
    rows: Sequence[int]
    halves: Halves | None = None
    shows_source: bool = True


def inputs_of(plan: Plan, unit: Unit, scorer: Scorer) -> Inputs:
    """The source's images; for some references the target's: noise-free, exposed again, or half."""
    dataset, split, given = plan.dataset, plan.split, unit.entry.method.given
    domain = unit.source if given == "source" else unit.target
    ids = dataset.ids(split, domain)
    everything = range(len(ids))
    if given == "source":
        return Inputs(dataset.images(split, domain), ids, domain, everything)
    if given == "expected":
        other = dataset.expected(split, domain)
    else:
        other = dataset.repeats(split, domain) if dataset.repeated(split) else None
    if other is not None:
        aligned = dataset.aligned(split)
        return Inputs(other, ids, domain, everything, shows_source=aligned)
    halves = scorer.halves(domain)
    rows = halves[0]
    half = dataset.images(split, domain).only(rows)
    return Inputs(half, [ids[row] for row in rows], domain, rows, halves, shows_source=False)
