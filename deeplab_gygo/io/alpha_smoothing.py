"""Steadiness of alpha from frame to frame."""

from __future__ import annotations

from typing import Any, cast

import cv2
import numpy as np

_LONG_SIDE = 960
"""Motion of larger frames is estimated at this size, pixels."""


class AlphaSmoother:
    """Averages alpha with that of the frames before and after, along their optical flow.

    The weights are 1, 2, 1. The flow is DIS (Kroeger et al., "Fast Optical Flow using Dense Inverse
    Search", ECCV 2016), so that an edge is averaged with itself though it moves. Three frames are
    held.
    """

    def __init__(self) -> None:
        self._flow = cv2.DISOpticalFlow.create(cv2.DISOPTICAL_FLOW_PRESET_MEDIUM)
        self._gray: np.ndarray | None = None
        self._alpha: np.ndarray = np.empty(0)
        self._total: np.ndarray = np.empty(0)
        self._weight = 0

    def push(self, image: np.ndarray, alpha: np.ndarray) -> np.ndarray | None:
        """Takes the next frame.

        Args:
            image: uint8 [H, W, 3] RGB.
            alpha: uint8 [H, W].

        Returns:
            The alpha of the frame before, uint8 [H, W]; None at the first.
        """
        scale = min(1.0, _LONG_SIDE / max(alpha.shape))
        gray = cv2.cvtColor(image, cv2.COLOR_RGB2GRAY)
        if scale < 1:
            gray = cv2.resize(gray, None, fx=scale, fy=scale, interpolation=cv2.INTER_AREA)
        before, levels = None, alpha.astype(np.float32)
        total, weight = 2 * levels, 2
        if self._gray is not None:
            self._total = self._total + self._moved(levels, self._gray, gray)
            self._weight += 1
            before = self.last()
            total, weight = total + self._moved(self._alpha, gray, self._gray), 3
        self._gray, self._alpha, self._total, self._weight = gray, levels, total, weight
        return before

    def last(self) -> np.ndarray:
        """Returns the alpha of the frame that was taken last, without one after it."""
        return np.rint(self._total / self._weight).astype(np.uint8)

    def _moved(self, alpha: np.ndarray, gray: np.ndarray, of: np.ndarray) -> np.ndarray:
        """Returns the alpha of the frame `of` where its content is in the frame `gray`."""
        height, width = alpha.shape
        motion = self._flow.calc(gray, of, cast(Any, None))
        if motion.shape[:2] != alpha.shape:
            ratio = np.array([width / gray.shape[1], height / gray.shape[0]], np.float32)
            motion = cv2.resize(motion, (width, height)) * ratio
        rows, columns = np.mgrid[:height, :width].astype(np.float32)
        return cv2.remap(
            alpha,
            columns + motion[..., 0],
            rows + motion[..., 1],
            cv2.INTER_LINEAR,
            borderMode=cv2.BORDER_REPLICATE,
        )
