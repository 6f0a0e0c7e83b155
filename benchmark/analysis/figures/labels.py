"""Texts beside the points of a scatter plot: near, apart from each other, and always the same."""

import math
from collections.abc import Sequence
from itertools import pairwise
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from numpy.typing import NDArray

#: Left, bottom, right, top in pixels.
Boxes = NDArray[np.float64]

#: Distances of a text from its point, in points of 1/72 inch, and directions that are tried.
DISTANCES = (4.0, 8.0, 13.0, 19.0, 26.0, 34.0, 44.0)
DIRECTIONS = 16
#: A text farther away than this has a line to its point.
NEAR = 5.0
#: How often every text is placed again with all others where they are.
PASSES = 4
#: What a place costs, in points of distance: for each point that texts or marks are covered, that a
#: line is covered or crosses something, and that the text sticks out of the axes.
COVERED, CROSSED, OUTSIDE = 30.0, 6.0, 200.0
SIZE = 5.5
#: Behind a text: lines show through. Outlines of letters would make an SVG three times as large.
PATCH = {"boxstyle": "square,pad=0.05", "facecolor": "white", "alpha": 0.6, "linewidth": 0}


def label_points(
    figure: Figure,
    axes: Axes,
    points: Sequence[tuple[float, float]],
    texts: Sequence[str],
    drawn: Sequence[Sequence[tuple[float, float]]] = (),
) -> None:
    """Write a text beside each point, where it covers least.

    Each text goes to the free place that is nearest to its point, one after the other; then each is
    placed again with the others fixed. The limits of the axes must be final.

    Args:
        figure: of the axes; its layout is done here.
        axes: with their final limits.
        points: in data coordinates.
        texts: one for each point.
        drawn: lines, in data coordinates, that texts should not cover either.
    """
    figure.draw_without_rendering()  # the layout decides where points are
    scale = figure.dpi / 72
    places = axes.transData.transform(np.array(points, dtype=float).reshape(-1, 2))
    shapes = [_size(axes, text, scale) for text in texts]
    marks = np.concatenate([places - 3 * scale, places + 3 * scale], axis=1)
    inside = axes.get_window_extent()
    frame = np.array([inside.x0, inside.y0, inside.x1, inside.y1])
    lines = _along(axes, drawn, scale)
    choices = [
        _candidates(place, shape, scale) for place, shape in zip(places, shapes, strict=True)
    ]
    chosen = np.full((len(texts), 4), np.nan)
    for _ in range(PASSES):
        for number, boxes in enumerate(choices):
            placed = ~np.isnan(chosen[:, 0])
            placed[number] = False
            texts_there, marks_there = chosen[placed], np.delete(marks, number, axis=0)
            links = _leaders(chosen[placed], places[placed], scale)
            thin = np.concatenate([lines, links.reshape(-1, 4)])
            cost = _gaps(boxes, places[number]) / scale
            cost += COVERED * _overlap(boxes, np.concatenate([texts_there, marks])) / scale
            cost += CROSSED * _overlap(boxes, thin) / scale
            cost += OUTSIDE * _outside(boxes, frame) / scale
            own = _leaders(boxes, np.broadcast_to(places[number], (len(boxes), 2)), scale)
            cost += CROSSED * _hits(own, np.concatenate([texts_there, marks_there]))
            chosen[number] = boxes[int(np.argmin(cost.round(6)))]
    for place, point, text, box in zip(places, points, texts, chosen, strict=True):
        centre = (box[:2] + box[2:]) / 2
        offset: dict[str, Any] = {"textcoords": "offset points", "annotation_clip": False}
        axes.annotate(
            *(text, point, tuple((centre - place) / scale)),
            **offset,
            ha="center",
            va="center",
            fontsize=SIZE,
            color="0.1",
            linespacing=0.9,
            zorder=5,
            bbox=PATCH,
        )
        end = np.clip(place, box[:2], box[2:])
        if np.hypot(*(end - place)) > NEAR * scale:
            line = {"arrowstyle": "-", "linewidth": 0.4, "color": "0.4"}
            axes.annotate(
                *("", point, tuple((end - place) / scale)),
                **offset,
                arrowprops={**line, "shrinkA": 0, "shrinkB": 2},
                zorder=4,
            )


def _size(axes: Axes, text: str, scale: float) -> tuple[float, float]:
    """Width and height of a text in pixels, with a little air."""
    one = axes.text(0, 0, text, fontsize=SIZE, linespacing=0.9)
    extent = one.get_window_extent()
    one.remove()
    return extent.width + 0.8 * scale, extent.height


def _candidates(place: NDArray[np.float64], shape: tuple[float, float], scale: float) -> Boxes:
    """Boxes around a point, [candidates, 4]; nearer ones and those on the right first."""
    size, boxes = np.array(shape), []
    for distance in DISTANCES:
        for step in range(DIRECTIONS):
            angle = 2 * math.pi * step / DIRECTIONS
            way = np.array([math.cos(angle), math.sin(angle)])
            # The middle of a side touches the circle; corners do in between.
            reach = np.clip(1.6 * way, -1, 1) * size / 2
            centre = place + way * distance * scale + reach
            boxes.append([*(centre - size / 2), *(centre + size / 2)])
    return np.array(boxes)


def _overlap(boxes: Boxes, others: Boxes) -> NDArray[np.float64]:
    """How many pixels of each box the others cover, in relation to its height, [boxes]."""
    low = np.maximum(boxes[:, None, :2], others[None, :, :2])
    high = np.minimum(boxes[:, None, 2:], others[None, :, 2:])
    area = np.nan_to_num(np.clip(high - low, 0, None)).prod(axis=2).sum(axis=1)
    covered: NDArray[np.float64] = area / (boxes[:, 3] - boxes[:, 1])
    return covered


def _outside(boxes: Boxes, frame: NDArray[np.float64]) -> NDArray[np.float64]:
    """How many pixels each box sticks out of the axes, [boxes]."""
    out = np.clip(frame[:2] - boxes[:, :2], 0, None) + np.clip(boxes[:, 2:] - frame[2:], 0, None)
    total: NDArray[np.float64] = out.sum(axis=1)
    return total


def _gaps(boxes: Boxes, place: NDArray[np.float64]) -> NDArray[np.float64]:
    """Distance of each box from a point in pixels, [boxes]."""
    nearest = np.clip(place, boxes[:, :2], boxes[:, 2:])
    gaps: NDArray[np.float64] = np.hypot(*(nearest - place).T)
    return gaps


def _leaders(boxes: Boxes, places: NDArray[np.float64], scale: float) -> Boxes:
    """Small boxes along the line from each point to its text, [boxes, 12, 4]; NaN if it is near."""
    ends = np.clip(places, boxes[:, :2], boxes[:, 2:])
    dots = places[:, None] + np.linspace(0.1, 1, 12)[None, :, None] * (ends - places)[:, None]
    dots[np.hypot(*(ends - places).T) <= NEAR * scale] = np.nan
    return np.concatenate([dots - scale / 2, dots + scale / 2], axis=2)


def _hits(leaders: Boxes, others: Boxes) -> NDArray[np.float64]:
    """How many of a line's small boxes touch others, [lines]."""
    low = leaders[:, :, None, :2] < others[None, None, :, 2:]
    high = leaders[:, :, None, 2:] > others[None, None, :, :2]
    touching = np.all(low & high, axis=3)
    touched: NDArray[np.float64] = np.any(touching, axis=2).sum(axis=1).astype(float)
    return touched


def _along(axes: Axes, drawn: Sequence[Sequence[tuple[float, float]]], scale: float) -> Boxes:
    """Small boxes along lines, [boxes, 4]."""
    boxes = [np.empty((0, 4))]
    for line in drawn:
        corners = axes.transData.transform(np.array(line, dtype=float).reshape(-1, 2))
        for one, other in pairwise(corners):
            count = max(2, int(np.hypot(*(other - one)) / (2 * scale)))
            dots = one + np.linspace(0, 1, count)[:, None] * (other - one)
            boxes.append(np.concatenate([dots - scale, dots + scale], axis=1))
    return np.concatenate(boxes)
