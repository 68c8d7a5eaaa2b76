"""Lists of videos, JSON lines or CSV: a row that cannot be read does not hide the others."""

from __future__ import annotations

import csv
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from deeplab_gygo.errors import InputError
from deeplab_gygo.io.escaping import printable
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


def read_video_list(path: Path) -> Iterator[tuple[int, Row | InputError]]:
    """Reads a list; blank lines and a byte order mark are skipped.

    Args:
        path: File ending in .jsonl or .csv, in UTF-8.

    Yields:
        The number of each row, and its values, or the error that reading it met. Rows of JSON
        lines are numbered as lines, those of CSV without the header; both from 1.

    Raises:
        InputError: The list is absent, of another kind, or too large.
    """
    kind = path.suffix.lower()
    if kind not in (".jsonl", ".csv"):
        met = printable(kind) or "none"
        raise InputError("A list of videos ends in .jsonl or .csv", met=met, where=path)
    # Bytes that are no UTF-8 become lone surrogates, which spoil their row alone.
    text = read_bytes(path, MAX_LIST_BYTES).decode("utf-8-sig", "surrogateescape")
    lines = re.split(r"\r\n|\r|\n", text)
    rows = _json_rows(lines, path) if kind == ".jsonl" else _csv_rows(lines, path)
    for count, row in enumerate(rows):
        if count == MAX_ROWS:
            raise InputError(f"A list of videos has at most {MAX_ROWS} rows", where=path)
        yield row


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
    header: list[str] | None = None
    position = number = 0
    while position < len(lines):
        # A reader for each row: a quote that is not closed spoils its line alone.
        ahead = (f"{line}\n" for line in lines[position : position + _ROW_LINES])
        reader = csv.reader(ahead, skipinitialspace=True, strict=True)
        found: list[str] | InputError | None = _too_long(lines[position], path, number + 1)
        try:
            found = found or next(reader)
        except csv.Error as error:
            found = _unreadable(str(error), path, number + 1)
        position += 1 if isinstance(found, InputError) else reader.line_num
        if not found:
            continue
        if header is None:
            if isinstance(found, InputError):
                raise found
            header = [cell.strip() for cell in found]
            continue
        number += 1
        if isinstance(found, InputError):
            yield number, found
        elif any(cell.strip() for cell in found[len(header) :]):
            met = f"{len(found)} cells, the header has {len(header)}"
            yield number, _unreadable(met, path, number)
        else:
            yield number, dict(zip(header, found, strict=False))


def _too_long(line: str, path: Path, number: int) -> InputError | None:
    if len(line) <= MAX_ROW_LENGTH:
        return None
    return _unreadable(f"{len(line)} characters, more than {MAX_ROW_LENGTH}", path, number)


def _unreadable(met: str, path: Path, number: int) -> InputError:
    return InputError(
        "A row of a list of videos is readable: JSON lines or CSV in UTF-8",
        met=printable(met),
        where=f"{path}, row {number}",
        remedy='Write rows like {"video": "a.mp4", "mask": "a.png"}',
    )
