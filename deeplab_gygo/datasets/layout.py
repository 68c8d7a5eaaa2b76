"""Layout of datasets on disk: root folder and split lists.

GyGO and DAVIS name their splits in text files below `ImageSets`. There are three
formats: one sequence name per line; per-frame pairs of an image and a mask, as in the DAVIS-2016
download; and single image paths. All are read as sequence names in the order of the list.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from deeplab_gygo.errors import InputError
from deeplab_gygo.io.images import IMAGE_SUFFIXES
from deeplab_gygo.io.listing import is_stray, shorten
from deeplab_gygo.io.names import safe_relative
from deeplab_gygo.io.reading import check_regular, read_bytes, read_text

IMAGE_FOLDER = "JPEGImages"
ANNOTATION_FOLDER = "Annotations"
LIST_FOLDER = "ImageSets"
OPEN_AS_YOUTUBE_VOS = "Open it as youtube-vos or mose, which have a folder for each split"

# A path to an image at the start of a line, optionally followed by the path of its mask.
_FRAME_LINE = re.compile(r"^(\S.*?\.(?:jpe?g|png|bmp|webp|tiff?))(?:\s|$)", re.IGNORECASE)
_COMMENT = re.compile(r"(?:^|\s)#.*$")
# Early lists of GyGO have `Frames/` where the archive has `JPEGImages/480p/`.
_EARLY_IMAGE_FOLDER = "frames"
_RESOLUTION = re.compile(r"^(?:\d+p|original|full-resolution)$", re.IGNORECASE)


def find_dataset_root(folder: str | Path) -> Path | None:
    """Returns the folder with `JPEGImages`: the given one, or its only sub-folder that has it.

    None if there is no such folder, or more than one.
    """
    folder = Path(folder)
    if os.path.isdir(folder / IMAGE_FOLDER):
        return folder
    within = [path for path in subfolders(folder) if os.path.isdir(path / IMAGE_FOLDER)]
    return within[0] if len(within) == 1 else None


def has_youtube_vos_layout(root: Path) -> bool:
    """Checks whether a folder, or each of its sub-folders, has sequences right below `JPEGImages`.

    So have YouTube-VOS and MOSE, in a folder for each split and without lists.
    """
    folders = [root] if os.path.isdir(root / IMAGE_FOLDER) else subfolders(root)
    places = [path for path in folders if os.path.isdir(path / IMAGE_FOLDER)]
    return bool(places) and not any(
        os.path.isdir(place / LIST_FOLDER) or not _holds_sequence(place / IMAGE_FOLDER)
        for place in places
    )


def _holds_sequence(folder: Path) -> bool:
    first = next(iter(subfolders(folder)), None)
    if first is None:
        return False
    with listing_errors(first):
        return any(path.suffix.lower() in IMAGE_SUFFIXES for path in first.iterdir())


def require_dataset_root(root: Path, kind: str) -> Path:
    """Returns the folder with `JPEGImages` like `find_dataset_root`, or raises.

    Args:
        root: Folder of the dataset.
        kind: Kind of the dataset for messages.

    Returns:
        The folder that holds `JPEGImages`.

    Raises:
        InputError: The root is absent or holds no dataset, or several.
    """
    if not os.path.isdir(root):
        raise InputError(
            f"The root of {kind} must be a folder",
            met="a file" if os.path.exists(root) else "no such folder",
            where=root,
            remedy="Give the folder that holds JPEGImages, Annotations and ImageSets",
        )
    found = find_dataset_root(root)
    if found is None:
        raise InputError(
            f"The root of {kind} must hold {IMAGE_FOLDER}, {ANNOTATION_FOLDER} and {LIST_FOLDER}, "
            "or one sub-folder that does",
            met=f"folders there: {shorten(path.name for path in subfolders(root)) or 'none'}",
            where=root,
            remedy=OPEN_AS_YOUTUBE_VOS
            if has_youtube_vos_layout(root)
            else "Give the folder that holds them",
        )
    return found


def subfolders(folder: Path) -> list[Path]:
    """Returns the sub-folders of a folder without stray ones, sorted; none if it is absent.

    Raises:
        InputError: The folder cannot be listed.
    """
    if not os.path.isdir(folder):
        return []
    with listing_errors(folder):
        return sorted(p for p in folder.iterdir() if os.path.isdir(p) and not is_stray(p.name))


@contextmanager
def listing_errors(folder: Path) -> Iterator[None]:
    """Turns errors of the system on a folder of the dataset into an `InputError`."""
    try:
        yield
    except OSError as error:
        raise InputError(
            "The files of a dataset can be listed and read",
            met=error.strerror,
            where=error.filename or folder,
            remedy="Give yourself the right to read it",
        ) from error


def find_lists(folder: Path) -> dict[str, Path]:
    """Finds the list files in a folder.

    Args:
        folder: The folder; may be absent.

    Returns:
        Split name in lower case -> list file.

    Raises:
        InputError: The folder holds two different lists whose names differ in case only, or cannot
            be listed.
    """
    lists: dict[str, Path] = {}
    if not os.path.isdir(folder):
        return lists
    with listing_errors(folder):
        paths = sorted(folder.iterdir())
    for path in paths:
        split = path.stem.lower()
        if path.suffix.lower() != ".txt" or is_stray(path.name) or not os.path.isfile(path):
            continue
        if split in lists and read_bytes(path) != read_bytes(lists[split]):
            raise InputError(
                "The names of split lists must differ in more than upper and lower case",
                met=f"{lists[split].name} and {path.name}, with different contents",
                where=folder,
                remedy="Remove or rename one of them",
            )
        lists.setdefault(split, path)
    return lists


def read_split_list(path: str | Path) -> dict[str, list[str]]:
    """Reads a split list of any of the three formats.

    Blank lines, comments after `#`, a byte order mark, CRLF and repeated names are accepted.

    Args:
        path: The list file.

    Returns:
        Sequence name -> file stems of the listed frames, empty where the list names sequences; in
        the order of the list.

    Raises:
        InputError: The file is absent, not text, names nothing, or names a path outside the
            dataset.
    """
    path = Path(path)
    sequences: dict[str, list[str]] = {}
    for number, line in enumerate(_text_of(path).splitlines(), start=1):
        line = _COMMENT.sub("", line).strip().replace("\\", "/")
        if not line:
            continue
        frame = _FRAME_LINE.match(line)
        place = Path(frame.group(1)) if frame else None
        name = safe_relative(
            _sequence_name(str(place.parent) if place else line),
            f"{path}, line {number}",
            rule="A line of a split list names a sequence or a frame inside the dataset",
            result=False,
        )
        frames = sequences.setdefault(name, [])
        if place and place.stem not in frames[-1:]:
            frames.append(place.stem)
    if not sequences:
        raise InputError(
            "A split list names at least one sequence", met="an empty list", where=path
        )
    return sequences


def _text_of(path: Path) -> str:
    check_regular(path)
    try:
        text = read_text(path)
    except InputError as error:
        if not isinstance(error.__cause__, UnicodeDecodeError):
            raise
        text = "\0"
    if "\0" in text:
        raise InputError("A split list is a text file in UTF-8", met="something else", where=path)
    return text


def _sequence_name(text: str) -> str:
    """Removes slashes and the folders of images and resolution from the front of a path."""
    parts = [part for part in text.split("/") if part not in ("", ".")]
    lowered = [part.lower() for part in parts]
    for folder in (IMAGE_FOLDER.lower(), ANNOTATION_FOLDER.lower()):
        if folder in lowered:
            parts = parts[lowered.index(folder) + 1 :]
            if parts and _RESOLUTION.match(parts[0]):
                parts = parts[1:]
            return "/".join(parts)
    if len(parts) > 1 and lowered[0] == _EARLY_IMAGE_FOLDER:
        parts = parts[1:]
    return "/".join(parts)
