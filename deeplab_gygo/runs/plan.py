"""Sequences of a batch, from a split of a dataset or a list of videos; each is opened lazily."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from pathlib import Path, PurePosixPath

from deeplab_gygo.datasets.registry import Dataset
from deeplab_gygo.errors import InputError, UsageError
from deeplab_gygo.io.escaping import is_printable, printable
from deeplab_gygo.io.names import folded, safe_relative
from deeplab_gygo.io.storage import display, is_url, join, name_of, redacted
from deeplab_gygo.runs.item import Item, OpenListed, OpenRow, Unusable
from deeplab_gygo.runs.video_list import STANDARD_INPUT, read_video_list
from deeplab_gygo.runs.video_rows import Row

__all__ = ["Item", "part_of", "plan_dataset", "plan_videos"]

_MAX_PATH_BYTES = 4096


def plan_dataset(dataset: Dataset, split: str | Path, *, needs_mask: bool = True) -> list[Item]:
    """Plans the sequences of a split.

    A sequence that the list names but that is not on disk, or whose name can be no folder of a
    result, is planned too: it fails when it is opened, and the others are segmented.

    Args:
        dataset: The dataset.
        split: Split, or path of a list file.
        needs_mask: Whether a sequence without any annotation is an error.

    Returns:
        The sequences in the order of the list.

    Raises:
        InputError: There is no such list, or it cannot be read.
    """
    listed, names, items = dataset.list_file(split), _Names(), []
    for name in dataset.listed(split):
        try:
            folder = str(dataset.frames_folder(name))
            opener = OpenListed(dataset, name, listed, needs_mask)
            items.append(Item(names.take(name, listed), opener, video=folder))
        except InputError as error:
            items.append(Item(printable(name[:100]), Unusable(error)))
    return items


def plan_videos(
    manifest: str | Path,
    *,
    columns: Mapping[str, str] | None = None,
    keep_going: bool = False,
    needs_mask: bool = True,
) -> list[Item]:
    """Plans the videos of a list, JSON lines or CSV with a header, or those of a folder.

    A row of a list has `video` and `mask`, and optionally `id`, the name of the output folder (by
    default that of the video without suffix), and `frame`, the frame of the mask. In JSON `mask`
    may be an object: masks by name or index of their frames. Relative paths start at the folder of
    the list. Paths may be URLs. A row that is unusable is planned too: it fails when it is
    opened, and the others are segmented.

    Args:
        manifest: A list, a folder or a pattern, see `read_video_list`.
        columns: Names of the columns by what they hold, see `read_video_list`.
        keep_going: Whether the frames that can be decoded are taken of a damaged video.
        needs_mask: Whether a video without a mask is an error; not so for zero-shot segmentation.

    Returns:
        The videos in the order of the list.

    Raises:
        InputError: The list is absent, of another kind, too large, or has no header or no usable
            row.
        UsageError: Columns are named of a folder.
    """
    names, items, errors = _Names(), [], []
    base, rows = read_video_list(manifest, columns, needs_mask=needs_mask)
    where = "standard input" if str(manifest) == STANDARD_INPUT else display(manifest)
    for label, row in rows:
        try:
            items.append(_plan_row(row, base, names, f"{where}, {label}", (keep_going, needs_mask)))
        except InputError as error:
            errors.append(error)
            items.append(Item(printable(label[:100]), Unusable(error)))
    if not items:
        raise InputError("A list of videos names at least one", met="none", where=where)
    if len(errors) == len(items):
        raise errors[0]
    return items


def _plan_row(
    row: Row | InputError, base: str, names: _Names, where: str, options: tuple[bool, bool]
) -> Item:
    if isinstance(row, InputError):
        raise row
    # A mask without a frame is of `frame`, or of the first one.
    given = row["mask"] if isinstance(row["mask"], dict) else {"": row["mask"]}
    video, places = _place(base, _value(row["video"], "video", where) or "", where), {}
    for key, value in given.items():
        if mask := _value(value, "mask", where):
            places[_value(key, "frame", where) or ""] = _place(base, mask, where)
    name = _value(row.get("id"), "id", where)
    if name is None:
        name = PurePosixPath(name_of(video) if is_url(video) else video).stem
    name = names.take(name, where)
    frame = _value(row.get("frame"), "frame", where)
    remote = tuple(filter(is_url, (video, *places.values())))
    return Item(name, OpenRow(video, places, frame, name, *options, remote), remote, video)


def _place(base: str, path: str, where: str) -> str:
    """Returns a path of a row, or its URL; it starts at the folder of the list."""
    place = join(base, path)
    if is_url(place):
        return place
    if "\\" in path and not os.path.exists(place):
        raise InputError(
            "A path in a list of videos has slashes",
            met=path,
            where=where,
            remedy="Write / instead of \\",
        )
    return place


def _value(value: object, key: str, where: str) -> str | None:
    """Returns a value of a row as text; None where it is absent or empty."""
    if value is None:
        return None
    is_number = isinstance(value, int) and not isinstance(value, bool)
    if not isinstance(value, str) and not (is_number and key in ("id", "frame")):
        met = f"{key} is {printable(redacted(repr(value))[:100])}"
        raise InputError("A value of a list of videos is text", met=met, where=where)
    text = str(value).strip()
    if not is_printable(text) or len(text.encode()) > _MAX_PATH_BYTES:
        raise InputError(
            f"A value of a list of videos is UTF-8 without control characters, of at most "
            f"{_MAX_PATH_BYTES} bytes",
            met=f"{key} is '{printable(redacted(text)[:100])}'",
            where=where,
            remedy="Save the list in UTF-8, or rename the file",
        )
    return text or None


class _Names:
    """The folders of the results: none is another one's on any file system, none is in another."""

    def __init__(self) -> None:
        self._taken: dict[str, str] = {}  # folded name -> name
        self._above: dict[str, str] = {}  # folded name of a folder above -> name below it

    def take(self, name: str, where: str | Path) -> str:
        """Checks and notes the name of a result; raises `InputError` where it cannot be one."""
        name = safe_relative(
            name, where, rule="The name of a sequence is a folder below the output folder"
        )
        parts = folded(name).split("/")
        above = ["/".join(parts[:end]) for end in range(1, len(parts))]
        key = "/".join(parts)
        former = self._taken.get(key) or self._above.get(key)
        former = former or next((self._taken[a] for a in above if a in self._taken), None)
        if former is not None:
            raise InputError(
                "Every sequence of a batch has a folder of its own, whatever its case",
                met=f"'{name}' again" if former == name else f"'{name}' beside '{former}'",
                where=where,
                remedy="Give the rows different ids",
            )
        self._taken[key] = name
        self._above |= dict.fromkeys(above, name)
        return name


def part_of(items: Sequence[Item], parts: int, index: int) -> list[Item]:
    """Returns one part of a batch that several processes or machines share.

    Args:
        items: All sequences, in the same order everywhere.
        parts: Number of parts.
        index: Index of the part, from 0.

    Returns:
        Every `parts`-th sequence.

    Raises:
        UsageError: There is no such part.
    """
    if parts < 1 or not 0 <= index < parts:
        raise UsageError(
            "--part-id counts from 0 to one less than --num-parts", met=f"{index} of {parts}"
        )
    return list(items[index::parts])
