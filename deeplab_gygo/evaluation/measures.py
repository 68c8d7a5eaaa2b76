"""Region similarity J, contour accuracy F and their statistics, as in the DAVIS benchmark.

The measures are those of Perazzi et al., "A Benchmark Dataset and Evaluation Methodology for Video
Object Segmentation", CVPR 2016, in the form of the official code (davisvideochallenge/
davis2017-evaluation, `metrics.py` and `utils.py`). Values agree with that code to the last digit;
the docstrings note where that code is undefined or wrong (clips above 256 frames, NaN).
"""

from __future__ import annotations

import math
from functools import lru_cache
from typing import NamedTuple

import cv2
import numpy as np
from numpy.typing import ArrayLike, NDArray

from deeplab_gygo.errors import InputError

BOUNDARY_TOLERANCE = 0.008
"""Tolerance of F as a fraction of the image diagonal (`bound_th` of the official code)."""

RECALL_THRESHOLD = 0.5
"""Recall is the fraction of frames above this value (`db_statistics` of the official code)."""

DECAY_BINS = 4
"""Temporal bins; decay is the mean of the first minus that of the last (official code)."""


class Statistics(NamedTuple):
    """Mean, recall and decay of the values of a sequence.

    Attributes:
        mean: Mean value; higher is better. NaN without measured values.
        recall: Fraction of the values above 0.5. NaN without measured values.
        decay: Mean of the first quarter minus mean of the last; lower is better, negative when
            the result improves with time. NaN if a quarter holds no measured value.
    """

    mean: float
    recall: float
    decay: float


def jaccard(prediction: ArrayLike, truth: ArrayLike, void: ArrayLike | None = None) -> float:
    """Computes region similarity J, the intersection over the union of two masks.

    Args:
        prediction: [H, W] of any number type or bool; nonzero is object.
        truth: [H, W], likewise.
        void: [H, W], nonzero marks ignored pixels; None ignores none.

    Returns:
        J in [0, 1]; 1 if both masks are empty.

    Raises:
        InputError: The arrays are not two-dimensional or differ in size.
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

    A boundary pixel is matched if a pixel of the other boundary is within the tolerance: the
    official approximation by dilation, not a one-to-one assignment.

    Args:
        prediction: [H, W] of any number type or bool; nonzero is object.
        truth: [H, W], likewise.
        void: [H, W], nonzero marks pixels set to background in both masks, so that the edge of
            a void region can be a boundary, as in the official code; None for no such pixels.
        bound: Tolerance; below 1 a fraction of the image diagonal, rounded up to whole pixels
            (8 pixels at 854 x 480), otherwise pixels.

    Returns:
        F in [0, 1]; 1 if neither mask has a boundary (empty, or filling the whole frame), 0 if
        only one of them has.

    Raises:
        InputError: The arrays are not two-dimensional or differ in size, or the tolerance is
            not above 0.
    """
    predicted, true = (_boundary(mask) for mask in _object_maps(prediction, truth, void))
    radius = _tolerance_in_pixels(predicted.shape, bound)
    # Only boundary pixels match and are matched: outside the bounding box of both boundaries
    # there is nothing to dilate or count, so the crop is exact.
    left, top, width, height = cv2.boundingRect(predicted | true)
    area = np.s_[top : top + height, left : left + width]
    predicted, true = predicted[area], true[area]
    predicted_count, true_count = np.count_nonzero(predicted), np.count_nonzero(true)
    if not predicted_count or not true_count:
        return float(predicted_count == true_count)
    disk = _disk(radius)
    near_true, near_predicted = (np.asarray(cv2.dilate(b, disk)) for b in (true, predicted))
    precision = np.count_nonzero(np.logical_and(predicted, near_true)) / predicted_count
    recall = np.count_nonzero(np.logical_and(true, near_predicted)) / true_count
    if precision + recall == 0:
        return 0.0
    return float(2 * precision * recall / (precision + recall))


def statistics(values: ArrayLike) -> Statistics:
    """Computes mean, recall and decay of the values of a sequence.

    The four bins of the decay are the official ones: their edges are frames, shared by adjacent
    bins. The formula also holds for short clips, where the bins shrink: with 3 values the first
    bin has two of them and the last bin one, with 2 values decay is the first minus the second,
    with 1 value decay is 0. Below 5 values decay is therefore unreliable. Frame indices have 64
    bits; the official code stores them in 8 bits and is wrong above 256 values.

    Args:
        values: float [frames] in temporal order. NaN marks a frame that was not measured: it is
            stripped at the ends (the padding of the DAVIS-2016 code); in between it is left out
            of every average but keeps its position in time.

    Returns:
        The statistics; all NaN if no value is left.

    Raises:
        InputError: The values are not one-dimensional.
    """
    row = np.asarray(values, dtype=np.float64)
    if row.ndim != 1:
        raise InputError("Statistics take a one-dimensional array", met=f"shape {row.shape}")
    measured = np.flatnonzero(~np.isnan(row))
    if not measured.size:
        return Statistics(math.nan, math.nan, math.nan)
    row = row[measured[0] : measured[-1] + 1]
    # The official code adds 1e-10 so that halves are rounded up, as MATLAB does.
    edges = np.round(np.linspace(1, len(row), DECAY_BINS + 1) + 1e-10).astype(np.int64) - 1
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
    """Checks two masks; returns them as bool [H, W] with void pixels set to background."""
    predicted, true = np.asarray(prediction) != 0, np.asarray(truth) != 0
    counted = None if void is None else np.asarray(void) == 0
    for name, array in (("prediction", predicted), ("truth", true), ("void", counted)):
        if array is None:
            continue
        if array.ndim != 2 or not array.size:
            raise InputError(
                "A mask to evaluate is an array [H, W]", met=f"{name} of shape {array.shape}"
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

    Only neighbors inside the frame are compared: one in the last row and the last column, none in
    the corner (`_seg2bmap` of the official code).

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
    """Returns the structuring element x^2 + y^2 <= radius^2 (scikit-image's `disk`), 0 or 1."""
    reach = math.floor(radius)
    squares = np.arange(-reach, reach + 1, dtype=np.int64) ** 2
    return (squares[:, None] + squares[None, :] <= radius**2).astype(np.uint8)
