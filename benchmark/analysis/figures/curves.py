"""Losses during training, from the logs beside the weights."""

import math
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
from matplotlib.axes import Axes

from xbench.analysis.figures import style
from xbench.analysis.results import Results
from xbench.core.errors import UserError
from xbench.core.files import within
from xbench.records.schema import Record, TrainingLog
from xbench.records.store import read


def training(results: Results, to: Path | None = None, labels: Sequence[str] = ()) -> list[Path]:
    """A panel for each trained row: its losses against the number of training images drawn.

    Where a row has several trainings (a network for each pair, several seeds), the line is their
    median and the band reaches from the lowest to the highest. Each loss is divided by the mean of
    its first tenth, so that terms of different size fit into one panel.

    Raises:
        UserError: no log of a training is there (published results have none).
    """
    rows, folder = style.chosen_rows(results, labels), results.folder
    logs = _logs(folder, [r for label in style.translated(rows) for r in rows[label].records])
    if not logs:
        raise UserError(
            f"there is no log of a training in {folder / 'trainings'}",
            "expected: results that xbench run wrote, with their trainings",
            "try: xbench plot training --out runs",
        )
    shown, remark = style.at_most(list(logs))
    columns = min(3, len(shown))
    lines = math.ceil(len(shown) / columns)
    size = max(style.PAGE * columns / 3, 3.4), 1.8 * lines + 0.6
    with style.panels(lines, columns, size, len(shown)) as (figure, grid):
        for axes, label in zip(grid.flat, shown, strict=False):
            _panel(axes, logs[label])
            count = len(logs[label])
            axes.set_title(
                style.wrapped(label, 30) + (f" ({count} trainings)" if count > 1 else "")
            )
        figure.supxlabel("training images drawn", fontsize=8)
        figure.supylabel("loss, relative to its first tenth", fontsize=8)
        figure.suptitle(f"{style.where(results)}{remark}", fontsize=8)
        return style.save_drawing(figure, folder, "training", to)


def _logs(folder: Path, records: Sequence[Record]) -> dict[str, list[TrainingLog]]:
    """Label → logs of the trainings that its records name, as far as they exist."""
    logs: dict[str, TrainingLog | None] = {}
    by_label: dict[str, dict[str, TrainingLog]] = {}
    for record in records:
        for key in record.method.weights_sha256:
            if key not in logs:
                path = within(folder, folder / "trainings" / Path(key).name / "training.json")
                logs[key] = read(path, TrainingLog) if path.is_file() else None
            if log := logs[key]:
                by_label.setdefault(record.method.label, {})[key] = log
    return {label: list(own.values()) for label, own in by_label.items()}


def _panel(axes: Axes, logs: Sequence[TrainingLog]) -> None:
    terms = _terms(logs)
    for (name, curves), (colour, marker) in zip(
        terms.items(), style.looks(len(terms)), strict=True
    ):
        images = np.linspace(0, logs[0].images, curves.shape[1] + 1)[1:]
        axes.fill_between(images, curves.min(0), curves.max(0), color=colour, alpha=0.15, lw=0)
        axes.plot(
            *(images, np.median(curves, axis=0)),
            color=colour,
            marker=marker,
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
