"""Region similarity J, contour accuracy F and their statistics, as the DAVIS benchmark has them.

The measures are those of Perazzi et al., "A Benchmark Dataset and Evaluation Methodology for Video
Object Segmentation", CVPR 2016, in the form of the official code (davisvideochallenge/
davis2017-evaluation, `metrics.py` and `utils.py`). Values agree with that code to the last digit;
where it is undefined or wrong (clips above 256 frames, absent values), the docstrings say so.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import lru_cache

import cv2
import numpy as np
from numpy.typing import ArrayLike, NDArray

from deeplab_gygo.errors import InputError

BOUNDARY_TOLERANCE = 0.008
"""Tolerance of F as a fraction of the image diagonal (`bound_th` of the official code)."""

RECALL_THRESHOLD = 0.5
"""A frame is recalled when its value is above this (`db_statistics` of the official code)."""

DECAY_BINS = 4
"""Parts of a sequence; decay is the first one's mean minus the last one's (official code)."""


@dataclass(frozen=True)
class Statistics:
    """What a sequence of values is boiled down to.

    Attributes:
        mean: Mean value; higher is better. NaN when nothing was measured.
        recall: Fraction of the values above 0.5. NaN when nothing was measured.
        decay: Mean of the first quarter minus mean of the last; lower is better, negative when
            the result improves with time. NaN when a quarter holds no measured value.
    """

    mean: float
    recall: float
    decay: float


def jaccard(prediction: ArrayLike, truth: ArrayLike, void: ArrayLike | None = None) -> float:
    """Computes region similarity J, the intersection over the union of two masks.

    Args:
        prediction: [H, W] of any number type or bool; the object is where it is not 0.
        truth: [H, W], likewise.
        void: [H, W], not 0 where pixels do not count; None counts all.

    Returns:
        J in [0, 1]; 1 when both masks are empty.

    Raises:
        InputError: The arrays are not of two dimensions or differ in size.
    """
    predicted, true = _object_maps(prediction, truth, void)
    union = int(np.count_nonzero(predicted | true))
    return int(np.count_nonzero(predicted & true)) / union if union else 1.0


def boundary_measure(
    prediction: ArrayLike,
    truth: ArrayLike,
    void: ArrayLike | None = None,
    bound: float = BOUNDARY_TOLERANCE,
) -> float:
    """Computes contour accuracy F, the harmonic mean of boundary precision and recall.

    A boundary pixel is matched when the other boundary comes within the tolerance of it; this is
    the official approximation by dilation, not an assignment one to one.

    Args:
        prediction: [H, W] of any number type or bool; the object is where it is not 0.
        truth: [H, W], likewise.
        void: [H, W], not 0 where pixels count as background in both masks, so that the edge of a
            void region can be a boundary, as in the official code; None for no such pixels.
        bound: Tolerance: below 1 a fraction of the image diagonal, rounded up to whole pixels
            (8 pixels at 854 x 480); from 1 on, pixels.

    Returns:
        F in [0, 1]; 1 when neither mask has a boundary (empty, or filling the whole frame),
        0 when only one of them has.

    Raises:
        InputError: The arrays are not of two dimensions or differ in size, or the tolerance is
            not above 0.
    """
    predicted, true = (_boundary(mask) for mask in _object_maps(prediction, truth, void))
    radius = _tolerance_in_pixels(predicted.shape, bound)
    # Matches can only lie on a boundary and only come from a boundary: outside of the rectangle
    # that holds both there is nothing to dilate and nothing to count, so the crop is exact.
    left, top, width, height = cv2.boundingRect(predicted | true)
    area = np.s_[top : top + height, left : left + width]
    predicted, true = predicted[area], true[area]
    predicted_count, true_count = np.count_nonzero(predicted), np.count_nonzero(true)
    if not predicted_count or not true_count:
        return float(predicted_count == true_count)
    disk = _disk(radius)
    precision = np.count_nonzero(predicted & cv2.dilate(true, disk)) / predicted_count
    recall = np.count_nonzero(true & cv2.dilate(predicted, disk)) / true_count
    if precision + recall == 0:
        return 0.0
    return float(2 * precision * recall / (precision + recall))


def statistics(values: ArrayLike) -> Statistics:
    """Boils the values of a sequence down to mean, recall and decay.

    The four bins of the decay are the official ones: their edges are frames, each shared by the
    two bins that meet there. The formula is kept for short clips too, where the bins shrink:
    with 3 values the first bin holds two of them and the last bin one, with 2 values decay is
    the first minus the second, with 1 value both bins are that value and decay is 0.
    Below 5 values a decay therefore says little. Frame numbers are 64 bits wide; the official
    code keeps them in 8 bits and goes wrong above 256 values.

    Args:
        values: float [frames], in the order of time. NaN marks a frame that was not measured: at
            the ends it is stripped (the padding of the DAVIS-2016 code), in between it is left
            out of every average but keeps its place in time.

    Returns:
        The statistics; all NaN where no value is left.

    Raises:
        InputError: The values are not one row.
    """
    row = np.asarray(values, dtype=np.float64)
    if row.ndim != 1:
        raise InputError("Statistics are taken of one row of values", met=f"shape {row.shape}")
    measured = np.flatnonzero(~np.isnan(row))
    if not measured.size:
        return Statistics(math.nan, math.nan, math.nan)
    row = row[measured[0] : measured[-1] + 1]
    edges = np.linspace(1, len(row), DECAY_BINS + 1)
    # The official code adds 1e-10 so that halves are rounded up, as MATLAB does.
    edges = np.round(edges + 1e-10).astype(np.int64) - 1
    first, last = row[edges[0] : edges[1] + 1], row[edges[-2] : edges[-1] + 1]
    return Statistics(
        mean=_mean(row),
        recall=float(np.mean(row[~np.isnan(row)] > RECALL_THRESHOLD)),
        decay=_mean(first) - _mean(last),
    )


def _mean(values: NDArray[np.float64]) -> float:
    measured = values[~np.isnan(values)]
    return float(measured.mean()) if measured.size else math.nan


def _object_maps(
    prediction: ArrayLike, truth: ArrayLike, void: ArrayLike | None
) -> tuple[NDArray[np.bool_], NDArray[np.bool_]]:
    """Checks two masks and returns them as bool [H, W] with void pixels set to background."""
    predicted, true = np.asarray(prediction) != 0, np.asarray(truth) != 0
    counted = None if void is None else np.asarray(void) == 0
    for name, array in (("prediction", predicted), ("truth", true), ("void", counted)):
        if array is None:
            continue
        if array.ndim != 2 or not array.size:
            raise InputError(
                "A mask to be measured is an array [H, W]", met=f"{name} of shape {array.shape}"
            )
        if array.shape != true.shape:
            raise InputError(
                f"The {name} has the size of the truth, {true.shape[1]} x {true.shape[0]} pixels",
                met=f"{array.shape[1]} x {array.shape[0]}",
            )
    if counted is not None:
        predicted, true = predicted & counted, true & counted
    return predicted, true


def _boundary(mask: NDArray[np.bool_]) -> NDArray[np.uint8]:
    """Marks the pixels that differ from their east, south or south-east neighbor.

    Only the neighbors inside of the frame are asked: one in the last row and the last column,
    none in the corner (`_seg2bmap` of the official code).

    Args:
        mask: bool [H, W].

    Returns:
        uint8 [H, W], 0 or 1.
    """
    boundary = np.zeros(mask.shape, dtype=bool)
    boundary[:, :-1] = mask[:, :-1] ^ mask[:, 1:]
    boundary[:-1] |= mask[:-1] ^ mask[1:]
    boundary[:-1, :-1] |= mask[:-1, :-1] ^ mask[1:, 1:]
    return boundary.view(np.uint8)


def _tolerance_in_pixels(shape: tuple[int, int], bound: float) -> float:
    if not (math.isfinite(bound) and bound > 0):
        raise InputError("The boundary tolerance is a number above 0", met=bound)
    return bound if bound >= 1 else math.ceil(bound * float(np.linalg.norm(shape)))


@lru_cache(maxsize=8)
def _disk(radius: float) -> NDArray[np.uint8]:
    """Makes the structuring element x^2 + y^2 <= radius^2 (scikit-image's `disk`), 0 or 1."""
    reach = math.floor(radius)
    squares = np.arange(-reach, reach + 1, dtype=np.int64) ** 2
    return (squares[:, None] + squares[None, :] <= radius**2).astype(np.uint8)
