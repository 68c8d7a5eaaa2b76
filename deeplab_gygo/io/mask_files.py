"""Opening of mask pictures: whether the file is compressed with loss, and what Pillow drops."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
from PIL import Image, UnidentifiedImageError

from deeplab_gygo.errors import InputError
from deeplab_gygo.io.images import FORMATS, SizeCheck, open_picture

_LOSSY = ("JPEG", "MPO", "AVIF")
_KINDS = (
    f"a picture ({', '.join(FORMATS)}), JSON of labelme, COCO or Label Studio, XML of CVAT, "
    "text of YOLO, npy or npz"
)
_HEADER_BYTES = 64
_CODING_BYTES = 1 << 16  # of JPEG 2000, with the headers
_PNG_COLOR_TYPES = (2, 4, 6)  # RGB, gray with alpha, RGBA: Pillow keeps the upper 8 of 16 bits


def open_mask(
    path: Path, *, max_pixels: int, check_size: SizeCheck
) -> tuple[Image.Image, bool, list[str]]:
    """Decodes the picture of a mask.

    Args:
        path: The file.
        max_pixels: Most pixels that are decoded.
        check_size: Called with height and width before a pixel is decoded.

    Returns:
        The picture; whether it is compressed with loss; notes.

    Raises:
        InputError: The file is absent, no picture, damaged, or has more than `max_pixels`.
    """
    try:
        picture = open_picture(path, max_pixels=max_pixels, check_size=check_size)
    except InputError as error:
        if isinstance(error.__cause__, UnidentifiedImageError):
            raise InputError(
                f"A mask is {_KINDS}",
                met=error.met,
                where=path,
                remedy="Convert it to PNG",
            ) from error
        raise
    with open(path, "rb") as file:
        header = file.read(_HEADER_BYTES)
    if picture.format == "PNG" and header[24] == 16 and header[25] in _PNG_COLOR_TYPES:
        _check_upper_bits(path)
    return picture, _is_lossy(picture, path), _pages(picture, path)


def _is_lossy(picture: Image.Image, path: Path) -> bool:
    if picture.format == "WEBP":
        return _has_lossy_chunk(path)
    if picture.format == "JPEG2000":
        return _has_lossy_wavelet(path)
    return picture.format in _LOSSY or "jpeg" in str(picture.info.get("compression", ""))


def _has_lossy_chunk(path: Path) -> bool:
    """Checks whether the first image of a WebP file is of the lossy kind."""
    with open(path, "rb") as file:
        file.seek(12)
        while len(chunk := file.read(8)) == 8:
            if chunk[:4] in (b"VP8 ", b"VP8L"):
                return chunk[:4] == b"VP8 "
            length = int.from_bytes(chunk[4:], "little")
            # A frame of an animation begins with 16 bytes about its place.
            file.seek(16 if chunk[:4] == b"ANMF" else length + length % 2, 1)
    return True


def _has_lossy_wavelet(path: Path) -> bool:
    """Checks whether a JPEG 2000 file was coded by the irreversible wavelet."""
    with open(path, "rb") as file:
        data = file.read(_CODING_BYTES)
    marker = data.find(b"\xff\x52\x00")  # the default coding style
    return marker < 0 or data[marker + 13 : marker + 14] != b"\x01"


def _check_upper_bits(path: Path) -> None:
    """Checks that a PNG of 16 bits a channel in colors has no values that 8 bits do not tell."""
    values = cv2.imread(str(path), cv2.IMREAD_UNCHANGED)
    if values is None or values.dtype != np.uint16:
        return
    pixels = values.reshape(-1, values.shape[-1])[:, :3].astype(np.int64)
    packed = pixels[:, 0] << 32 | pixels[:, 1] << 16 | pixels[:, 2]
    colors = np.unique(packed)
    upper = (pixels >> 8) @ np.array([1 << 16, 1 << 8, 1])
    if len(colors) < 255 and len(np.unique(upper)) < len(colors):
        raise InputError(
            "A mask in colors has 8 bits per channel",
            met=f"16 bits, and {len(colors)} colors of which some differ in the lower 8 only",
            where=path,
            remedy="Save it with 8 bits per channel, or ids as gray of 16 bits",
        )


def _pages(picture: Image.Image, path: Path) -> list[str]:
    if picture.format not in ("GIF", "TIFF", "WEBP"):
        return []
    with Image.open(path, formats=[picture.format]) as again:
        pages = getattr(again, "n_frames", 1)
    return [f"the file has {pages} pictures; the first is the mask"] if pages > 1 else []
