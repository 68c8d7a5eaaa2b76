"""Dense optical flow between two gray pictures of any size."""

from __future__ import annotations

import cv2
import numpy as np

LEAST_SIDE = 16
"""Pixels; OpenCV's dense inverse search reads beyond the memory of smaller pictures."""


def flow_between(engine: cv2.DISOpticalFlow, one: np.ndarray, other: np.ndarray) -> np.ndarray:
    """Computes where every pixel of a picture is in another.

    Args:
        engine: Of `cv2.DISOpticalFlow_create`.
        one: uint8 [H, W].
        other: uint8 [H, W].

    Returns:
        float32 [H, W, 2], columns and rows from a pixel of `one` to its place in `other`.
    """
    height, width = one.shape
    below, right = max(0, LEAST_SIDE - height), max(0, LEAST_SIDE - width)
    if below or right:
        one, other = (
            cv2.copyMakeBorder(gray, 0, below, 0, right, cv2.BORDER_REPLICATE)
            for gray in (one, other)
        )
    return engine.calc(one, other, None)[:height, :width]
