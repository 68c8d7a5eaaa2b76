"""Overlays: frames with their objects tinted and outlined."""

from __future__ import annotations

import cv2
import numpy as np

from deeplab_gygo.errors import InputError
from deeplab_gygo.io.palette import VOID, davis_palette

OPACITY = 0.45
"""Share of the object's color in the tint; the texture stays visible."""

SINGLE_COLOR = (255, 64, 64)
"""Color of a single object, sRGB; the palette's dark red is hard to see on dark products."""


def draw_outline(image: np.ndarray, region: np.ndarray, color: tuple[int, ...], width: int) -> None:
    """Draws the contours of a region, [H, W] nonzero inside, into a uint8 [H, W, 3] in place."""
    outlines, _ = cv2.findContours(
        (np.asarray(region) != 0).astype(np.uint8), cv2.RETR_CCOMP, cv2.CHAIN_APPROX_NONE
    )
    cv2.drawContours(image, outlines, -1, color, width, cv2.LINE_AA)


def overlay(image: np.ndarray, mask: np.ndarray, *, several: bool | None = None) -> np.ndarray:
    """Tints and outlines the objects of a frame.

    Args:
        image: uint8 [H, W, 3] RGB.
        mask: uint8 or bool [H, W] of object ids; 0 is background and 255 void, both untouched.
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
    colors: list[tuple[int, ...]] = []
    for label in labels:
        color = davis_palette()[label].astype(np.float32)
        bright = color * (255 / float(color.max()))  # for lines
        colors.append(SINGLE_COLOR if single else tuple(int(channel) for channel in bright))
        region, color = mask == label, np.array(colors[-1], np.float32)
        tinted = result[region] * np.float32(1 - OPACITY) + color * np.float32(OPACITY)
        result[region] = (tinted + 0.5).astype(np.uint8)
    width = max(1, round(min(mask.shape) / 240))  # visible at every size of frames
    for label, tint in zip(labels, colors, strict=True):
        draw_outline(result, mask == label, tint, width)
    return result
