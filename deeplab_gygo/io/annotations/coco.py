"""COCO JSON: datasets, lists of results, and single masks as Segment Anything writes them."""

from __future__ import annotations

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
    number_instances,
    number_labels,
    stem_of,
)
from deeplab_gygo.io.annotations.run_lengths import decode_runs, decode_string
from deeplab_gygo.io.polygons import fill, fill_box

_INSTANCE_KEYS = ("track_id", "instance_id")


def is_coco(content: Any) -> bool:
    """Checks whether plain values are annotations, results or a mask in the form of COCO."""
    if isinstance(content, list):
        return bool(content) and all(_is_item(item) for item in content)
    if not isinstance(content, dict):
        return False
    return (
        _is_item(content)
        or {"size", "counts"} <= content.keys()
        or isinstance(content.get("masks"), list)
        or (
            isinstance(content.get("annotations"), list)
            and bool({"images", "image"} & set(content))
        )
    )


def _is_item(value: Any) -> bool:
    return isinstance(value, dict) and "segmentation" in value


def read_coco(content: Any, path: Path, frame: str | None) -> Shapes:
    """Finds the shapes of a frame.

    Args:
        content: Plain values for which `is_coco` holds.
        path: Their file, for messages.
        frame: Name of the frame.

    Raises:
        InputError: The file has several images and none of them is the frame; or boxes alone.
    """
    images, items = _images_and_items(content)
    categories = content.get("categories") if isinstance(content, dict) else None
    labels = {kind["id"]: str(kind.get("name")) for kind in categories or []}
    numbers = _number_items(items, labels)
    if not images and not items:
        raise InputError("A file of COCO has annotations", met="none", where=path)
    names: dict[Any, str] = {}
    for item in [*images, *({"id": item.get("image_id")} for item in items)]:
        names.setdefault(item.get("id"), str(item.get("file_name") or item.get("id")))
    if len(names) > 1:  # an image without annotations is no choice, unless it is asked for
        annotated = {item.get("image_id") for item in items}
        keys = list(names)
        if not any(frame in (name, stem_of(name)) for name in names.values()):
            keys = [key for key in names if key in annotated] or keys
        index, notes = choose_frame([names[key] for key in keys], frame, path)
        images = [image for image in images if image.get("id") == keys[index]]
        items = [item for item in items if item.get("image_id") == keys[index]]
    else:
        notes = []
    size = _stated_size(images)
    shapes, without = [], 0
    for index, item in enumerate(items):
        segmentation = item.get("segmentation")
        if not segmentation:
            without += 1
            continue
        if isinstance(segmentation, dict):
            own = tuple(segmentation["size"])
            size = size or own
            if own != size:
                raise ValueError(f"the sizes {list(own)} and {list(size)} of one image")
        shapes.append(
            Shape(
                f"annotation {item.get('id', index + 1)}",
                labels.get(item.get("category_id"), ""),
                numbers[id(item)],
                partial(_draw, segmentation),
            )
        )
    if without and not shapes:
        raise InputError(
            "A mask of COCO has a segmentation",
            met="boxes alone",
            where=path,
            remedy="Export polygons or masks",
        )
    if without:
        notes = [*notes, f"{without} annotations are boxes without a segmentation and are ignored"]
    return Shapes(size, shapes, notes)


def _images_and_items(content: Any) -> tuple[list[dict], list[dict]]:
    """Returns the images and annotations of any of the forms."""
    if isinstance(content, list):
        return [], content
    if "annotations" in content:
        if "images" in content:
            return content["images"], content["annotations"]
        image = content["image"]  # of SA-1B
        known = image.get("id", image.get("image_id"))
        return [image | {"id": known}], [
            item | {"image_id": known} for item in content["annotations"]
        ]
    if "masks" in content:
        masks = content["masks"]
        return [], [mask if _is_item(mask) else {"segmentation": mask} for mask in masks]
    return [], [content if _is_item(content) else {"segmentation": content}]


def _number_items(items: list[dict], labels: dict[Any, str]) -> dict[int, int | None]:
    """Returns the number of the object of every annotation, by its identity; None for its own."""
    given = []
    for item in items:
        attributes = item.get("attributes")
        places = [item, *([attributes] if isinstance(attributes, dict) else [])]
        given += [place[key] for place in places for key in _INSTANCE_KEYS if key in place][:1]
    numbers: list[int | None]
    if len(given) == len(items):
        numbers = list(number_instances(given))
    else:
        named = [(i.get("image_id"), labels.get(i.get("category_id"), "")) for i in items]
        numbers = number_labels(named)
    return {id(item): number for item, number in zip(items, numbers, strict=True)}


def _stated_size(images: list[dict]) -> tuple[int, int] | None:
    if not images or images[0].get("height") is None or images[0].get("width") is None:
        return None
    return images[0]["height"], images[0]["width"]


def _draw(segmentation: Any, size: tuple[int, int]) -> Area:
    """Rasterizes polygons, which are parts of one area, or a run-length encoding."""
    if isinstance(segmentation, dict):
        counts = segmentation["counts"]
        return decode_runs(decode_string(counts) if isinstance(counts, str) else counts, size)
    parts = segmentation if isinstance(segmentation[0], list) else [segmentation]
    outlines = [np.array(part, np.float64).reshape(-1, 2) for part in parts]
    for outline in outlines:
        if len(outline) < 3:
            raise ValueError(f"{len(outline)} points enclose no area")
    if len(outlines) == 1:
        return fill_box(outlines[0], size)
    area = np.zeros(size, bool)
    for outline in outlines:
        area |= fill(outline, size)
    return slice(0, size[0]), slice(0, size[1]), area
