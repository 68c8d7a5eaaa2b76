"""Square framing of an object over a clip, steady from frame to frame."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np

MARGIN = 0.1
"""Free space at every side of the object, as a share of its length."""

_FIXED_LIMIT = 1.3
"""The square stays in one place if it need not be larger than this times a moving one."""

_SIGMA = 12.0
"""Standard deviation of the Gaussian that smooths the path of a moving square, frames."""

Box = tuple[int, int, int, int]
"""Top, left, bottom and right of an object, pixels; bottom and right are outside of it."""


def steady_squares(
    boxes: Sequence[Box | None], size: tuple[int, int]
) -> tuple[int, list[tuple[int, int]]]:
    """Finds squares of one size around an object, one for each frame.

    Where one place serves the whole clip without much empty space, all squares are there. Else they
    follow the object along a smooth path. They may reach outside of the frames.

    Args:
        boxes: Box of the object in every frame; None where it is not seen.
        size: Height and width of the frames.

    Returns:
        Side of the squares, even, and their top and left. Without an object in any frame, the
        largest square in the middle of the frames.

    Example:
        >>> steady_squares([(10, 10, 30, 20), (12, 10, 32, 20)], (48, 64))
        (28, [(7, 1), (7, 1)])
    """
    seen = [box for box in boxes if box is not None]
    if not seen:
        side = min(size) // 2 * 2
        return side, [((size[0] - side) // 2, (size[1] - side) // 2)] * len(boxes)
    lows, highs = np.array([b[:2] for b in seen]), np.array([b[2:] for b in seen])
    moving = _even(float((highs - lows).max()) * (1 + 2 * MARGIN))
    low, high = lows.min(axis=0), highs.max(axis=0)
    fixed = _even(float((high - low).max()) * (1 + 2 * MARGIN))
    if fixed <= _FIXED_LIMIT * moving:
        top, left = ((low + high - fixed) / 2 + 0.5).astype(int)
        return fixed, [(int(top), int(left))] * len(boxes)
    frames = np.flatnonzero([box is not None for box in boxes])
    corners = np.empty((len(boxes), 2), int)
    for axis in range(2):
        centers = np.interp(np.arange(len(boxes)), frames, (lows[:, axis] + highs[:, axis]) / 2)
        corners[:, axis] = np.floor(_smoothed(centers) - moving / 2 + 0.5)
        # The object is inside, also where it turns around abruptly.
        inside = corners[frames, axis]
        corners[frames, axis] = np.clip(inside, highs[:, axis] - moving, lows[:, axis])
    return moving, [(int(top), int(left)) for top, left in corners]


def _smoothed(values: np.ndarray) -> np.ndarray:
    """Smooths a path; beyond its ends it is continued by reflection at its last points."""
    reach = min(math.ceil(3 * _SIGMA), len(values) - 1)
    weights = np.exp(-0.5 * (np.arange(-reach, reach + 1) / _SIGMA) ** 2)
    padded = np.pad(values, reach, mode="reflect", reflect_type="odd")
    return np.convolve(padded, weights / weights.sum(), mode="valid")


def _even(length: float) -> int:
    return 2 * math.ceil(length / 2)
