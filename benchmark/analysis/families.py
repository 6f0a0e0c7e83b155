"""Colour and shape of each family of methods, the same in figures and in the report.

A family is all rows of one method, whatever their settings. A row of another training budget than
the profile's has the look of its family, and is hollow.
"""

from collections.abc import Mapping
from dataclasses import dataclass

from xbench.analysis.rows import Row
from xbench.analysis.tradeoffs import without
from xbench.core.pairs import EXPECTED, FLOOR
from xbench.methods.registry import BUILT_IN, REFERENCES

#: Colours that colour-blind readers can distinguish, on light and dark ground: seaborn's palette
#: `colorblind` without what is pale on white, and six between them. 13 colours and 4 shapes have no
#: common divisor, so that 52 families look different, and neighbours do in grey prints too.
COLOURS = (
    *("#CA9161", "#6A5ACD", "#D55E00", "#0173B2", "#029E73", "#CC78BC", "#8E44AD"),
    *("#DE8F05", "#D4476B", "#56B4E9", "#44AA99", "#8A9A1B", "#A0522D"),
)
#: As matplotlib and as Chart.js call them.
SHAPES = (("o", "circle"), ("s", "rect"), ("^", "triangle"), ("D", "rectRot"))
#: Grey is for reference rows only.
REFERENCE_COLOUR = "#777777"
REFERENCE_SHAPES = {"identity": ("X", "crossRot"), FLOOR: ("*", "star"), EXPECTED: ("*", "star")}
OTHER_REFERENCE = ("P", "cross")


@dataclass(frozen=True)
class Look:
    """Colour, and shape as matplotlib (`marker`) and Chart.js (`shape`) call it."""

    colour: str
    marker: str
    shape: str


def looks(by_label: Mapping[str, Row]) -> dict[str, Look]:
    """Family → look of all rows of a folder, whichever of them are shown.

    Built-in methods have fixed looks; others get the next ones by name.
    """
    families = {
        row.records[0].method.name: row.reference
        for row in sorted(by_label.values(), key=lambda row: row.label)
    }
    known = [name for name in BUILT_IN if name not in REFERENCES]
    methods = [*known, *sorted(n for n, ref in families.items() if not ref and n not in known)]
    taken = {
        name: Look(COLOURS[place % len(COLOURS)], *SHAPES[place % len(SHAPES)])
        for place, name in enumerate(methods)
    }
    return {
        name: Look(REFERENCE_COLOUR, *REFERENCE_SHAPES.get(name, OTHER_REFERENCE))
        if reference
        else taken[name]
        for name, reference in families.items()
    }


def other_budget(label: str) -> bool:
    """Whether a row was trained on another number of images than the profile's.

    >>> other_budget("cut[images=1024]"), other_budget("medshift[tau=0.6]")
    (True, False)
    """
    inner = label.partition("[")[2].removesuffix("]")
    return any(part.startswith("images=") for part in inner.split(","))


def short(label: str, by_label: Mapping[str, Row]) -> str:
    """The text at a point: `cut ×2` for twice the images of the row with the usual budget."""
    plain = by_label.get(without("images", label))
    if not other_budget(label) or plain is None:
        return label
    usual, own = (row.records[0].method.train_images for row in (plain, by_label[label]))
    return f"{plain.label} ×{own / usual:.3g}" if own and usual else label
