"""Ordered pairs of domains: what is translated into what."""

from collections.abc import Iterable, Sequence
from itertools import permutations

from xbench.core.errors import UserError, unknown

#: Source and target domain.
Pair = tuple[str, str]
#: The target view's second exposure, scored like a translation: the best one can hope for. Where
#: there are none, one half of the target's images against the other, labelled `floor[n/2]`.
FLOOR = "floor"


def parse_pairs(texts: Iterable[str], domains: Sequence[str]) -> tuple[Pair, ...]:
    """`SRC:TGT` texts to pairs in table order; none means all ordered pairs."""
    all_pairs = tuple(permutations(domains, 2))
    wanted = set()
    for text in texts:
        source, _, target = text.partition(":")
        for domain in (source, target):
            if domain not in domains:
                raise unknown("domain", domain, domains, "try: --pairs " + ":".join(domains[:2]))
        if source == target:
            raise UserError(
                f"the pair {text} translates a domain into itself",
                "expected: two different domains as SRC:TGT",
                "try: --pairs " + ":".join(all_pairs[0]),
            )
        wanted.add((source, target))
    return tuple(pair for pair in all_pairs if pair in wanted) if wanted else all_pairs
