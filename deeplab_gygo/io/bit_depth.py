"""Pixels of images of 8 bits per channel and more, upright, and their reduction to 8 bits."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import nullcontext

import cv2
import numpy as np
from PIL import Image

from deeplab_gygo.io.native_messages import captured_stderr

ORIENTATION = 0x0112
"""EXIF tag; 5 to 8 exchange width and height."""

_BIT_DEPTHS = (8, 10, 12, 14, 16, 24, 32)  # of cameras and sensors, and of files


def stored_values(
    picture: Image.Image, decode_deep: Callable[[int], np.ndarray | None] | None = None
) -> np.ndarray:
    """Returns the pixels of an opened image as `read_stored` does, rotated upright.

    Args:
        picture: The image, at the wanted page.
        decode_deep: Decodes it by OpenCV with some flags where colors have 16 bits, of which
            Pillow has the upper 8 only; without it these are returned.
    """
    is_deep = any(";16" in str(tile.args) for tile in getattr(picture, "tile", ()))
    load_pixels(picture)  # reports damage, which OpenCV does not
    orientation = picture.getexif().get(ORIENTATION, 1)
    if is_deep and decode_deep is not None and picture.mode[0] != "I":
        # With IMREAD_COLOR_RGB OpenCV 5.0 returns random values for TIFF.
        flags = cv2.IMREAD_ANYDEPTH | cv2.IMREAD_COLOR_BGR | cv2.IMREAD_IGNORE_ORIENTATION
        with captured_stderr(""):
            image = decode_deep(flags)
        if image is None or image.shape[:2] != (picture.height, picture.width):
            raise OSError("colors of 16 bits that cannot be decoded")
        return _upright(image[..., ::-1], orientation)
    if picture.mode[0] not in "IF":
        image = np.array(picture if picture.mode == "RGB" else picture.convert("RGB"))
        return _upright(image, orientation)
    values = np.array(picture)
    is_odd = values.dtype.kind == "f" and not np.isfinite(values).all()
    if is_odd or values.min(initial=0) < 0:
        raise OSError("values that are negative or no numbers")
    return _upright(values, orientation)


def load_pixels(picture: Image.Image) -> None:
    """Decodes an opened image; what libtiff prints on damage is raised by Pillow too."""
    with captured_stderr("") if picture.format == "TIFF" else nullcontext():
        picture.load()


def white_level(largest: float) -> float:
    """Returns the value that is white, from the largest value of an image or a clip.

    The smallest of 8, 10, 12, 14, 16, 24 and 32 bits that holds it; 1 for fractions.

    Example:
        >>> [white_level(value) for value in (0.7, 200, 900, 4095, 30_000)]
        [1.0, 255.0, 1023.0, 4095.0, 65535.0]
    """
    if isinstance(largest, (float, np.floating)) and largest <= 1:
        return 1.0
    return next((2.0**bits - 1 for bits in _BIT_DEPTHS if largest < 2**bits), float(largest))


def to_8_bits(values: np.ndarray, white: float) -> np.ndarray:
    """Scales an image, [H, W] or [H, W, 3], to uint8 [H, W, 3]; values above white become 255."""
    image = cv2.convertScaleAbs(values, alpha=255 / white)
    return image if image.ndim == 3 else cv2.cvtColor(image, cv2.COLOR_GRAY2RGB)


def _upright(image: np.ndarray, orientation: int) -> np.ndarray:
    """Applies an EXIF orientation to an image [H, W, ...]."""
    image = image.swapaxes(0, 1) if orientation in (5, 6, 7, 8) else image
    image = image[::-1] if orientation in (3, 4, 7, 8) else image
    image = image[:, ::-1] if orientation in (2, 3, 6, 7) else image
    return np.ascontiguousarray(image)
