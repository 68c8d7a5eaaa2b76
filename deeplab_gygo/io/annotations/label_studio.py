"""Label Studio JSON (full and JSON-MIN): brushes, polygons, rectangles and ellipses of images."""

from __future__ import annotations

import re
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from deeplab_gygo.errors import InputError
from deeplab_gygo.io.annotations.common import (
    Area,
    Shape,
    Shapes,
    choose_frame,
    number_labels,
    stem_of,
)
from deeplab_gygo.io.annotations.run_lengths import BrushDecoder
from deeplab_gygo.io.polygons import coordinates, ellipse, fill_box, rotated

_UPLOAD = re.compile("^[0-9a-f]{8}-")  # put before the names of uploaded files
_SHAPES = ("rle", "points", "radiusX", "width")
"""Key of the value of every kind of shape: brush, polygon, ellipse, rectangle."""


def is_label_studio(content: Any) -> bool:
    """Checks whether plain values are one or several tasks of Label Studio."""
    return bool(tasks := _tasks(content)) and all(
        isinstance(task, dict)
        and (
            isinstance(task.get("annotations", task.get("completions")), list)
            or isinstance(task.get("result"), list)
            or any(_regions_of(value) for value in task.values())
        )
        for task in tasks
    )


def read_label_studio(content: Any, path: Path, frame: str | None) -> Shapes:
    """Finds the shapes of a task.

    Args:
        content: Plain values for which `is_label_studio` holds.
        path: Their file, for messages.
        frame: Name of the frame, which is that of the image of a task.

    Raises:
        InputError: There are several tasks and none of them is the frame, several annotations of
            the task, or no areas.
    """
    tasks = _tasks(content)
    names = [_name(task, number) for number, task in enumerate(tasks, 1)]
    if frame not in names and any(_results(task) for task in tasks):
        tasks = [task for task in tasks if _results(task)]
        names = [_name(task, number) for number, task in enumerate(tasks, 1)]
    index, notes = choose_frame(names, frame, path, noun="tasks")
    if (count := len(_results(tasks[index]))) > 1:
        raise InputError(
            "A task of Label Studio has one annotation",
            met=count,
            where=path,
            remedy="Export the annotation of one person",
        )
    areas = [[found for found in _regions(task) if found[1]] for task in tasks]
    labels = [(place, _label(value)) for place, of in enumerate(areas) for *_, value in of]
    before = sum(map(len, areas[:index]))
    numbers = number_labels(labels)[before : before + len(areas[index])]
    shapes, size, brushes = [], None, BrushDecoder()
    for (name, kind, region, value), number in zip(areas[index], numbers, strict=True):
        if region.get("image_rotation"):
            raise ValueError(f"an image rotated by {region['image_rotation']} degrees")
        own = region["original_height"], region["original_width"]
        if size not in (None, own):
            raise ValueError(f"the sizes {list(own)} and {list(size or ())} of one image")
        size = own
        if kind == "rle":
            draw = partial(brushes.decode, value["rle"])
        else:
            draw = partial(_draw, kind, value)
        shapes.append(Shape(f"region {name}", _label(value), number, draw))
    if not shapes and _regions(tasks[index]):
        raise InputError(
            "An annotation of Label Studio has brushes, polygons, rectangles or ellipses",
            met="regions of other kinds",
            where=path,
            remedy="Draw the outline of the object with one of these",
        )
    return Shapes(size, shapes, notes)


def _tasks(content: Any) -> list:
    return content if isinstance(content, list) else [content]


def _results(task: dict) -> list[list[dict]]:
    """Returns the regions of every annotation of a task that has some and was not canceled."""
    if "result" in task:
        return [task["result"]]
    annotations = task.get("annotations", task.get("completions"))
    if annotations is not None:
        results = [a["result"] for a in annotations if not a.get("was_cancelled")]
        return [result for result in results if result]
    regions = [region for value in task.values() for region in _regions_of(value)]
    return [regions] if regions else []


def _regions(task: dict) -> list[tuple[str, str, dict, dict]]:
    """Returns the regions of the first annotation of a task.

    Returns:
        Name, key of the kind of shape or "" for no area, the region and its value.
    """
    regions: dict[str, tuple[dict, dict]] = {}
    for number, region in enumerate((_results(task) or [[]])[0]):
        value = region.get("value", region)
        # With labels apart from shapes a region is there twice, under one id.
        name = str(region.get("id", number + 1))
        regions[name] = (region, regions.get(name, ({}, {}))[1] | value)
    return [
        (name, next((key for key in _SHAPES if key in value), ""), region, value)
        for name, (region, value) in regions.items()
    ]


def _regions_of(value: Any) -> list[dict]:
    """Returns the regions of a value of JSON-MIN; none if it holds something else."""
    if not isinstance(value, list):
        return []
    return [
        v for v in value if isinstance(v, dict) and "original_width" in v and set(_SHAPES) & set(v)
    ]


def _name(task: dict, number: int) -> str:
    """Returns the name of the image of a task without suffix."""
    data = task.get("data", task)
    texts = (
        [text for text in data.values() if isinstance(text, str)] if isinstance(data, dict) else []
    )
    text = (
        next((text for text in (data.get("image"), *texts) if isinstance(text, str)), "")
        if texts
        else ""
    )
    return _UPLOAD.sub("", stem_of(text.partition("?")[0])) or f"task {number}"


def _label(value: dict) -> str:
    for key, names in value.items():
        if key.endswith("labels") and isinstance(names, list) and names:
            return str(names[0])
    return ""


def _draw(kind: str, value: dict, size: tuple[int, int]) -> Area:
    percent = np.array([size[1], size[0]]) / 100
    turn = float(coordinates(value.get("rotation") or 0))
    if kind == "points":
        points = coordinates(value["points"]).reshape(-1, 2) * percent
    elif kind == "radiusX":
        center = coordinates([value["x"], value["y"]]) * percent
        radii = coordinates([value["radiusX"], value["radiusY"]]) * percent
        points = ellipse(center, radii, turn)
    else:
        corner = coordinates([value["x"], value["y"]]) * percent
        sides = coordinates([value["width"], value["height"]]) * percent
        steps = np.array([(0, 0), (1, 0), (1, 1), (0, 1)]) * sides
        points = corner + rotated(steps, turn)  # about its corner
    if len(points) < 3:
        raise ValueError(f"{len(points)} points enclose no area")
    return fill_box(points, size)
