"""Splits groups into train, val and test, so that near-duplicates never lie in two splits."""

from collections.abc import Mapping, Sequence

from xbench.core.hashing import digest


def assign_splits(
    groups: Mapping[str, Sequence[str]], val: float = 0.1, test: float = 0.2
) -> dict[str, str]:
    """Assign every group to a split, in the order of their names' hashes.

    Groups that occur in the same set of domains are split on their own, so that every domain gets
    its share of each split. Of three groups or more, each split gets at least one; of two groups
    one goes to test; a single group goes to train.

    Args:
        groups: domain → the group of each of its images.
        val: share of the groups for val.
        test: share of the groups for test.

    Returns:
        Group → `train`, `val` or `test`.

    >>> assign_splits({"real": ["a", "b", "c"], "synthetic": ["a", "b", "c", "c"]})
    {'c': 'test', 'a': 'val', 'b': 'train'}
    """
    domains_of: dict[str, set[str]] = {}
    for domain, names in groups.items():
        for name in names:
            domains_of.setdefault(name, set()).add(domain)
    families: dict[tuple[str, ...], list[str]] = {}
    for name, domains in domains_of.items():
        families.setdefault(tuple(sorted(domains)), []).append(name)
    splits = {}
    for family in families.values():
        ordered = sorted(family, key=lambda name: digest(name))
        tests, vals = _share(len(ordered), test, least=2), _share(len(ordered), val, least=3)
        for place, name in enumerate(ordered):
            rest = "val" if place < tests + vals else "train"
            splits[name] = "test" if place < tests else rest
    return splits


def _share(number: int, share: float, least: int) -> int:
    """A share of the groups, rounded; at least one of `least` groups or more."""
    return max(1, round(share * number)) if share > 0 and number >= least else 0
