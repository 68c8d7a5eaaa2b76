"""Listing of image files: natural order, without stray files of operating systems."""

from __future__ import annotations

import re
from collections.abc import Iterable
from pathlib import Path

from deeplab_gygo.io.images import IMAGE_SUFFIXES

_SHOWN = 12  # names in a message before "and N more"


def list_images(folder: Path) -> list[Path]:
    """Lists the JPEG, PNG, WebP and BMP files of a folder in natural order, without stray ones.

    Empty where the folder is absent.
    """
    if not folder.is_dir():
        return []
    files = [
        path
        for path in folder.iterdir()
        if path.suffix.lower() in IMAGE_SUFFIXES and not is_stray(path.name) and path.is_file()
    ]
    return sorted(files, key=lambda path: (natural_key(path.stem), path.name))


def natural_key(name: str) -> list[tuple[int, int, str]]:
    """Returns the sort key of a name in natural order: frame2 before frame10."""
    parts = re.split(r"([0-9]+)", name)
    return [(0, int(part), part) if part.isdecimal() else (1, 0, part) for part in parts if part]


def is_stray(name: str) -> bool:
    """Checks whether an operating system made a file or folder, which is then no part of the data.

    Args:
        name: Name without its folder.

    Returns:
        True for hidden entries (`.DS_Store`, AppleDouble `._x`), `Thumbs.db`, `desktop.ini` and
        `__MACOSX`.
    """
    return name.startswith(".") or name.lower() in ("thumbs.db", "desktop.ini", "__macosx")


def shorten(names: Iterable[str]) -> str:
    """Joins names by commas for a message; of many, the first 12 and the number of the others."""
    names = list(names)
    more = f" and {len(names) - _SHOWN} more" if len(names) > _SHOWN else ""
    return ", ".join(names[:_SHOWN]) + more
