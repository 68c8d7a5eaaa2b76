"""Rows of a list of videos, written as JSON lines or CSV.

A row that cannot be read does not hide the others.
"""

from __future__ import annotations

import codecs
import csv
import logging
import re
from collections.abc import Iterator, Mapping, Set
from typing import Any

from deeplab_gygo.errors import InputError
from deeplab_gygo.io.escaping import printable
from deeplab_gygo.io.listing import shorten
from deeplab_gygo.io.reading import parse_json

logger = logging.getLogger(__name__)

COLUMNS = ("video", "mask", "id", "frame")
"""What a row holds; by default its columns have these names."""

MAX_ROW_LENGTH = 64 << 10
"""Most characters of a line."""

_ROW_LINES = 20  # lines that the quoted cells of a row of CSV may extend over

Row = dict[str, Any]
"""Values of a row by `COLUMNS`; absent ones are None."""


def parse_rows(
    content: bytes, suffix: str, where: str, columns: Mapping[str, str] | None, needs_mask: bool
) -> Iterator[tuple[str, Row | InputError]]:
    """Reads the rows of a list; blank lines, those that begin with # and a BOM are skipped.

    Args:
        content: The list in UTF-8 or UTF-16. The cells of CSV are separated by commas, semicolons
            or tabs.
        suffix: `.jsonl`, `.csv` or `.tsv`; where it is empty the first line decides.
        where: Name of the list for messages.
        columns: As in `read_video_list`.
        needs_mask: Whether every row has a mask.

    Yields:
        The name of each row for messages, and its values, or the error that reading it met. Rows of
        JSON lines are numbered as lines, those of CSV without the header; both from 1.

    Raises:
        InputError: The list has no header, or is no text.
    """
    lines = re.split(r"\r\n|\r|\n", _decoded(content, where))
    defaults = COLUMNS if columns is None else COLUMNS[:2]
    named = {key: key for key in defaults} | dict(columns or {})
    keys = {key: name.casefold() for key, name in named.items()}
    needed = [key for key in ("video", "mask") if key == "video" or needs_mask]
    comments = sum(line.lstrip().startswith("#") for line in lines)
    if comments:
        logger.info("%s: %d lines that begin with # are comments", printable(where), comments)
    first = next((line.lstrip() for line in lines if not _is_skipped(line)), "")
    if suffix == ".jsonl" or (not suffix and first.startswith("{")):
        rows = _json_rows(lines, where)
    else:
        header = {keys[key] for key in (*needed, *(columns or ()))}
        rows = _csv_rows(lines, where, header)
    for number, row in rows:
        label = f"row {number}"
        if not isinstance(row, InputError):
            absent = next((named[key] for key in needed if _is_empty(row.get(keys[key]))), None)
            row = (
                {key: row.get(name) for key, name in keys.items()}
                if absent is None
                else _incomplete(row, [named[key] for key in needed], absent, f"{where}, {label}")
            )
        yield label, row


def _is_skipped(line: str) -> bool:
    return not line.strip() or line.lstrip().startswith("#")


def _is_empty(value: object) -> bool:
    return value in (None, {}) or (isinstance(value, str) and not value.strip())


def _incomplete(row: Row, needed: list[str], absent: str, where: str) -> InputError:
    return InputError(
        f"A row of a list of videos has {' and '.join(needed)}",
        met=f"no {absent}; there is {shorten(printable(k)[:40] for k in row) or 'nothing'}",
        where=where,
        remedy=f"Name {'both files' if needed[1:] else 'a file'} in every row, or name the columns "
        "by --columns",
    )


def _decoded(content: bytes, where: str) -> str:
    if content.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)):
        try:
            return content.decode("utf-16")
        except UnicodeDecodeError as error:
            raise InputError("Text is UTF-8 or UTF-16", met=error, where=where) from error
    # Bytes that are no UTF-8 become lone surrogates, which spoil their row alone.
    return content.decode("utf-8-sig", "surrogateescape")


def _json_rows(lines: list[str], where: str) -> Iterator[tuple[int, Row | InputError]]:
    for number, line in enumerate(lines, start=1):
        if _is_skipped(line):
            continue
        row: Any = _too_long(line, where, number)
        if row is None:
            try:
                row = parse_json(line, where)
            except InputError as error:
                row = _unreadable(str(error.met), where, number)
        if isinstance(row, dict):
            row = {key.casefold(): value for key, value in row.items()}
        elif not isinstance(row, InputError):
            row = _unreadable("it is no object", where, number)
        yield number, row


def _csv_rows(
    lines: list[str], where: str, needed: Set[str]
) -> Iterator[tuple[int, Row | InputError]]:
    position = next((i for i, line in enumerate(lines) if not _is_skipped(line)), len(lines))
    if position == len(lines):
        return
    if directive := re.fullmatch(r'"?sep=(.)"?', lines[position]):  # a line that Excel reads
        position += 1
        delimiters: tuple[str, ...] = (directive[1],)
    else:
        delimiters = (",", ";", "\t")
    header, delimiter, position = _header(lines, position, delimiters, where, needed)
    number = 0
    while position < len(lines):
        if lines[position].lstrip().startswith("#"):
            position += 1
            continue
        found, position = _csv_row(lines, position, delimiter, where, number + 1)
        if not isinstance(found, InputError) and not any(map(str.strip, found)):
            continue
        number += 1
        if isinstance(found, InputError):
            yield number, found
        elif any(cell.strip() for cell in found[len(header) :]):
            met = f"{len(found)} cells, the header has {len(header)}"
            yield number, _unreadable(met, where, number)
        else:
            yield number, dict(zip(header, found, strict=False))


def _header(
    lines: list[str], position: int, delimiters: tuple[str, ...], where: str, needed: Set[str]
) -> tuple[list[str], str, int]:
    """Reads the names of the columns, in any case.

    Returns:
        The names, the delimiter of cells, and the index of the next line.
    """
    for delimiter in delimiters:
        cells, after = _csv_row(lines, position, delimiter, where, 0)
        if isinstance(cells, InputError):
            raise cells
        header = [cell.strip().casefold() for cell in cells]
        if needed <= set(header) and len(set(header) - {""}) == sum(map(bool, header)):
            return header, delimiter, after
    names = sorted(needed, key=lambda name: (name != "video", name))
    raise InputError(
        f"A list of videos in CSV begins with a header, which names {' and '.join(names)} once",
        met=printable(lines[position][:100]),
        where=where,
        remedy=f"Write the line {','.join(names)} above the rows, or name the columns by --columns",
    )


def _csv_row(
    lines: list[str], position: int, delimiter: str, where: str, number: int
) -> tuple[list[str] | InputError, int]:
    """Reads the row that begins at a line; returns it with the index of the next line.

    There is a reader for each row, so that a quote that is not closed spoils its line alone.
    """
    if error := _too_long(lines[position], where, number):
        return error, position + 1
    ahead = (f"{line}\n" for line in lines[position : position + _ROW_LINES])
    reader = csv.reader(ahead, delimiter=delimiter, skipinitialspace=True, strict=True)
    try:
        return next(reader), position + reader.line_num
    except csv.Error as error:
        return _unreadable(str(error), where, number), position + 1


def _too_long(line: str, where: str, number: int) -> InputError | None:
    if len(line) <= MAX_ROW_LENGTH:
        return None
    return _unreadable(f"{len(line)} characters, more than {MAX_ROW_LENGTH}", where, number)


def _unreadable(met: str, where: str, number: int) -> InputError:
    return InputError(
        "A row of a list of videos is readable: JSON lines or CSV, in UTF-8 or UTF-16",
        met=printable(met),
        where=f"{where}, row {number}",
        remedy='Write rows like {"video": "a.mp4", "mask": "a.png"}, one a line, or a cell of CSV '
        "for each column, in quotes where it has a delimiter in it",
    )
