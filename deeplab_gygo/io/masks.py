"""Reading of masks: every common encoding becomes uint8 [H, W] of object ids.

The encoding is detected by content: images of 0 and 255, 0 and 1, or small ids; palette PNG;
transparent background; colors of the DAVIS palette, or others on black or white; anti-aliased or
JPEG-noisy edges; labelme JSON.
"""

from __future__ import annotations

import logging
import math
from pathlib import Path

import cv2
import numpy as np

from deeplab_gygo.errors import InputError, UsageError
from deeplab_gygo.io.images import open_picture
from deeplab_gygo.io.labelme import read_labelme
from deeplab_gygo.io.mask_encodings import MAX_MASK_PIXELS, decode_picture
from deeplab_gygo.io.palette import VOID, davis_palette, write_mask

__all__ = [
    "MASK_FORMATS",
    "MASK_SUFFIXES",
    "VOID",
    "as_mask",
    "check_first_mask",
    "davis_palette",
    "fit_mask",
    "read_mask",
    "write_mask",
]

logger = logging.getLogger(__name__)

MASK_FORMATS = ("auto", "binary", "ids", "alpha", "labelme")
MASK_SUFFIXES = (".png", ".json", ".webp", ".bmp", ".gif", ".tif", ".tiff", ".jpg", ".jpeg")
_ASPECT_TOLERANCE = 0.01  # 854x480 is called 16:9 and is .1 % off; rounding does more in thumbnails
_FULL_FRACTION = 0.995  # of the frame; more than that leaves no background to learn from


def read_mask(
    path: str | Path,
    *,
    size: tuple[int, int] | None = None,
    mask_format: str = "auto",
    keep_void: bool | None = None,
) -> np.ndarray:
    """Reads a mask from an image or a labelme file; assumptions and repairs are logged (INFO).

    Args:
        path: Image or labelme JSON.
        size: Height and width of the frame in pixels; a mask of the same aspect is resized to it.
        mask_format: Encoding of the file. "auto" detects it; "binary" thresholds gray at half and
            takes every palette index but 0 as the object; "ids" takes the values as they are
            stored; "alpha" takes what is not transparent; "labelme".
        keep_void: Keep 255 beside ids, void, rather than making it background. By default only
            with the format "ids".

    Returns:
        uint8 [H, W] of object ids, 0 background. A mask without ids has 1 for its object.

    Raises:
        InputError: The file is absent, damaged, no mask, or does not fit `size`.
        UsageError: There is no such format.

    Example:
        >>> import tempfile
        >>> path = Path(tempfile.mkdtemp()) / "mask.png"
        >>> write_mask(path, np.array([[0, 1], [2, 0]], np.uint8))
        >>> read_mask(path).tolist()
        [[0, 1], [2, 0]]
    """
    path = Path(path)
    if mask_format not in MASK_FORMATS:
        raise UsageError(f"A mask format is one of {', '.join(MASK_FORMATS)}", met=mask_format)

    def check_size(met: tuple[int, int]) -> None:
        if size is not None:
            check_aspect(met, size, path)

    most = max(MAX_MASK_PIXELS, math.prod(size or ()))
    if mask_format == "labelme" or (mask_format == "auto" and path.suffix.lower() == ".json"):
        mask, notes = read_labelme(path, size, max_pixels=most, check_size=check_size)
    else:
        picture = open_picture(path, max_pixels=most, check_size=check_size)
        mask, notes = decode_picture(picture, mask_format, path)
    if not (mask_format == "ids" if keep_void is None else keep_void):
        mask[mask == VOID] = 0
    if size is not None:
        mask, resized = fit_mask(mask, size, path)
        notes = notes + resized
    for note in notes:
        logger.info("%s: %s", path, note)
    return mask


def as_mask(
    mask: np.ndarray, *, size: tuple[int, int] | None = None, where: str | Path = "mask"
) -> np.ndarray:
    """Converts a mask in memory to object ids.

    Args:
        mask: bool or uint8 [H, W]: object ids, or 0 and 255 only.
        size: Height and width of the frame in pixels; a mask of the same aspect is resized to it.
        where: Name of the mask for messages.

    Returns:
        uint8 [H, W] of object ids, 0 background. 255 beside ids, void, becomes background.

    Raises:
        InputError: The array has another dtype or shape, or does not fit `size`.

    Example:
        >>> as_mask(np.array([[0, 255], [255, 0]], np.uint8)).tolist()
        [[0, 1], [1, 0]]
    """
    mask = np.asarray(mask)
    if mask.ndim != 2 or mask.dtype not in (np.uint8, np.bool_) or not mask.size:
        raise InputError(
            "A mask is bool or uint8 [H, W]", met=f"{mask.dtype} {list(mask.shape)}", where=where
        )
    ids = mask.astype(np.uint8)
    ids[ids == VOID] = 0
    if not ids.any():
        ids = (mask != 0).astype(np.uint8)
    return ids if size is None else fit_mask(ids, size, where)[0]


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
            remedy="Paint the object white on black, or give a mask of a frame that shows it",
        )
    if fraction > _FULL_FRACTION:
        raise InputError(
            "The first mask must leave some background",
            met=f"{fraction:.1%} of the frame is object",
            where=where,
            remedy="Give a mask in which object and background differ; is it inverted?",
        )


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
