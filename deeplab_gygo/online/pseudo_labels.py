"""Labels for online adaptation, made of a prediction: what is sure, what is surely not."""

from __future__ import annotations

import cv2
import numpy as np

from deeplab_gygo.data.augment import VOID

POSITIVE = 0.97
"""Probability above which a pixel is learned as object (OnAVOS, its DAVIS-2016 configuration)."""

DISTANCE = 220 / 480
"""Distance from the last mask beyond which a pixel is learned as background, as a part of the
frame's short side (OnAVOS: 220 pixels at 480p)."""

EROSION = 15 / 480
"""Size of the structuring element by which the last mask is shrunk before distances are measured,
likewise (OnAVOS: 15 pixels)."""


def pseudo_labels(
    probability: np.ndarray, previous: np.ndarray, distractors: np.ndarray | None = None
) -> np.ndarray | None:
    """Makes labels of a prediction.

    Args:
        probability: float32 [H, W] in 0..1, of the frame to learn from.
        previous: bool or uint8 [H, W], the mask of the frame before it.
        distractors: bool [H, W], what is known not to be the object.

    Returns:
        uint8 [H, W]: 1 object, 0 background, 255 not to be learned from; None where too little is
        left of the last mask to measure distances from.
    """
    side = min(probability.shape)
    size = max(1, round(EROSION * side))
    kernel = cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (size, size))
    core = cv2.erode((previous != 0).astype(np.uint8), kernel)
    if not core.any():
        return None
    distance = cv2.distanceTransform(1 - core, cv2.DIST_L2, 3)
    labels = np.full(probability.shape, VOID, np.uint8)
    labels[probability > POSITIVE] = 1
    labels[distance > DISTANCE * side] = 0  # what is far is background, however sure
    if distractors is not None:
        labels[distractors] = 0
    return labels
