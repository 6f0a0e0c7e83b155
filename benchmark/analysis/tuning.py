"""What `xbench tune` found: values tried on `val`, what each reached, and which was chosen."""

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any

import pandas as pd

from xbench.analysis.columns import of_metric
from xbench.analysis.typeset import Cell, Table, csv, dictionaries
from xbench.core.errors import UserError
from xbench.core.files import within, write_text
from xbench.metrics.base import METRICS

#: In the folder of a profile, `<out>/<dataset>/<profile>`.
FILE = "tuning.csv"


@dataclass(frozen=True)
class Trial:
    """One value of one setting of a method.

    Attributes:
        method: its name.
        setting: its name.
        value: as JSON has it.
        metric: what is compared; lower is better.
        mean: of the metric over the pairs.
        ci_low: lower end of its 95 % interval; NaN if unknown.
        ci_high: upper end.
        pairs: number of the pairs.
        nfe: network evaluations per image.
        train_images: images drawn in training.
        default: whether the profile had this value when it was tried.
        chosen: whether it was the best.
    """

    method: str
    setting: str
    value: Any
    metric: str
    mean: float
    ci_low: float
    ci_high: float
    pairs: int
    nfe: int
    train_images: int
    default: bool
    chosen: bool


def frame(trials: Sequence[Trial]) -> pd.DataFrame:
    """A line for each trial; values as JSON texts."""
    lines = [asdict(trial) | {"value": json.dumps(trial.value)} for trial in trials]
    return pd.DataFrame(lines, columns=[field.name for field in fields(Trial)])


def store(trials: pd.DataFrame, folder: Path) -> None:
    """Write trials to the file of a folder, in place of earlier ones of the same methods."""
    if (folder / FILE).exists():
        earlier = load(folder)
        trials = pd.concat([earlier[~earlier["method"].isin(trials["method"])], trials])
    write_text(folder / FILE, csv(trials))


def load(folder: Path) -> pd.DataFrame:
    """The trials of a folder, as `frame` returns them.

    Raises:
        UserError: there are none.
    """
    if not (folder / FILE).exists():
        raise UserError(
            f"there is no {FILE} in {folder}",
            "expected: what xbench tune wrote",
            "for example: xbench tune --method medshift",
        )
    return pd.read_csv(within(folder, folder / FILE))


def text(trials: pd.DataFrame) -> Table:
    """The trials for people: a block for each method and setting."""
    metrics = ", ".join(dict.fromkeys(trials["metric"]))
    blocks: dict[str, list[dict[str, Cell]]] = {}
    for trial in dictionaries(trials):
        name = f"{trial['method']}: {trial['setting']}"
        blocks.setdefault(name, []).append(_line(trial))
    pairs = ", ".join(str(n) for n in dict.fromkeys(trials["pairs"]))
    caption = f"Mean of {metrics} over {pairs} pairs of the val split; the least is chosen."
    return Table("tuning", caption, blocks)


def _line(trial: Mapping[str, Any]) -> dict[str, Cell]:
    """One trial, its value as in labels."""
    column = of_metric(METRICS[trial["metric"]])
    half = (trial["ci_high"] - trial["ci_low"]) / 2
    said = [word for word in ("chosen", "default") if trial[word]]
    return {
        "value": Cell(shown(trial["value"])),
        column.head: Cell(
            column.text(trial["mean"]), "" if math.isnan(half) else column.text(half),
        ),
        "NFE": Cell(str(trial["nfe"])),
        "": Cell(", ".join(said)),
    }  # fmt: skip


def shown(value: str) -> str:
    """A value for people: JSON without quotation marks.

    >>> shown('"heun"'), shown("0.4")
    ('heun', '0.4')
    """
    found = json.loads(value)
    return found if isinstance(found, str) else value
