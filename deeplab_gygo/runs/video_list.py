"""Lists of videos: JSON lines, CSV, or the videos of a folder with masks beside them.

A row that cannot be read does not hide the others.
"""

from __future__ import annotations

import codecs
import csv
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from deeplab_gygo.errors import InputError
from deeplab_gygo.io.escaping import printable
from deeplab_gygo.io.listing import VIDEO_SUFFIXES, is_stray, natural_key, shorten
from deeplab_gygo.io.masks import MASK_SUFFIXES
from deeplab_gygo.io.reading import parse_json, read_bytes

MAX_LIST_BYTES = 16 << 20
"""Largest list."""

MAX_ROWS = 100_000
"""Most rows of a list."""

MAX_ROW_LENGTH = 64 << 10
"""Most characters of a line."""

_ROW_LINES = 20  # lines that the quoted cells of a row of CSV may extend over

Row = dict[str, Any]
"""Values of a row by column."""


def read_video_list(path: Path) -> Iterator[tuple[str, Row | InputError]]:
    """Reads a list; blank lines and a byte order mark are skipped.

    Args:
        path: File ending in .jsonl, .csv or .tsv, in UTF-8 or UTF-16, the cells of CSV separated by
            commas, semicolons or tabs; or a folder of videos, each with its mask beside it:
            `NAME.png`, `NAME_mask.png` or `NAME/first.png`, or with another suffix of masks.

    Yields:
        The name of each row for messages, and its values, or the error that reading it met. Rows of
        JSON lines are numbered as lines, those of CSV without the header; both from 1.

    Raises:
        InputError: The list is absent, of another kind, too large, or has no header.
    """
    if path.is_dir():
        rows = _folder_rows(path)
    else:
        kind = path.suffix.lower()
        if kind not in (".jsonl", ".csv", ".tsv"):
            raise InputError(
                "A list of videos ends in .jsonl, .csv or .tsv, or is a folder of videos",
                met=printable(kind) or "none",
                where=path,
                remedy="Write a header video,mask and a row for each video to a CSV file",
            )
        lines = re.split(r"\r\n|\r|\n", _decoded(read_bytes(path, MAX_LIST_BYTES), path))
        numbered = _json_rows(lines, path) if kind == ".jsonl" else _csv_rows(lines, path)
        rows = ((f"row {number}", row) for number, row in numbered)
    for count, row in enumerate(rows):
        if count == MAX_ROWS:
            raise InputError(f"A list of videos has at most {MAX_ROWS} rows", where=path)
        yield row


def _decoded(content: bytes, path: Path) -> str:
    if content.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)):
        try:
            return content.decode("utf-16")
        except UnicodeDecodeError as error:
            raise InputError("Text is UTF-8 or UTF-16", met=error, where=path) from error
    # Bytes that are no UTF-8 become lone surrogates, which spoil their row alone.
    return content.decode("utf-8-sig", "surrogateescape")


def _folder_rows(folder: Path) -> Iterator[tuple[str, Row | InputError]]:
    """Yields the videos of a folder, each with the mask beside it, in natural order."""
    try:
        paths = sorted(folder.iterdir(), key=lambda path: (natural_key(path.name), path.name))
    except OSError as error:
        raise InputError(
            "A folder of videos can be listed", met=error.strerror, where=folder
        ) from error
    masks: dict[str, list[str]] = {}
    for path in paths:
        if path.suffix.lower() in MASK_SUFFIXES and not is_stray(path.name):
            masks.setdefault(path.stem, []).append(path.name)
    videos = [p for p in paths if p.suffix.lower() in VIDEO_SUFFIXES and not is_stray(p.name)]
    if not videos:
        raise InputError(
            "A folder of videos holds some, each with its mask beside it",
            met=shorten(path.name for path in paths) or "an empty folder",
            where=folder,
            remedy="Give a list in CSV, with the columns video and mask, or a folder of videos",
        )
    for video in videos:
        names = (video.stem, f"{video.stem}_mask")
        below = [f"{video.stem}/first{suffix}" for suffix in MASK_SUFFIXES]
        found = [mask for name in names for mask in masks.get(name, ())]
        found += [name for name in below if (folder / name).exists()]
        if len(found) == 1:
            yield video.name, {"video": video.name, "mask": found[0]}
            continue
        expected = ", ".join(f"{video.stem}{end}" for end in (".png", "_mask.png", "/first.png"))
        yield (
            video.name,
            InputError(
                "A video of a folder has one mask beside it",
                met=" and ".join(found) or f"none of {expected}, nor of other suffixes of masks",
                where=video,
                remedy="Remove or rename all but one, or give a list in CSV"
                if found
                else "Name its mask so, or give a list in CSV, with the columns video and mask",
            ),
        )


def _json_rows(lines: list[str], path: Path) -> Iterator[tuple[int, Row | InputError]]:
    for number, line in enumerate(lines, start=1):
        if not line.strip():
            continue
        row: Any = _too_long(line, path, number)
        if row is None:
            try:
                row = parse_json(line, path)
            except InputError as error:
                row = _unreadable(str(error.met), path, number)
        if not isinstance(row, (dict, InputError)):
            row = _unreadable("it is no object", path, number)
        yield number, row


def _csv_rows(lines: list[str], path: Path) -> Iterator[tuple[int, Row | InputError]]:
    position = next((index for index, line in enumerate(lines) if line.strip()), len(lines))
    if position == len(lines):
        return
    if directive := re.fullmatch(r'"?sep=(.)"?', lines[position]):  # a line that Excel reads
        position += 1
        delimiters: tuple[str, ...] = (directive[1],)
    else:
        delimiters = (",", ";", "\t")
    header, delimiter, position = _header(lines, position, delimiters, path)
    number = 0
    while position < len(lines):
        found, position = _csv_row(lines, position, delimiter, path, number + 1)
        if not isinstance(found, InputError) and not any(map(str.strip, found)):
            continue
        number += 1
        if isinstance(found, InputError):
            yield number, found
        elif any(cell.strip() for cell in found[len(header) :]):
            met = f"{len(found)} cells, the header has {len(header)}"
            yield number, _unreadable(met, path, number)
        else:
            yield number, dict(zip(header, found, strict=False))


def _header(
    lines: list[str], position: int, delimiters: tuple[str, ...], path: Path
) -> tuple[list[str], str, int]:
    """Reads the names of the columns, in any case.

    Returns:
        The names, the delimiter of cells, and the index of the next line.
    """
    for delimiter in delimiters:
        cells, after = _csv_row(lines, position, delimiter, path, 0)
        if isinstance(cells, InputError):
            raise cells
        header = [cell.strip().casefold() for cell in cells]
        if {"video", "mask"} <= set(header) and len(set(header) - {""}) == sum(map(bool, header)):
            return header, delimiter, after
    raise InputError(
        "A list of videos in CSV begins with a header, which names video and mask once",
        met=printable(lines[position][:100]),
        where=path,
        remedy="Write the line video,mask above the rows, or rename the columns",
    )


def _csv_row(
    lines: list[str], position: int, delimiter: str, path: Path, number: int
) -> tuple[list[str] | InputError, int]:
    """Reads the row that begins at a line; returns it with the index of the next line.

    There is a reader for each row, so that a quote that is not closed spoils its line alone.
    """
    if error := _too_long(lines[position], path, number):
        return error, position + 1
    ahead = (f"{line}\n" for line in lines[position : position + _ROW_LINES])
    reader = csv.reader(ahead, delimiter=delimiter, skipinitialspace=True, strict=True)
    try:
        return next(reader), position + reader.line_num
    except csv.Error as error:
        return _unreadable(str(error), path, number), position + 1


def _too_long(line: str, path: Path, number: int) -> InputError | None:
    if len(line) <= MAX_ROW_LENGTH:
        return None
    return _unreadable(f"{len(line)} characters, more than {MAX_ROW_LENGTH}", path, number)


def _unreadable(met: str, path: Path, number: int) -> InputError:
    return InputError(
        "A row of a list of videos is readable: JSON lines or CSV, in UTF-8 or UTF-16",
        met=printable(met),
        where=f"{path}, row {number}",
        remedy='Write rows like {"video": "a.mp4", "mask": "a.png"}, one a line'
        if path.suffix.lower() == ".jsonl"
        else "Write a cell for each column, in quotes where it has a delimiter in it",
    )
