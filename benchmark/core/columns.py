"""The columns of tables that are no metrics: one list from which all others are made.

A metric declares its own column (`xbench.metrics.base`); `xbench.analysis.columns` joins both.
"""

import math
from dataclasses import dataclass
from functools import partial

#: Metrics that rank rows, by their means over the pairs between groups of domains, and the labels
#: of these means. Which one ranks depends on the data (`analysis.ranking`).
RANKING = {"ltd": "LTD cross", "fid": "FID cross", "ftd": "FTD cross"}
#: Endings of further columns of a metric: ends of the 95 % interval, deviation over seeds.
SPREADS = ("ci_low", "ci_high", "sd_seeds")
#: What networks are worth that learned from a row's images (`analysis.utility`), and its interval.
UTILITY = ("utility", "utility_ci_low", "utility_ci_high")


def crossed(metric: str) -> str:
    """The column with a metric's mean over the pairs between groups of domains.

    >>> crossed("ltd")
    'ltd_cross'
    """
    return f"{metric}_cross"


@dataclass(frozen=True)
class Column:
    """One column.

    Attributes:
        name: what CSV files, JSON and `--sort` call it.
        label: how tables for people head it; empty where they have no such column.
        about: one line for the reader.
        tables: files that have it: `leaderboard`, `pairs` (every unit), `parameters`.
        decimals: digits after the point in tables for people.
        factor: what a value is multiplied by there.
        suffix: what follows a number other than 0 there.
        higher_is_better: which way is better; None where neither is.
        count: whether it is a whole number that may be unknown.
        cost: whether it says what a method takes, and not how good it is.
        all_pairs: whether it is of all pairs, whichever pairs a table is of.
        in_tables: whether leaderboards for people have it; CSV files have all.
    """

    name: str
    label: str = ""
    about: str = ""
    tables: tuple[str, ...] = ("leaderboard",)
    decimals: int = 0
    factor: float = 1
    suffix: str = ""
    higher_is_better: bool | None = None
    count: bool = False
    cost: bool = False
    all_pairs: bool = False
    in_tables: bool = True

    @property
    def head(self) -> str:
        """The label, of columns that say how good a row is with an arrow towards the better values.

        >>> Column("ssim", "SSIM", higher_is_better=True).head
        'SSIM ↑'
        """
        arrow = {True: " ↑", False: " ↓", None: ""}[self.higher_is_better]
        return self.label + arrow

    def text(self, value: object) -> str:
        """A number as tables for people show it; empty where there is none.

        >>> Column("params", decimals=2, factor=1e-6, suffix=" M").text(1_130_000)
        '1.13 M'
        """
        if not isinstance(value, int | float) or not math.isfinite(value):
            return ""
        if self.suffix and value == 0:
            return "0"
        return f"{value * self.factor:,.{self.decimals}f}{self.suffix}"


_cost = partial(Column, tables=("leaderboard", "parameters"), cost=True, all_pairs=True)
_parameters = partial(_cost, count=True, decimals=2, factor=1e-6, suffix=" M")

#: Columns from left to right, those in front of the metrics and those behind them.
FRONT = (
    Column("rank", "#", "place among the rows that translate"),
    Column("method", "method", "label of the row", ("leaderboard", "pairs", "parameters")),
    Column("pairs"),
    Column("seeds", "seeds", "how many have all pairs of the row", in_tables=False),
    *(Column(name, tables=("pairs",)) for name in ("source", "target", "seed", "n")),
)
BACK = (
    Column("polarity", tables=("pairs",)),
    *(
        Column(
            *(crossed(metric), label, f"mean {label.split()[0]} over pairs between domain groups"),
            decimals=3 if metric == "ltd" else 2,
            higher_is_better=False,
            all_pairs=True,
        )
        for metric, label in RANKING.items()
    ),
    Column(
        *(
            "gap_closed",
            "gap closed",
            "share of the gap in the ranking column: 0 identity, 1 floor",
        ),
        decimals=3,
        higher_is_better=True,
    ),
    Column(
        *(UTILITY[0], "utility", "share of the gap to real labels that it closes: xbench utility"),
        decimals=2,
        higher_is_better=True,
        all_pairs=True,
    ),
    _parameters("params_total", "params, all pairs", "parameters of all networks for all pairs"),
    _parameters("params", "params", "parameters for one pair", in_tables=False),
    _parameters("params_live"),
    _parameters("params_training", "params, training only", tables=("parameters",)),
    _cost("nfe", "nfe", "network evaluations per image", count=True),
    _cost("seconds_per_image", "ms/image", "time of a translation", decimals=1, factor=1000),
    _cost("train_images_total", "train images", "images drawn in all trainings", count=True),
    _cost("train_images", "images/training", "images drawn in one", count=True, in_tables=False),
    _cost("train_seconds", "train s", "seconds of all trainings"),
    Column("reference", tables=("leaderboard", "parameters")),
    *(Column(name, tables=()) for name in ("published", "pair", "group", "images")),
)
#: Names that no metric may have.
NAMES = frozenset(column.name for column in (*FRONT, *BACK))
