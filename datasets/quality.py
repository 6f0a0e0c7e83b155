"""Finds faulty images of a folder before any time is spent on them: `xbench data verify`."""

import hashlib
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from itertools import combinations, product

import numpy as np

from xbench.core.checks import Check
from xbench.core.errors import UserError
from xbench.core.pixels import WHITE
from xbench.datasets import similarity
from xbench.datasets.base import Dataset, Progress, Split
from xbench.datasets.decode import Grey, Undecodable
from xbench.datasets.index import Item
from xbench.datasets.prepare import LEAST_SIDE, quantise

#: Threads that decode: Pillow and zlib release Python's lock.
THREADS = 2
#: Grey values this close to 0 or 1 count as black or white: half a step of 8 bits.
END = 0.002
#: Distance of the 1st and 99th percentile below which an image is empty, ...
EMPTY_RANGE = 0.001
#: ... or uses little of the range.
LITTLE_RANGE = 0.2
#: Share of black or white pixels above which the middle half (each way) of an image is saturated.
#: The rim does not count: there, white is air and black a shutter. Phantom: no black, 4 % white.
BLACK_SHARE, WHITE_SHARE = 0.05, 0.2
#: Duplicates differ in at most so many of 64 hash bits, and their details correlate at least so.
#: Measured on the phantom: copies (JPEG, quality 75 and more) 2 bits and .91 to 1, distinct views
#: down to 0 bits, but at most .85.
HASH_BITS, DUPLICATE = 8, 0.95
#: An image is inverted below this correlation with the mean image. Phantom: never below +.5.
INVERTED = -0.3
#: A domain may be bone-bright if its borders are darker than its centres by more than this.
DARK_BORDER = 0.1
#: Alignment is judged if two domains share at least so many views. On the phantom, that finds
#: shuffled names always, and two exchanged views in nine of ten cases.
LEAST_VIEWS = 10
#: Fewer training or test images than this train and measure little.
FEW_TRAIN, FEW_TEST = 10, 2
#: Largest accepted ratio of the numbers of training images of two domains.
UNEQUAL = 2.0

#: Checks whose failure makes results wrong, in the order of the report, ...
ERRORS = {
    "corrupt": "files that cannot be decoded",
    "too small": f"a side of less than {LEAST_SIDE} pixels",
    "empty": f"1st and 99th percentile differ by less than {EMPTY_RANGE}",
    "identical domains": "two domains that hold the same images",
    "leakage": "the same image of a domain in two splits",
    "mixed polarity": "images inverted relative to the others of their domain",
    "unaligned": "equal ids whose images are not more alike than those of unequal ids",
    "labels": "masks and tables below labels/ that cannot be used",
}
#: ... and checks whose failure may do so.
WARNINGS = {
    "shared images": "some images that are in two domains, pixel by pixel",
    "polarity": "a domain whose borders are darker than its centres",
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


@dataclass(frozen=True)
class _Seen:
    """The facts about an image that the checks need: 16 KiB and a few numbers."""

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
    """All problems of a data set, errors first, in an order that depends only on the data.

    Args:
        items: its images; domains are reported in the order of their first images.
        load: returns the image of an item, float32 `[H, W]` in [0, 1], air bright and bone dark,
            or raises `Undecodable` or OSError. Called once per item, by several threads.
        progress: called after each image.
        aligned: whether equal ids of val and test should show equal views.
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
    # All empty images look the same.
    filled = {name: [s for s in seen if not _is_empty(s)] for name, seen in domains.items()}
    for domain, seen in filled.items():
        problems += _polarity(domain, seen)
        problems += _duplicates(domain, seen)
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
            found.setdefault(note, _problem("labels", domain, note, fix=fix))
    return list(found.values())


def _place(domains: list[str]) -> Callable[[Problem], tuple[object, ...]]:
    """The sort key of problems: errors first, then by check, domain and files."""

    def key(problem: Problem) -> tuple[object, ...]:
        first = domains.index(problem.domain) if problem.domain in domains else -1
        place = CHECKS.index(problem.check)
        return (place, first, problem.domain, problem.files, problem.text)

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
        # Ctrl-C does not wait for the images in the queue.
        pool.shutdown(cancel_futures=True)


def _look_at(item: Item, load: Callable[[Item], Grey]) -> _Seen | Problem:
    try:
        image = load(item)
    except Undecodable as error:
        return _problem("corrupt", item.domain, f"{item.file} {error}", (item.file,))
    except OSError as error:
        note = f"{item.file} cannot be read: {error.strerror or error}"
        return _problem("corrupt", item.domain, note, (item.file,))
    height, width = image.shape
    if min(height, width) < LEAST_SIDE:
        note = f"{item.file} has {height} x {width} pixels, at least {LEAST_SIDE} are needed"
        return _problem("too small", item.domain, note, (item.file,))
    levels = quantise(image)
    below = np.cumsum(np.bincount(levels.ravel(), minlength=WHITE + 1)) / levels.size
    low, high = np.searchsorted(below, (0.01, 0.99)) / WHITE
    middle = levels[height // 4 : height - height // 4, width // 4 : width - width // 4]
    return _Seen(
        item=item,
        thumbnail=similarity.thumbnail(image),
        low=float(low),
        high=float(high),
        black=float((middle <= int(END * WHITE)).mean()),
        white=float((middle >= int((1 - END) * WHITE)).mean()),
        digest=hashlib.sha256(repr(levels.shape).encode() + levels.tobytes()).digest(),
    )


def _is_empty(seen: _Seen) -> bool:
    return seen.high - seen.low < EMPTY_RANGE


def _ranges(domain: str, seen: list[_Seen]) -> Iterator[Problem]:
    """Empty images, images that use little of the range, and saturated ones."""
    empty = [s for s in seen if _is_empty(s)]
    if empty:
        note = f"constant or nearly so: {_names(empty)}"
        yield _problem("empty", domain, note, _files(empty))
    little = [s for s in seen if not _is_empty(s) and s.high - s.low < LITTLE_RANGE]
    if little:
        low, high = min(s.low for s in little), max(s.high for s in little)
        note = (
            f"{len(little)} of {len(seen)} images of {domain} use little of the range, "
            f"{low:.3f} to {high:.3f} of 0 to 1 ({_names(little)})"
        )
        fix = "set window = [LOW, HIGH] in dataset.toml"
        yield _problem("little range", domain, note, _files(little), fix)
    usual = [s for s in seen if s.high - s.low >= LITTLE_RANGE]
    burnt = [s for s in usual if s.black > BLACK_SHARE or s.white > WHITE_SHARE]
    if burnt:
        black, white = max(s.black for s in burnt), max(s.white for s in burnt)
        note = (
            f"{len(burnt)} of {len(seen)} images of {domain} are cut off at the ends of the scale: "
            f"up to {black:.0%} of the middle black, {white:.0%} white ({_names(burnt)})"
        )
        fix = "set a wider window in dataset.toml"
        yield _problem("saturated", domain, note, _files(burnt), fix)


def _polarity(domain: str, seen: list[_Seen]) -> Iterator[Problem]:
    """Images that are inverted relative to the others; a domain that may be bone-bright."""
    if not seen:
        return
    thumbnails = _thumbnails(seen)
    inverted = similarity.negatives(thumbnails, INVERTED)
    odd = [s for s, is_odd in zip(seen, inverted, strict=True) if is_odd]
    if odd:
        note = (
            f"{len(odd)} of {len(seen)} images of {domain} are inverted relative to the others: "
            f"{_names(odd)}"
        )
        fix = "store them like the others, or make them a domain of their own"
        yield _problem("mixed polarity", domain, note, _files(odd), fix)
    difference = float(np.median(similarity.border_less_centre(thumbnails[~inverted])))
    if difference < -DARK_BORDER:
        note = (
            f"the borders of {domain} are darker than its centres by {-difference:.2f}, as if bone "
            "were bright"
        )
        fix = 'if so, set polarity = "bone-bright" in dataset.toml'
        yield _problem("polarity", domain, note, fix=fix)


def _duplicates(domain: str, seen: list[_Seen]) -> Iterator[Problem]:
    """One problem for each set of equal images."""
    if len(seen) < 2:
        return
    thumbnails = _thumbnails(seen)
    pairs = similarity.near_pairs(similarity.perceptual_hashes(thumbnails), HASH_BITS)
    details = similarity.details(thumbnails)
    links = [np.empty((0, 2), np.intp)]
    for some in np.array_split(pairs, len(pairs) // 4096 + 1):
        alike = (details[some[:, 0]] * details[some[:, 1]]).sum(axis=1) >= DUPLICATE
        links += [p[None] for p in some[alike] if not _are_exposures(seen[p[0]], seen[p[1]])]
    sets: dict[int, list[_Seen]] = {}
    labels = similarity.clusters(len(seen), np.concatenate(links))
    for label, one in zip(labels.tolist(), seen, strict=True):
        sets.setdefault(label, []).append(one)
    for same in sets.values():
        splits = sorted({_split(s) for s in same})
        note = f"the same image in {' and '.join(splits)}: {_names(same)}"
        if len(same) > 1:
            check = "leakage" if len(splits) > 1 else "duplicates"
            yield _problem(check, domain, note, _files(same))


def _split(seen: _Seen) -> str:
    """The split of an image; that of the first exposures if it is a second exposure."""
    return seen.item.split.removesuffix("_repeat")


def _are_exposures(one: _Seen, other: _Seen) -> bool:
    """Whether one of two images is a second exposure in the split of the other."""
    return one.item.split != other.item.split and _split(one) == _split(other)


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
            yield _problem("identical domains", f"{one}, {other}", note)
        else:
            note = f"{one} and {other} share images, pixel by pixel: {_names(both)}"
            yield _problem("shared images", f"{one}, {other}", note, _files(both))


def _alignment(domains: _Domains) -> Iterator[Problem]:
    """Pairs of domains, and single ids, whose images show different views."""
    views = {
        name: {(s.item.split, s.item.id): s for s in seen if s.item.split in ("val", "test")}
        for name, seen in domains.items()
    }
    unaligned: list[tuple[str, str]] = []
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
            unaligned.append((one, other))
            continue
        for index in np.flatnonzero(wrong):
            differ.setdefault(names[index], []).append((one, other))
    if unaligned:
        concerned = dict.fromkeys(domain for pair in unaligned for domain in pair)
        listed = "; ".join(f"{one} and {other}" for one, other in unaligned)
        note = (
            "equal names do not show equal views: images of equal ids are not more alike than "
            f"others ({listed})"
        )
        fix = 'set alignment = "none" in dataset.toml'
        yield _problem("unaligned", ", ".join(concerned), note, fix=fix)
    for name, pairs in differ.items():
        yield _misaligned(pairs, {domain: views[domain].get(name) for domain in domains})


def _misaligned(pairs: list[tuple[str, str]], views: dict[str, _Seen | None]) -> Problem:
    """The problem of one id; the domain that differs from most others comes first."""
    times = Counter(domain for pair in pairs for domain in pair)
    order = sorted(times, key=lambda domain: (-times[domain], list(times).index(domain)))
    shown = [seen for domain in order if (seen := views[domain]) is not None]
    # A domain that differs from several others is the only one to blame.
    alone = len(order) > 2 and times[order[0]] > times[order[1]]
    others = ", ".join(s.item.file for s in shown[1:])
    note = f"{shown[0].item.file} seems to show another view than {others}"
    return _problem("misaligned", order[0] if alone else ", ".join(order), note, _files(shown))


def _counts(domains: _Domains) -> Iterator[Problem]:
    """Domains with few images, or with far fewer than another domain."""
    trains = {name: _count(seen, "train") for name, seen in domains.items()}
    for name, seen in domains.items():
        train, test = trains[name], _count(seen, "test")
        if train < FEW_TRAIN or test < FEW_TEST:
            note = f"{name} has only {train} training and {test} test images that can be used"
            yield _problem("few images", name, note)
    least, most = min(trains.values(), default=0), max(trains.values(), default=0)
    if most > UNEQUAL * least:
        listed = ", ".join(f"{name} {count}" for name, count in trains.items())
        smallest = min(trains, key=lambda name: trains[name])
        note = f"numbers of training images differ widely: {listed}"
        yield _problem("unequal counts", smallest, note)


def _count(seen: list[_Seen], split: str) -> int:
    return sum(s.item.split == split for s in seen)


def _thumbnails(seen: list[_Seen]) -> Grey:
    return np.stack([s.thumbnail for s in seen])


def _files(seen: Sequence[_Seen]) -> tuple[str, ...]:
    return tuple(s.item.file for s in seen)


def _names(seen: list[_Seen], most: int = 3) -> str:
    """The names of the first files, and the number of the others."""
    rest = f" and {len(seen) - most} more" if len(seen) > most else ""
    return ", ".join(_files(seen[:most])) + rest


def _problem(
    check: str, domain: str, note: str, files: tuple[str, ...] = (), fix: str = ""
) -> Problem:
    return Problem(check, "error" if check in ERRORS else "warning", note, fix, domain, files)
