"""Lists of the videos of a batch: a file, standard input, a folder, a pattern, or a URL."""

from __future__ import annotations

import sys
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path, PurePosixPath
from typing import NamedTuple

from deeplab_gygo.errors import InputError, UsageError
from deeplab_gygo.io.escaping import printable
from deeplab_gygo.io.names import expanded
from deeplab_gygo.io.reading import read_bytes
from deeplab_gygo.io.storage import display, is_url, name_of, parent, read_url
from deeplab_gygo.runs.video_folder import folder_rows, is_pattern, pattern_rows
from deeplab_gygo.runs.video_rows import COLUMNS, Row, parse_rows

MAX_LIST_BYTES = 16 << 20
"""Largest list."""

MAX_ROWS = 100_000
"""Most rows of a list."""

STANDARD_INPUT = "-"
"""What stands for standard input where a list is named."""

_SUFFIXES = (".jsonl", ".csv", ".tsv")


class VideoList(NamedTuple):
    """The rows of a list of videos.

    Attributes:
        base: Folder, or URL of one, that relative paths start at; empty for the current one.
        rows: The name of each row for messages, and its values by `COLUMNS`, or the error that
            reading it met.
    """

    base: str
    rows: Iterator[tuple[str, Row | InputError]]


def parse_columns(text: str) -> dict[str, str]:
    """Parses the names of columns, `video=COLUMN,mask=COLUMN`.

    Args:
        text: Pairs separated by commas; the first parts are of `COLUMNS`.

    Returns:
        Name of the column by what it holds.

    Raises:
        UsageError: A part is no such pair, or something is named twice.

    Example:
        >>> parse_columns("video=Film, mask=First mask")
        {'video': 'Film', 'mask': 'First mask'}
    """
    columns: dict[str, str] = {}
    for pair in text.split(","):
        key, _, column = (part.strip() for part in pair.partition("="))
        if not column or key not in COLUMNS or key in columns:
            raise UsageError(
                f"The columns of a list are named in pairs, of {', '.join(COLUMNS)} each once",
                met=f"'{printable(pair.strip()[:100])}'",
                where="--columns",
                remedy="Write them like video=FILE,mask=MASK,id=NAME,frame=FRAME",
            )
        columns[key] = column
    return columns


def read_video_list(
    manifest: str | Path, columns: Mapping[str, str] | None = None, *, needs_mask: bool = True
) -> VideoList:
    """Reads a list of videos.

    Args:
        manifest: File or URL ending in .jsonl, .csv or .tsv; `-` for either kind on standard input,
            see `parse_rows`; or a folder of videos or pictures, its URL, or a pattern, see
            `folder_rows` and `pattern_rows`.
        columns: Names of the columns by what they hold, in any case, see `parse_columns`. Where
            they are given, `id` and `frame` are read only if they are among them.
        needs_mask: Whether every row has a mask.

    Returns:
        The list. To read on may raise `InputError` too.

    Raises:
        InputError: The list is absent, of another kind or too large, or has no header.
        UsageError: Columns are named of a folder.
    """
    if str(manifest) == STANDARD_INPUT:
        where = "standard input"
        content = sys.stdin.buffer.read(MAX_LIST_BYTES + 1)
        if len(content) > MAX_LIST_BYTES:
            rule = f"A file of this kind has at most {MAX_LIST_BYTES} bytes"
            raise InputError(rule, met="more", where=where)
        return VideoList("", _limited(parse_rows(content, "", where, columns, needs_mask), where))
    remote = is_url(manifest)
    path = str(manifest if remote else expanded(manifest))
    where = display(path)
    is_folder = not remote and Path(path).is_dir()
    suffix = "" if is_folder else PurePosixPath(name_of(path) if remote else path).suffix.lower()
    if suffix in _SUFFIXES:
        content = read_url(path, MAX_LIST_BYTES) if remote else read_bytes(path, MAX_LIST_BYTES)
        rows = parse_rows(content, suffix, where, columns, needs_mask)
        return VideoList(parent(path), _limited(rows, where))
    if columns:
        raise UsageError(
            "Columns are those of a list of videos",
            met=printable(where),
            where="--columns",
            remedy=f"Leave --columns out, or give a list that ends in {', '.join(_SUFFIXES)}",
        )
    if is_pattern(path):
        base, found = pattern_rows(path, needs_mask=needs_mask)
        return VideoList(base, _limited(found, where))
    if not remote and not is_folder:
        exists = Path(path).exists()
        raise InputError(
            f"A list of videos ends in {', '.join(_SUFFIXES[:-1])} or {_SUFFIXES[-1]}, or is a "
            "folder or a pattern of videos",
            met=(printable(suffix) or "another file") if exists else "no such file or folder",
            where=where,
            remedy="Write a header video,mask and a row for each video to a CSV file, or give the "
            "folder of the videos, or a pattern in quotes",
        )
    return VideoList(path, _limited(folder_rows(path, needs_mask=needs_mask), where))


def _limited(
    rows: Iterable[tuple[str, Row | InputError]], where: str
) -> Iterator[tuple[str, Row | InputError]]:
    for count, row in enumerate(rows):
        if count == MAX_ROWS:
            raise InputError(f"A list of videos has at most {MAX_ROWS} rows", where=where)
        yield row
