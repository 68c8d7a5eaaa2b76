"""Motion between frames: the previous mask is moved to where the object is now.

Dense inverse search optical flow (Kroeger et al., "Fast Optical Flow using Dense Inverse Search",
ECCV 2016) on shrunken frames: large displacements matter, not the last pixel, which the network
finds itself. A search finds motion near the one that it starts from only. Frames of handheld clips
lie far apart, so it starts from several motions of the whole picture, and every position takes the
flow that explains the colors around it best.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

import cv2
import numpy as np

SHORT_SIDE = 168
"""Short side of the frames whose flow is computed, pixels; smaller frames keep theirs. On 144 and
120 true masks are moved worse, on most sets (experiments/results/flow_choices.json)."""

MIN_FLOW_SIDE = 16
"""Pixels; OpenCV's dense inverse search reads out of bounds on smaller images."""

ZOOMS, TURNS = (0.85, 1.18), (12.0, -12.0)
"""Zooms and rotations, degrees, of the picture that the search starts from, beside no motion and
the translation of phase correlation (experiments/results/flow_choices.json)."""

WINDOW = 5
"""Side of the square whose colors decide between flows, pixels of the shrunken frame."""

OUTSIDE = (128.0, 128.0, 128.0)
"""Color of what lies outside the previous frame, where flows are compared."""


class OpticalFlow:
    """Backward optical flow from every frame of a clip to the one before.

    Args:
        image: uint8 [H, W, 3] RGB, the first frame.
        short_side: Short side of the frames whose flow is computed, pixels; 0: the full size.
        preset: Preset of OpenCV's dense inverse search for a single search that starts from no
            motion; None: several starts.

    Example:
        >>> frame = np.random.default_rng(0).integers(0, 256, (64, 64, 3), np.uint8)
        >>> frame = cv2.GaussianBlur(frame, (0, 0), 3)
        >>> source = OpticalFlow(frame).advance(np.roll(frame, 4, axis=1))
        >>> float(np.median(source[20:44, 20:44, 0] - np.arange(20, 44)).round())
        -4.0
    """

    def __init__(self, image: np.ndarray, short_side: int = SHORT_SIDE, preset: int | None = None):
        height, width = image.shape[:2]
        scale = min(1.0, short_side / min(height, width)) if short_side else 1.0
        self._size = tuple(max(1, round(side * scale)) for side in (height, width))
        padded = tuple(max(MIN_FLOW_SIDE, side) for side in self._size)
        rows, columns = np.indices(padded, np.float32)
        self._grid = np.stack([columns, rows], axis=-1)
        self._taper = cv2.createHanningWindow(padded[::-1], cv2.CV_32F)
        self._preset = preset
        self._previous = self._shrunken(image)

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
        frames = [self._previous, *each(self._shrunken, images)]
        self._previous = frames[-1]
        return list(each(self._source, frames[:-1], frames[1:]))

    def _source(self, previous: np.ndarray, current: np.ndarray) -> np.ndarray:
        before, now = (cv2.cvtColor(image, cv2.COLOR_RGB2GRAY) for image in (previous, current))
        height, width = self._size
        # An object of its own: it keeps what it computes, and threads share none.
        if self._preset is not None:
            flow = cv2.DISOpticalFlow_create(self._preset).calc(now, before, None)
            return (flow + self._grid)[:height, :width]
        search = cv2.DISOpticalFlow_create(cv2.DISOPTICAL_FLOW_PRESET_MEDIUM)
        # The refinement smooths the flow over the outlines of objects.
        search.setVariationalRefinementIterations(0)
        best = least = None
        for start in self._starts(before, now):
            source = cv2.transform(self._grid, start)
            warped = cv2.remap(
                before, source, None, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE
            )
            source = cv2.transform(self._grid + search.calc(now, warped, None), start)
            error = _color_error(previous, current, source)
            if best is None:
                best, least = source, error
            else:
                np.copyto(best, source, where=(error < least)[..., None])
                np.minimum(least, error, out=least)
        return best[:height, :width]

    def _starts(self, before: np.ndarray, now: np.ndarray) -> list[np.ndarray]:
        """Returns motions of the whole picture, float64 [2, 3] from the current frame back."""
        height, width = now.shape
        center = ((width - 1) / 2, (height - 1) / 2)
        shift = cv2.phaseCorrelate(
            *(plane.astype(np.float32) for plane in (now, before)), self._taper
        )[0]
        shift = np.array(shift) if np.isfinite(shift).all() else np.zeros(2)
        return [
            np.eye(2, 3),
            np.column_stack([np.eye(2), shift]),
            *(cv2.getRotationMatrix2D(center, 0, zoom) for zoom in ZOOMS),
            *(cv2.getRotationMatrix2D(center, turn, 1) for turn in TURNS),
        ]

    def _shrunken(self, image: np.ndarray) -> np.ndarray:
        height, width = self._size
        if image.shape[:2] != self._size:
            image = cv2.resize(image, (width, height), interpolation=cv2.INTER_AREA)
        padding = (0, max(0, MIN_FLOW_SIDE - height), 0, max(0, MIN_FLOW_SIDE - width))
        return cv2.copyMakeBorder(image, *padding, cv2.BORDER_REPLICATE)


def _color_error(previous: np.ndarray, current: np.ndarray, source: np.ndarray) -> np.ndarray:
    """Returns the difference of colors around every position, float32 [h, w].

    It is summed over the channels and averaged over the window.
    """
    seen = cv2.remap(
        previous,
        source,
        None,
        cv2.INTER_LINEAR,
        borderMode=cv2.BORDER_CONSTANT,
        borderValue=OUTSIDE,
    )
    difference = cv2.absdiff(seen, current).astype(np.float32)
    return cv2.blur(cv2.transform(difference, np.ones((1, 3))), (WINDOW, WINDOW))


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
