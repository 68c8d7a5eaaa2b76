"""Frames with their objects tinted and outlined, as pictures and as a video."""

from __future__ import annotations

from collections.abc import Sequence
from fractions import Fraction
from pathlib import Path
from types import TracebackType
from typing import Self

import cv2
import numpy as np

from deeplab_gygo.errors import InputError
from deeplab_gygo.io.mask_writers import DEPTH, ThreadedWriter
from deeplab_gygo.io.masks import VOID, davis_palette
from deeplab_gygo.io.video import VideoWriter

OPACITY = 0.45
"""Share of the object's color in the tint: the texture below stays readable."""

SINGLE_COLOR = (255, 64, 64)
"""Tint of the only object, sRGB; the palette's dark red is hard to see on dark goods."""


def object_color(label: int, alone: bool) -> tuple[int, int, int]:
    """Chooses the color of an object.

    Args:
        label: Object id, 1..255.
        alone: Whether it is the only object.

    Returns:
        sRGB 0..255: that of the DAVIS palette, brightened to be seen as a line.
    """
    if alone:
        return SINGLE_COLOR
    color = davis_palette()[label].astype(np.float32)
    bright = color * (255 / max(float(color.max()), 1.0))
    red, green, blue = (int(channel) for channel in bright)
    return red, green, blue


def line_width(size: tuple[int, int]) -> int:
    """Returns the width, in pixels, of an outline that is visible on frames of a size (H, W)."""
    return max(1, round(min(size) / 240))


def draw_outline(image: np.ndarray, region: np.ndarray, color, width: int) -> None:
    """Draws the outline of a region into an image, holes included, in place.

    Args:
        image: uint8 [H, W, 3] RGB, contiguous.
        region: [H, W], not 0 inside.
        color: sRGB triple.
        width: Width of the line in pixels.
    """
    outlines, _ = cv2.findContours(
        (np.asarray(region) != 0).astype(np.uint8), cv2.RETR_CCOMP, cv2.CHAIN_APPROX_NONE
    )
    cv2.drawContours(image, outlines, -1, tuple(int(c) for c in color), width, cv2.LINE_AA)


def overlay(
    image: np.ndarray, mask: np.ndarray, *, opacity: float = OPACITY, several: bool | None = None
) -> np.ndarray:
    """Tints and outlines the objects of a frame.

    Args:
        image: uint8 [H, W, 3] RGB.
        mask: uint8 or bool [H, W] of object ids; 0 is background and 255 void, both untouched.
        opacity: Share of the object's color in the tint, 0..1.
        several: Whether the sequence has several objects, which then take palette colors even on
            frames that show one of them; by default when an id other than 1 occurs.

    Returns:
        uint8 [H, W, 3] RGB, a new image.

    Raises:
        InputError: Image and mask do not fit each other.
    """
    image, mask = np.asarray(image), np.asarray(mask)
    if image.dtype != np.uint8 or image.ndim != 3 or image.shape != (*mask.shape, 3):
        raise InputError(
            "An overlay needs an image uint8 [H, W, 3] and a mask of its size",
            met=f"{image.dtype} {list(image.shape)} and {list(mask.shape)}",
        )
    result = image.copy()
    labels = [int(label) for label in np.unique(mask) if label not in (0, VOID)]
    alone = labels in ([], [1]) if several is None else not several
    for label in labels:
        region = mask == label
        color = np.array(object_color(label, alone), np.float32)
        tinted = result[region] * np.float32(1 - opacity) + color * np.float32(opacity)
        result[region] = (tinted + 0.5).astype(np.uint8)
    for label in labels:
        draw_outline(result, mask == label, object_color(label, alone), line_width(mask.shape))
    return result


class OverlayWriter(ThreadedWriter):
    """Writes a video of the frames with their objects tinted and outlined.

    The file appears when the context is left without an error. Frames are drawn and encoded in a
    thread.

    Args:
        path: Destination, e.g. `overlay.mp4`.
        size: Height and width of the frames in pixels.
        times: When each frame is shown, in seconds; kept as they are. Excludes `frame_rate`.
        frame_rate: Frames per second.
        opacity: Share of the object's color in the tint.
        several: As in `overlay`.
        depth: Frames that may wait.

    Raises:
        UsageError: As `VideoWriter`.
    """

    def __init__(
        self,
        path: str | Path,
        size: tuple[int, int],
        *,
        times: Sequence[float] | None = None,
        frame_rate: Fraction | float | None = None,
        opacity: float = OPACITY,
        several: bool | None = None,
        depth: int = DEPTH,
    ):
        super().__init__(depth)
        self.path = Path(path)
        self._video = VideoWriter(self.path, size, times=times, frame_rate=frame_rate)
        self._opacity, self._several = opacity, several

    def __enter__(self) -> Self:
        self._video.__enter__()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        try:
            super().__exit__(kind, error, traceback)
        except BaseException as failure:
            # What the thread met ends the video as an error of the body does: without a file.
            self._video.__exit__(type(failure), failure, failure.__traceback__)
            raise
        self._video.__exit__(kind, error, traceback)

    def write(self, image: np.ndarray, mask: np.ndarray) -> None:
        """Hands over a frame; the arrays must not be changed afterwards.

        Args:
            image: uint8 [H, W, 3] RGB.
            mask: uint8 [H, W] of object ids.

        Raises:
            InputError: An earlier image and mask did not fit each other.
            StorageError: An earlier frame could not be written.
        """
        self._submit(self._draw, image, mask)

    def _draw(self, image: np.ndarray, mask: np.ndarray) -> None:
        self._video.write(overlay(image, mask, opacity=self._opacity, several=self._several))
