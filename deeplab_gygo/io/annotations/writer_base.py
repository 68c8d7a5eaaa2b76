"""What the writers of annotation formats share."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import IO, NamedTuple, Protocol

import numpy as np

from deeplab_gygo.io.annotations.run_lengths import object_runs

CATEGORY = "object"
"""The class of every object, for formats that have classes."""


class ClipNames(NamedTuple):
    """What the files of a clip follow from.

    Attributes:
        clip: Name of the clip.
        size: Height and width of its frames in pixels.
        frame_names: Names of the frames without suffix, in order.
        object_ids: Ids of the objects, 1..254.
        suffix: Suffix of the pictures of the frames, for formats that name them.
    """

    clip: str
    size: tuple[int, int]
    frame_names: Sequence[str]
    object_ids: Sequence[int]
    suffix: str = ".jpg"


class Format(Protocol):
    """A format that masks are written in."""

    holds_clips: bool
    """Whether it holds several clips."""

    def __init__(self, folder: Path, clips: Sequence[ClipNames], stack: ExitStack) -> None:
        """Makes the folder and opens files, which the stack closes."""

    @staticmethod
    def files(clips: Sequence[ClipNames]) -> list[str]:
        """Returns the paths of all files relative to the folder."""

    def write(self, clip: ClipNames, name: str, mask: np.ndarray) -> None:
        """Writes a frame, uint8 [H, W] of object ids."""

    def finish(self) -> None:
        """Writes what follows the last frame."""


def picture_name(clips: Sequence[ClipNames], clip: ClipNames, name: str) -> str:
    """Returns the name of the picture of a frame; with the folder of its clip if there are some."""
    picture = f"{name}{clip.suffix}"
    return f"{clip.clip}/{picture}" if len(clips) > 1 else picture


def open_text(folder: Path, name: str, stack: ExitStack) -> IO[str]:
    """Opens a file to be written as UTF-8 until the stack is closed; makes its folder."""
    path = folder / name
    path.parent.mkdir(parents=True, exist_ok=True)
    return stack.enter_context(open(path, "w", encoding="utf-8", newline="\n"))


def object_boxes(mask: np.ndarray) -> Iterator[tuple[int, slice, slice]]:
    """Yields id, rows and columns of the box around every object of a mask, uint8 [H, W]."""
    width = mask.shape[1]
    for object_id, counts in object_runs(mask, by_column=False):
        ends = np.cumsum(counts)
        first, last = ends[: len(ends) // 2 * 2 : 2], ends[1::2] - 1
        rows = slice(int(first[0]) // width, int(last[-1]) // width + 1)
        if (first // width != last // width).any():  # a run beyond the end of a row
            yield object_id, rows, slice(0, width)
        else:
            yield object_id, rows, slice(int((first % width).min()), int((last % width).max()) + 1)
