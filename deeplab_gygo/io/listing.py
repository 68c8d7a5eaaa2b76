"""Listing of image files: natural order, without stray files of operating systems."""

from __future__ import annotations

import os
from collections.abc import Collection, Iterable
from pathlib import Path

from deeplab_gygo.io.images import IMAGE_SUFFIXES
from deeplab_gygo.io.natural_order import natural_key, natural_sorted

__all__ = [
    "is_stray",
    "list_images",
    "natural_key",
    "natural_sorted",
    "number_gaps",
    "shorten",
]

VIDEO_SUFFIXES = frozenset(
    {".mp4", ".m4v", ".mov", ".mkv", ".webm", ".avi", ".flv", ".ts", ".mts", ".m2ts", ".mpg",
     ".mpeg", ".h264", ".264"}
)  # fmt: skip
"""Suffixes by which videos are found in a folder; a video that is named may have any."""

_SHOWN = 12  # names in a message before "and N more"


def list_images(folder: Path, exclude: Collection[str | Path] = ()) -> list[Path]:
    """Lists the images of a folder by their suffixes, in natural order, without stray files.

    Pipes and devices are listed: their readers refuse them. Empty where the folder is absent.

    Args:
        folder: The folder.
        exclude: Files that are left out, under any of their names; absent ones are allowed.

    Raises:
        InputError: The order of the names is not decided, see `natural_sorted`.
    """
    if not folder.is_dir():
        return []
    files = [
        path
        for path in folder.iterdir()
        if path.suffix.lower() in IMAGE_SUFFIXES and not is_stray(path.name) and not path.is_dir()
    ]
    excluded = {identity for path in exclude if (identity := _identity(path))}
    if excluded:
        files = [path for path in files if _identity(path) not in excluded]
    return natural_sorted(files)


def _identity(path: str | Path) -> tuple[int, int] | None:
    """Returns device and number of a file, links followed; None if it cannot be found."""
    try:
        status = os.stat(path)
    except (OSError, ValueError):
        return None
    return status.st_dev, status.st_ino


def number_gaps(names: list[str]) -> tuple[int, list[int]]:
    """Returns the step of numeric names in order, and the positions before gaps.

    Names that are not all numbers, or have uneven steps (timestamps), have no gaps.
    """
    numbers = [int(name) for name in names] if all(map(str.isdecimal, names)) else []
    steps = [after - before for before, after in zip(numbers, numbers[1:], strict=False)]
    step = min(steps, default=1)
    if not step or any(each % step for each in steps):
        return 1, []
    return step, [position for position, each in enumerate(steps) if each > step]


def is_stray(name: str) -> bool:
    """Checks whether a name is hidden (`.DS_Store`, `._x`) or one of an operating system."""
    return name.startswith(".") or name.lower() in ("thumbs.db", "desktop.ini", "__macosx")


def shorten(names: Iterable[str]) -> str:
    """Joins names by commas for a message; of many, the first 12 and the number of the others."""
    names = list(names)
    more = f" and {len(names) - _SHOWN} more" if len(names) > _SHOWN else ""
    return ", ".join(names[:_SHOWN]) + more
