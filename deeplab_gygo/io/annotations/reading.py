"""Reading of annotation files; the format is detected by content."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np

from deeplab_gygo.errors import InputError
from deeplab_gygo.io.annotations.coco import is_coco, read_coco
from deeplab_gygo.io.annotations.common import MALFORMED, Shapes, rasterize
from deeplab_gygo.io.annotations.cvat import parse_xml, read_cvat
from deeplab_gygo.io.annotations.label_studio import is_label_studio, read_label_studio
from deeplab_gygo.io.annotations.stored_arrays import (
    NPY_START,
    NPZ_START,
    analyze_values,
    read_values,
)
from deeplab_gygo.io.annotations.yolo import is_yolo, read_yolo
from deeplab_gygo.io.escaping import printable
from deeplab_gygo.io.images import SizeCheck
from deeplab_gygo.io.labelme import read_labelme
from deeplab_gygo.io.listing import shorten
from deeplab_gygo.io.mask_encodings import MAX_MASK_PIXELS
from deeplab_gygo.io.mask_legend import Legend
from deeplab_gygo.io.reading import check_regular, read_bytes, read_json, read_text

ACCEPTED = (
    "a picture, JSON of labelme, COCO or Label Studio, XML of CVAT, .txt of YOLO segmentation, "
    ".npy or .npz"
)
"""The kinds of files that a mask is read from, for messages."""


def read_annotation(
    path: str | Path,
    *,
    size: tuple[int, int] | None = None,
    frame: str | None = None,
    check_size: SizeCheck | None = None,
    mask_format: str = "auto",
) -> tuple[np.ndarray, list[str]]:
    """Reads the mask of a frame from an annotation file.

    An object is what the file calls one: the shapes of a track or a group, else every shape. Its id
    is the number of the track or group, or the label, where all of these are numbers from 1 to 254;
    else objects are numbered in the order of the file.

    Args:
        path: JSON of labelme, COCO (polygons, run-length encodings; lists of results; masks of
            Segment Anything) or Label Studio, XML 1.1 of CVAT, a label file of YOLO segmentation,
            or an array of NumPy.
        size: Height and width of the frame in pixels, used where the file does not state them.
        frame: Name of the frame without suffix, for files of several.
        check_size: Called with height and width before the mask is made.
        mask_format: Encoding of an array of NumPy, as in `read_mask`.

    Returns:
        uint8 [H, W] of object ids, 0 background, 255 void; and notes, such as
        "ids: car is 1, person is 2".

    Raises:
        InputError: The file is absent, of another format, damaged, has no areas or other frames, or
            exceeds a limit.

    Example:
        >>> import tempfile
        >>> path = Path(tempfile.mkdtemp()) / "00000.txt"
        >>> _ = path.write_text("0 0 0 0.5 0 0.5 1 0 1")
        >>> read_annotation(path, size=(1, 2))[0].tolist()
        [[1, 0]]
    """
    path = Path(path)
    most = max(MAX_MASK_PIXELS, math.prod(size or ()))
    start = _first_bytes(path)
    if start.startswith((NPY_START, NPZ_START)):
        values, notes = read_values(path, frame=frame, max_pixels=most, check_size=check_size)
        content, legend = analyze_values(values, mask_format, path), Legend()
        legend.add(content)
        mask, more = legend.decode(content, path)
        return mask, notes + more
    try:
        found = _find_shapes(path, start, frame)
    except MALFORMED as error:
        met = f"{type(error).__name__}: {' '.join(str(error).split())[:200]}"
        raise InputError(
            "An annotation file is whole and as its tool writes it",
            met=met.removeprefix("ValueError: "),
            where=path,
            remedy="Export it again",
        ) from error
    if found is None:
        return read_labelme(path, size, max_pixels=most, check_size=check_size)
    return rasterize(found, path, size=size, max_pixels=most, check_size=check_size)


def _first_bytes(path: Path) -> bytes:
    check_regular(path)
    try:
        with open(path, "rb") as file:
            return file.read(64).removeprefix(b"\xef\xbb\xbf").lstrip()
    except OSError as error:
        raise InputError(
            "An input is a file that can be read", met=error.strerror, where=path
        ) from error


def _find_shapes(path: Path, start: bytes, frame: str | None) -> Shapes | None:
    """Detects the format and finds the shapes; None for labelme, which is read as a whole."""
    if start.startswith((b"{", b"[")):
        content = read_json(path)
        if isinstance(content, dict) and "shapes" in content:
            return None
        if is_coco(content):
            return read_coco(content, path, frame)
        if is_label_studio(content):
            return read_label_studio(content, path, frame)
        keys = [printable(str(key)[:40]) for key in content] if isinstance(content, dict) else []
        raise _of_no_format(path, f"JSON with the keys {shorten(keys)}" if keys else "other JSON")
    if start.startswith(b"<"):
        root = parse_xml(read_bytes(path), path)
        if root.tag != "annotations":
            raise _of_no_format(path, f"XML of <{printable(root.tag[:40])}>")
        return read_cvat(root, path, frame)
    if b"\0" in start:
        raise _of_no_format(path, "another kind of file")
    text = read_text(path)
    if not is_yolo(text):
        raise _of_no_format(path, "a text that is no list of outlines")
    return read_yolo(text)


def _of_no_format(path: Path, met: str) -> InputError:
    return InputError(
        f"A mask is read from {ACCEPTED}",
        met=met,
        where=path,
        remedy="Convert it to one of these, a PNG best",
    )
