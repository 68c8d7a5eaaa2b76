"""Checks of masks against their frames, and their sizes."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np

from deeplab_gygo.errors import InputError
from deeplab_gygo.io.mask_values import HALF
from deeplab_gygo.io.palette import VOID

_ASPECT_TOLERANCE = 0.01  # 854x480 is called 16:9 and is .1 % off; rounding does more in thumbnails
_FULL_FRACTION = 0.995  # of the frame; more than that leaves no background to learn from
_INVERTED_FRACTION = 0.85  # of the frame; a product that fills it so far does not reach all borders


def fit_mask(
    mask: np.ndarray, size: tuple[int, int], where: str | Path
) -> tuple[np.ndarray, list[str]]:
    """Resizes a mask, uint8 [H, W], to height and width of its frame by the nearest neighbor.

    Returns:
        uint8 [H, W] of that size; and a note if it was resized.

    Raises:
        InputError: The mask has another aspect, or is rotated by 90 degrees.
    """
    if mask.shape == tuple(size):
        return mask, []
    check_aspect(mask.shape, size, where)
    resized = cv2.resize(mask, (size[1], size[0]), interpolation=cv2.INTER_NEAREST_EXACT)
    return resized, [
        f"the mask is {_size_text(mask.shape)}; resized to the frame, {_size_text(size)}"
    ]


def check_aspect(met: tuple[int, ...], size: tuple[int, int], where: str | Path) -> None:
    """Checks that a mask of a size can be resized to its frame; sizes are height and width.

    Raises:
        InputError: The mask has another aspect, or is rotated by 90 degrees.
    """
    if not _same_aspect(met, size):
        raise _wrong_size(met, size, where)


def check_first_mask(mask: np.ndarray, size: tuple[int, int], where: str | Path) -> None:
    """Checks that a mask is a valid first annotation.

    Args:
        mask: uint8 [H, W] of object ids; 0 is background and 255 void.
        size: Height and width of the frame in pixels.
        where: File or object for messages.

    Raises:
        InputError: The mask is not uint8 [H, W], has another size than the frame, has no object,
            or covers more than 99.5 % of the frame.
    """
    if mask.ndim != 2 or mask.dtype != np.uint8:
        raise InputError(
            "A mask is uint8 [H, W]", met=f"{mask.dtype} {list(mask.shape)}", where=where
        )
    if mask.shape != tuple(size):
        raise _wrong_size(mask.shape, size, where)
    fraction = float(((mask > 0) & (mask < VOID)).mean())
    if not fraction:
        raise InputError(
            "The first mask must show the object",
            met="void (255) only" if mask.any() else "background only",
            where=where,
            remedy="Paint the object white on black and opaque (gray and alpha up to "
            f"{HALF} of 255 are background), or give a mask of a frame that shows it",
        )
    if fraction > _FULL_FRACTION:
        raise InputError(
            "The first mask must leave some background",
            met=f"{fraction:.1%} of the frame is object",
            where=where,
            remedy="Give a mask in which object and background differ; is it inverted?",
        )


def may_be_inverted(mask: np.ndarray) -> bool:
    """Checks whether the objects of a mask cover the frame as a background does.

    Args:
        mask: uint8 [H, W] of object ids, 0 background, 255 void.

    Returns:
        True if they cover more than 85 % of the frame and reach all four borders.
    """
    inside = (mask > 0) & (mask < VOID)
    borders = (inside[0], inside[-1], inside[:, 0], inside[:, -1])
    if not all(border.any() for border in borders):
        return False
    return float(inside.mean()) > _INVERTED_FRACTION


def _same_aspect(size: tuple[int, ...], other: tuple[int, int]) -> bool:
    ratio = size[0] * other[1] / (size[1] * other[0])
    return abs(ratio - 1) <= _ASPECT_TOLERANCE


def _wrong_size(size: tuple[int, ...], frame: tuple[int, int], where: str | Path) -> InputError:
    if _same_aspect(size[::-1], frame) and not _same_aspect(size, frame):
        return InputError(
            "The mask must be rotated as the frame is shown",
            met=f"the mask is {_size_text(size)}, for the unrotated frame; the frame is shown as "
            f"{_size_text(frame)}",
            where=where,
            remedy="Rotate the mask by 90 degrees as the video is rotated",
        )
    return InputError(
        "The mask must have the size of the frame",
        met=f"the mask is {_size_text(size)}, the frame is {_size_text(frame)}",
        where=where,
        remedy="Draw the mask on the frame itself, without cropping or padding",
    )


def _size_text(size: tuple[int, ...]) -> str:
    return f"{size[1]}x{size[0]}"
