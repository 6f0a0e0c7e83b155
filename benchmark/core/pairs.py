"""Ordered pairs of domains: what is translated into what."""

from collections.abc import Iterable, Sequence
from itertools import permutations

from xbench.core.errors import UserError, unknown
from xbench.core.names import plain, quoted

#: Source and target domain.
Pair = tuple[str, str]
#: Name of the reference row that is as good as a translation can be: a second exposure of the
#: target's views. Without second exposures, one half of the target's images is compared with the
#: other, and the row is labelled `floor[n/2]`.
FLOOR = "floor"
#: Name of the reference row of noise-free targets, where the data have them.
EXPECTED = "expected"
#: Name of the reference row of a network that was trained on aligned pairs.
PAIRED = "paired"
#: Names of the reference rows that do not translate: they show what a column is worth.
CHEATS = ("shuffle", "nearest")


def parse_pairs(texts: Iterable[str], domains: Sequence[str]) -> tuple[Pair, ...]:
    """`SRC:TGT` texts to pairs in table order; no text means all ordered pairs.

    >>> parse_pairs(["b:a"], ["a", "b", "c"])
    (('b', 'a'),)
    >>> parse_pairs([], ["a", "b"])
    (('a', 'b'), ('b', 'a'))

    Raises:
        UserError: no pair, an unknown domain, or a pair of the same domain.
    """
    all_pairs = tuple(permutations(domains, 2))
    wanted = set()
    for text in texts:
        source, colon, target = plain(str(text)).partition(":")
        if not colon:
            raise UserError(
                f"'{text}' is no pair of domains",
                f"expected: SRC:TGT, each one of {', '.join(domains)}",
                _example(domains),
            )
        for domain in (source, target):
            if domain not in domains:
                raise unknown("domain", domain, domains, _example(domains))
        if source == target:
            raise UserError(
                f"the pair {text} translates a domain into itself",
                "expected: two different domains as SRC:TGT",
                _example(domains),
            )
        wanted.add((source, target))
    return tuple(pair for pair in all_pairs if pair in wanted) if wanted else all_pairs


def _example(domains: Sequence[str]) -> str:
    pair = ":".join(domains[:2])
    return f"for example: --pairs {quoted(pair)} (in Python: pairs='{pair}')"
