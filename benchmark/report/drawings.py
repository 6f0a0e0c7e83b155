"""Figures of costs, settings and utility, redrawn from the records that the page shows."""

import base64
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory

from xbench.analysis import tuning
from xbench.analysis.results import Results
from xbench.core.errors import UserError
from xbench.core.files import within

#: Figures of the val split, copied beside the records and not made of them, and what they show.
OF_VAL = {
    "budget-val": "Quality against training time at several budgets, on two pairs of the val split",
    "evaluations-val": "Quality against network evaluations per image, on the same pairs",
}


@dataclass(frozen=True)
class Drawing:
    """A figure.

    Attributes:
        name: of its CSV file, without the ending.
        about: what it shows.
        png: the picture in base64.
    """

    name: str
    about: str
    png: str


def drawings(results: Results) -> list[Drawing]:
    """All figures for which there are rows, or a file beside the records."""
    found = []
    with TemporaryDirectory() as place:
        for name, (about, draw) in _figures(results).items():
            with suppress(UserError, OSError):  # no such rows, or a link that leads out
                (path,) = draw(Path(place) / f"{name}.png")
                found.append(Drawing(name, about, _encoded(path)))
    for name, about in OF_VAL.items():
        path = results.folder / f"{name}.png"
        with suppress(OSError):  # no such file, or the same
            within(results.folder, path.with_suffix(".csv")).stat()
            found.append(Drawing(name, about, _encoded(within(results.folder, path))))
    return found


def _figures(results: Results) -> dict[str, tuple[str, Callable[[Path], list[Path]]]]:
    """Name → what it shows, and how it is drawn; none where plain rows are all there is."""
    tuned = (results.folder / tuning.FILE).is_file()
    if not (tuned or results.trials.pairs or any("[" in label for label in results.by_label)):
        return {}  # matplotlib is not even imported
    from xbench.analysis import figures as plots

    return {
        "budget": (
            "Quality against training time: a line for each method through its budgets",
            lambda to: plots.budget(results, to),
        ),
        "evaluations": (
            "Quality against network evaluations per image",
            lambda to: plots.evaluations(results, to),
        ),
        "utility": (
            "Which metric predicts what the images are worth to other networks",
            lambda to: plots.utility(results, to),
        ),
        "tuning": (
            "What settings reached on the val split",
            lambda to: plots.tuning(results.folder, to),
        ),
    }


def _encoded(path: Path) -> str:
    return base64.b64encode(path.read_bytes()).decode()
