"""A simulated person: clicks in the middle of what is wrong of a mask, until it is good enough.

The protocol of the evaluation of interactive segmentation: Xu et al., "Deep interactive object
selection", CVPR 2016.
"""

from __future__ import annotations

from collections.abc import Iterator

import cv2
import numpy as np

from deeplab_gygo.evaluation.measures import jaccard
from deeplab_gygo.inference.strokes import EncodedFrame, StrokeSegmenter
from deeplab_gygo.models.stroke_marks import Stroke

ENOUGH = 0.98
"""J above which no further click is made."""

CLICK_WIDTH = 5.0
"""Of the pen, pixels."""


def click_on_error(found: np.ndarray, truth: np.ndarray) -> Stroke | None:
    """Returns a click in the middle of the largest error; None without any.

    Args:
        found: bool [H, W], the mask so far.
        truth: bool [H, W].

    Example:
        >>> truth = np.zeros((9, 9), bool)
        >>> truth[3:6, 3:6] = True
        >>> click_on_error(np.zeros((9, 9), bool), truth).points
        ((4.0, 4.0),)
    """
    best, chosen = 0.0, None
    for inside, error in ((True, truth & ~found), (False, found & ~truth)):
        padded = np.pad(error.astype(np.uint8), 1)
        depth = cv2.distanceTransform(padded, cv2.DIST_L2, 5)[1:-1, 1:-1]
        row, column = np.unravel_index(np.argmax(depth), depth.shape)
        if depth[row, column] > best:
            best, chosen = depth[row, column], (inside, float(column), float(row))
    return None if chosen is None else Stroke(chosen[0], (chosen[1:],), CLICK_WIDTH)


def clicked(
    segmenter: StrokeSegmenter,
    frame: EncodedFrame,
    truth: np.ndarray,
    clicks: int,
    start: np.ndarray | None = None,
) -> Iterator[np.ndarray]:
    """Yields the mask, bool [H, W], after every click.

    Args:
        segmenter: Makes masks of clicks.
        frame: The frame.
        truth: bool [H, W].
        clicks: Most clicks.
        start: bool [H, W], the mask that is corrected; None for none.
    """
    found = np.zeros_like(truth) if start is None else start
    strokes: list[Stroke] = []
    while len(strokes) < clicks and jaccard(found, truth) < ENOUGH:
        stroke = click_on_error(found, truth)
        if stroke is None:
            return
        strokes.append(stroke)
        # The mask so far is corrected, as in a session that saves it.
        found = segmenter.segment(frame, strokes, start=found) > 0
        yield found
