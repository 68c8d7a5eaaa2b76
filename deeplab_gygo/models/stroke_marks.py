"""Clicks and scribbles of a person, and the pixels that they mark."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import cv2
import numpy as np

MARK_WIDTH = 5.0
"""Least width of a stroke as the decoder sees it, positions."""

_SHIFT = 4  # fractional bits of coordinates


Box = tuple[float, float, float, float]
"""x0, y0, x1, y1 in pixels of the frames."""


@dataclass(frozen=True)
class Stroke:
    """A click or a scribble.

    Attributes:
        inside: Whether it is on the object; otherwise on the background.
        points: x and y in pixels of the frames; a click has one.
        width: Of the pen, pixels.
    """

    inside: bool
    points: tuple[tuple[float, float], ...]
    width: float = 3.0


def draw(strokes: Sequence[Stroke], size: tuple[int, int], least: float = 1.0) -> np.ndarray:
    """Draws strokes; of two on the same pixel the later one counts.

    Args:
        strokes: The strokes, in their order.
        size: Height and width of the frames, pixels.
        least: Least width of the pen, pixels.

    Returns:
        int8 [H, W]: 1 inside, -1 outside, 0 where there is none.

    Example:
        >>> draw([Stroke(True, ((1.0, 0.0), (3.0, 0.0)), 1.0)], (2, 5)).tolist()
        [[0, 1, 1, 1, 0], [0, 0, 0, 0, 0]]
    """
    marks = np.zeros(size, np.int8)
    for stroke in strokes:
        drawn = np.zeros(size, np.uint8)
        width = max(1, round(max(stroke.width, least)))
        points = np.round(np.array(stroke.points, np.float64) * (1 << _SHIFT)).astype(np.int32)
        if len(points) == 1:
            radius = round(width / 2 * (1 << _SHIFT)) if width > 1 else 0
            cv2.circle(drawn, points[0].tolist(), radius, 1, cv2.FILLED, shift=_SHIFT)
        else:
            cv2.polylines(drawn, [points[:, None]], False, 1, width, cv2.LINE_8, _SHIFT)
        marks[drawn > 0] = 1 if stroke.inside else -1
    return marks


def box_strokes(box: Box, width: float) -> list[Stroke]:
    """Returns the strokes that stand for a box: one in its middle, four outside along its sides.

    Args:
        box: x0, y0, x1, y1 around the object; the sides are outside it.
        width: Of the strokes.

    Example:
        >>> marks = draw(box_strokes((2.0, 2.0, 8.0, 6.0), 1.0), (9, 11))
        >>> int(marks[4, 5]), int(marks[1, 5]), int(marks[2, 5]), int(marks[0, 5])
        (1, -1, 0, 0)
    """
    margin = (width + 1) / 2
    left, right = min(box[0], box[2]) - margin, max(box[0], box[2]) + margin
    top, bottom = min(box[1], box[3]) - margin, max(box[1], box[3]) + margin
    middle = ((left + right) / 2, (top + bottom) / 2)
    around = ((left, top), (right, top), (right, bottom), (left, bottom), (left, top))
    return [Stroke(False, around, width), Stroke(True, (middle,), width)]
