"""Finds what is wrong with the images of a data set in a folder, before any work is spent."""

import hashlib
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from itertools import combinations
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from xbench.datasets import similarity
from xbench.datasets.base import Progress
from xbench.datasets.decode import Grey, Undecodable
from xbench.datasets.index import Item
from xbench.datasets.prepare import LEAST_SIDE

#: Decoders run beside each other: Pillow and zlib let go of Python's lock.
THREADS = 2
#: Grey values this close to 0 or 1 are at the end of the scale: half a step of 8 bits.
END = 0.002
#: An image is empty when its 1st and 99th percentile are closer than this, ...
EMPTY_RANGE = 0.001
#: ... and uses little of the range below this.
LITTLE_RANGE = 0.2
#: Saturated: a larger share of the middle half (each way) is black or white. Around it white is
#: air, which X-rays saturate as they should, and black a shutter. Phantom: no black, 4 % white.
BLACK_SHARE, WHITE_SHARE = 0.05, 0.2
#: Duplicates differ in so many of 64 hash bits at most, and their details correlate at least so.
#: Measured on the phantom: copies (JPEG, quality 75 and more) 2 bits and .91 to 1, distinct views
#: down to 0 bits, but at most .85.
HASH_BITS, DUPLICATE = 8, 0.95
#: Inverted: correlation with the mean image of the domain. Phantom: never below +.5.
INVERTED = -0.3
#: A domain is bone-bright where its borders are darker than its centres by this.
DARK_BORDER = 0.1
#: Aligned views are judged where two domains share so many of them. Phantom, with so many or
#: more: shuffled names are always found, two exchanged views in nine of ten cases.
LEAST_VIEWS = 10
#: Fewer training or test images than this teach and measure little.
FEW_TRAIN, FEW_TEST = 10, 2
#: Unequal: the largest domain has more training images than the smallest by this factor.
UNEQUAL = 2.0

#: What is checked, in the order of the report.
CHECKS = {
    "corrupt": "files that cannot be decoded",
    "too small": f"a side of less than {LEAST_SIDE} pixels",
    "empty": f"1st and 99th percentile differ by less than {EMPTY_RANGE}",
    "identical domains": "two domains that hold the same images",
    "shared images": "some images that are in two domains, pixel by pixel",
    "leakage": "the same image of a domain in two splits",
    "mixed polarity": "images inverted relative to the others of their domain",
    "unaligned": "equal ids are no more alike than unequal ones",
    "polarity": "a domain whose borders are darker than its centres",
    "little range": f"1st and 99th percentile differ by less than {LITTLE_RANGE}",
    "saturated": f"more than {BLACK_SHARE:.0%} of the middle black, or {WHITE_SHARE:.0%} white",
    "misaligned": "single ids whose images show different views",
    "duplicates": "the same image twice in a split of a domain",
    "few images": f"less than {FEW_TRAIN} training or {FEW_TEST} test images in a domain",
    "unequal counts": f"{UNEQUAL:g} times as many training images in one domain as in another",
}


@dataclass(frozen=True)
class Problem:
    """One thing that is wrong, and what mends it.

    Attributes:
        severity: `error` where results would be wrong, `warning` where they may be.
        check: one of `CHECKS`.
        domain: the domain, or several separated by ", ".
        files: all files concerned, as in the index; empty where it is the domain as a whole.
        text: a sentence that names the (first) files.
    """

    severity: Literal["error", "warning"]
    check: str
    domain: str
    files: tuple[str, ...]
    text: str


@dataclass(frozen=True)
class _Seen:
    """What is kept of an image: 16 KiB and a few numbers."""

    item: Item
    thumbnail: Grey
    low: float
    high: float
    black: float
    white: float
    digest: bytes


_Domains = dict[str, list[_Seen]]


def check(
    items: Sequence[Item],
    load: Callable[[Item], Grey],
    progress: Progress | None = None,
    aligned: bool = True,
) -> list[Problem]:
    """All problems of a data set, errors first, in an order that depends on the data alone.

    Args:
        items: its images; domains are reported in the order of their first images.
        load: the image of an item, float32 `[H, W]` in [0, 1], air bright and bone dark; raises
            `Undecodable` or OSError where there is none. It is called once for each item, by
            several threads.
        progress: called after each image.
        aligned: whether equal ids of val and test are meant to show equal views.
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
    # An empty image looks like any other empty image.
    filled = {name: [s for s in seen if not _is_empty(s)] for name, seen in domains.items()}
    for domain, seen in filled.items():
        problems += _polarity(domain, seen)
        problems += _duplicates(domain, seen)
    problems += _copies(filled)
    if aligned:
        problems += _alignment(filled)
    return sorted(problems, key=_place(list(domains)))


def _place(domains: list[str]) -> Callable[[Problem], tuple[object, ...]]:
    """The key by which problems are sorted."""
    checks = list(CHECKS)

    def key(problem: Problem) -> tuple[object, ...]:
        first = domains.index(problem.domain) if problem.domain in domains else -1
        place = checks.index(problem.check)
        return (problem.severity, place, first, problem.domain, problem.files, problem.text)

    return key


def _look_at_all(
    items: Sequence[Item], load: Callable[[Item], Grey], progress: Progress | None
) -> Iterator[_Seen | Problem]:
    pool = ThreadPoolExecutor(THREADS)
    try:
        results = pool.map(lambda item: _look_at(item, load), items)
        for done, result in enumerate(results, start=1):
            if progress:
                progress(done, len(items), "images")
            yield result
    finally:
        # Ctrl-C must not wait for ten thousand images.
        pool.shutdown(cancel_futures=True)


def _look_at(item: Item, load: Callable[[Item], Grey]) -> _Seen | Problem:
    try:
        image = load(item)
    except Undecodable as error:
        return _error("corrupt", item.domain, [item.file], f"{item.file} {error}")
    except OSError as error:
        text = f"{item.file} cannot be read: {error.strerror or error}"
        return _error("corrupt", item.domain, [item.file], text)
    height, width = image.shape
    if min(height, width) < LEAST_SIDE:
        text = f"{item.file} has {height} x {width} pixels, at least {LEAST_SIDE} are needed"
        return _error("too small", item.domain, [item.file], text)
    levels = np.rint(image * 65535).astype(np.uint16)
    below = np.cumsum(np.bincount(levels.ravel(), minlength=65536)) / levels.size
    low, high = np.searchsorted(below, (0.01, 0.99)) / 65535
    middle = levels[height // 4 : height - height // 4, width // 4 : width - width // 4]
    return _Seen(
        item=item,
        thumbnail=similarity.thumbnail(image),
        low=float(low),
        high=float(high),
        black=float((middle <= int(END * 65535)).mean()),
        white=float((middle >= int((1 - END) * 65535)).mean()),
        digest=hashlib.sha256(repr(levels.shape).encode() + levels.tobytes()).digest(),
    )


def _is_empty(seen: _Seen) -> bool:
    return seen.high - seen.low < EMPTY_RANGE


def _ranges(domain: str, seen: list[_Seen]) -> Iterator[Problem]:
    """Empty images, such as use little of the range, and saturated ones."""
    empty = [s for s in seen if _is_empty(s)]
    if empty:
        text = f"constant or nearly so: {_names(empty)}"
        yield _error("empty", domain, _files(empty), text)
    little = [s for s in seen if not _is_empty(s) and s.high - s.low < LITTLE_RANGE]
    if little:
        low, high = min(s.low for s in little), max(s.high for s in little)
        text = (
            f"{len(little)} of {len(seen)} images of {domain} use little of the range, "
            f"{low:.3f} to {high:.3f} of 0 to 1 ({_names(little)}): set window = [LOW, HIGH] in "
            "dataset.toml"
        )
        yield _warning("little range", domain, _files(little), text)
    usual = [s for s in seen if s.high - s.low >= LITTLE_RANGE]
    burnt = [s for s in usual if s.black > BLACK_SHARE or s.white > WHITE_SHARE]
    if burnt:
        black, white = max(s.black for s in burnt), max(s.white for s in burnt)
        text = (
            f"{len(burnt)} of {len(seen)} images of {domain} are cut off at the ends of the scale: "
            f"up to {black:.0%} of the middle black, {white:.0%} white ({_names(burnt)}): set a "
            "wider window in dataset.toml"
        )
        yield _warning("saturated", domain, _files(burnt), text)


def _polarity(domain: str, seen: list[_Seen]) -> Iterator[Problem]:
    """Images that are inverted relative to the others; a domain that seems bone-bright."""
    if not seen:
        return
    thumbnails = _thumbnails(seen)
    inverted = np.zeros(len(seen), np.bool_)
    if len(seen) > 1:
        inverted = _inverted(similarity.standardise(thumbnails), _border_less_centre(thumbnails))
    odd = [s for s, is_odd in zip(seen, inverted, strict=True) if is_odd]
    if odd:
        text = (
            f"{len(odd)} of {len(seen)} images of {domain} are inverted relative to the others: "
            f"{_names(odd)}: store them like the others, or make them a domain of their own"
        )
        yield _error("mixed polarity", domain, _files(odd), text)
    difference = float(np.median(_border_less_centre(thumbnails[~inverted])))
    if difference < -DARK_BORDER:
        text = (
            f"the borders of {domain} are darker than its centres by {-difference:.2f}, as if bone "
            f'were bright: if so, set polarity = "bone-bright" in dataset.toml'
        )
        yield _warning("polarity", domain, (), text)


def _inverted(rows: Grey, brighter: NDArray[np.floating]) -> NDArray[np.bool_]:
    """Which of the standardised images `[n, d]` are negatives of most others.

    Signs are found by turns with the mean of the images so signed, so that a third of negatives
    does not wash the mean out. Of two equal halves the one with the darker borders is wrong.
    """
    signs = np.where(rows @ rows[0] < 0, -1.0, 1.0)
    for _ in range(5):
        signs = np.where(rows @ (signs @ rows) < 0, -1.0, 1.0)
    mean = similarity.standardise((signs @ rows)[None])[0]
    alike = rows @ mean
    balance = signs.sum() or float(signs @ brighter)
    return np.asarray((alike if balance >= 0 else -alike) < INVERTED)


def _border_less_centre(thumbnails: Grey) -> NDArray[np.floating]:
    """How much brighter a rim of 4 pixels is than the middle half, for each thumbnail: `[n]`."""
    rim, quarter = 4, similarity.SIDE // 4
    border = np.ones(thumbnails.shape[1:], np.bool_)
    border[rim:-rim, rim:-rim] = False
    centre = thumbnails[:, quarter:-quarter, quarter:-quarter]
    return np.asarray(thumbnails[:, border].mean(axis=1) - centre.mean(axis=(1, 2)))


def _duplicates(domain: str, seen: list[_Seen]) -> Iterator[Problem]:
    """One problem for each set of images that show the same."""
    if len(seen) < 2:
        return
    thumbnails = _thumbnails(seen)
    pairs = similarity.near_pairs(similarity.perceptual_hashes(thumbnails), HASH_BITS)
    details = similarity.details(thumbnails)
    links = [np.empty((0, 2), np.intp)]
    for some in np.array_split(pairs, len(pairs) // 4096 + 1):
        alike = (details[some[:, 0]] * details[some[:, 1]]).sum(axis=1) >= DUPLICATE
        links += [pair[None] for pair in some[alike] if not _are_exposures(*_items(seen, pair))]
    sets: dict[int, list[_Seen]] = {}
    labels = similarity.clusters(len(seen), np.concatenate(links))
    for label, one in zip(labels.tolist(), seen, strict=True):
        sets.setdefault(label, []).append(one)
    for same in sets.values():
        splits = sorted({s.item.split.removesuffix("_repeat") for s in same})
        text = f"the same image in {' and '.join(splits)}: {_names(same)}"
        if len(splits) > 1:
            yield _error("leakage", domain, _files(same), text)
        elif len(same) > 1:
            yield _warning("duplicates", domain, _files(same), text)


def _items(seen: list[_Seen], pair: NDArray[np.intp]) -> tuple[Item, Item]:
    return seen[pair[0]].item, seen[pair[1]].item


def _are_exposures(one: Item, other: Item) -> bool:
    """Whether two images lie in a split and in its second exposures."""
    return one.split != other.split and (
        one.split.removesuffix("_repeat") == other.split.removesuffix("_repeat")
    )


def _copies(domains: _Domains) -> Iterator[Problem]:
    """Images that two domains share, pixel by pixel."""
    for (one, ours), (other, theirs) in combinations(domains.items(), 2):
        digests = Counter(s.digest for s in ours)
        known = Counter(s.digest for s in theirs)
        both = [s for s in (*ours, *theirs) if s.digest in digests and s.digest in known]
        if not both:
            continue
        if digests == known:
            text = f"{one} and {other} hold the same {len(ours)} images"
            yield _error("identical domains", f"{one}, {other}", (), text)
        else:
            text = f"{one} and {other} share images, pixel by pixel: {_names(both)}"
            yield _warning("shared images", f"{one}, {other}", _files(both), text)


def _alignment(domains: _Domains) -> Iterator[Problem]:
    """Pairs of domains, and single ids, whose images do not show the same view."""
    views = {
        name: {(s.item.split, s.item.id): s for s in seen if s.item.split in ("val", "test")}
        for name, seen in domains.items()
    }
    strange: list[tuple[str, str]] = []
    differ: dict[tuple[str, str], list[tuple[str, str]]] = {}
    for one, other in combinations(domains, 2):
        names = sorted(views[one].keys() & views[other].keys())
        if len(names) < LEAST_VIEWS:
            continue
        edges = [
            similarity.edges(_thumbnails([views[domain][name] for name in names]))
            for domain in (one, other)
        ]
        wrong = similarity.misaligned(*edges)
        if wrong is None:
            strange.append((one, other))
            continue
        for index in np.flatnonzero(wrong):
            differ.setdefault(names[index], []).append((one, other))
    if strange:
        yield _unaligned(strange)
    for name, pairs in differ.items():
        yield _misaligned(pairs, {domain: views[domain].get(name) for domain in domains})


def _unaligned(pairs: list[tuple[str, str]]) -> Problem:
    concerned = dict.fromkeys(domain for pair in pairs for domain in pair)
    listed = "; ".join(f"{one} and {other}" for one, other in pairs)
    text = (
        "equal names do not show equal views: images of equal ids are no more alike than those of "
        f'others ({listed}): set alignment = "none" in dataset.toml'
    )
    return _error("unaligned", ", ".join(concerned), (), text)


def _misaligned(pairs: list[tuple[str, str]], views: dict[str, _Seen | None]) -> Problem:
    """The problem of one id; of several domains the one that differs from most comes first."""
    times = Counter(domain for pair in pairs for domain in pair)
    order = sorted(times, key=lambda domain: (-times[domain], list(times).index(domain)))
    shown = [seen for domain in order if (seen := views[domain]) is not None]
    # Where one domain differs from several others, it is the one to be mended.
    alone = len(order) > 2 and times[order[0]] > times[order[1]]
    others = ", ".join(s.item.file for s in shown[1:])
    text = f"{shown[0].item.file} seems to show another view than {others}"
    return _warning("misaligned", order[0] if alone else ", ".join(order), _files(shown), text)


def _counts(domains: _Domains) -> Iterator[Problem]:
    """Domains with few images, and such as have far fewer than others."""
    trains = {name: _count(seen, "train") for name, seen in domains.items()}
    for name, seen in domains.items():
        train, test = trains[name], _count(seen, "test")
        if train < FEW_TRAIN or test < FEW_TEST:
            text = f"{name} has only {train} training and {test} test images that can be used"
            yield _warning("few images", name, (), text)
    least, most = min(trains.values(), default=0), max(trains.values(), default=0)
    if most > UNEQUAL * least:
        listed = ", ".join(f"{name} {count}" for name, count in trains.items())
        smallest = min(trains, key=lambda name: trains[name])
        text = f"numbers of training images differ widely: {listed}"
        yield _warning("unequal counts", smallest, (), text)


def _count(seen: list[_Seen], split: str) -> int:
    return sum(s.item.split == split for s in seen)


def _thumbnails(seen: list[_Seen]) -> Grey:
    return np.stack([s.thumbnail for s in seen])


def _files(seen: Iterable[_Seen]) -> tuple[str, ...]:
    return tuple(s.item.file for s in seen)


def _names(seen: list[_Seen], most: int = 3) -> str:
    """The first names of files, and how many there are besides."""
    rest = f" and {len(seen) - most} more" if len(seen) > most else ""
    return ", ".join(_files(seen[:most])) + rest


def _error(check: str, domain: str, files: Sequence[str], text: str) -> Problem:
    return Problem("error", check, domain, tuple(files), text)


def _warning(check: str, domain: str, files: Sequence[str], text: str) -> Problem:
    return Problem("warning", check, domain, tuple(files), text)
