"""Masks from arrays of NumPy: `.npy`, and `.npz` with an array or one per frame."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from PIL import Image

from deeplab_gygo.errors import InputError
from deeplab_gygo.io.annotations.common import check_pixels, choose_frame
from deeplab_gygo.io.arrays import open_npz, read_npy
from deeplab_gygo.io.images import SizeCheck
from deeplab_gygo.io.mask_encodings import analyze_picture
from deeplab_gygo.io.mask_values import Content, Fixed, Levels, ranked
from deeplab_gygo.io.palette import VOID

NPY_START, NPZ_START = b"\x93NUMPY", b"PK\x03\x04"
"""The first bytes of the files."""

_RULE = "A mask of NumPy is [H, W]: booleans, object ids from 0, or opacities from 0 to 1"
_MAX_VALUE_BYTES = 16
_MAX_VALUE = np.iinfo(np.int32).max


def read_values(
    path: Path, *, frame: str | None, max_pixels: int, check_size: SizeCheck | None
) -> tuple[np.ndarray, list[str]]:
    """Reads the values of a `.npy` file, or of the only array or that of a frame of `.npz`.

    Returns:
        Numbers from 0, or booleans [H, W], and notes.

    Raises:
        InputError: The file is damaged, has another shape, several arrays and none of the frame, or
            values out of range.
    """
    notes: list[str] = []
    with open(path, "rb") as file:
        is_archive = file.read(len(NPZ_START)) == NPZ_START
    if is_archive:
        rule = "An archive of masks is one of numpy.savez, with an array or one per frame"
        with open_npz(path, rule=rule, remedy="Save the mask again by numpy.savez") as archive:
            index, notes = choose_frame(archive.names, frame, path, noun="arrays")
            name = archive.names[index]
            size = _mask_size(archive.header(name).shape, path)
            check_pixels(size, path, max_pixels, check_size)
            array = archive.read(name)
    else:
        array = read_npy(path, max_bytes=max_pixels * _MAX_VALUE_BYTES)
        size = _mask_size(array.shape, path)
        check_pixels(size, path, max_pixels, check_size)
    values = array.reshape(size)
    low, high = values.min(), values.max()
    if not 0 <= low <= high <= _MAX_VALUE:  # not a number fails too
        raise InputError(_RULE, met=f"values from {low:g} to {high:g}", where=path)
    return values, notes


def analyze_values(values: np.ndarray, mask_format: str, path: Path) -> Content:
    """Decides what the values of an array are.

    With the format "auto" booleans are one object, fractions from 0 to 1 are opacities, and signed
    integers and those of 32 bits or more are ids. Other values, of 8 and 16 bits, may be brightness
    too, and follow the rules for gray pictures.

    Args:
        values: As from `read_values`.
        mask_format: As in `read_mask`.
        path: Their file, for messages.

    Returns:
        What `mask_legend.Legend` turns into ids.

    Raises:
        InputError: The values have several readings.
    """
    kind = values.dtype.kind
    if kind == "b":
        return Fixed(values.astype(np.uint8))
    if kind == "f" and mask_format == "auto" and (values != np.rint(values)).any():
        if values.max() > 1:
            met = f"fractions up to {values.max():g}"
            raise InputError(_RULE, met=met, where=path, remedy="Save ids as integers")
        note = "the mask has opacities; those above .5 are taken as the object"
        return Fixed((values > 0.5).astype(np.uint8), [note])
    if mask_format == "auto" and (kind == "i" or kind == "u" and values.dtype.itemsize > 2):
        # Those of 8 bits are ranked without sorting.
        used, index = ranked(values.astype(np.uint8 if values.max() <= VOID else np.int64))
        return Levels(used, index, is_forced=not set(used.tolist()) <= {0, VOID})
    dtype = np.float32 if kind == "f" else np.uint8 if values.dtype.itemsize == 1 else np.int32
    return analyze_picture(Image.fromarray(values.astype(dtype)), mask_format, path)


def _mask_size(shape: tuple[int, ...], path: Path) -> tuple[int, int]:
    lengths = shape
    if len(lengths) == 3 and 1 in (lengths[0], lengths[2]):  # [1, H, W] or [H, W, 1]
        lengths = lengths[:2] if lengths[2] == 1 else lengths[1:]
    if len(lengths) != 2 or not all(lengths):
        raise InputError(
            _RULE,
            met=f"the shape {list(shape)}",
            where=path,
            remedy="Save the mask of one frame",
        )
    return lengths[0], lengths[1]
