"""The files of a result: their places, their hashes, and whether they are still as written."""

from __future__ import annotations

import hashlib
from collections.abc import Collection, Mapping, Sequence
from pathlib import Path, PurePosixPath
from typing import NamedTuple

from deeplab_gygo.errors import InputError, StorageError
from deeplab_gygo.io.atomic import files_below
from deeplab_gygo.io.listing import shorten
from deeplab_gygo.io.masks import read_mask
from deeplab_gygo.io.reading import check_regular

RECORD_NAME = "run.json"
"""Name of the record in a folder of results, which marks the folder as written by this package."""

MASK_FOLDER = "masks"
"""Name of the folder of masks in a folder of results."""

OVERLAY_NAME = "overlay.mp4"
CUTOUT_FOLDER = "cutouts"
SOFT_FOLDER = "soft"

Files = dict[str, list]
"""Size in bytes and SHA-256, hexadecimal, by path relative to the folder of the result."""


class FileState(NamedTuple):
    """How the files of a result differ from what was written.

    Attributes:
        damaged: Files that are missing or unusable, each with the reason.
        corrected: Names of masks that are readable and have another content: corrected by hand.
    """

    damaged: list[str]
    corrected: list[str]


def check_written(
    folder: Path, outputs: Collection[str], names: Sequence[str], object_ids: Sequence[int]
) -> None:
    """Checks that exactly the files of a run are in its folder.

    Args:
        folder: The folder, before the record is written.
        outputs: Kinds of results, of `settings.OUTPUTS`.
        names: Names of the frames.
        object_ids: Ids of the objects.

    Raises:
        StorageError: A file is missing, or another one is there.
    """
    soft = [f"{SOFT_FOLDER}/{label}" for label in object_ids if len(object_ids) > 1]
    folders = {"masks": [MASK_FOLDER], "cutout": [CUTOUT_FOLDER], "soft": soft or [SOFT_FOLDER]}
    written = {
        f"{place}/{name}.png"
        for kind, places in folders.items()
        if kind in outputs
        for place in places
        for name in names
    }
    if "overlay" in outputs:
        written.add(OVERLAY_NAME)
    differing = sorted(written.symmetric_difference(files_below(folder)))
    if differing:
        raise StorageError(
            "The files that a run writes stay until its end, and no others come to them",
            met=f"removed, or of another program: {shorten(differing)}",
            where=folder,
            remedy="Run the command again",
        )


def hash_files(folder: Path) -> Files:
    """Returns size and SHA-256 of every file in a folder of results but the record.

    Raises:
        OSError: A file cannot be read.
    """
    return {name: _hash(folder / name) for name in files_below(folder) if name != RECORD_NAME}


def inspect_files(folder: Path, files: Mapping[str, Sequence]) -> FileState:
    """Compares the files of a result with what its record says of them.

    Args:
        folder: Folder of the result.
        files: Files of the record.
    """
    state = FileState([], [])
    for name, (size, digest) in files.items():
        path = folder / name
        try:
            if check_regular(path) == size and _hash(path) == [size, digest]:
                continue
            if PurePosixPath(name).parts[0] == MASK_FOLDER:
                read_mask(path)
                state.corrected.append(name)
                continue
            problem = "altered since"
        except InputError as error:
            problem = str(error.met)
        except OSError as error:
            problem = error.strerror or str(error)
        state.damaged.append(f"{name}: {problem}")
    return state


def places_of_results(folder: Path) -> set[str]:
    """Returns the files of a folder at the places where results are written, by their names.

    For results whose record has no list of files: it is damaged, or of an earlier version.
    """
    kinds = (MASK_FOLDER, CUTOUT_FOLDER, SOFT_FOLDER)
    return {
        name
        for name in files_below(folder)
        if name in (RECORD_NAME, OVERLAY_NAME)
        or (name.partition("/")[0] in kinds and name.endswith(".png"))
    }


def _hash(path: Path) -> list:
    with open(path, "rb") as file:
        digest = hashlib.file_digest(file, "sha256").hexdigest()
        return [file.tell(), digest]
