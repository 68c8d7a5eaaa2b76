"""The report of a clip: one HTML page without outside parts, to be looked at."""

from __future__ import annotations

import hashlib
import json
import math
import shlex
from collections.abc import Collection, Iterable, Iterator, Mapping
from contextlib import ExitStack, suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any
from urllib.parse import quote

from deeplab_gygo.errors import InputError
from deeplab_gygo.io.atomic import files_below, replacing, storage_error
from deeplab_gygo.io.locking import locked
from deeplab_gygo.io.names import expanded
from deeplab_gygo.io.reading import read_json
from deeplab_gygo.io.sequence import Sequence
from deeplab_gygo.io.video import open_input
from deeplab_gygo.runs.clip import Clip
from deeplab_gygo.runs.report_page import REPORT_NAME, render, write_page
from deeplab_gygo.runs.report_pictures import curve, draw, is_doubtful, least_confident, spread
from deeplab_gygo.runs.result_files import MASK_FOLDER, RECORD_NAME, inspect_files
from deeplab_gygo.runs.run_record import RunRecord

SHEET_FRAMES = 24
DOUBTFUL_FRAMES = 12
SURE_FRAMES = 3  # the least confident ones of a clip without doubtful frames
_SHEET_SIDE = 240  # pixels


@dataclass(frozen=True)
class FileGroup:
    """A file of a result, or a folder of files: its name, its link, how many files, their bytes."""

    name: str
    href: str
    count: int
    size: int


def write_clip_report(folder: Path, clip: Clip, record: RunRecord) -> Path:
    """Writes `report.html` into the result of a clip; the masks are read from there.

    Args:
        folder: Folder of the result.
        clip: The clip; its frames are read once more, as far as the last one that is shown.
        record: The record of the result. If it names no files yet, those in the folder count.

    Returns:
        The file.

    Raises:
        DependencyError: Jinja2 is not installed.
        InputError: A frame or a mask cannot be read.
        UsageError: The folder has a `report.html` that this package did not write.
        StorageError: The file cannot be written.
    """
    return _write_clip_page(folder, clip.sequence, record)


def refresh_clip_report(folder: Path, source: str | Path | None = None) -> Path:
    """Writes the report of a finished result, and adds it to its record.

    Args:
        folder: Folder of the result.
        source: Where the frames are now; None for where they were.

    Returns:
        The file.

    Raises:
        DependencyError: Jinja2 is not installed.
        InputError: The folder holds no finished result, or a frame or a mask cannot be read.
        UsageError: The folder has a `report.html` that this package did not write, or a run writes
            to the folder.
        StorageError: The file cannot be written.
    """
    record = RunRecord.read(folder)
    if record is None:
        raise InputError(
            f"A finished result has {RECORD_NAME}",
            met="none" if folder.is_dir() else "no such folder",
            where=folder,
            remedy="Give the folder that was --out of the command segment",
        )
    with ExitStack() as stack:
        try:
            stack.enter_context(locked(folder.resolve()))
        except OSError as error:
            raise storage_error(folder, error) from error
        path = _write_clip_page(folder, open_source(record, source), record)
        _enter_in_record(path)
    return path


def _enter_in_record(path: Path) -> None:
    """Adds a file to the record beside it: from now on it is part of the result."""
    record = path.with_name(RECORD_NAME)
    values, content = read_json(record, record.stat().st_size), path.read_bytes()
    values["files"][path.name] = [len(content), hashlib.sha256(content).hexdigest()]
    with replacing(record) as side:
        side.write_text(json.dumps(values, indent=1, allow_nan=False) + "\n", encoding="utf-8")


def open_source(record: RunRecord, source: str | Path | None = None) -> Sequence:
    """Opens the frames of a result.

    Args:
        record: Its record.
        source: Where they are now; None for where they were.

    Raises:
        InputError: They are not there, or are others.
    """
    given = record.source if source is None else str(source)
    where = expanded(given)
    remedy = "Give --source: the video, or the folder of frames, of which the result was made"
    if not given or not where.exists():
        raise InputError(
            "A report shows the frames that were segmented",
            met="no such file" if given else "none in the record",
            where=given or record.name,
            remedy=remedy,
        )
    masks = [Path(record.mask_source)]
    if masks[0].parent == Path(record.source):  # it lay among the frames
        masks.append(where / masks[0].name)
    sequence = open_input(where, name=record.name or None, keep_going=True, exclude=masks)
    present = set(sequence.frame_names)
    missing = [name for name in record.confidence if name not in present]
    if missing:
        raise InputError(
            "A report shows the frames that were segmented",
            met=f"{len(missing)} of {len(record.confidence)} are not there, the first {missing[0]}",
            where=where,
            remedy=remedy,
        )
    return sequence


def _write_clip_page(folder: Path, sequence: Sequence, record: RunRecord) -> Path:
    indices, names = result_indices(folder, sequence, record), sequence.frame_names
    record, notes = reviewed(folder, record)
    values = [record.confidence.get(names[index]) for index in indices]
    large = least_confident(values, DOUBTFUL_FRAMES)
    large = large or least_confident(values, SURE_FRAMES, below=math.inf)
    shown = draw(
        sequence,
        folder / MASK_FOLDER,
        record.confidence,
        several=record.objects > 1,
        small=[indices[k] for k in spread(len(indices), SHEET_FRAMES)],
        side=_SHEET_SIDE,
        large={indices[k] for k in large},
    )
    drawn = list(shown)
    times = [sequence.times[index] for index in indices] if sequence.times else []
    text = render(
        "clip.html.j2",
        record=record,
        count=len(indices),
        doubtful_count=sum(map(is_doubtful, values)),
        lowest=min(known(values), default=None),
        mean=mean(values),
        curve=curve(indices, [names[k] for k in indices], values, times, notes),
        notes=notes,
        sheet=[picture for picture in drawn if not picture.plain],
        pairs=[picture for picture in drawn if picture.plain],
        large={indices[k] for k in large},
        files=list(_grouped(folder, {*(record.files or files_below(folder))} - {REPORT_NAME})),
        options=dict(_flat(record.config)),
        command=shlex.join(["deeplab-gygo", *record.command[1:]]) if record.command else "",
    )
    return write_page(folder / REPORT_NAME, text)


def result_indices(folder: Path, sequence: Sequence, record: RunRecord) -> list[int]:
    """Returns the indices of the frames of a result, in order.

    Raises:
        InputError: There are none.
    """
    files = set(record.files or files_below(folder))
    made = {record.first_frame, *record.confidence}
    indices = [
        index
        for index, name in enumerate(sequence.frame_names)
        if name in made or f"{MASK_FOLDER}/{name}.png" in files
    ]
    if not indices:
        raise InputError("A result has masks of frames", met="none", where=sequence.source)
    return indices


def reviewed(folder: Path, record: RunRecord) -> tuple[RunRecord, dict[str, str]]:
    """Leaves the confidence of doubtful masks out that were corrected by hand since.

    Args:
        folder: Folder of the result.
        record: Its record.

    Returns:
        The record, and notes on masks by the name of their frame: given, or corrected.
    """
    files = {f"{MASK_FOLDER}/{n}.png": n for n, v in record.confidence.items() if is_doubtful(v)}
    written = {file: record.files[file] for file in files if file in record.files}
    corrected = {files[file] for file in inspect_files(folder, written).corrected}
    # Records of earlier versions name the first given mask alone.
    given = set(record.annotated or [record.first_frame]) - record.confidence.keys()
    kept = {name: value for name, value in record.confidence.items() if name not in corrected}
    notes = dict.fromkeys(given, "given mask") | dict.fromkeys(corrected, "corrected")
    return replace(record, confidence=kept), notes


def known(values: Iterable[float | None]) -> list[float]:
    """Returns the values that are numbers."""
    return [value for value in values if value is not None and not math.isnan(value)]


def mean(values: Iterable[float | None]) -> float | None:
    """Returns the mean of the values that are numbers; None without any."""
    numbers = known(values)
    return math.fsum(numbers) / len(numbers) if numbers else None


def _grouped(folder: Path, names: Collection[str]) -> Iterator[FileGroup]:
    """Yields the files of a result, those in a folder together; the record may yet come."""
    sizes: dict[str, list[int]] = {RECORD_NAME: []}
    for name in sorted(names):
        place, slash, _ = name.partition("/")
        with suppress(OSError):  # removed since
            size = (folder / name).stat().st_size
            sizes.setdefault(place + slash, []).append(size)
    for name, found in sorted(sizes.items()):
        yield FileGroup(name, quote(name), len(found), sum(found))


def _flat(values: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, str]]:
    for name, value in values.items():
        if isinstance(value, Mapping):
            yield from _flat(value, f"{prefix}{name}.")
        else:
            yield prefix + name, value if isinstance(value, str) else json.dumps(value)
