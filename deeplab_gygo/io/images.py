"""Decoding of still images: damage is an error, EXIF orientation is applied.

Only the formats of `FORMATS` are read, whatever the name of a file says: of the others that Pillow
knows, some run programs (PostScript). Sizes are checked before a pixel is decoded.
"""

from __future__ import annotations

import io
import logging
import re
import struct
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import cv2
import numpy as np
from PIL import Image, ImageOps
from PIL.Image import DecompressionBombError

from deeplab_gygo.errors import InputError
from deeplab_gygo.io.native_messages import captured_stderr
from deeplab_gygo.io.reading import check_regular, read_bytes

logger = logging.getLogger(__name__)

IMAGE_SUFFIXES = frozenset({".jpg", ".jpeg", ".png", ".webp", ".bmp"})
FORMATS = ("JPEG", "PNG", "WEBP", "BMP", "GIF", "TIFF")
"""Formats that are read, by the names of Pillow."""

MAX_BYTES = 512 << 20
"""Largest file of an image, bytes: BMP and TIFF of `MAX_PIXELS` in RGB fit."""

MAX_PIXELS = 150_000_000
"""Most pixels of an image: photos of 12,000x12,000 fit and take 600 MB while they are decoded."""

SizeCheck = Callable[[tuple[int, int]], object]
"""Takes height and width, raises an error where they do not fit."""

_ORIENTATION = 0x0112  # EXIF tag; 5 to 8 exchange width and height
_METADATA = {"exif", "Raw profile type exif", "XML:com.adobe.xmp"}
_DECODING_ERRORS = (
    OSError, EOFError, SyntaxError, ValueError, TypeError, LookupError, struct.error,
    DecompressionBombError, MemoryError,
)  # fmt: skip
"""Errors of Pillow on damaged files."""

_JPEG = ("JPEG", "MPO")
# A marker in coded data: 00 follows a data byte FF, D0 to D7 restart the decoder, FF fills.
_MARKER = re.compile(rb"\xff[^\x00\xd0-\xd7\xff]")
_BETWEEN_SCANS = frozenset({0xC4, 0xDA, 0xDB, 0xDC, 0xDD, *range(0xE0, 0xF0), 0xFE})
_ALONE = frozenset({0x00, 0x01, *range(0xD0, 0xD9), 0xFF})  # markers without a length, and none
_START_OF_SCAN = 0xDA
# Of libjpeg, where the image is complete: some cameras fill up their files.
_SURPLUS = re.compile(r"\d+ extraneous bytes before marker 0xd9")


def image_size(path: str | Path) -> tuple[int, int]:
    """Reads height and width of an image, after EXIF orientation, from its header.

    Raises:
        InputError: The file is absent, no image, or has more than `MAX_PIXELS`.
    """
    check_regular(path)
    with _opened(path, path, MAX_PIXELS) as picture:
        return _upright_size(picture)


def read_image(path: str | Path) -> np.ndarray:
    """Decodes an image; transparency is dropped, 16 bits are reduced to 8.

    OpenCV decodes JPEG two to five times faster than Pillow, but fills a damaged file with gray
    without an error. It decodes upright files, gray or YCbCr, whose scans are complete; its
    messages on damage are errors here. Pillow decodes the others.

    Args:
        path: The image.

    Returns:
        uint8 [H, W, 3], RGB, EXIF orientation applied.

    Raises:
        InputError: The file is absent, no image, damaged, or has more than `MAX_PIXELS`.
    """
    data = read_bytes(path, MAX_BYTES)
    with _opened(io.BytesIO(data), path, MAX_PIXELS) as picture:
        if picture.format in _JPEG:
            _check_scans(data)
            is_upright = picture.getexif().get(_ORIENTATION, 1) == 1
            if picture.mode in ("RGB", "L") and is_upright:
                image = _decode_jpeg(data, path)
                if image is not None and image.shape[:2] == _upright_size(picture):
                    return image
        ImageOps.exif_transpose(picture, in_place=True)
        if not picture.mode.startswith("I"):
            return np.array(picture if picture.mode == "RGB" else picture.convert("RGB"))
        # 16-bit gray; Pillow would clip it at 255 instead of scaling.
        gray = np.asarray(picture).astype(np.int64)
        gray = (gray >> 8 if gray.max(initial=0) > 255 else gray).clip(0, 255).astype(np.uint8)
        return np.repeat(gray[..., None], 3, axis=2)


def open_picture(
    path: str | Path, *, max_pixels: int = MAX_PIXELS, check_size: SizeCheck | None = None
) -> Image.Image:
    """Decodes an image with its palette and transparency, EXIF orientation applied.

    Args:
        path: The image.
        max_pixels: Most pixels that are decoded.
        check_size: Called before a pixel is decoded.

    Returns:
        The image; `format` is that of the file.

    Raises:
        InputError: The file is absent, no image, damaged, or has more than `max_pixels`.
    """
    return decode_bytes(
        read_bytes(path, MAX_BYTES), path, max_pixels=max_pixels, check_size=check_size
    )


def decode_bytes(
    data: bytes,
    where: str | Path,
    *,
    max_pixels: int = MAX_PIXELS,
    check_size: SizeCheck | None = None,
) -> Image.Image:
    """Decodes the content of an image file; see `open_picture`. `where` is for messages."""
    with _opened(io.BytesIO(data), where, max_pixels) as picture:
        if check_size is not None:
            check_size(_upright_size(picture))
        if picture.format in _JPEG:
            _check_scans(data)
        picture.load()
        ImageOps.exif_transpose(picture, in_place=True)
        return picture


@contextmanager
def _opened(
    file: str | Path | io.BytesIO, where: str | Path, max_pixels: int
) -> Iterator[Image.Image]:
    """Opens an image and checks its size; errors of Pillow in the context become `InputError`."""
    try:
        # Pillow warns of large images and of damaged EXIF data; the size is checked here.
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", module=r"PIL\b")
            with Image.open(file, formats=FORMATS) as picture:
                if picture.width * picture.height > max_pixels:
                    raise _too_large(f"{picture.width}x{picture.height}", where, max_pixels)
                yield picture
    except DecompressionBombError as error:
        size = re.search(r"\d+ pixels", str(error))
        raise _too_large(size[0] if size else "more", where, max_pixels) from error
    except (*_DECODING_ERRORS, cv2.error) as error:
        raise _unreadable(where, error) from error


def _decode_jpeg(data: bytes, path: str | Path) -> np.ndarray | None:
    """Decodes a JPEG file by OpenCV: uint8 [H, W, 3] RGB, not rotated; None if it cannot."""
    flags = cv2.IMREAD_COLOR_RGB | cv2.IMREAD_IGNORE_ORIENTATION
    with captured_stderr("Corrupt JPEG") as messages:
        image = cv2.imdecode(np.frombuffer(data, np.uint8), flags)
    for message in messages:
        if not _SURPLUS.search(message):
            raise OSError(message)
        logger.warning("%s may be damaged: %s", path, message)
    return image


def _check_scans(data: bytes) -> None:
    """Checks that the scans of a JPEG file end with its end marker and hold no other.

    Decoders fill up with gray where a scan ends early, as in an aborted transfer, and stop at a
    marker of another kind, which noise makes.
    """
    position, in_scan = 2, False
    while position + 2 <= len(data):
        if in_scan:
            found = _MARKER.search(data, position)
            position = found.start() if found else len(data)
        marker = data[position : position + 2]
        if marker == b"\xff\xd9":
            return
        if marker[:1] != b"\xff" or marker[1] in _ALONE:
            position += 1  # not a segment
        elif in_scan and marker[1] not in _BETWEEN_SCANS:
            raise OSError(f"JPEG data is damaged, marker {marker.hex()} at byte {position}")
        else:
            in_scan = in_scan or marker[1] == _START_OF_SCAN
            position += 2 + int.from_bytes(data[position + 2 : position + 4], "big")
    written = len(data.rstrip(b"\0"))
    zeros = f", zeros follow byte {written}" if len(data) - written > 1 else ""
    raise OSError(f"image file is truncated{zeros}")


def _upright_size(picture: Image.Image) -> tuple[int, int]:
    width, height = picture.size
    if picture.format == "PNG" and not _METADATA & picture.info.keys():
        return height, width  # Pillow would decode the image to look for metadata after it
    turned = picture.getexif().get(_ORIENTATION, 1) in (5, 6, 7, 8)
    return (width, height) if turned else (height, width)


def _too_large(met: str, where: str | Path, max_pixels: int) -> InputError:
    return InputError(
        f"An image of this kind has at most {max_pixels / 1e6:g} million pixels",
        met=met,
        where=where,
        remedy="Reduce its size",
    )


def _unreadable(where: str | Path, error: Exception) -> InputError:
    if isinstance(error, Image.UnidentifiedImageError):
        met = f"not an image of the kinds {', '.join(FORMATS)}, or damaged"
        if Path(where).is_file() and not Path(where).stat().st_size:
            met = "an empty file"
    else:
        met = " ".join(str(error).split()) or type(error).__name__
    return InputError(
        "An image must be readable and complete",
        met=met,
        where=where,
        remedy="Replace the file with an intact one",
    )
