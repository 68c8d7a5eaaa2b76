"""CVAT XML 1.1: annotated images, and tracks of a video."""

from __future__ import annotations

import re
from functools import partial
from pathlib import Path
from typing import NamedTuple
from xml.etree import ElementTree
from xml.parsers import expat

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
from deeplab_gygo.io.annotations.run_lengths import decode_runs
from deeplab_gygo.io.escaping import printable
from deeplab_gygo.io.polygons import coordinates, ellipse, fill_box
from deeplab_gygo.io.reading import MAX_DEPTH

MAX_ELEMENTS = 500_000
"""Most elements of a document."""

_CHUNK = 1 << 20
_MAX_TAG = 16 << 20  # bytes; the parser holds a tag with all its attributes
_AREAS = ("polygon", "mask", "ellipse")


class _Frame(NamedTuple):
    """The shapes of a frame: elements, each with its label and the number of its object."""

    name: str
    size: tuple[int, int] | None
    shapes: list[tuple[ElementTree.Element, str, int | None]]


def parse_xml(content: bytes, path: Path) -> ElementTree.Element:
    """Parses an XML document without a document type, so that it has no entities.

    Raises:
        InputError: It is not well-formed, has a document type, nests deeper than `MAX_DEPTH` or has
            more than `MAX_ELEMENTS` elements.
    """
    parser, builder = expat.ParserCreate(), ElementTree.TreeBuilder()
    depth = 0

    def start(tag: str, attributes: dict[str, str]) -> None:
        nonlocal depth
        depth += 1
        if depth > MAX_DEPTH:
            raise ValueError(f"more than {MAX_DEPTH} levels")
        builder.start(tag, attributes)

    def end(tag: str) -> None:
        nonlocal depth
        depth -= 1
        builder.end(tag)

    def refuse(*_: object) -> None:
        raise ValueError("a document type")

    parser.StartElementHandler, parser.EndElementHandler = start, end
    parser.CharacterDataHandler, parser.StartDoctypeDeclHandler = builder.data, refuse
    try:
        if content.count(b"<") - content.count(b"</") > MAX_ELEMENTS:
            raise ValueError(f"more than {MAX_ELEMENTS} elements")
        for place in range(0, len(content), _CHUNK):
            parser.Parse(content[place : place + _CHUNK])
            if place - parser.CurrentByteIndex > _MAX_TAG:
                raise ValueError(f"a tag of more than {_MAX_TAG} bytes")
        parser.Parse(b"", True)
        return builder.close()
    except (expat.ExpatError, ValueError, LookupError) as error:  # LookupError: its encoding
        rule = "XML is well-formed and without a document type"
        raise InputError(rule, met=error, where=path) from error


def read_cvat(root: ElementTree.Element, path: Path, frame: str | None) -> Shapes:
    """Finds the shapes of a frame.

    Args:
        root: Root of a document, of the tag `annotations`.
        path: Its file, for messages.
        frame: Name of the frame; None takes the first one that is annotated.

    Raises:
        InputError: Several frames are annotated and none of them is that frame, or none has areas.
    """
    frames = _images(root) if root.find("image") is not None else _tracked_frames(root)
    others = sorted({element.tag for found in frames for element, _, _ in found.shapes
                     if element.tag not in _AREAS})  # fmt: skip
    annotated = [found for found in frames if any(s[0].tag in _AREAS for s in found.shapes)]
    if frame is not None and any(stem_of(found.name) == frame for found in frames):
        annotated = frames  # the frame may be without objects
    if not annotated:
        raise InputError(
            "An annotation of CVAT has polygons, masks or ellipses",
            met=f"only {', '.join(map(printable, others[:6]))}" if others else "no shapes",
            where=path,
            remedy="Draw the outline of the object as a polygon or a mask",
        )
    index = 0
    notes: list[str] = []
    if frame is not None:
        index, notes = choose_frame([found.name for found in annotated], frame, path)
    elif len(annotated) > 1:
        name = printable(annotated[0].name[:80])
        notes = [f"of {len(annotated)} annotated frames the first, {name}, is taken"]
    chosen = annotated[index]
    if root.find("image") is None and len(annotated) > 1:
        notes = [f"the frame {int(chosen.name)} of the tracks is taken, counted from 0"]
    areas = [shape for shape in chosen.shapes if shape[0].tag in _AREAS]
    without = len(chosen.shapes) - len(areas)
    if without:
        notes.append(f"{without} boxes, lines or points have no outline and are ignored")
    areas.sort(key=lambda shape: int(shape[0].get("z_order") or 0))
    shapes = [
        Shape(f"{element.tag} {number}", label, instance, partial(_draw, element))
        for number, (element, label, instance) in enumerate(areas, 1)
    ]
    return Shapes(chosen.size, shapes, notes)


def _images(root: ElementTree.Element) -> list[_Frame]:
    frames = []
    images = list(root.iter("image"))
    areas = [(e, i, e.get("label", "")) for i, image in enumerate(images) for e in image
             if e.tag in _AREAS]  # fmt: skip
    groups: list[int | None] = [_number(element.get("group_id")) for element, _, _ in areas]
    if not any(groups):
        groups = number_labels([(index, label) for _, index, label in areas])
    numbers = {element: number for (element, _, _), number in zip(areas, groups, strict=True)}
    for image in images:
        shapes = [
            (element, element.get("label", ""), numbers.get(element))
            for element in image
            if element.tag != "tag"
        ]
        size = int(image.get("height", "")), int(image.get("width", ""))
        frames.append(_Frame(image.get("name", image.get("id", "")), size, shapes))
    return frames


def _tracked_frames(root: ElementTree.Element) -> list[_Frame]:
    place = root.find(".//original_size")
    size = None
    if place is not None:
        size = int(place.findtext("height", "")), int(place.findtext("width", ""))
    frames: dict[int, list] = {}
    tracks = list(root.iter("track"))
    numbers = number_instances(
        [_number(track.get("id")) or f"track {i}" for i, track in enumerate(tracks)]
    )
    for track, number in zip(tracks, numbers, strict=True):
        for element in track:
            if element.get("frame") is None:
                continue
            shapes = frames.setdefault(int(element.get("frame", "")), [])
            if element.get("outside") != "1":
                shapes.append((element, track.get("label", ""), number))
    return [_Frame(f"{index:05d}", size, frames[index]) for index in sorted(frames)]


def _number(text: str | None) -> int | None:
    """Returns the number of a group or track; None for none."""
    return int(text) if text and re.fullmatch("[1-9][0-9]{0,8}", text) else None


def _draw(element: ElementTree.Element, size: tuple[int, int]) -> Area:
    if element.tag == "mask":
        return _draw_mask(element, size)
    if element.tag == "ellipse":
        keys = ("cx", "cy", "rx", "ry", "rotation")
        numbers = coordinates([element.get(key, "0") for key in keys])
        return fill_box(ellipse(numbers[:2], numbers[2:4], float(numbers[4])), size)
    pairs = [pair.split(",") for pair in element.get("points", "").split(";")]
    points = np.array([(float(x), float(y)) for x, y in pairs])
    if len(points) < 3:
        raise ValueError(f"{len(points)} points enclose no area")
    return fill_box(points, size)


def _draw_mask(element: ElementTree.Element, size: tuple[int, int]) -> Area:
    """Rasterizes runs along the rows of a box."""
    left, top, width, height = (
        int(float(element.get(key, ""))) for key in ("left", "top", "width", "height")
    )
    inside = 0 <= left <= left + width <= size[1] and 0 <= top <= top + height <= size[0]
    if width < 1 or height < 1 or not inside:
        raise ValueError(f"its box {left}, {top}, {width}x{height} is not in the image")
    counts = np.array([int(word) for word in element.get("rle", "").split(",")], np.int64)
    columns, rows, area = decode_runs(counts, (width, height))
    if not area.size:
        return slice(0, 0), slice(0, 0), area
    return (
        slice(top + rows.start, top + rows.stop),
        slice(left + columns.start, left + columns.stop),
        area.T,
    )
