"""Where the masks of a result lie and how their names pair with frames."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator, Sequence
from pathlib import Path

from deeplab_gygo.datasets.layout import is_stray
from deeplab_gygo.io.masks import MASK_SUFFIXES

MASK_SUBFOLDER = "masks"
"""Folder below a sequence's folder where the segment command writes its masks."""

# A folder of results may hold the JSON record of a run beside them.
_PICTURE_SUFFIXES = tuple(suffix for suffix in MASK_SUFFIXES if suffix != ".json")


def find_predictions(folder: Path, frame_names: Sequence[str]) -> tuple[Path, dict[str, Path]]:
    """Finds the results of a sequence in the subfolder for masks or, if none is there, beside it.

    Args:
        folder: The folder of the sequence among the results.
        frame_names: Frames that are looked for; other files do not matter.

    Returns:
        The folder they are in, or should be, and frame name -> file.
    """
    for place in (folder / MASK_SUBFOLDER, folder):
        files = list_masks(place)
        found = {name: files[name] for name in frame_names if name in files}
        if found:
            return place, found
    return folder, {}


def folders_with_masks(root: Path) -> Iterator[Path]:
    """Walks the folders with pictures in the order of their names, but not below such a folder."""
    for place, folders, _ in os.walk(root):
        folders[:] = sorted(name for name in folders if not is_stray(name))
        if list_masks(Path(place)):
            folders.clear()
            yield Path(place)


def list_masks(folder: Path) -> dict[str, Path]:
    """Lists the pictures of a folder, of the first suffix that occurs: stem -> file.

    Numbers in the names are in their own order, so that 10 comes after 9.
    """
    if not folder.is_dir():
        return {}
    files = [path for path in folder.iterdir() if not is_stray(path.name) and path.is_file()]
    for suffix in _PICTURE_SUFFIXES:
        chosen = [path for path in files if path.suffix.lower() == suffix]
        if chosen:
            return {path.stem: path for path in sorted(chosen, key=_natural_order)}
    return {}


def _natural_order(path: Path) -> list[tuple[int, str]]:
    parts = re.split(r"(\d+)", path.stem)
    return [(int(part), "") if part.isdigit() else (-1, part) for part in parts]
