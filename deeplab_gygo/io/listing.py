"""Listing of image files: natural order, without stray files of operating systems."""

from __future__ import annotations

import re
from collections.abc import Iterable
from pathlib import Path

from deeplab_gygo.io.images import IMAGE_SUFFIXES

_SHOWN = 12  # names in a message before "and N more"


def list_images(folder: Path) -> list[Path]:
    """Lists the JPEG, PNG, WebP and BMP files of a folder in natural order, without stray ones.

    Pipes and devices are listed: their readers refuse them. Empty where the folder is absent.
    """
    if not folder.is_dir():
        return []
    files = [
        path
        for path in folder.iterdir()
        if path.suffix.lower() in IMAGE_SUFFIXES and not is_stray(path.name) and not path.is_dir()
    ]
    return sorted(files, key=lambda path: (natural_key(path.stem), path.name))


def natural_key(name: str) -> list[tuple[int, int, str]]:
    """Returns the sort key of a name in natural order: frame2 before frame10."""
    parts = re.split(r"([0-9]+)", name)
    return [(0, int(part), part) if part.isdecimal() else (1, 0, part) for part in parts if part]


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
