"""Overlays: frames with their objects tinted and outlined, as images and as a video."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import ExitStack
from fractions import Fraction
from pathlib import Path
from typing import Any, Self

import cv2
import numpy as np

from deeplab_gygo.errors import InputError
from deeplab_gygo.io.palette import VOID, davis_palette
from deeplab_gygo.io.video_writer import VideoWriter
from deeplab_gygo.io.writers import DEPTH, ThreadedWriter

OPACITY = 0.45
"""Share of the object's color in the tint; the texture stays visible."""

SINGLE_COLOR = (255, 64, 64)
"""Color of a single object, sRGB; the palette's dark red is hard to see on dark products."""


def object_color(label: int, single: bool) -> tuple[int, int, int]:
    """Returns the sRGB color 0..255 of an object id: of the DAVIS palette, brightened for lines."""
    if single:
        return SINGLE_COLOR
    color = davis_palette()[label].astype(np.float32)
    bright = color * (255 / max(float(color.max()), 1.0))
    red, green, blue = (int(channel) for channel in bright)
    return red, green, blue


def draw_outline(
    image: np.ndarray, region: np.ndarray, color: tuple[int, int, int], width: int
) -> None:
    """Draws the contours of a region, [H, W] nonzero inside, into a uint8 [H, W, 3] in place."""
    outlines, _ = cv2.findContours(
        (np.asarray(region) != 0).astype(np.uint8), cv2.RETR_CCOMP, cv2.CHAIN_APPROX_NONE
    )
    cv2.drawContours(image, outlines, -1, color, width, cv2.LINE_AA)


def overlay(
    image: np.ndarray, mask: np.ndarray, *, opacity: float = OPACITY, several: bool | None = None
) -> np.ndarray:
    """Tints and outlines the objects of a frame.

    Args:
        image: uint8 [H, W, 3] RGB.
        mask: uint8 or bool [H, W] of object ids; 0 is background and 255 void, both untouched.
        opacity: Share of the object's color in the tint, 0..1.
        several: Whether the sequence has several objects, which take palette colors even on frames
            that show one of them; by default when an id other than 1 occurs.

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
    single = labels in ([], [1]) if several is None else not several
    for label in labels:
        region = mask == label
        color = np.array(object_color(label, single), np.float32)
        tinted = result[region] * np.float32(1 - opacity) + color * np.float32(opacity)
        result[region] = (tinted + 0.5).astype(np.uint8)
    width = max(1, round(min(mask.shape) / 240))  # visible at every size of frames
    for label in labels:
        draw_outline(result, mask == label, object_color(label, single), width)
    return result


class OverlayWriter(ThreadedWriter):
    """Writes a video of the frames with their objects tinted and outlined.

    The file appears when the context is left without an error. Frames are drawn and encoded in a
    thread.

    Args:
        path: Destination, e.g. `overlay.mp4`.
        size: Height and width of the frames in pixels.
        times: As in `VideoWriter`.
        frame_rate: As in `VideoWriter`.
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
        with ExitStack() as stack:
            stack.enter_context(self._video)
            stack.push(super().__exit__)  # first: an error of the thread leaves no video
            self._stack = stack.pop_all()
        return self

    def __exit__(self, *error: Any) -> None:
        self._stack.__exit__(*error)

    def write(self, image: np.ndarray, mask: np.ndarray) -> None:
        """Submits a frame; the arrays must not be changed afterwards.

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
