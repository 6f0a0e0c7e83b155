"""How losses fell in training, from the logs beside the weights."""

import math
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
from matplotlib import pyplot as plt
from matplotlib.axes import Axes

from xbench.analysis.figures.style import (
    MARKERS,
    PAGE,
    at_most,
    chosen_rows,
    colours,
    load,
    paper,
    save_drawing,
    translated,
    where,
    wrapped,
)
from xbench.core.errors import UserError
from xbench.records.schema import Record, TrainingLog
from xbench.records.store import read


def training(folder: Path, to: Path | None = None, labels: Sequence[str] = ()) -> list[Path]:
    """A panel for each row that learned: its losses against the training images drawn.

    Where a row has several trainings (a network for each pair, several seeds), the line is their
    median and the band holds all of them. Each loss is divided by the mean of its first tenth, so
    that terms of different size can stand in one panel.

    Raises:
        UserError: no log of a training is there (published results have none).
    """
    records = load(folder)
    rows = chosen_rows(records, labels)
    logs = _logs(folder, [r for label in translated(rows) for r in rows[label].records])
    if not logs:
        raise UserError(
            f"there is no log of a training in {folder / 'trainings'}",
            "expected: results that xbench run wrote, with their trainings",
            "try: xbench plot training --out runs",
        )
    shown, remark = at_most(list(logs))
    columns = min(3, len(shown))
    lines = math.ceil(len(shown) / columns)
    with paper():
        figure, grid = plt.subplots(
            *(lines, columns),
            figsize=(max(PAGE * columns / 3, 3.4), 1.8 * lines + 0.6),
            squeeze=False,
            layout="constrained",
        )
        for axes in list(grid.flat)[len(shown) :]:
            axes.set_visible(False)
        for axes, label in zip(grid.flat, shown, strict=False):
            _panel(axes, logs[label])
            count = len(logs[label])
            axes.set_title(wrapped(label, 30) + (f" ({count} trainings)" if count > 1 else ""))
        figure.supxlabel("training images drawn", fontsize=8)
        figure.supylabel("loss, relative to its first tenth", fontsize=8)
        figure.suptitle(f"{where(records[0])}{remark}", fontsize=8)
        return save_drawing(figure, folder, "training", to)


def _logs(folder: Path, records: Sequence[Record]) -> dict[str, list[TrainingLog]]:
    """Label → logs of the trainings that its records name, as far as they are there."""
    found: dict[str, TrainingLog | None] = {}
    by_label: dict[str, dict[str, TrainingLog]] = {}
    for record in records:
        for key in record.method.weights_sha256:
            if key not in found:
                path = folder / "trainings" / Path(key).name / "training.json"
                found[key] = read(path, TrainingLog) if path.is_file() else None
            if log := found[key]:
                by_label.setdefault(record.method.label, {})[key] = log
    return {label: list(logs.values()) for label, logs in by_label.items()}


def _panel(axes: Axes, logs: Sequence[TrainingLog]) -> None:
    terms = _terms(logs)
    for place, (name, colour) in enumerate(zip(terms, colours(len(terms)), strict=True)):
        curves = terms[name]
        images = np.linspace(0, logs[0].images, curves.shape[1] + 1)[1:]
        axes.fill_between(images, curves.min(0), curves.max(0), color=colour, alpha=0.15, lw=0)
        axes.plot(
            *(images, np.median(curves, axis=0)),
            color=colour,
            marker=MARKERS[place % len(MARKERS)],
            markevery=max(1, len(images) // 6),
            markersize=3,
            label=name,
        )
    if all((values >= 0).all() for values in terms.values()):
        axes.set_ylim(bottom=0)
    axes.grid(visible=True)
    if terms:
        axes.legend(frameon=False, fontsize=6, labelspacing=0.2, handlelength=1.5)


def _terms(
    logs: Sequence[TrainingLog],
) -> Mapping[str, "np.ndarray[tuple[int, int], np.dtype[np.float64]]"]:
    """Loss → its smoothed and scaled curves, [trainings, points]."""
    terms = {}
    for name in dict.fromkeys(name for log in logs for name, curve in log.curve.items() if curve):
        curves = [log.curve[name] for log in logs if log.curve.get(name)]
        length = min(len(curve) for curve in curves)
        values = np.array([curve[:length] for curve in curves])
        tenth = max(1, length // 10)
        first = np.abs(values[:, :tenth].mean(axis=1, keepdims=True))
        values = values / np.where(first > 0, first, 1)
        window = np.ones(max(1, length // 30))
        weights = np.convolve(np.ones(length), window, "same")
        terms[name] = np.array([np.convolve(v, window, "same") / weights for v in values])
    return terms
