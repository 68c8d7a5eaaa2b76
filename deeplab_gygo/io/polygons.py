"""Polygons of masks: areas from outlines, and outlines along the edges of pixels.

A pixel belongs to an area if its center is inside; the center of the first pixel is (0.5, 0.5).
"""

from __future__ import annotations

import numpy as np

MAX_CROSSINGS = 50_000_000
"""Most crossings of the sides of a polygon with rows of pixels; they bound time and memory."""

MAX_POINTS = 1_000_000
"""Most points of a polygon."""

MAX_COORDINATE = 1e6
"""Largest coordinate, pixels; far beyond any image."""

_ELLIPSE_POINTS = 720  # the chord is a hundredth of a pixel off at a radius of 1000
_CHUNK = 1 << 20  # crossings at a time


def fill(points: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """Fills a polygon by the even-odd rule.

    Args:
        points: float64 [N, 2], x and y in pixels; the last is joined with the first.
        size: Height and width of the image in pixels.

    Returns:
        bool [H, W].

    Raises:
        ValueError: A coordinate is no number up to `MAX_COORDINATE`, or the outline has too many
            crossings with rows of pixels.

    Example:
        >>> fill(np.array([(0, 0), (2, 0), (2, 1), (0, 1)], float), (2, 3)).astype(int).tolist()
        [[1, 1, 0], [0, 0, 0]]
    """
    inside = np.zeros(size, bool)
    rows, columns, area = fill_box(points, size)
    inside[rows, columns] = area
    return inside


def fill_box(points: np.ndarray, size: tuple[int, int]) -> tuple[slice, slice, np.ndarray]:
    """Fills a polygon as `fill` does, in the part of the image that it covers alone.

    Returns:
        Rows and columns of that part, and its bool [h, w].
    """
    if len(points) > MAX_POINTS:
        raise ValueError(f"more than {MAX_POINTS} points")
    if not (np.abs(points) <= MAX_COORDINATE).all():
        raise ValueError(f"a coordinate is no number up to {MAX_COORDINATE:g}")
    height, width = size
    following = np.roll(points, -1, axis=0)
    lower, upper = np.minimum(points[:, 1], following[:, 1]), np.maximum(points, following)[:, 1]
    # Rows whose center is not above the lower end of a side, and above its upper end.
    first = np.clip(np.ceil(lower - 0.5), 0, height).astype(np.int64)
    last = np.clip(np.ceil(upper - 0.5), 0, height).astype(np.int64)
    left = int(np.clip(np.floor(points[:, 0].min()), 0, width))
    right = int(np.clip(np.ceil(points[:, 0].max()), left, width))
    lengths = last - first
    if lengths.sum() > MAX_CROSSINGS:
        raise ValueError(f"its outline crosses rows of pixels more than {MAX_CROSSINGS} times")
    sides = np.flatnonzero(lengths)
    if not len(sides) or right == left:
        return slice(0, 0), slice(0, 0), np.zeros((0, 0), bool)
    top, bottom = int(first[sides].min()), int(last[sides].max())
    toggles = np.zeros((bottom - top, right - left + 1), np.uint8)
    ends = np.cumsum(lengths[sides])
    for chunk in np.split(sides, np.searchsorted(ends, np.arange(_CHUNK, ends[-1], _CHUNK))):
        if not len(chunk):
            continue
        side = np.repeat(chunk, lengths[chunk])
        start_of_side = np.repeat(np.cumsum(lengths[chunk]) - lengths[chunk], lengths[chunk])
        row = first[side] + np.arange(len(side)) - start_of_side
        start, end = points[side], following[side]
        x = start[:, 0] + (row + 0.5 - start[:, 1]) / (end[:, 1] - start[:, 1]) * (
            end[:, 0] - start[:, 0]
        )
        column = np.clip(np.ceil(x - 0.5), left, right).astype(np.int64) - left
        np.bitwise_xor.at(toggles, (row - top, column), 1)
    inside = np.bitwise_xor.accumulate(toggles, axis=1)[:, :-1].astype(bool)
    return slice(top, bottom), slice(left, right), inside


def coordinates(values: object) -> np.ndarray:
    """Converts numbers, or texts of numbers, to float64 of any shape.

    Raises:
        ValueError: A number is not finite and within `MAX_COORDINATE`, or there are others.
    """
    numbers = np.array(values, np.float64)
    if not (np.abs(numbers) <= MAX_COORDINATE).all():
        raise ValueError(f"a coordinate is no number up to {MAX_COORDINATE:g}")
    return numbers


def rotated(points: np.ndarray, degrees: float) -> np.ndarray:
    """Rotates points, float64 [N, 2] of x and y, clockwise on the screen about the origin."""
    cos, sin = np.cos(np.radians(degrees)), np.sin(np.radians(degrees))
    return points @ np.array([(cos, sin), (-sin, cos)])


def ellipse(center: np.ndarray, radii: np.ndarray, degrees: float = 0.0) -> np.ndarray:
    """Returns the outline of an ellipse, float64 [N, 2] of x and y, rotated clockwise."""
    angle = np.linspace(0, 2 * np.pi, _ELLIPSE_POINTS, endpoint=False)
    return center + rotated(np.stack([np.cos(angle), np.sin(angle)], axis=1) * radii, degrees)


def outlines(area: np.ndarray) -> list[np.ndarray]:
    """Traces the edges of the pixels of an area.

    `fill` of all outlines by the even-odd rule gives the area again: parts and holes are outlines
    of their own.

    Args:
        area: bool [H, W].

    Returns:
        Closed outlines, int64 [N, 2] of x and y each, whose sides are horizontal and vertical in
        turn.

    Example:
        >>> outlines(np.array([[True, True]]))[0].tolist()
        [[0, 0], [2, 0], [2, 1], [0, 1]]
    """
    padded = np.pad(area, 1).astype(np.int8)
    block = padded[:-1, :-1] + padded[:-1, 1:] + padded[1:, :-1] + padded[1:, 1:]
    diagonal = (block == 2) & (padded[:-1, :-1] == padded[1:, 1:])
    y, x = np.nonzero((block == 1) | (block == 3) | diagonal)
    twice = 1 + diagonal[y, x]  # two corners of the outline meet in such a point
    corners = np.stack([np.repeat(x, twice), np.repeat(y, twice)], axis=1)
    # Corners of one row, or column, are the ends of its sides in turn.
    mates = []
    for order in (np.arange(len(corners)), np.lexsort((corners[:, 1], corners[:, 0]))):
        mate = np.empty(len(corners), np.int64)
        mate[order[::2]], mate[order[1::2]] = order[1::2], order[::2]
        mates.append(mate.tolist())
    along_row, along_column = mates
    found, seen = [], np.zeros(len(corners), bool)
    for first in range(len(corners)):
        if seen[first]:
            continue
        loop: list[int] = []
        corner = first
        while not loop or corner != first:
            other = along_row[corner]
            loop += [corner, other]
            corner = along_column[other]
        seen[loop] = True
        found.append(corners[loop])
    return found


def joined(loops: list[np.ndarray]) -> np.ndarray:
    """Joins outlines into one polygon, for formats that have one to an object.

    The sides between two outlines are there and back, so that they cancel under the even-odd rule.

    Args:
        loops: Outlines, [N, 2] of x and y each; at least one.

    Returns:
        The polygon, [N, 2].
    """
    if len(loops) == 1:
        return loops[0]
    there = [part for loop in loops for part in (loop, loop[:1])]
    back = [loop[:1] for loop in loops[-2:0:-1]]
    return np.concatenate(there + back)
