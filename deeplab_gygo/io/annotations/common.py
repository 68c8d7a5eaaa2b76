"""What the readers of annotation formats share: frames of a file, ids of objects, rasterization."""

from __future__ import annotations

import re
from collections.abc import Callable, Hashable, Sequence
from pathlib import Path, PurePosixPath
from typing import NamedTuple

import numpy as np

from deeplab_gygo.errors import InputError
from deeplab_gygo.io.escaping import printable
from deeplab_gygo.io.images import SizeCheck
from deeplab_gygo.io.listing import shorten
from deeplab_gygo.io.palette import VOID

MAX_SHAPES = 2_000
"""Most shapes of a frame."""

MAX_AREA = 400_000_000
"""Most pixels of all shapes of a frame together, each with the box around it: a few seconds."""

MAX_OBJECTS = VOID - 1

MALFORMED = (ValueError, TypeError, LookupError, AttributeError, OverflowError)
"""Errors of readers that meet another type, an absent key or a number out of range."""

Area = tuple[slice, slice, np.ndarray]
"""Rows and columns of a part of an image, and its pixels inside of a shape: bool [h, w]."""


class Shape(NamedTuple):
    """An area of a frame that belongs to one object.

    Attributes:
        name: Its name in messages, such as "annotation 7".
        label: Its class; empty for none.
        instance: Number that the shapes of one object share, of a track or a group. None for an
            object of this shape alone.
        draw: Rasterizes it for height and width of the image.
    """

    name: str
    label: str
    instance: int | None
    draw: Callable[[tuple[int, int]], Area]


class Shapes(NamedTuple):
    """The shapes of one frame, later ones above earlier ones.

    Attributes:
        size: Height and width of the image; None if the file does not state them.
        shapes: The shapes.
        notes: Sentences for the user.
    """

    size: tuple[int, int] | None
    shapes: list[Shape]
    notes: list[str]


def rasterize(
    found: Shapes,
    path: Path,
    *,
    size: tuple[int, int] | None,
    max_pixels: int,
    check_size: SizeCheck | None,
) -> tuple[np.ndarray, list[str]]:
    """Draws the shapes of a frame.

    Args:
        found: The shapes.
        path: Their file, for messages.
        size: Height and width where the file does not state them.
        max_pixels: Most pixels of the mask.
        check_size: Called with height and width before the mask is made.

    Returns:
        uint8 [H, W] of object ids, and notes with the ids.

    Raises:
        InputError: The size is unknown or too large, a shape is invalid, or there are too many.
    """
    size = found.size or size
    if size is None:
        raise InputError(
            "The size of the frame is known where its annotation does not state it",
            met="neither",
            where=path,
            remedy="Give the frame with it, or the mask as a PNG",
        )
    check_pixels(size, path, max_pixels, check_size)
    if len(found.shapes) > MAX_SHAPES:
        rule = f"An annotation has at most {MAX_SHAPES} shapes in a frame"
        raise InputError(rule, met=len(found.shapes), where=path)
    ids, notes = _number_objects(found.shapes, path)
    mask, drawn = np.zeros(size, np.uint8), 0
    for shape, object_id in zip(found.shapes, ids, strict=True):
        try:
            rows, columns, area = shape.draw(size)
            drawn += area.size
            if drawn > MAX_AREA:
                raise ValueError(f"more than {MAX_AREA} pixels with the shapes before it")
        except (*MALFORMED, InputError) as error:
            problem = error.met if isinstance(error, InputError) else error
            raise InputError(
                "A shape is an outline or a run-length encoding that is complete",
                met=f"{printable(shape.name[:80])}: {' '.join(str(problem).split())[:200]}",
                where=path,
                remedy="Correct or remove it in the annotation tool",
            ) from error
        mask[rows, columns][area] = object_id
    return mask, found.notes + notes


def check_pixels(
    size: tuple[int, int], path: Path, max_pixels: int, check_size: SizeCheck | None
) -> None:
    """Checks height and width of a mask before it is made.

    Raises:
        InputError: They are no positive integers, too large, or refused by `check_size`.
    """
    if any(type(length) is not int or length < 1 for length in size):  # True is an int
        met = " and ".join(str(length)[:40] for length in size)
        raise InputError("Height and width of a mask are positive integers", met=met, where=path)
    if check_size is not None:
        check_size(size)
    if size[0] * size[1] > max_pixels:
        rule = f"A mask has at most {max_pixels / 1e6:g} million pixels"
        raise InputError(rule, met=f"{size[1]}x{size[0]}", where=path, remedy="Reduce its size")


def choose_frame(
    names: Sequence[str], frame: str | None, path: Path, *, noun: str = "images"
) -> tuple[int, list[str]]:
    """Finds the frame of a file of several.

    Args:
        names: Names of the frames in the file, with or without folder and suffix.
        frame: Name of the wanted frame, without suffix; None where it is unknown.
        path: The file, for messages.
        noun: What the file has several of.

    Returns:
        Index into `names`, and a note where the frame was not found by its name.

    Raises:
        InputError: No frame, or several, have that name.
    """
    stems = [stem_of(name) for name in names]
    # A name without a suffix is none of a picture, such as that of the only array.
    if len(names) == 1 and (frame is None or stems[0] == names[0]):
        return 0, []
    found = [index for index, name in enumerate(names) if frame in (name, stems[index])]
    if len(found) == 1:
        return found[0], []
    if len(names) == 1:
        return 0, [f"its only frame, {printable(names[0][:80])}, is taken for the frame {frame}"]
    if not found and frame is not None and (number := _number_of(frame)) is not None:
        found = [index for index, stem in enumerate(stems) if _number_of(stem) == number]
        if len(found) == 1:
            return found[0], [f"{printable(names[found[0]][:80])} is taken for the frame {frame}"]
    listed = shorten([printable(name[:80]) for name in names])
    raise InputError(
        f"An annotation file has one frame, or one of the name of the annotated frame"
        f"{f', {printable(frame)}' if frame else ''}",
        met=f"{len(names)} {noun}: {listed}" if names else f"no {noun}",
        where=path,
        remedy="Name the frame as in the file by --frame, or export it alone",
    )


def stem_of(name: str) -> str:
    """Returns a name of a file without folders and suffix."""
    return PurePosixPath(name.replace("\\", "/")).stem


def _number_of(stem: str) -> int | None:
    found = re.search(r"([0-9]{1,18})$", stem)
    return int(found[1]) if found else None


def number_instances(values: Sequence[Hashable]) -> list[int]:
    """Returns the numbers of tracks or groups, the same for all frames of a file.

    Args:
        values: What the file names the instance of every shape by.

    Returns:
        The values themselves if all are integers from 1 to 254, else 1, 2, ... in the order of
        their first shapes.
    """
    numbers = [_object_number(value) for value in values]
    if all(numbers):
        return [number or 0 for number in numbers]
    order = {value: index + 1 for index, value in enumerate(dict.fromkeys(values))}
    return [order[value] for value in values]


def number_labels(labels: Sequence[tuple[Hashable, str]]) -> list[int | None]:
    """Returns the numbers of objects that are named by their labels, the same for all frames.

    Args:
        labels: Frame and label of every shape of a file.

    Returns:
        The labels themselves if all are numbers from 1 to 254, else 1, 2, ... in the order in which
        they are first met; None for all shapes where one has no label, or a frame has a label
        twice: then they are a class.
    """
    names = [name for _, name in labels]
    numbers = [_object_number(name) for name in names]
    if all(numbers):
        return list(numbers)
    if not all(names) or len(set(labels)) < len(labels):
        return [None] * len(labels)
    return list(number_instances([("label", name) for name in names]))


def _number_objects(shapes: Sequence[Shape], path: Path) -> tuple[list[int], list[str]]:
    """Assigns an id to every shape; with a note that lists them."""
    keys: list[object] = [
        ("shape", index) if shape.instance is None else ("instance", shape.instance)
        for index, shape in enumerate(shapes)
    ]
    numbers = [_object_number(shape.instance) for shape in shapes]
    if all(numbers):
        ids = [number or 0 for number in numbers]
    else:
        order = {key: index + 1 for index, key in enumerate(dict.fromkeys(keys))}
        ids = [order[key] for key in keys]
    if max(ids, default=0) > MAX_OBJECTS:
        raise InputError(f"A mask has at most {MAX_OBJECTS} objects", met=max(ids), where=path)
    first: dict[int, Shape] = {}
    for shape, object_id in zip(shapes, ids, strict=True):
        first.setdefault(object_id, shape)
    if set(first) <= {1}:
        return ids, []
    labels = [shape.label for shape in first.values()]
    distinct = len(set(labels)) == len(labels) and all(labels)
    listed = [
        f"{shape.label if distinct else f'{shape.label} ({shape.name})'.strip()} is {object_id}"
        for object_id, shape in first.items()
    ]
    return ids, ["ids: " + shorten([printable(text[:80]) for text in listed])]


def _object_number(value: object) -> int | None:
    if isinstance(value, str) and re.fullmatch("0*[0-9]{1,3}", value):
        value = int(value)
    return value if type(value) is int and 0 < value <= MAX_OBJECTS else None
