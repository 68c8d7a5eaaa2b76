"""Masks from labelme JSON files.

A pixel belongs to a shape if its center is inside; in labelme's coordinates the center of the first
pixel is at (0.5, 0.5). Later shapes cover earlier ones.
"""

from __future__ import annotations

import base64
import re
from pathlib import Path
from typing import Any

import numpy as np

from deeplab_gygo.errors import InputError
from deeplab_gygo.io.escaping import printable
from deeplab_gygo.io.images import SizeCheck, decode_bytes
from deeplab_gygo.io.mask_encodings import MAX_MASK_PIXELS
from deeplab_gygo.io.palette import VOID
from deeplab_gygo.io.reading import read_json

MAX_SHAPES = 500
MAX_POINTS = 20_000
"""Most shapes and points of a file; an outline drawn along every pixel of a 4K frame has 12,000."""

# Names of background and void in labelme's own converters.
_BACKGROUND_LABELS = frozenset({"_background_", "__background__", "background"})
_VOID_LABELS = frozenset({"__ignore__", "_ignore_"})
# A shape with absent or invalid points or mask; binascii.Error is a ValueError.
_SHAPE_ERRORS = (InputError, ValueError, TypeError, LookupError)
_MAX_COORDINATE = 1e6  # pixels; far beyond any image
_NO_AREA = frozenset({"line", "linestrip", "point", "points"})


def read_labelme(
    path: str | Path,
    size: tuple[int, int] | None = None,
    *,
    max_pixels: int = MAX_MASK_PIXELS,
    check_size: SizeCheck | None = None,
) -> tuple[np.ndarray, list[str]]:
    """Rasterizes the shapes of a labelme file.

    Args:
        path: The JSON file.
        size: Height and width in pixels, used if the file does not state them.
        max_pixels: Most pixels of the mask.
        check_size: Called with height and width before the mask is made.

    Returns:
        uint8 [H, W]: 0 background; 255 where a shape is labeled `__ignore__`; else an id per
        label: the labels themselves if all are numbers from 1 to 254, else 1, 2, ... in the order
        of their first shapes. And notes: the id of every label, the number of shapes without area.

    Raises:
        InputError: The file is absent, not JSON, not of labelme, has an invalid shape, or more
            pixels, shapes or points than the limits.
    """
    path = Path(path)
    content = _load(path)
    height, width = _size_of(content, size, path)
    if check_size is not None:
        check_size((height, width))
    if height * width > max_pixels:
        rule = f"A mask has at most {max_pixels / 1e6:g} million pixels"
        raise InputError(rule, met=f"{width}x{height}", where=path, remedy="Reduce its size")
    shapes = [shape for shape in content["shapes"] if shape.get("shape_type") not in _NO_AREA]
    ids = _ids_of_labels([str(shape.get("label")) for shape in shapes], path)
    mask = np.zeros((height, width), np.uint8)
    for number, shape in enumerate(shapes):
        try:
            inside = _draw(shape, (height, width), path)
        except _SHAPE_ERRORS as error:
            kind, label = shape.get("shape_type"), printable(str(shape.get("label"))[:40])
            reason = error.met if isinstance(error, InputError) else error
            raise InputError(
                "A shape is a polygon, rectangle, circle or mask with its points",
                met=f"shape {number} ({kind}, {label}): {reason}",
                where=path,
                remedy="Correct or remove the shape in labelme",
            ) from error
        mask[inside] = ids[str(shape.get("label"))]
    notes = []
    without_area = len(content["shapes"]) - len(shapes)
    if without_area:
        notes.append(f"{without_area} lines or points have no area and are ignored")
    objects = {label: id_ for label, id_ in ids.items() if 0 < id_ < VOID}
    if len(objects) > 1:
        listed = ", ".join(f"{printable(label[:40])} is {id_}" for label, id_ in objects.items())
        notes.append(f"ids: {listed}")
    return mask, notes


def _load(path: Path) -> dict[str, Any]:
    content = read_json(path)
    shapes = content.get("shapes") if isinstance(content, dict) else None
    if not isinstance(shapes, list) or not all(isinstance(shape, dict) for shape in shapes):
        keys = sorted(content)[:6] if isinstance(content, dict) else []
        raise InputError(
            "A mask in JSON must be of labelme: an object with 'shapes'",
            met="the keys " + printable(", ".join(keys)[:200]) if keys else "no object with keys",
            where=path,
            remedy="Save the annotation with labelme, or give a PNG mask",
        )
    _check_shapes(shapes, path)
    return content


def _check_shapes(shapes: list[dict[str, Any]], path: Path) -> None:
    """Checks the types of labels and kinds, and how many shapes and points there are."""
    points = 0
    for number, shape in enumerate(shapes):
        label, kind, outline = (shape.get(key) for key in ("label", "shape_type", "points"))
        if not isinstance(label, str | None) or not isinstance(kind, str | None):
            raise InputError(
                "Label and shape_type of a shape are text",
                met=f"{type(label).__name__} and {type(kind).__name__} in shape {number}",
                where=path,
                remedy="Correct or remove the shape in labelme",
            )
        points += len(outline) if isinstance(outline, list) else 0
    for most, kind, met in ((MAX_SHAPES, "shapes", len(shapes)), (MAX_POINTS, "points", points)):
        if met > most:
            raise InputError(
                f"A labelme file has at most {most} {kind}",
                met=met,
                where=path,
                remedy="Simplify it, or give a PNG mask",
            )


def _size_of(content: dict[str, Any], size: tuple[int, int] | None, path: Path) -> tuple[int, int]:
    stated = content.get("imageHeight"), content.get("imageWidth")
    if None in stated and size is not None:
        return size
    if any(type(length) is not int or length < 1 for length in stated):  # True is an int
        raise InputError(
            "imageHeight and imageWidth of a labelme file are positive integers",
            met=" and ".join(str(length)[:40] for length in stated),
            where=path,
            remedy="Save it again with labelme",
        )
    return stated  # type: ignore[return-value]


def _ids_of_labels(labels: list[str], path: Path) -> dict[str, int]:
    ids: dict[str, int] = {}
    names = list(dict.fromkeys(labels))
    objects = [name for name in names if name not in _BACKGROUND_LABELS | _VOID_LABELS]
    numbers = all(re.fullmatch("0*[0-9]{1,3}", name) and 0 < int(name) < VOID for name in objects)
    if len(objects) >= VOID:
        raise InputError("A mask has at most 254 objects", met=len(objects), where=path)
    for name in names:
        if name in _VOID_LABELS:
            ids[name] = VOID
        elif name in _BACKGROUND_LABELS:
            ids[name] = 0
        else:
            ids[name] = int(name) if numbers else objects.index(name) + 1
    return ids


def _draw(shape: dict[str, Any], size: tuple[int, int], path: Path) -> np.ndarray:
    """Rasterizes one shape: bool [H, W]."""
    kind = shape.get("shape_type") or "polygon"
    points = np.array(shape["points"], np.float64).reshape(-1, 2)
    if not (np.abs(points) <= _MAX_COORDINATE).all():
        raise ValueError(f"a coordinate is no number up to {_MAX_COORDINATE:g}")
    if kind == "mask":
        return _place_mask(points, shape["mask"], size, path)
    if kind == "circle":
        center, rim = points
        y, x = np.ogrid[: size[0], : size[1]]
        squared = (x + 0.5 - center[0]) ** 2 + (y + 0.5 - center[1]) ** 2
        return squared <= ((rim - center) ** 2).sum()
    if kind == "rectangle" and len(points) == 2:
        (left, top), (right, bottom) = points
        points = np.array([(left, top), (right, top), (right, bottom), (left, bottom)])
    if kind not in ("polygon", "rectangle", "oriented_rectangle"):
        raise ValueError(f"unknown kind of shape '{kind}'")
    if len(points) < 3:
        raise ValueError(f"{len(points)} points enclose no area")
    return _fill(points, size)


def _fill(points: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """Fills a polygon, float64 [N, 2] x and y in pixels, by the even-odd rule: bool [H, W]."""
    height, width = size
    inside = np.zeros(size, bool)
    following = np.roll(points, -1, axis=0)
    for row in range(max(0, int(points[:, 1].min())), min(height, int(points[:, 1].max()) + 1)):
        y = row + 0.5
        crossing = (points[:, 1] <= y) != (following[:, 1] <= y)
        start, end = points[crossing], following[crossing]
        x = start[:, 0] + (y - start[:, 1]) / (end[:, 1] - start[:, 1]) * (end[:, 0] - start[:, 0])
        columns = np.clip(np.ceil(np.sort(x) - 0.5), 0, width).astype(int)
        for left, right in zip(columns[::2], columns[1::2], strict=True):
            inside[row, left:right] = True
    return inside


def _place_mask(points: np.ndarray, encoded: str, size: tuple[int, int], path: Path) -> np.ndarray:
    """Pastes a base64 PNG at the corner of its box, clipped to the image: bool [H, W]."""

    def check_size(stamp: tuple[int, int]) -> None:
        if stamp[0] > size[0] or stamp[1] > size[1]:
            raise ValueError(f"a mask of {stamp[1]}x{stamp[0]} in an image of {size[1]}x{size[0]}")

    picture = decode_bytes(base64.b64decode(encoded), path, check_size=check_size)
    pixels = np.asarray(picture.convert("L")) > 0
    left, top = (int(round(value)) for value in points.min(axis=0))
    inside = np.zeros(size, bool)
    target = inside[max(top, 0) : max(top + pixels.shape[0], 0), max(left, 0) :]
    source = pixels[max(-top, 0) :, max(-left, 0) :]
    height = min(target.shape[0], source.shape[0])
    width = min(target.shape[1], source.shape[1])
    target[:height, :width] = source[:height, :width]
    return inside
