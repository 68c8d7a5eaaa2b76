"""Decoding of still images: damage is an error, EXIF orientation is applied."""

from __future__ import annotations

import io
import struct
from pathlib import Path

import cv2
import numpy as np
from PIL import Image, ImageOps
from PIL.Image import DecompressionBombError

from deeplab_gygo.errors import InputError

IMAGE_SUFFIXES = frozenset({".jpg", ".jpeg", ".png", ".webp", ".bmp"})
_ORIENTATION = 0x0112  # EXIF tag; 5 to 8 exchange width and height
_JPEG_END = b"\xff\xd9"
_ZERO_RUN = 32  # bytes; entropy-coded data has no such run
DECODING_ERRORS = (OSError, EOFError, SyntaxError, ValueError, struct.error, DecompressionBombError)
"""Errors of Pillow on damaged files."""


def image_size(path: str | Path) -> tuple[int, int]:
    """Reads height and width of an image, after EXIF orientation, from its header.

    Raises:
        InputError: The file is absent or no image.
    """
    try:
        with Image.open(path) as picture:
            return _upright_size(picture)
    except DECODING_ERRORS as error:
        raise _unreadable(path, error) from error


def read_image(path: str | Path) -> np.ndarray:
    """Decodes an image; transparency is dropped, 16 bits are reduced to 8.

    OpenCV decodes JPEG about five times faster than Pillow, but fills a truncated file with gray
    without an error. It decodes only upright files, gray or YCbCr, with the end marker of JPEG;
    Pillow, which raises on truncation, decodes the others.

    Args:
        path: The image.

    Returns:
        uint8 [H, W, 3], RGB, EXIF orientation applied.

    Raises:
        InputError: The file is absent, no image, or damaged.
    """
    try:
        data = Path(path).read_bytes()
        with Image.open(io.BytesIO(data)) as picture:
            is_plain = picture.mode in ("RGB", "L") and picture.getexif().get(_ORIENTATION, 1) == 1
            if picture.format == "JPEG" and is_plain and data.endswith(_JPEG_END):
                flags = cv2.IMREAD_COLOR_RGB | cv2.IMREAD_IGNORE_ORIENTATION
                image = cv2.imdecode(np.frombuffer(data, np.uint8), flags)
                if image is not None and image.shape[:2] == _upright_size(picture):
                    return image
            # Of an aborted transfer into a preallocated file the zeros decode without an error.
            written = data.rstrip(b"\0")
            zeros = len(data) - len(written)
            if picture.format == "JPEG" and zeros >= _ZERO_RUN and not written.endswith(_JPEG_END):
                raise OSError(f"image file is truncated, zeros follow byte {len(written)}")
            upright = ImageOps.exif_transpose(picture)
            if not upright.mode.startswith("I"):
                return np.array(upright.convert("RGB"))
            # 16-bit gray; Pillow would clip it at 255 instead of scaling.
            gray = np.asarray(upright).astype(np.int64)
            gray = (gray >> 8 if gray.max(initial=0) > 255 else gray).clip(0, 255).astype(np.uint8)
            return np.repeat(gray[..., None], 3, axis=2)
    except (*DECODING_ERRORS, cv2.error) as error:
        raise _unreadable(path, error) from error


def open_picture(path: str | Path) -> Image.Image:
    """Decodes an image with its palette and transparency, EXIF orientation applied.

    Args:
        path: The image.

    Returns:
        The image; `format` is that of the file.

    Raises:
        InputError: The file is absent, no image, or damaged.
    """
    try:
        with Image.open(path) as picture:
            picture.load()
            upright = ImageOps.exif_transpose(picture)
            upright.format = picture.format
            return upright
    except DECODING_ERRORS as error:
        raise _unreadable(path, error) from error


def _upright_size(picture: Image.Image) -> tuple[int, int]:
    width, height = picture.size
    turned = picture.getexif().get(_ORIENTATION, 1) in (5, 6, 7, 8)
    return (width, height) if turned else (height, width)


def _unreadable(path: str | Path, error: Exception) -> InputError:
    if isinstance(error, FileNotFoundError):
        met = "no such file"
    elif isinstance(error, Image.UnidentifiedImageError):
        met = "an empty file" if not Path(path).stat().st_size else "not an image, or damaged"
    else:
        met = str(error) or type(error).__name__
    return InputError(
        "An image must be readable and complete",
        met=met,
        where=path,
        remedy="Replace the file with an intact one",
    )
