"""The DAVIS palette, and palette PNG files of object ids."""

from __future__ import annotations

from functools import cache
from pathlib import Path

import numpy as np
from PIL import Image

from deeplab_gygo.errors import InputError
from deeplab_gygo.io.atomic import replacing

VOID = 255
"""Value of pixels that are neither object nor background and are ignored by evaluation."""

# Masks are long runs of equal pixels: level 1 is as small as level 3 within a few percent and ten
# times faster than Pillow's default.
_COMPRESS_LEVEL = 1


@cache
def davis_palette() -> np.ndarray:
    """Returns the palette of DAVIS and PASCAL VOC.

    The bits of an index are dealt to red, green and blue in turn, most significant color bit
    first, as in `VOCcolormap` of the PASCAL VOC development kit.

    Returns:
        uint8 [256, 3], RGB, read-only: 0 is black, 1 is (128, 0, 0), 255 is (224, 224, 192).
    """
    index = np.arange(256)
    colors = np.zeros((256, 3), np.uint8)
    for digit in range(8):
        for channel in range(3):
            bit = (index >> (3 * digit + channel)) & 1
            colors[:, channel] |= (bit << (7 - digit)).astype(np.uint8)
    colors.flags.writeable = False
    return colors


def write_mask(path: str | Path, mask: np.ndarray) -> None:
    """Writes a mask as an 8-bit palette PNG with the DAVIS palette, atomically.

    Args:
        path: Destination; its folder is made where it is absent.
        mask: uint8 or bool [H, W] of object ids, 0 background.

    Raises:
        InputError: The array is no mask.
        StorageError: The file cannot be written.
    """
    mask = np.asarray(mask)
    if mask.ndim != 2 or mask.dtype not in (np.uint8, np.bool_) or not mask.size:
        raise InputError(
            "A mask to be written is uint8 or bool [H, W]",
            met=f"{mask.dtype} {list(mask.shape)}",
            where=path,
        )
    picture = Image.fromarray(np.ascontiguousarray(mask, np.uint8))
    picture.putpalette(davis_palette().tobytes())
    with replacing(path) as side, open(side, "wb") as file:
        picture.save(file, "PNG", compress_level=_COMPRESS_LEVEL)
