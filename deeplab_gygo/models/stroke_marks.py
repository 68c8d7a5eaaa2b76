"""Clicks and scribbles of a person, and the pixels that they mark."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass

import cv2
import numpy as np

from deeplab_gygo.errors import UsageError

MARK_WIDTH = 5.0
"""Least width of a stroke as the decoder sees it, positions."""

_SHIFT = 4  # fractional bits of coordinates

Point = tuple[float, float]
"""x and y in pixels of the frames; the middle of a pixel is at integers."""

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


def checked_strokes(
    inside: Collection[Point],
    outside: Collection[Point],
    box: Box | None,
    size: tuple[int, int],
) -> tuple[list[Stroke], Box | None]:
    """Makes clicks of points.

    Args:
        inside: Points on the object.
        outside: Points on the background.
        box: Around the object, its corners in any order; what is outside the frame is cut off.
        size: Height and width of the frame, pixels.

    Returns:
        The clicks, and the box within the frame, the smaller coordinates first.

    Raises:
        UsageError: A point or the whole box is not in the frame, or has no numbers.

    Example:
        >>> checked_strokes([(3, 2)], [], (9, 9, -4, 1), (6, 8))
        ([Stroke(inside=True, points=((3.0, 2.0),), width=3.0)], (0.0, 1.0, 8.0, 6.0))
    """
    height, width = size
    strokes = []
    for points, on_object in ((inside, True), (outside, False)):
        for point in points:
            (x, y) = _numbers(point, 2, "A point is x and y")
            if not (0 <= x < width and 0 <= y < height):
                raise UsageError(
                    f"A point is in the frame, {width}x{height} pixels", met=f"{x:g},{y:g}"
                )
            strokes.append(Stroke(on_object, ((x, y),)))
    if box is None:
        return strokes, None
    x0, y0, x1, y1 = _numbers(box, 4, "A box is x0, y0, x1, y1")
    left, right = max(0.0, min(x0, x1)), min(float(width), max(x0, x1))
    top, bottom = max(0.0, min(y0, y1)), min(float(height), max(y0, y1))
    if right - left < 1 or bottom - top < 1:
        raise UsageError(
            f"A box shows a pixel of the frame, {width}x{height} pixels, or more",
            met=",".join(f"{value:g}" for value in (x0, y0, x1, y1)),
        )
    return strokes, (left, top, right, bottom)


def _numbers(values: Collection[float], count: int, rule: str) -> list[float]:
    try:
        numbers = [float(value) for value in values]
    except (TypeError, ValueError) as error:
        raise UsageError(rule, met=values) from error
    if len(numbers) != count or not np.isfinite(numbers).all():
        raise UsageError(rule, met=values)
    return numbers


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
    margin = 0.6 * width  # a line of five positions ends one beside the box
    left, right = min(box[0], box[2]) - margin, max(box[0], box[2]) + margin
    top, bottom = min(box[1], box[3]) - margin, max(box[1], box[3]) + margin
    middle = ((left + right) / 2, (top + bottom) / 2)
    around = ((left, top), (right, top), (right, bottom), (left, bottom), (left, top))
    return [Stroke(False, around, width), Stroke(True, (middle,), width)]
