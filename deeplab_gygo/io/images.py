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
from typing import NamedTuple

import cv2
import numpy as np
from PIL import Image, ImageOps
from PIL.Image import DecompressionBombError

from deeplab_gygo.errors import InputError
from deeplab_gygo.io.bit_depth import (
    ORIENTATION,
    load_pixels,
    stored_values,
    to_8_bits,
    white_level,
)
from deeplab_gygo.io.native_messages import captured_stderr
from deeplab_gygo.io.reading import check_regular, read_bytes

logger = logging.getLogger(__name__)

SUFFIXES = {
    "JPEG": (".jpg", ".jpeg"), "PNG": (".png", ".apng"), "WEBP": (".webp",), "BMP": (".bmp",),
    "GIF": (".gif",), "TIFF": (".tif", ".tiff"), "JPEG2000": (".jp2", ".j2k", ".jpx"),
    "AVIF": (".avif",),
}  # fmt: skip
"""Suffixes of the formats that are read, by the names of Pillow."""

FORMATS = tuple(SUFFIXES)
IMAGE_SUFFIXES = frozenset(suffix for suffixes in SUFFIXES.values() for suffix in suffixes)

MAX_BYTES = 512 << 20
"""Largest file of an image, bytes: BMP and TIFF of `MAX_PIXELS` in RGB fit."""

TIFF_SIGNATURES = (b"II*\0", b"MM\0*", b"II+\0", b"MM\0+")
"""First bytes of TIFF and BigTIFF files."""

MAX_PIXELS = 150_000_000
"""Most pixels of an image: photos of 12,000x12,000 fit and take 600 MB while they are decoded."""

SizeCheck = Callable[[tuple[int, int]], object]
"""Takes height and width, raises an error where they do not fit."""

_MOST_COPIES = 32  # smaller copies of an image in a TIFF file
_NEW_SUBFILE_TYPE = 254  # tag of TIFF
_METADATA = {"exif", "Raw profile type exif", "XML:com.adobe.xmp"}
_DECODING_ERRORS = (
    OSError, EOFError, SyntaxError, ValueError, TypeError, LookupError, struct.error, RuntimeError,
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
    return read_header(path).size


class ImageHeader(NamedTuple):
    """Properties of an image that are known before it is decoded.

    Attributes:
        size: Height and width in pixels, after EXIF orientation.
        is_animated: Whether it has several frames or pages.
        is_palette: Whether its pixels are indices.
    """

    size: tuple[int, int]
    is_animated: bool
    is_palette: bool


def read_header(path: str | Path) -> ImageHeader:
    """Reads the header of an image.

    Raises:
        InputError: As in `image_size`; or the file has more than `MAX_BYTES` and is no TIFF, of
            which alone a part can be read.
    """
    if (length := check_regular(path)) > MAX_BYTES:
        with open(path, "rb") as file:
            is_tiff = file.read(4) in TIFF_SIGNATURES
        if not is_tiff:
            raise InputError(
                f"An image has at most {MAX_BYTES >> 20} MB",
                met=f"{length >> 20} MB",
                where=path,
                remedy="Convert an animation to a video, as by ffmpeg; reduce the size of a photo",
            )
    with _opened(path, path, MAX_PIXELS) as picture:
        size = _upright_size(picture)
        # The second image of a JPEG file is a preview of a camera.
        is_animated = picture.format not in _JPEG and getattr(picture, "is_animated", False)
        is_palette = picture.mode == "P"
        if is_animated and picture.format == "TIFF":
            is_animated = _has_second_page(picture, size)
        return ImageHeader(size, is_animated, is_palette)


def _has_second_page(picture: Image.Image, size: tuple[int, int]) -> bool:
    """Checks whether a TIFF file has another page of a size that is no smaller copy."""
    for page in range(1, _MOST_COPIES):
        try:
            picture.seek(page)
        except EOFError:
            return False
        if not is_reduced(picture) and _upright_size(picture) == size:
            return True
    return False


def is_reduced(picture: Image.Image) -> bool:
    """Checks whether the current page of a TIFF file is a smaller copy of another."""
    return bool(getattr(picture, "tag_v2", {}).get(_NEW_SUBFILE_TYPE, 0) & 1)


def read_image(path: str | Path, *, white: float | None = None) -> np.ndarray:
    """Decodes an image; transparency is dropped, more than 8 bits are reduced to 8.

    Args:
        path: The image.
        white: Value that becomes 255 where the file has more than 8 bits per channel, see
            `white_level`; by default that of the image's own largest value.

    Returns:
        uint8 [H, W, 3], RGB, EXIF orientation applied.

    Raises:
        InputError: The file is absent, no image, damaged, or has more than `MAX_PIXELS`.
    """
    image = read_stored(path)
    if image.dtype == np.uint8:
        return image
    return to_8_bits(image, white_level(image.max(initial=0)) if white is None else white)


def read_stored(path: str | Path) -> np.ndarray:
    """Decodes an image without reducing its bits.

    OpenCV decodes JPEG two to five times faster than Pillow, but fills a damaged file with gray
    without an error. It decodes upright files, gray or YCbCr, whose scans are complete; its
    messages on damage are errors here. Pillow decodes the others.

    Args:
        path: The image.

    Returns:
        uint8 [H, W, 3], RGB, EXIF orientation applied. Of more than 8 bits per channel the values
        as stored, not negative: uint16, int32 or float32, [H, W] or [H, W, 3].

    Raises:
        InputError: As in `read_image`.
    """
    data = read_bytes(path, MAX_BYTES)
    with _opened(io.BytesIO(data), path, MAX_PIXELS) as picture:
        if picture.format in _JPEG:
            _check_scans(data)
            is_upright = picture.getexif().get(ORIENTATION, 1) == 1
            if picture.mode in ("RGB", "L") and is_upright:
                image = _decode_jpeg(data, path)
                if image is not None and image.shape[:2] == _upright_size(picture):
                    return image
        content = np.frombuffer(data, np.uint8)
        return stored_values(picture, lambda flags: cv2.imdecode(content, flags))


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
        load_pixels(picture)
        ImageOps.exif_transpose(picture, in_place=True)
        return picture


@contextmanager
def _opened(
    file: str | Path | io.BytesIO, where: str | Path, max_pixels: int
) -> Iterator[Image.Image]:
    """Opens an image and checks its size; errors of Pillow in the context become `InputError`."""
    with decoding_errors(where, max_pixels):
        with captured_stderr("More samples"):  # Pillow, of a damaged TIFF file
            picture = Image.open(file, formats=FORMATS)
    with picture, decoding_errors(where, max_pixels):
        if picture.width * picture.height > max_pixels:
            raise _too_large(f"{picture.width}x{picture.height}", where, max_pixels)
        yield picture


@contextmanager
def decoding_errors(where: str | Path, max_pixels: int = MAX_PIXELS) -> Iterator[None]:
    """Turns errors of Pillow and OpenCV into an `InputError`, and hides their warnings."""
    try:
        # Pillow warns of large images and of damaged EXIF data; the size is checked here.
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", module=r"PIL\b")
            yield
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
    turned = picture.getexif().get(ORIENTATION, 1) in (5, 6, 7, 8)
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
