"""Motion between frames: the previous mask is moved to where the object is now.

Dense inverse search optical flow (Kroeger et al., "Fast Optical Flow using Dense Inverse Search",
ECCV 2016) on shrunken frames: large displacements matter, not the last pixel, which the network
finds itself.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

import cv2
import numpy as np

SHORT_SIDE = 168
"""Short side of the frames whose flow is computed, pixels; smaller frames keep theirs. From
experiments/results/propagation_choices.json: against none .049 (standard error .017) of one-shot J
on table scenes and .100 (.037) on like objects, weights of version 0.3.0; 120 and 240 gained .02
less on table scenes (.016), as much on like objects."""

MIN_FLOW_SIDE = 16
"""Pixels; OpenCV's dense inverse search reads out of bounds on smaller images."""


class OpticalFlow:
    """Backward optical flow from every frame of a clip to the one before.

    Args:
        image: uint8 [H, W, 3] RGB, the first frame.
        short_side: Short side of the frames whose flow is computed, pixels; 0: the full size.
        preset: Preset of OpenCV's dense inverse search.

    Example:
        >>> frame = np.random.default_rng(0).integers(0, 256, (64, 64, 3), np.uint8)
        >>> frame = cv2.GaussianBlur(frame, (0, 0), 3)
        >>> source = OpticalFlow(frame).advance(np.roll(frame, 4, axis=1))
        >>> float(np.median(source[20:44, 20:44, 0] - np.arange(20, 44)).round())
        -4.0
    """

    def __init__(
        self,
        image: np.ndarray,
        short_side: int = SHORT_SIDE,
        preset: int = cv2.DISOPTICAL_FLOW_PRESET_MEDIUM,
    ):
        height, width = image.shape[:2]
        scale = min(1.0, short_side / min(height, width)) if short_side else 1.0
        self._size = tuple(max(1, round(side * scale)) for side in (height, width))
        rows, columns = np.indices(self._size, np.float32)
        self._grid = np.stack([columns, rows], axis=-1)
        self._preset = preset
        self._previous = self._gray(image)

    def advance(self, image: np.ndarray) -> np.ndarray:
        """Computes where every pixel of the next frame was in the one before.

        Args:
            image: uint8 [H, W, 3] RGB, the next frame.

        Returns:
            float32 [h, w, 2], column and row in the shrunken previous frame, pixels.
        """
        return self.advance_all([image])[0]

    def advance_all(
        self, images: list[np.ndarray], each: Callable[..., Iterable[Any]] = map
    ) -> list[np.ndarray]:
        """Computes what `advance` does for consecutive frames.

        Args:
            images: uint8 [H, W, 3] RGB, the next frames.
            each: `map`, or that of a pool of threads.
        """
        grays = [self._previous, *each(self._gray, images)]
        self._previous = grays[-1]
        return list(each(self._source, grays[:-1], grays[1:]))

    def _source(self, previous: np.ndarray, current: np.ndarray) -> np.ndarray:
        # An object of its own: it keeps what it computes, and threads share none.
        flow = cv2.DISOpticalFlow_create(self._preset).calc(current, previous, None)
        height, width = self._size
        return flow[:height, :width] + self._grid

    def _gray(self, image: np.ndarray) -> np.ndarray:
        height, width = self._size
        gray = cv2.cvtColor(image, cv2.COLOR_RGB2GRAY)
        if gray.shape != self._size:
            gray = cv2.resize(gray, (width, height), interpolation=cv2.INTER_AREA)
        padding = (0, max(0, MIN_FLOW_SIDE - height), 0, max(0, MIN_FLOW_SIDE - width))
        return cv2.copyMakeBorder(gray, *padding, cv2.BORDER_REPLICATE)


def moved(plane: np.ndarray, source: np.ndarray) -> np.ndarray:
    """Moves a plane of the previous frame to the next one.

    Args:
        plane: float32 [H, W] of the previous frame, such as a probability.
        source: float32 [h, w, 2], result of `OpticalFlow.advance`.

    Returns:
        float32 [H, W]; 0 where the source lies outside the frame.
    """
    size, full = source.shape[1::-1], plane.shape[1::-1]
    if size != full:
        plane = cv2.resize(plane, size, interpolation=cv2.INTER_AREA)
    warped = cv2.remap(plane, source, None, cv2.INTER_LINEAR)
    return warped if size == full else cv2.resize(warped, full, interpolation=cv2.INTER_LINEAR)
