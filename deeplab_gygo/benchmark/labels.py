"""Labels of figures that do not lie on each other."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

_DIRECTIONS = (  # and alignment, the preferred one first
    (1, 0, "left", "center"),
    (-1, 0, "right", "center"),
    (0, 1, "center", "bottom"),
    (0, -1, "center", "top"),
    (0.8, 0.8, "left", "bottom"),
    (0.8, -0.8, "left", "top"),
    (-0.8, 0.8, "right", "bottom"),
    (-0.8, -0.8, "right", "top"),
)
_DISTANCES = (7, 15, 24, 36)  # points from the point to its label
_LEADER = 10  # points; labels farther away get a line
_GAP = 1.0  # pixels kept free around a label


def spread(positions: Sequence[float], gap: float, low: float, high: float) -> list[float]:
    """Moves positions on a line as little as needed to keep a distance.

    Args:
        positions: The wanted positions.
        gap: Least distance of neighbors; made smaller where the room is too small for it.
        low: Least position.
        high: Largest position.

    Returns:
        The positions in the order given; neighbors stay in the order of their wishes.
    """
    count = len(positions)
    if not count:
        return []
    gap = min(gap, (high - low) / max(count - 1, 1))
    order = np.argsort(np.asarray(positions, np.float64), kind="stable")
    # Distances taken out, neighbors must only not fall: that is a regression by pooled means.
    steps = gap * np.arange(count)
    wanted = np.asarray(positions, np.float64)[order] - steps
    blocks: list[list[float]] = []  # sum and number
    for value in wanted:
        blocks.append([value, 1])
        while len(blocks) > 1 and blocks[-2][0] / blocks[-2][1] > blocks[-1][0] / blocks[-1][1]:
            total, number = blocks.pop()
            blocks[-1][0] += total
            blocks[-1][1] += number
    pooled = np.concatenate([np.full(int(number), total / number) for total, number in blocks])
    placed = np.clip(pooled, low, high - steps[-1]) + steps
    result = np.empty(count)
    result[order] = placed
    return [float(value) for value in result]


def place_labels(axes: Any, points: Sequence[tuple[float, float, str, dict[str, Any]]]) -> None:
    """Labels points, each at the place around it that covers least of what is there.

    Args:
        axes: Axes of Matplotlib, limits and size final.
        points: x and y in data coordinates, the text, and its style.
    """
    figure = axes.figure
    figure.draw_without_rendering()
    renderer = figure._get_renderer()
    frame = axes.get_window_extent(renderer)
    centers = axes.transData.transform([(x, y) for x, y, _, _ in points])
    taken = [_box(x - 5, y - 5, x + 5, y + 5) for x, y in centers]
    for x, y, text, style in points:
        label = axes.annotate(
            text, (x, y), (0, 0), textcoords="offset points", zorder=5,
            bbox={"boxstyle": "square,pad=0.05", "facecolor": "white", "edgecolor": "none",
                  "alpha": 0.7}, **style,
        )  # fmt: skip
        best, least = (_DISTANCES[0], _DIRECTIONS[0]), np.inf
        for rank, place in enumerate((d, way) for d in _DISTANCES for way in _DIRECTIONS):
            _move(label, *place)
            box = _bounds(label, renderer)
            # What leaves the axes is worse than what lies on a point, and nearer is better.
            cost = sum(_shared(box, other) for other in taken) + 10 * _outside(box, frame)
            if cost + rank < least:
                best, least = place, cost + rank
        _move(label, *best)
        taken.append(_bounds(label, renderer))
        if best[0] > _LEADER:
            axes.annotate(
                "", (x, y), label.get_position(), textcoords="offset points", zorder=1,
                arrowprops={"arrowstyle": "-", "color": style.get("color"), "linewidth": 0.4,
                            "shrinkA": 0, "shrinkB": 3},
            )  # fmt: skip


def _move(label: Any, distance: float, way: tuple[float, float, str, str]) -> None:
    label.set_position((distance * way[0], distance * way[1]))
    label.set_horizontalalignment(way[2])
    label.set_verticalalignment(way[3])


def _bounds(label: Any, renderer: Any) -> tuple[float, float, float, float]:
    """Returns the box of a label's text with a gap around it, pixels."""
    bounds = label.get_window_extent(renderer)
    return _box(bounds.x0 - _GAP, bounds.y0 - _GAP, bounds.x1 + _GAP, bounds.y1 + _GAP)


def _box(x0: float, y0: float, x1: float, y1: float) -> tuple[float, float, float, float]:
    return float(x0), float(y0), float(x1), float(y1)


def _shared(one: tuple[float, ...], other: tuple[float, ...]) -> float:
    """Area that two boxes share, square pixels."""
    width = min(one[2], other[2]) - max(one[0], other[0])
    height = min(one[3], other[3]) - max(one[1], other[1])
    return width * height if width > 0 and height > 0 else 0.0


def _outside(box: tuple[float, ...], frame: Any) -> float:
    """Area of a box that lies outside of a frame."""
    inside = _shared(box, (frame.x0, frame.y0, frame.x1, frame.y1))
    return (box[2] - box[0]) * (box[3] - box[1]) - inside
