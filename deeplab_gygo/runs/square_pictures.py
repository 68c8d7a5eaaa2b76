"""Square cut-outs of a clip, framed when all of its frames are known."""

from __future__ import annotations

import shutil
from array import array
from collections.abc import Collection
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Self

import numpy as np
from PIL import Image

from deeplab_gygo.io.framing import steady_squares
from deeplab_gygo.io.writers import file_of, write_png
from deeplab_gygo.runs.result_files import (
    PICTURE_FILES,
    SCRATCH_FOLDER,
    spin_frames,
    spin_names,
)

_NOTHING = (-1, -1, -1, -1)


class SquarePictures(AbstractContextManager):
    """Writes square cut-outs of one size when the context is left, see `steady_squares`.

    Until then the parts of the frames that are not transparent lie in a scratch folder; memory
    holds the boxes of the object and of these parts.

    Args:
        folder: Folder of the results.
        kinds: `crop` for a picture of every frame, `spin` for some.
        size: Height and width of the cut-outs.
        spin: Number of pictures of the spin.
    """

    def __init__(self, folder: Path, kinds: Collection[str], size: tuple[int, int], spin: int):
        self._folder, self._kinds, self._size, self._spin = folder, kinds, size, spin
        self._scratch = folder / SCRATCH_FOLDER
        self._names: list[str] = []
        self._boxes, self._parts = array("i"), array("i")

    def __enter__(self) -> Self:
        shutil.rmtree(self._scratch, ignore_errors=True)  # of a process that was killed
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        try:
            if kind is None:
                self._write()
        finally:
            shutil.rmtree(self._scratch, ignore_errors=True)

    def add(self, name: str, cutout: np.ndarray, mask: np.ndarray) -> None:
        """Adds a frame: its name, uint8 [H, W, 4] RGBA, and its mask [H, W]."""
        part = _box(cutout[..., 3])
        if part != _NOTHING:
            top, left, bottom, right = part
            path = self._scratch / f"{len(self._names)}.png"
            write_png(path, np.ascontiguousarray(cutout[top:bottom, left:right]))
        self._names.append(name)
        self._boxes.extend(_box(mask))
        self._parts.extend(part)

    def _write(self) -> None:
        count = len(self._names)
        boxes = np.array(self._boxes).reshape(count, 4)
        side, corners = steady_squares(
            [None if tuple(box) == _NOTHING else tuple(box) for box in boxes.tolist()], self._size
        )
        spin = dict(zip(spin_frames(count, self._spin), spin_names(count, self._spin), strict=True))
        for index, name in enumerate(self._names):
            files = [("crop", name)] if "crop" in self._kinds else []
            if "spin" in self._kinds and index in spin:
                files.append(("spin", spin[index]))
            picture = self._picture(index, side, corners[index]) if files else None
            for kind, file in files:
                place, suffix = PICTURE_FILES[kind]
                write_png(file_of(self._folder / place, file, suffix), picture)

    def _picture(self, index: int, side: int, corner: tuple[int, int]) -> np.ndarray:
        """Returns the square of a frame, uint8 [side, side, 4]."""
        square = np.zeros((side, side, 4), np.uint8)
        part = tuple(self._parts[4 * index : 4 * index + 4])
        if part == _NOTHING:
            return square
        with Image.open(self._scratch / f"{index}.png") as stored:
            pixels = np.asarray(stored)
        top, left = part[0] - corner[0], part[1] - corner[1]
        height, width = pixels.shape[:2]
        rows = slice(max(0, top), max(0, min(side, top + height)))
        columns = slice(max(0, left), max(0, min(side, left + width)))
        square[rows, columns] = pixels[
            rows.start - top : rows.stop - top, columns.start - left : columns.stop - left
        ]
        return square


def _box(region: np.ndarray) -> tuple[int, int, int, int]:
    """Returns top, left, bottom and right of what is not 0; `_NOTHING` where all is."""
    rows, columns = np.flatnonzero(region.any(axis=1)), np.flatnonzero(region.any(axis=0))
    if not rows.size:
        return _NOTHING
    return int(rows[0]), int(columns[0]), int(rows[-1]) + 1, int(columns[-1]) + 1
