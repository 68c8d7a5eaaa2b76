"""Pictures and the curve of a report: small JPEGs as `data:` URLs, and paths for an SVG."""

from __future__ import annotations

import math
from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType

import cv2
import numpy as np

from deeplab_gygo.errors import InputError
from deeplab_gygo.inference.confidence import DOUBTFUL
from deeplab_gygo.io import sequence as sequences
from deeplab_gygo.io.masks import VOID, read_mask
from deeplab_gygo.io.overlay import overlay
from deeplab_gygo.runs.contact_sheet import jpeg_url

MAX_POINTS = 600
"""Points of a curve; of more frames, the lowest of each interval is shown."""

LARGE_SIDE = 640
"""Longest side of a large picture, pixels."""

_QUALITY = 80  # of JPEG
_Y_STEPS = ((0.2, 0.05), (0.5, 0.1), (1.0, 0.2))  # range of the axis, distance of its ticks


@dataclass(frozen=True)
class Picture:
    """A frame for a page.

    Attributes:
        index: Index of the frame in its sequence.
        name: Its name.
        confidence: Expected J of its mask, 0..1; None for a mask that was given or
            corrected, or is of an earlier run.
        overlay: The frame with its objects tinted and outlined, as the `data:` URL of a JPEG.
        plain: The frame without them, or an empty text.
        size: Width and height, pixels.
        has_mask: Whether the result has a mask of the frame.
    """

    index: int
    name: str
    confidence: float | None
    overlay: str
    plain: str
    size: tuple[int, int]
    has_mask: bool

    @property
    def is_doubtful(self) -> bool:
        """Whether the frame is to be reviewed."""
        return is_doubtful(self.confidence)


def is_doubtful(confidence: float | None) -> bool:
    """Checks whether a mask is to be reviewed; NaN is doubtful, a given mask, None, is not."""
    return confidence is not None and not confidence >= DOUBTFUL


def spread(count: int, limit: int) -> list[int]:
    """Returns at most `limit` positions, evenly from the first to the last of `count`.

    Example:
        >>> spread(9, 3), spread(2, 3), spread(5, 1)
        ([0, 4, 8], [0, 1], [0])
    """
    if count <= limit:
        return list(range(count))
    return [round(k * (count - 1) / max(limit - 1, 1)) for k in range(limit)]


def least_confident(
    values: Sequence[float | None], limit: int, *, below: float = DOUBTFUL
) -> list[int]:
    """Returns the positions of the least confident frames, apart from each other.

    Neighbors look alike: of two frames closer than a fiftieth of the clip, or than three frames,
    the less confident one is taken.

    Args:
        values: Confidence of every frame in order; None for a given mask.
        limit: Largest number of positions.
        below: Confidence that they are below.

    Returns:
        The positions in ascending order.

    Example:
        >>> least_confident([None, 0.9, 0.7, 0.8, 0.95, 0.6, 0.99], 5)
        [2, 5]
    """
    found = [k for k, value in enumerate(values) if value is not None and not value >= below]
    distance, chosen = max(3, len(values) // 50), list[int]()
    for position in sorted(found, key=lambda k: _order(values[k])):
        if len(chosen) == limit:
            break
        if all(abs(position - other) >= distance for other in chosen):
            chosen.append(position)
    return sorted(chosen)


def _order(confidence: float | None) -> float:
    """Returns a number to sort by; NaN is the least."""
    return -math.inf if confidence is None or math.isnan(confidence) else confidence


def draw(
    sequence: sequences.Sequence,
    masks: Path,
    confidence: Mapping[str, float],
    *,
    several: bool,
    small: Collection[int],
    side: int,
    large: Collection[int] = (),
) -> Iterator[Picture]:
    """Draws frames of a result; the sequence is read once, as far as the last of them.

    Args:
        sequence: The frames.
        masks: Folder of the masks, `<frame>.png`; frames without one are drawn without outlines.
        confidence: By the name of the frame.
        several: Whether the clip has several objects, which take colors of the palette.
        small: Indices of the frames to draw small.
        side: Longest side of a small picture, pixels.
        large: Indices of the frames to draw large, with and without outlines.

    Yields:
        The pictures in the order of time; those of `large` have `plain`.

    Raises:
        InputError: A frame or a mask cannot be read, or their sizes differ.
    """
    last = max((*small, *large))
    with closing(sequence.preview(min((*small, *large)))) as frames:
        for frame in frames:
            kinds = [
                is_large for is_large in (False, True) if frame.index in (small, large)[is_large]
            ]
            mask = _read(masks / f"{frame.name}.png", sequence.size) if kinds else None
            for is_large in kinds:
                size = _fit(sequence, LARGE_SIDE if is_large else side)
                plain = cv2.resize(frame.image, size, interpolation=cv2.INTER_AREA)
                drawn = plain
                if mask is not None:
                    drawn = overlay(plain, _shrink(mask, size), several=several)
                yield Picture(
                    frame.index,
                    frame.name,
                    confidence.get(frame.name),
                    jpeg_url(drawn, _QUALITY),
                    jpeg_url(plain, _QUALITY) if is_large else "",
                    size,
                    mask is not None,
                )
            if frame.index >= last:
                return


def _read(path: Path, size: tuple[int, int]) -> np.ndarray | None:
    """Reads a mask as it was written, or in the encoding of whoever corrected it."""
    if not path.exists():
        return None
    try:
        mask = read_mask(path, size=size, mask_format="ids")
    except InputError:
        mask = read_mask(path, size=size)
    # 255 beside ids is void; alone it is the object.
    return np.minimum(mask, 1) if np.isin(mask, (0, VOID)).all() else mask


def _fit(sequence: sequences.Sequence, side: int) -> tuple[int, int]:
    """Returns width and height of a picture, with square pixels."""
    height, width = sequence.size[0], sequence.size[1] * float(sequence.pixel_aspect)
    scale = min(1.0, side / max(height, width))
    return max(1, round(width * scale)), max(1, round(height * scale))


def _shrink(mask: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    ids = np.zeros(size[::-1], np.uint8)
    for label in np.unique(mask[mask > 0]):
        share = cv2.resize((mask == label).astype(np.float32), size, interpolation=cv2.INTER_AREA)
        ids[share >= 0.5] = label
    return ids


@dataclass(frozen=True)
class Mark:
    """A doubtful frame on the curve: its place in the plot, its index, its name and confidence."""

    x: float
    y: float
    index: int
    name: str
    confidence: float


@dataclass(frozen=True)
class Curve:
    """Confidence over time, in a plot of 1000 x 200.

    Attributes:
        path: Path of an SVG.
        marks: The doubtful frames.
        notes: Horizontal places of masks that were given or corrected, and what is said of them.
        threshold: Height of the line below which frames are doubtful.
        x_ticks: Position in percent of the width, and label.
        y_ticks: Position in percent of the height from the top, and label.
        in_seconds: Whether the labels of the horizontal axis are times; else names of frames.
    """

    path: str
    marks: list[Mark]
    notes: list[tuple[float, str]]
    threshold: float
    x_ticks: list[tuple[float, str]]
    y_ticks: list[tuple[float, str]]
    in_seconds: bool


def curve(
    indices: Sequence[int],
    names: Sequence[str],
    values: Sequence[float | None],
    times: Sequence[float],
    notes: Mapping[str, str] = MappingProxyType({}),
) -> Curve | None:
    """Draws the confidence of frames over time.

    Args:
        indices: Index of every frame in its sequence.
        names: Its name.
        values: Its confidence, 0..1; None without one; NaN interrupts the curve.
        times: Its time in seconds; empty without.
        notes: What is said of masks without confidence, by the name of the frame.

    Returns:
        The curve; None without any value.
    """
    known = [value for value in values if value is not None and not math.isnan(value)]
    if not known:
        return None
    low = max(math.floor(min(*known, DOUBTFUL - 0.1) * 10) / 10, 0.0)
    x_of = 1000 / max(len(values) - 1, 1)

    def y_of(value: float) -> float:
        return 200 * (1 - (value - low) / (1 - low))

    path, marks, pen = "", list[Mark](), "M"
    for k in _lowest_of_intervals(values):
        value = values[k]
        if value is None or math.isnan(value):
            pen = "M"
            continue
        x, y = round(k * x_of, 1), round(y_of(value), 1)
        path, pen = f"{path}{pen}{x} {y}", "L"
        if value < DOUBTFUL:
            marks.append(Mark(x, y, indices[k], names[k], value))
    step = next(step for most, step in _Y_STEPS if 1 - low <= most + 1e-9)
    levels = [low + k * step for k in range(round((1 - low) / step) + 1)]
    lines = [(k * x_of, f"{n}: {notes[n]}") for k, n in enumerate(names) if n in notes]
    return Curve(
        path=path,
        marks=marks,
        notes=[lines[k] for k in spread(len(lines), MAX_POINTS)] if lines else [],
        threshold=y_of(DOUBTFUL),
        x_ticks=[
            (k * x_of / 10, f"{times[k]:.1f}" if times else names[k])
            for k in spread(len(values), 5)
        ],
        y_ticks=[(y_of(level) / 2, f"{level:.2f}") for level in levels],
        in_seconds=bool(times),
    )


def _lowest_of_intervals(values: Sequence[float | None]) -> list[int]:
    """Returns the positions of values; of more than `MAX_POINTS`, the lowest of each interval."""
    known = [k for k, value in enumerate(values) if value is not None]
    step = max(1, math.ceil(len(known) / MAX_POINTS))
    return [
        min(known[first : first + step], key=lambda k: _order(values[k]))
        for first in range(0, len(known), step)
    ]
