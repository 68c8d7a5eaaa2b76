"""YOLO segmentation labels: a line per object, its class and the outline from 0 to 1."""

from __future__ import annotations

from functools import partial

import numpy as np

from deeplab_gygo.io.annotations.common import MAX_OBJECTS, Area, Shape, Shapes
from deeplab_gygo.io.polygons import fill_box

_MAX_LINES = 10_000


def is_yolo(text: str) -> bool:
    """Checks whether a text is of lines of numbers; an empty one is a frame without objects."""
    words = text[:1000].split(maxsplit=1)
    try:
        return not words or float(words[0]) >= 0
    except ValueError:
        return False


def read_yolo(text: str) -> Shapes:
    """Finds the shapes of a label file.

    Class 0 is object 1, and so on, where every line has its own class; else the lines are objects
    1, 2, ... in their order.

    Raises:
        ValueError: A line is no outline.
    """
    rows = [line.split() for line in text.splitlines() if line.strip()]
    if len(rows) > _MAX_LINES:
        raise ValueError(f"{len(rows)} lines")
    shapes = []
    classes = [row[0] for row in rows]
    own = len(set(classes)) == len(classes)
    own = own and all(name.isascii() and name.isdigit() and len(name) < 4 for name in classes)
    own = own and all(int(name) < MAX_OBJECTS for name in classes)
    for number, row in enumerate(rows, 1):
        if len(row) == 5:
            raise ValueError(f"line {number} is a box; an outline has 3 points or more")
        if len(row) < 7 or len(row) % 2 == 0:
            raise ValueError(f"line {number} has {len(row)} values; a class and pairs of x and y")
        points = np.array([float(word) for word in row[1:]]).reshape(-1, 2)
        if not ((points >= -1) & (points <= 2)).all():  # some tools go a little beyond 0..1
            raise ValueError(f"line {number} has coordinates that are not from 0 to 1")
        instance = int(row[0]) + 1 if own else None
        shapes.append(Shape(f"line {number}", f"class {row[0]}", instance, partial(_draw, points)))
    return Shapes(None, shapes, [])


def _draw(points: np.ndarray, size: tuple[int, int]) -> Area:
    return fill_box(points * (size[1], size[0]), size)
