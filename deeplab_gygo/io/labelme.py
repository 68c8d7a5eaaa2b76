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
from deeplab_gygo.io.polygons import fill
from deeplab_gygo.io.reading import read_bytes, read_json

MAX_SHAPES = 500
MAX_POINTS = 20_000
"""Most shapes and points of a file; an outline drawn along every pixel of a 4K frame has 12,000."""

# Names of background and void in labelme's own converters.
_BACKGROUND_LABELS = frozenset({"_background_", "__background__", "background"})
_VOID_LABELS = frozenset({"__ignore__", "_ignore_"})
_NO_OBJECT_LABELS = _BACKGROUND_LABELS | _VOID_LABELS
_Object = tuple[str, int | str | None]  # label and group_id
# A shape with absent or invalid points or mask; binascii.Error is a ValueError.
_SHAPE_ERRORS = (InputError, ValueError, TypeError, LookupError)
_MAX_COORDINATE = 1e6  # pixels; far beyond any image
_NO_AREA = frozenset({"line", "linestrip", "point", "points"})


def is_labelme(path: str | Path) -> bool:
    """Checks whether a JSON file has a list of `shapes`, as those of labelme; it is not parsed.

    Raises:
        InputError: The file is absent or too large.
    """
    return re.search(rb'"shapes"\s*:\s*\[', read_bytes(Path(path))) is not None


def read_labelme(
    path: str | Path,
    size: tuple[int, int] | None = None,
    *,
    max_pixels: int = MAX_MASK_PIXELS,
    check_size: SizeCheck | None = None,
    object_ids: ObjectIds | None = None,
) -> tuple[np.ndarray, list[str]]:
    """Rasterizes the shapes of a labelme file.

    Args:
        path: The JSON file.
        size: Height and width in pixels, used if the file does not state them.
        max_pixels: Most pixels of the mask.
        check_size: Called with height and width before the mask is made.
        object_ids: The ids of a sequence, for files that are read one after the other.

    Returns:
        uint8 [H, W]: 0 background; 255 where a shape is labeled `__ignore__`; else an id per
        object. Shapes of one label and one `group_id`, or of one label without, are an object. Its
        id is the label if all are numbers from 1 to 254 and each is one object, else 1, 2, ... in
        the order of their first shapes. And notes: the id of every object, the labels of several
        shapes, the number of shapes without area.

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
    shapes = _shapes_with_area(content)
    objects = _objects(shapes)
    ids = (object_ids or ObjectIds()).assign(objects, path)
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
        mask[inside] = ids[objects[number]]
    notes = []
    without_area = len(content["shapes"]) - len(shapes)
    if without_area:
        notes.append(f"{without_area} lines or points have no area and are ignored")
    notes += _notes_of_objects(objects, ids)
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
        group = shape.get("group_id")
        if not isinstance(group, int | str | None):
            raise InputError(
                "group_id of a shape is a whole number or null",
                met=f"{type(group).__name__} in shape {number}",
                where=path,
                remedy="Correct the shape in labelme",
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


class ObjectIds:
    """Assigns ids to the labels and groups of one sequence, the same in all of its files."""

    def __init__(self) -> None:
        self._found: dict[_Object, None] = {}
        self._ids: dict[_Object, int] = {}

    def scan(self, path: Path) -> None:
        """Collects the objects of a labelme file, whose ids then do not depend on the order."""
        self._found.update(dict.fromkeys(_objects(_shapes_with_area(_load(path)))))

    def assign(self, objects: list[_Object], path: Path) -> dict[_Object, int]:
        """Returns the id of each object of a file, `path`; ids assigned before do not change."""
        self._found.update(dict.fromkeys(objects))
        named = [key for key in self._found if key[0] not in _NO_OBJECT_LABELS]
        if len(named) >= VOID:
            raise InputError(
                "A mask has at most 254 objects",
                met=len(named),
                where=path,
                remedy="Leave out the objects that are not needed",
            )
        keep = _are_ids([label for label, _ in named])
        for number, key in enumerate(named, start=1):
            id_ = int(key[0]) if keep else number
            taken = set(self._ids.values())
            if key not in self._ids:
                self._ids[key] = id_ if id_ not in taken else min({*range(1, VOID)} - taken)
        fixed = {key: VOID if key[0] in _VOID_LABELS else 0 for key in objects}
        return {key: self._ids.get(key, fixed[key]) for key in dict.fromkeys(objects)}


def _are_ids(labels: list[str]) -> bool:
    """Checks whether labels are numbers from 1 to 254, each of one object."""
    if not all(re.fullmatch("0*[0-9]{1,3}", label) and 0 < int(label) < VOID for label in labels):
        return False
    return len({int(label) for label in labels}) == len(labels)


def _shapes_with_area(content: dict[str, Any]) -> list[dict[str, Any]]:
    return [shape for shape in content["shapes"] if shape.get("shape_type") not in _NO_AREA]


def _objects(shapes: list[dict[str, Any]]) -> list[_Object]:
    return [(str(shape.get("label")), shape.get("group_id")) for shape in shapes]


def _notes_of_objects(objects: list[_Object], ids: dict[_Object, int]) -> list[str]:
    """Describes the ids, and labels whose shapes were merged because they have no group."""
    notes = []
    shown = {}
    for label, group in ids:
        if label not in _NO_OBJECT_LABELS:
            suffix = "" if group is None else f" (group {printable(str(group)[:40])})"
            shown[label, group] = printable(label[:40]) + suffix
    if len(shown) > 1:
        listed = ", ".join(f"{text} is {ids[key]}" for key, text in shown.items())
        notes.append(f"ids: {listed}")
    for key, text in shown.items():
        shapes = objects.count(key)
        if key[1] is None and shapes > 1:
            notes.append(
                f"{shapes} shapes named {text} are one object; give group_id to tell them apart"
            )
    return notes


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
    return fill(points, size)


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
