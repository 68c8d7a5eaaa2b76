"""Sequences of a batch, from a split of a dataset or a list of videos; each is opened lazily."""

from __future__ import annotations

import csv
import json
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path, PurePosixPath

from deeplab_gygo.datasets.registry import Dataset
from deeplab_gygo.errors import InputError, UsageError
from deeplab_gygo.runs.clip import Clip, open_clip, open_dataset_clip


@dataclass(frozen=True)
class Item:
    """One sequence of a batch.

    Attributes:
        name: Name of its folder below the output folder; may contain slashes.
        open: Opens it; raises a `DeepLabGygoError` where it cannot be used.
    """

    name: str
    open: Callable[[], Clip]


def plan_dataset(dataset: Dataset, split: str | Path) -> list[Item]:
    """Plans the sequences of a split.

    A sequence that the list names but that is not on disk is planned too: it fails when it is
    opened, and the others are segmented.

    Args:
        dataset: The dataset.
        split: Split, or path of a list file.

    Returns:
        The sequences in the order of the list.

    Raises:
        InputError: There is no such list, or it cannot be read.
    """
    listed = dataset.list_file(split)
    return [
        Item(_safe(name, listed), partial(_open_listed, dataset, name, listed))
        for name in dataset.listed(split)
    ]


def _open_listed(dataset: Dataset, name: str, listed: Path) -> Clip:
    folder = dataset.image_folder / name
    if not folder.is_dir():
        raise InputError(
            "Every sequence that a list names must be on disk",
            met=f"no folder {folder}",
            where=listed,
            remedy=f"Download the dataset again, or remove '{name}' from the list",
        )
    return open_dataset_clip(dataset, name)


def plan_videos(manifest: str | Path) -> list[Item]:
    """Plans the videos of a list: JSON lines, or CSV with a header.

    A row has `video` and `mask`, and optionally `id`, the name of the output folder (by default
    that of the video without suffix), and `frame`, the frame of the mask. Relative paths start at
    the folder of the list.

    Args:
        manifest: File ending in .jsonl or .csv.

    Returns:
        The videos in the order of the list.

    Raises:
        InputError: The list is absent, of another kind, empty, or has an unusable row.
    """
    manifest = Path(manifest).expanduser()
    items: dict[str, Item] = {}
    for number, row in _rows(manifest):
        where = f"{manifest}, row {number}"
        video, mask = (_path(row, key, manifest.parent, where) for key in ("video", "mask"))
        name = _safe(str(row.get("id") or video.stem), where)
        if name in items:
            raise InputError(
                "Every row of a list of videos has its own id",
                met=f"'{name}' again",
                where=where,
                remedy="Give the rows different ids",
            )
        frame = None if row.get("frame") in (None, "") else str(row["frame"])
        items[name] = Item(name, partial(open_clip, video, mask, frame=frame, name=name))
    if not items:
        raise InputError("A list of videos names at least one", met="none", where=manifest)
    return list(items.values())


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


def _rows(manifest: Path) -> Iterator[tuple[int, dict[str, object]]]:
    """Reads the rows of a list with their numbers, from 1 without the header."""
    kind = manifest.suffix.lower()
    if kind not in (".jsonl", ".csv"):
        raise InputError(
            "A list of videos ends in .jsonl or .csv", met=kind or "none", where=manifest
        )
    try:
        with open(manifest, encoding="utf-8-sig", newline="") as file:
            if kind == ".csv":
                yield from enumerate(csv.DictReader(file, skipinitialspace=True), start=1)
                return
            for number, line in enumerate(file, start=1):
                if not line.strip():
                    continue
                row = json.loads(line)
                if not isinstance(row, dict):
                    raise ValueError(f"row {number} is no object")
                yield number, row
    except FileNotFoundError:
        raise InputError("A list of videos exists", met="no such file", where=manifest) from None
    except (ValueError, OSError, csv.Error) as error:
        raise InputError(
            "A list of videos is readable: JSON lines or CSV in UTF-8",
            met=" ".join(str(error).split()),
            where=manifest,
            remedy='Write rows like {"video": "a.mp4", "mask": "a.png"}',
        ) from error


def _path(row: dict[str, object], key: str, folder: Path, where: str) -> Path:
    value = row.get(key)
    if not isinstance(value, str) or not value.strip():
        raise InputError(
            "A row of a list of videos has video and mask",
            met=f"no {key}; there is {', '.join(map(str, row)) or 'nothing'}",
            where=where,
        )
    return folder / Path(value.strip()).expanduser()


def _safe(name: str, where: str | Path) -> str:
    """Checks that a name is a folder below the output folder."""
    path = PurePosixPath(name)
    if path.is_absolute() or ".." in path.parts or not path.parts or "\\" in name:
        raise InputError(
            "The name of a sequence is a folder below the output folder", met=name, where=where
        )
    return path.as_posix()
