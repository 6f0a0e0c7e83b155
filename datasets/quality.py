"""Finds faulty images of a folder before any time is spent on them: `xbench data verify`."""

from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from itertools import combinations, product

import numpy as np

from xbench.core.errors import UserError
from xbench.core.profiles import PROFILES, get_profile
from xbench.datasets import duplicates, similarity
from xbench.datasets.base import Dataset, Progress, Split
from xbench.datasets.decode import Undecodable
from xbench.datasets.facts import Loaded, Seen, files, is_empty, look_at, names, thumbnails
from xbench.datasets.folder import Folder
from xbench.datasets.index import Item
from xbench.datasets.polarity import Belief, agreed, believe, inverted
from xbench.datasets.prepare import LEAST_SIDE
from xbench.datasets.problems import (
    BLACK_SHARE,
    CHECKS,
    FEW_TEST,
    FEW_TRAIN,
    LITTLE_RANGE,
    UNEQUAL,
    WHITE_SHARE,
    Problem,
    depths,
    problem,
)

#: Threads that decode: Pillow and zlib release Python's lock.
THREADS = 2
#: Of a domain, so many images say what its polarity is.
VOTERS = 200
#: Largest ratio of the brightest greys of two bit depths in a domain.
UNLIKE_DEPTHS = 2.0
#: Alignment is judged if two domains share at least so many views. On the phantom, that finds
#: shuffled names always, and two exchanged views in nine of ten cases.
LEAST_VIEWS = 10
#: The profile that a run has if none is named.
USUAL = "quick"


_Domains = dict[str, list[Seen]]


def check(
    items: Sequence[Item],
    load: Callable[[Item], Loaded],
    progress: Progress | None = None,
    aligned: bool = True,
    say: Callable[[str], None] = lambda _: None,
    *,
    pads: bool = True,
) -> list[Problem]:
    """All problems of a data set, errors first, in an order that depends only on the data.

    Args:
        items: its images; domains are reported in the order of their first images.
        load: returns the image of an item, or raises `Undecodable` or OSError. Called once per
            item, by several threads.
        progress: called after each image.
        aligned: whether equal ids of val and test should show equal views.
        say: called with a sentence on what was found right, and how sure that is.
        pads: whether images become squares by padding, which leaves less of long ones.
    """
    domains: _Domains = {item.domain: [] for item in items}
    problems = []
    for result in _look_at_all(sorted(items), load, progress):
        if isinstance(result, Problem):
            problems.append(result)
        else:
            domains[result.item.domain].append(result)
    problems += _counts(domains)
    for domain, seen in domains.items():
        problems += _ranges(domain, seen)
        problems += _depths(domain, seen)
        problems += _elongated(domain, seen) if pads else []
    # All empty images look the same.
    filled = {name: [s for s in seen if not is_empty(s)] for name, seen in domains.items()}
    for domain, seen in filled.items():
        problems += _inverted(domain, seen)
        problems += duplicates.find(domain, seen)
    problems += _polarity(filled, say)
    problems += _copies(filled)
    if aligned:
        problems += _alignment(filled)
    return sorted(problems, key=_place(list(domains)))


def check_labels(dataset: Dataset) -> list[Problem]:
    """Why the labels of a data set cannot be used: the first problem of each split and domain."""
    found: dict[str, Problem] = {}
    splits: tuple[Split, ...] = ("train", "val", "test")
    for split, domain in product(splits, dataset.domains):
        try:
            dataset.labels(split, domain)
        except Undecodable:
            continue  # an image, which is corrupt or too small: `check` finds it
        except UserError as error:
            note, *_, fix = str(error).split("\n")
            found.setdefault(note, problem("labels", domain, note, fix=fix))
    return list(found.values())


def check_framing(folder: Folder) -> list[Problem]:
    """Domains whose anatomy lies at another place, or in another size, than in the first one."""
    first, found = folder.domains[0], []
    fix = "crop all files in the same way"
    if folder.config.fit != "align":
        fix += ', or set fit = "align" in dataset.toml, which cuts out the part that all show'
    for domain, framing in folder.framings().items():
        if framing.differs:
            note = (
                f"compared with {first}, the anatomy of {domain} {framing.words}: methods learn to "
                f"move and resize it (mean edges correlate by {framing.before:.2f}, laid over each "
                f"other by {framing.place.correlation:.2f})"
            )
            found.append(problem("framing", domain, note, fix=fix))
    return found


def _place(domains: list[str]) -> Callable[[Problem], tuple[object, ...]]:
    """The sort key of problems: errors first, then by check, domain and files."""

    def key(found: Problem) -> tuple[object, ...]:
        first = domains.index(found.domain) if found.domain in domains else -1
        place = CHECKS.index(found.check)
        return (place, first, found.domain, found.files, found.text)

    return key


def _look_at_all(
    items: Sequence[Item], load: Callable[[Item], Loaded], progress: Progress | None
) -> Iterator[Seen | Problem]:
    pool = ThreadPoolExecutor(THREADS)
    try:
        results = pool.map(lambda item: look_at(item, load), items)
        for done, result in enumerate(results, start=1):
            if progress:
                progress(done, len(items), "images")
            yield result
    finally:
        # Ctrl-C does not wait for the images in the queue.
        pool.shutdown(cancel_futures=True)


def _elongated(domain: str, seen: list[Seen]) -> Iterator[Problem]:
    """Images of which a profile keeps too few pixels on the shorter side to run."""

    def narrow(size: int) -> list[Seen]:
        return [s for s in seen if round(s.short * size / s.side) < LEAST_SIDE]

    small = [p.name for p in PROFILES.values() if narrow(p.size)]
    if small:
        usual = narrow(get_profile(USUAL).size)
        found = usual or narrow(PROFILES[small[0]].size)
        note = (
            f"{len(found)} of {len(seen)} images of {domain} are too elongated to run with "
            f"--profile {', '.join(small)} ({names(found)})"
        )
        fix = 'choose another profile, or set fit = "crop" in dataset.toml'
        check = "too elongated" if usual else "elongated"
        yield problem(check, domain, note, files(found), fix)


def _ranges(domain: str, seen: list[Seen]) -> Iterator[Problem]:
    """Empty images, images that use little of the range, and saturated ones."""
    empty = [s for s in seen if is_empty(s)]
    if empty:
        note = f"constant or nearly so: {names(empty)}"
        yield problem("empty", domain, note, files(empty))
    little = [s for s in seen if not is_empty(s) and s.high - s.low < LITTLE_RANGE]
    if little:
        low, high = min(s.low for s in little), max(s.high for s in little)
        note = (
            f"{len(little)} of {len(seen)} images of {domain} use little of the range, "
            f"{low:.3f} to {high:.3f} of 0 to 1 ({names(little)})"
        )
        fix = "set window = [LOW, HIGH] in dataset.toml"
        yield problem("little range", domain, note, files(little), fix)
    usual = [s for s in seen if s.high - s.low >= LITTLE_RANGE]
    burnt = [s for s in usual if s.black > BLACK_SHARE or s.white > WHITE_SHARE]
    if burnt:
        black, white = max(s.black for s in burnt), max(s.white for s in burnt)
        note = (
            f"{len(burnt)} of {len(seen)} images of {domain} are cut off at the ends of the scale: "
            f"up to {black:.0%} of the middle black, {white:.0%} white ({names(burnt)})"
        )
        fix = "set a wider window in dataset.toml"
        yield problem("saturated", domain, note, files(burnt), fix)


def _inverted(domain: str, seen: list[Seen]) -> Iterator[Problem]:
    """Images that are inverted relative to the others."""
    if not seen:
        return
    odd = [s for s, is_odd in zip(seen, inverted(thumbnails(seen)), strict=True) if is_odd]
    if odd:
        note = (
            f"{len(odd)} of {len(seen)} images of {domain} are inverted relative to the others: "
            f"{names(odd)}"
        )
        fix = "store them like the others, or make them a domain of their own"
        yield problem("mixed polarity", domain, note, files(odd), fix)


def _beliefs(domains: Mapping[str, Sequence[Seen]]) -> list[Belief]:
    """What images and headers say of the polarity of each domain."""
    chosen = {
        name: [seen[k] for k in np.linspace(0, len(seen) - 1, min(VOTERS, len(seen))).astype(int)]
        for name, seen in domains.items()
        if seen
    }
    shown = {name: agreed([s.bone_bright for s in seen]) for name, seen in chosen.items()}
    return believe({name: thumbnails(seen) for name, seen in chosen.items()}, shown)


def _polarity(domains: _Domains, say: Callable[[str], None]) -> Iterator[Problem]:
    """Domains whose bone seems to be bright, by headers, their air or other domains."""
    for belief in _beliefs(domains):
        if not belief.bone_bright:
            known = "bone is dark" if belief.sure else "it is not sure that bone is dark"
            say(f"polarity: {belief.domain}: {known}: {belief.why}")
            continue
        note = f"bone seems to be bright in {belief.domain}: {belief.why}"
        fix = 'if so, set polarity = "bone-bright" in dataset.toml'
        if not belief.sure:
            others = ", ".join(belief.opposite)
            note = f"{belief.domain} and {others} have opposite polarity: {belief.why}"
            fix = "set polarity in dataset.toml, by domain: look which of them has bright bone"
        yield problem("polarity", belief.domain, note, fix=fix)


def _depths(domain: str, seen: Sequence[Seen]) -> Iterator[Problem]:
    """Two bit depths in a domain, of which one uses much less of the range than the other."""
    tops: dict[int, list[float]] = {}
    for one in seen:
        tops.setdefault(one.bits, []).append(one.high)
    highest = {bits: float(np.median(high)) for bits, high in tops.items()}
    if len(tops) < 2 or max(highest.values()) < UNLIKE_DEPTHS * min(highest.values()):
        return
    note = f"{domain} has files of {depths([s.bits for s in seen])}, whose brightest greys are " + (
        " and ".join(f"{highest[bits]:.2f} ({bits} bits)" for bits in sorted(highest))
    )
    fix = "no window fits both: store all images with one bit depth, or make two domains of them"
    yield problem("bit depths", domain, note, fix=fix)


def _copies(domains: _Domains) -> Iterator[Problem]:
    """Images that two domains share, pixel by pixel."""
    for (one, ours), (other, theirs) in combinations(domains.items(), 2):
        digests = Counter(s.digest for s in ours)
        known = Counter(s.digest for s in theirs)
        both = [s for s in (*ours, *theirs) if s.digest in digests and s.digest in known]
        if not both:
            continue
        if digests == known:
            note = f"{one} and {other} hold the same {len(ours)} images"
            yield problem("identical domains", f"{one}, {other}", note)
        else:
            note = f"{one} and {other} share images, pixel by pixel: {names(both)}"
            yield problem("shared images", f"{one}, {other}", note, files(both))


def _alignment(domains: _Domains) -> Iterator[Problem]:
    """Pairs of domains, and single ids, whose images show different views."""
    views = {
        name: {(s.item.split, s.item.id): s for s in seen if s.item.split in ("val", "test")}
        for name, seen in domains.items()
    }
    unaligned: list[tuple[str, str]] = []
    differ: dict[tuple[str, str], list[tuple[str, str]]] = {}
    for one, other in combinations(domains, 2):
        shared = sorted(views[one].keys() & views[other].keys())
        if len(shared) < LEAST_VIEWS:
            continue
        outlines = [
            similarity.outlines(thumbnails([views[domain][name] for name in shared]))
            for domain in (one, other)
        ]
        wrong = similarity.misaligned(*outlines)
        if wrong is None:
            unaligned.append((one, other))
            continue
        for index in np.flatnonzero(wrong):
            differ.setdefault(shared[index], []).append((one, other))
    if unaligned:
        concerned = dict.fromkeys(domain for pair in unaligned for domain in pair)
        listed = "; ".join(f"{one} and {other}" for one, other in unaligned)
        note = (
            "equal names do not show equal views: images of equal ids are not more similar than "
            f"others ({listed})"
        )
        fix = 'set alignment = "none" in dataset.toml'
        yield problem("unaligned", ", ".join(concerned), note, fix=fix)
    for name, pairs in differ.items():
        yield _misaligned(pairs, {domain: views[domain].get(name) for domain in domains})


def _misaligned(pairs: list[tuple[str, str]], views: dict[str, Seen | None]) -> Problem:
    """The problem of one id; the domain that differs from most others comes first."""
    times = Counter(domain for pair in pairs for domain in pair)
    order = sorted(times, key=lambda domain: (-times[domain], list(times).index(domain)))
    shown = [seen for domain in order if (seen := views[domain]) is not None]
    # A domain that differs from several others is the only one to blame.
    alone = len(order) > 2 and times[order[0]] > times[order[1]]
    others = ", ".join(s.item.file for s in shown[1:])
    note = f"{shown[0].item.file} seems to show another view than {others}"
    return problem("misaligned", order[0] if alone else ", ".join(order), note, files(shown))


def _counts(domains: _Domains) -> Iterator[Problem]:
    """Domains with few images, or with far fewer than another domain."""
    trains = {name: _count(seen, "train") for name, seen in domains.items()}
    for name, seen in domains.items():
        train, test = trains[name], _count(seen, "test")
        if train < FEW_TRAIN or test < FEW_TEST:
            note = f"{name} has only {train} training and {test} test images that can be used"
            yield problem("few images", name, note)
    least, most = min(trains.values(), default=0), max(trains.values(), default=0)
    if most > UNEQUAL * least:
        listed = ", ".join(f"{name} {count}" for name, count in trains.items())
        smallest = min(trains, key=lambda name: trains[name])
        note = f"numbers of training images differ widely: {listed}"
        yield problem("unequal counts", smallest, note)


def _count(seen: list[Seen], split: str) -> int:
    return sum(s.item.split == split for s in seen)
