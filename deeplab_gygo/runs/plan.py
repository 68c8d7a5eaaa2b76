"""Sequences of a batch, from a split of a dataset or a list of videos; each is opened lazily."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from deeplab_gygo.datasets.registry import Dataset
from deeplab_gygo.errors import InputError, UsageError
from deeplab_gygo.io.escaping import is_printable, printable
from deeplab_gygo.io.listing import shorten
from deeplab_gygo.io.names import expanded, folded, safe_relative
from deeplab_gygo.runs.clip import Clip, open_clip, open_dataset_clip
from deeplab_gygo.runs.video_list import Row, read_video_list

_MAX_PATH_BYTES = 4096


@dataclass(frozen=True)
class Item:
    """One sequence of a batch.

    Attributes:
        name: Name of its folder below the output folder; may contain slashes. Of an item that
            cannot be opened it is for messages only.
        open: Opens it; raises a `DeepLabGygoError` where it cannot be used.
    """

    name: str
    open: Callable[[], Clip]


def plan_dataset(dataset: Dataset, split: str | Path) -> list[Item]:
    """Plans the sequences of a split.

    A sequence that the list names but that is not on disk, or whose name can be no folder of a
    result, is planned too: it fails when it is opened, and the others are segmented.

    Args:
        dataset: The dataset.
        split: Split, or path of a list file.

    Returns:
        The sequences in the order of the list.

    Raises:
        InputError: There is no such list, or it cannot be read.
    """
    listed, names, items = dataset.list_file(split), _Names(), []
    for name in dataset.listed(split):
        try:
            items.append(
                Item(names.take(name, listed), partial(_open_listed, dataset, name, listed))
            )
        except InputError as error:
            items.append(Item(printable(name[:100]), partial(_fail, error)))
    return items


def plan_videos(manifest: str | Path, *, keep_going: bool = False) -> list[Item]:
    """Plans the videos of a list, JSON lines or CSV with a header, or those of a folder.

    Videos of a folder have their masks beside them, see `read_video_list`. A row of a list has
    `video` and `mask`, and optionally `id`, the name of the output folder (by default that of the
    video without suffix), and `frame`, the frame of the mask. Relative paths start at the folder of
    the list. A row that is unusable is planned too: it fails when it is opened, and the others are
    segmented.

    Args:
        manifest: File ending in .jsonl, .csv or .tsv, or a folder.
        keep_going: Whether the frames that can be decoded are taken of a damaged video.

    Returns:
        The videos in the order of the list.

    Raises:
        InputError: The list is absent, of another kind, too large, or has no header or no usable
            row.
    """
    manifest = expanded(manifest)
    names, items, errors = _Names(), [], []
    folder = manifest if manifest.is_dir() else manifest.parent
    for label, row in read_video_list(manifest):
        try:
            items.append(_plan_row(row, folder, names, f"{manifest}, {label}", keep_going))
        except InputError as error:
            errors.append(error)
            items.append(Item(printable(label[:100]), partial(_fail, error)))
    if not items:
        raise InputError("A list of videos names at least one", met="none", where=manifest)
    if len(errors) == len(items):
        raise errors[0]
    return items


def _plan_row(
    row: Row | InputError, folder: Path, names: _Names, where: str, keep_going: bool
) -> Item:
    if isinstance(row, InputError):
        raise row
    values = {key: _value(row, key, where) for key in ("video", "mask", "id", "frame")}
    for key in ("video", "mask"):
        if values[key] is None:
            raise InputError(
                "A row of a list of videos has video and mask",
                met=f"no {key}; there is {shorten(printable(k)[:40] for k in row) or 'nothing'}",
                where=where,
                remedy="Name both files in every row",
            )
        if "\\" in str(values[key]) and not os.path.exists(folder / str(values[key])):
            raise InputError(
                "A path in a list of videos has slashes",
                met=values[key],
                where=where,
                remedy="Write / instead of \\",
            )
    video, mask = folder / str(values["video"]), folder / str(values["mask"])
    name = names.take(values["id"] or video.stem, where)
    options = {"frame": values["frame"], "name": name, "keep_going": keep_going}
    return Item(name, partial(open_clip, video, mask, **options))


def _value(row: Row, key: str, where: str) -> str | None:
    """Returns a value of a row as text; None where it is absent or empty."""
    value = row.get(key)
    if value is None:
        return None
    is_number = isinstance(value, int) and not isinstance(value, bool)
    if not isinstance(value, str) and not (is_number and key in ("id", "frame")):
        met = f"{key} is {printable(repr(value)[:100])}"
        raise InputError("A value of a list of videos is text", met=met, where=where)
    text = str(value).strip()
    if not is_printable(text) or len(text.encode()) > _MAX_PATH_BYTES:
        raise InputError(
            f"A value of a list of videos is UTF-8 without control characters, of at most "
            f"{_MAX_PATH_BYTES} bytes",
            met=f"{key} is '{printable(text[:100])}'",
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


def _fail(error: InputError) -> Clip:
    raise error


def _open_listed(dataset: Dataset, name: str, listed: Path) -> Clip:
    folder = dataset.frames_folder(name)
    if not os.path.isdir(folder):
        raise InputError(
            "Every sequence that a list names must be on disk",
            met=f"no folder {folder}",
            where=listed,
            remedy=f"Download the dataset again, or remove '{name}' from the list",
        )
    return open_dataset_clip(dataset, name)


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
