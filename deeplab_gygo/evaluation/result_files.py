"""Locates the masks of a result and pairs them with frames by name."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from pathlib import Path

from deeplab_gygo.errors import InputError
from deeplab_gygo.io.listing import is_stray, natural_key
from deeplab_gygo.io.masks import MASK_SUFFIXES

MASK_SUBFOLDER = "masks"
"""Folder of the masks below the folder of a sequence, as the segment command writes them."""


def find_predictions(folder: Path, frame_names: Sequence[str]) -> tuple[Path, dict[str, Path]]:
    """Finds the masks of a sequence in the subfolder for masks or else in the folder itself.

    Args:
        folder: Result folder of the sequence.
        frame_names: Names of the frames; other files are ignored.

    Returns:
        The folder of the masks, present or expected, and the files by frame name.
    """
    for place in (folder / MASK_SUBFOLDER, folder):
        files = list_masks(place)
        found = {name: files[name] for name in frame_names if name in files}
        if found:
            return place, found
    return folder, {}


def folders_with_masks(root: Path) -> Iterator[Path]:
    """Yields the topmost folders with images below `root`, sorted by name; links are not followed.

    Raises:
        InputError: A folder cannot be listed.
    """

    def refuse(error: OSError) -> None:
        raise _unreadable(Path(error.filename), error)

    for place, folders, _ in os.walk(root, onerror=refuse):
        folders[:] = sorted(name for name in folders if not is_stray(name))
        if list_masks(Path(place)):
            folders.clear()
            yield Path(place)


def list_masks(folder: Path) -> dict[str, Path]:
    """Returns the images of a folder by stem, in natural order, of the first suffix present.

    Only regular files are images. Empty where the folder is absent.

    Raises:
        InputError: The folder cannot be listed.
    """
    if not os.path.isdir(folder):
        return {}
    try:
        files = [p for p in folder.iterdir() if not is_stray(p.name) and os.path.isfile(p)]
    except OSError as error:
        raise _unreadable(folder, error) from error
    for suffix in MASK_SUFFIXES:
        chosen = [path for path in files if path.suffix.lower() == suffix]
        # A folder of results may also hold the JSON record of a run.
        if chosen and suffix != ".json":
            return {path.stem: path for path in sorted(chosen, key=lambda p: natural_key(p.stem))}
    return {}


def _unreadable(folder: Path, error: OSError) -> InputError:
    return InputError(
        "A folder of masks can be listed",
        met=error.strerror,
        where=folder,
        remedy="Give yourself the right to read it",
    )
