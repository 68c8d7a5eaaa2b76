"""What a mask file stores, before its values are ids: four kinds of content, and their readings."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path

import cv2
import numpy as np

from deeplab_gygo.errors import InputError
from deeplab_gygo.io.palette import VOID

Decoded = tuple[np.ndarray, list[str]]
"""uint8 [H, W] of ids, 0 background, 255 void; and a sentence for every assumption or repair."""

MAX_ID = 64
"""Largest gray level that is an id; larger ones are brightness. DAVIS has 10 objects."""

HALF = 127
"""Gray, of 255, and alpha above it are the object."""

_LISTED = 12  # values named in a message

READINGS = {
    "ids": "each value is an id, 255 is void",
    "binary": "everything but 0 is one object",
    "palette": "the index is the id, index 0 is the background",
    "rgb": "each color or gray is one object, black or else white is the background",
    "alpha": "everything visible is one object",
    "matte": f"gray or alpha above {HALF} is one object",
}
"""What a mask format makes of a file whose content allows several readings."""

GRAY_READINGS = ("ids", "rgb", "matte", "binary")


@dataclass(frozen=True)
class Fixed:
    """Ids that depend on no other file of the sequence."""

    ids: np.ndarray
    notes: list[str] = field(default_factory=list)


@dataclass(frozen=True)
class Levels:
    """Flat gray values or palette indices: `values`, int64 [N] ascending, at `index` [H, W]."""

    values: np.ndarray
    index: np.ndarray
    is_palette: bool = False
    is_forced: bool = False  # by the format "ids" or "palette": values are ids as stored
    notes: list[str] = field(default_factory=list)
    doubt: InputError | None = None  # raised unless other files of the sequence are ids


@dataclass(frozen=True)
class Matte:
    """A soft mask: `above` [H, W] is where it is above one half."""

    above: np.ndarray
    description: str
    is_forced: bool = False
    doubt: InputError | None = None  # raised unless other files of the sequence are soft masks


@dataclass(frozen=True)
class Colors:
    """Flat colors, uint8 [N, 3], at `index` [H, W]; -1 there is transparent."""

    colors: np.ndarray
    index: np.ndarray
    is_noisy: bool = False
    is_forced: bool = False  # by the format "rgb"
    is_palette: bool = False  # colors are numbered in this order
    notes: list[str] = field(default_factory=list)

    @property
    def is_layer(self) -> bool:
        """Whether the background is transparent."""
        return bool((self.index < 0).any())


Content = Fixed | Levels | Matte | Colors


def ranked(levels: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Returns the distinct values, int64 [N] ascending, and their index at each pixel, [H, W]."""
    if levels.dtype != np.uint8:
        values, index = np.unique(levels, return_inverse=True)
        return values.astype(np.int64), index.reshape(levels.shape)
    used = cv2.calcHist([levels], [0], None, [256], [0, 256]).ravel() > 0
    ranks = (np.cumsum(used) - 1).clip(0).astype(np.uint8)
    return np.flatnonzero(used), cv2.LUT(levels, ranks)


def look_up(table: np.ndarray, index: np.ndarray) -> np.ndarray:
    """Returns the entries, uint8, of a table at each index, [H, W]."""
    if index.dtype != np.uint8:
        return table[index]
    return cv2.LUT(index, np.resize(table, 256))


def nearest_colors(colors: np.ndarray, centers: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Returns the nearest center of each color, and the largest channel difference to it."""
    best = np.zeros(len(colors), np.intp)
    smallest = np.full(len(colors), 256)
    for index, center in enumerate(centers.astype(np.int16)):
        difference = np.abs(colors.astype(np.int16) - center).max(axis=1)
        closer = difference < smallest
        best[closer], smallest[closer] = index, difference[closer]
    return best, smallest


def hexadecimal(color: np.ndarray) -> str:
    """Formats a color as in HTML: `#ff0000`."""
    return "#{:02x}{:02x}{:02x}".format(*(int(channel) for channel in color))


def listed(values: Iterable[object]) -> str:
    """Lists values, numbers in ascending order, the first dozen of many."""
    values = list(values)
    if all(isinstance(value, int) for value in values):
        values.sort(key=lambda value: value)  # type: ignore[arg-type, return-value]
    more = f", ... ({len(values)} in all)" if len(values) > _LISTED else ""
    return ", ".join(map(str, values[:_LISTED])) + more


def check_count(objects: int, where: Path) -> None:
    """Checks that ids fit in 8 bits beside background and void."""
    if objects >= VOID:
        raise InputError(
            "A mask has at most 254 objects",
            met=objects,
            where=where,
            remedy="Leave out the objects that are not needed",
        )


def ambiguous(met: str, formats: Iterable[str], where: Path) -> InputError:
    """Returns the error of a file that can be read in several ways."""
    readings = "; ".join(f"{name} ({READINGS[name]})" for name in formats)
    return InputError(
        "The encoding of a mask is unambiguous, or is named",
        met=met,
        where=where,
        remedy=f"Name it with --mask-format, in Python mask_format: {readings}",
    )
