"""Folders and patterns of videos or of pictures, with the masks beside them.

The mask of `NAME.mp4` is `NAME.png`, `NAME_mask.png` or `NAME/first.png`, or has another suffix of
masks; that of `NAME.jpg` alike.
"""

from __future__ import annotations

import glob
import logging
import os
from collections.abc import Iterable, Iterator
from functools import cache
from pathlib import PurePosixPath
from typing import Any

from deeplab_gygo.errors import InputError
from deeplab_gygo.io.images import IMAGE_SUFFIXES
from deeplab_gygo.io.listing import VIDEO_SUFFIXES, is_stray, natural_key, shorten
from deeplab_gygo.io.masks import MASK_SUFFIXES
from deeplab_gygo.io.storage import call, display, is_url, list_folder
from deeplab_gygo.runs.video_rows import Row

logger = logging.getLogger(__name__)

_MASK_END = "_mask"
_FIRST = "first"


def folder_rows(folder: str, *, needs_mask: bool) -> Iterator[tuple[str, Row | InputError]]:
    """Lists the videos of a folder; where there is none, its pictures: a clip of one frame each.

    Args:
        folder: The folder, or its URL.
        needs_mask: Whether each has a mask.

    Yields:
        The name of each file, and its row with paths below the folder, or the error that it has no
        mask or several; in natural order.

    Raises:
        InputError: The folder cannot be listed, or has neither.
    """
    return _rows(folder, _entries(folder), needs_mask, display(folder))


def is_pattern(path: str) -> bool:
    """Whether a path is a pattern of files: `*`, `?`, `[...]`, or `**` for folders of any depth."""
    if is_url(path):  # a query is none
        return not path.lower().startswith("http") and glob.has_magic(path)
    return glob.has_magic(path) and not os.path.exists(path)


def pattern_rows(
    pattern: str, *, needs_mask: bool
) -> tuple[str, Iterator[tuple[str, Row | InputError]]]:
    """Lists the videos that a pattern matches, or else the pictures, see `folder_rows`.

    Args:
        pattern: Path or URL with a pattern.
        needs_mask: Whether each has a mask; masks may be files that the pattern does not match.

    Returns:
        The folder above the first part with a pattern, and the rows.

    Raises:
        InputError: The pattern matches neither.
    """
    parts = pattern.split("/")
    count = next(index for index, part in enumerate(parts) if glob.has_magic(part))
    root, below = "/".join(parts[:count]), "/".join(parts[count:])
    if is_url(pattern):
        return root, _rows(root, call(pattern, _matches), needs_mask, display(pattern))
    root = root or ("/" if count else ".")
    names = glob.iglob(below, root_dir=root, recursive=True)
    return root, _rows(root, names, needs_mask, pattern)


def _matches(fs: Any, pattern: str) -> list[str]:
    """Returns what a pattern of a URL matches, below the first part with a pattern."""
    above = next(i for i, part in enumerate(pattern.split("/")) if glob.has_magic(part))
    return ["/".join(name.split("/")[above:]) for name in fs.glob(pattern)]


class _Folder:
    """The entries of a folder by their names without suffix."""

    def __init__(self, names: Iterable[str]):
        self.by_stem: dict[str, list[str]] = {}
        for name in names:
            if not is_stray(name):
                self.by_stem.setdefault(PurePosixPath(name).stem, []).append(name)

    def is_picture(self, name: str) -> bool:
        """Whether a file is a picture, and no mask: of files of one name, a PNG is the mask."""
        if _suffix(name) not in IMAGE_SUFFIXES:
            return False
        stem = PurePosixPath(name).stem
        if stem.endswith(_MASK_END) and stem.removesuffix(_MASK_END) in self.by_stem:
            return False
        same = [each for each in self.by_stem.get(stem, ()) if _suffix(each) in IMAGE_SUFFIXES]
        return len(same) < 2 or _suffix(name) != ".png"

    def masks(self, stem: str, *, of_picture: bool) -> list[str]:
        """Returns the masks beside a file with a name."""
        return [
            name
            for key in (stem, stem + _MASK_END)
            for name in self.by_stem.get(key, ())
            if _suffix(name) in MASK_SUFFIXES and not (of_picture and self.is_picture(name))
        ]


def _rows(
    root: str, names: Iterable[str], needs_mask: bool, where: str
) -> Iterator[tuple[str, Row | InputError]]:
    """Yields the rows of the videos among names below a folder, or else those of its pictures."""
    listed = [name for name in names if not is_stray(PurePosixPath(name).name)]
    listed.sort(key=lambda name: (natural_key(name), name))
    folder = cache(lambda name: _Folder(_entries(_below(root, name))))
    chosen = [name for name in listed if _suffix(name) in VIDEO_SUFFIXES]
    of_picture = not chosen
    if of_picture:
        chosen = [name for name in listed if folder(_parent(name)).is_picture(name)]
        logger.info("%s: no videos; each of the %d pictures is a clip", where, len(chosen))
    if not chosen:
        raise InputError(
            "A folder or a pattern of videos has some, each with its mask beside it",
            met=shorten(listed) or "nothing",
            where=where,
            remedy="Give a list in CSV, with the columns video and mask, or a folder of videos",
        )
    for name in chosen:
        stem, above = PurePosixPath(name).stem, _parent(name)
        beside = folder(above)
        found = [_below(above, mask) for mask in beside.masks(stem, of_picture=of_picture)]
        if stem in beside.by_stem.get(stem, ()):  # a folder of its name
            inside = _below(above, stem)
            found += [
                _below(inside, mask)
                for mask in folder(inside).by_stem.get(_FIRST, ())
                if _suffix(mask) in MASK_SUFFIXES
            ]
        if len(found) == 1 or not (found or needs_mask):
            mask = found[0] if found else None
            yield name, {"video": name, "mask": mask, "id": _below(above, stem), "frame": None}
        else:
            yield name, _not_one_mask(display(_below(root, name)), stem, found)


def _not_one_mask(where: str, stem: str, found: list[str]) -> InputError:
    expected = ", ".join(f"{stem}{end}.png" for end in ("", _MASK_END, f"/{_FIRST}"))
    return InputError(
        "A video of a folder has one mask beside it",
        met=" and ".join(found) or f"none of {expected}, nor of other suffixes of masks",
        where=where,
        remedy="Remove or rename all but one, or give a list in CSV"
        if found
        else "Name its mask so, or give a list in CSV, with the columns video and mask",
    )


def _entries(folder: str) -> list[str]:
    """Returns the names in a folder; none of a file."""
    if is_url(folder):
        return [url.rstrip("/").rpartition("/")[2] for url in list_folder(folder)]
    try:
        return os.listdir(folder or ".")
    except NotADirectoryError:
        return []
    except OSError as error:
        raise InputError(
            "A folder of videos can be listed", met=error.strerror, where=folder
        ) from error


def _suffix(name: str) -> str:
    return PurePosixPath(name).suffix.lower()


def _parent(name: str) -> str:
    parent = str(PurePosixPath(name).parent)
    return "" if parent == "." else parent


def _below(folder: str, name: str) -> str:
    return f"{folder}/{name}" if folder and name else folder or name
