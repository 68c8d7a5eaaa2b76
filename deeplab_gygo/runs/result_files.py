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
from deeplab_gygo.runs.output_kinds import ANNOTATIONS, DEFAULT_OPTIONS, OutputOptions

RECORD_NAME = "run.json"
"""Name of the record in a folder of results, which marks the folder as written by this package."""

MASK_FOLDER = "masks"
"""Name of the folder of masks in a folder of results."""

OVERLAY_NAME = "overlay.mp4"
CUTOUT_FOLDER = "cutouts"
SOFT_FOLDER = "soft"

SINGLE_FILES = {
    "overlay": OVERLAY_NAME,
    "webm": "cutout.webm",
    "prores": "cutout.mov",
    "gif": "cutout.gif",
    "webp-animation": "cutout.webp",
    "background": "composite.mp4",
    "matte": "matte.mp4",
    "report": "report.html",
}
"""Name of the file by the kind of result that is one file."""

PICTURE_FILES = {
    "masks": (MASK_FOLDER, ".png"),
    "cutout": (CUTOUT_FOLDER, ".png"),
    "soft": (SOFT_FOLDER, ".png"),
    "webp": ("webp", ".webp"),
    "crop": ("crops", ".png"),
    "spin": ("spin", ".png"),
}
"""Folder and suffix by the kind of result that is a folder of pictures."""

_ANNOTATION_SUFFIXES = (".json", ".xml", ".txt", ".yaml", ".png", ".npz")

SCRATCH_FOLDER = ".scratch"
"""Name of the folder of what a run needs until its end."""

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
    folder: Path,
    outputs: Collection[str],
    names: Sequence[str],
    object_ids: Sequence[int],
    *,
    clip: str = "",
    options: OutputOptions = DEFAULT_OPTIONS,
) -> None:
    """Checks that exactly the files of a run are in its folder.

    Args:
        folder: The folder, before the record is written.
        outputs: Kinds of results, of `OUTPUTS`.
        names: Names of the frames.
        object_ids: Ids of the objects.
        clip: Name of the clip.
        options: Options of the kinds.

    Raises:
        StorageError: A file is missing, or another one is there.
    """
    written = {SINGLE_FILES[kind] for kind in outputs if kind in SINGLE_FILES}
    for kind in outputs:
        if kind in PICTURE_FILES:
            place, suffix = PICTURE_FILES[kind]
            places, files = [place], names
            if kind == "soft" and len(object_ids) > 1:
                places = [f"{place}/{label}" for label in object_ids]
            if kind == "spin":
                files = spin_names(len(names), options.spin)
            written |= {f"{place}/{name}{suffix}" for place in places for name in files}
        elif kind in ANNOTATIONS:
            from deeplab_gygo.io.annotations.writers import annotation_files

            files = annotation_files(kind, clip, names, object_ids)
            written |= {f"{kind}/{name}" for name in files}
    differing = sorted(written.symmetric_difference(files_below(folder)))
    if differing:
        raise StorageError(
            "The files that a run writes stay until its end, and no others come to them",
            met=f"removed, or of another program: {shorten(differing)}",
            where=folder,
            remedy="Run the command again",
        )


def spin_frames(frames: int, wanted: int) -> list[int]:
    """Returns the frames of a spin: evenly spaced from the first, all where there are fewer.

    The last one is a step before the end, since a full turn ends where it begins.

    Example:
        >>> spin_frames(50, 4)
        [0, 12, 25, 37]
    """
    count = min(frames, wanted)
    return [frames * k // count for k in range(count)]


def spin_names(frames: int, wanted: int) -> list[str]:
    """Returns the names of the pictures of a spin, numbered from 1.

    Example:
        >>> spin_names(50, 3)
        ['01', '02', '03']
    """
    count = min(frames, wanted)
    return [f"{k:0{max(2, len(str(count)))}d}" for k in range(1, count + 1)]


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
    pictures = {place: suffix for place, suffix in PICTURE_FILES.values()}
    single = {RECORD_NAME, *SINGLE_FILES.values()}

    def is_result(name: str) -> bool:
        place, below, _ = name.partition("/")
        if not below:
            return name in single
        suffixes = pictures.get(place) or (_ANNOTATION_SUFFIXES if place in ANNOTATIONS else ())
        return name.endswith(suffixes)

    return {name for name in files_below(folder) if is_result(name)}


def _hash(path: Path) -> list:
    with open(path, "rb") as file:
        digest = hashlib.file_digest(file, "sha256").hexdigest()
        return [file.tell(), digest]
