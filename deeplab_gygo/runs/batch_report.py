"""The report of a batch: one HTML page of its clips, the worst first."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import quote

from deeplab_gygo.errors import DeepLabGygoError, InputError
from deeplab_gygo.io.names import path_inside, safe_relative
from deeplab_gygo.io.reading import read_json
from deeplab_gygo.runs.report import mean, open_source, result_indices, reviewed
from deeplab_gygo.runs.report_page import REPORT_NAME, render, write_page
from deeplab_gygo.runs.report_pictures import Picture, draw, is_doubtful, least_confident, spread
from deeplab_gygo.runs.result_files import MASK_FOLDER, OVERLAY_NAME
from deeplab_gygo.runs.run_record import RunRecord

STRIPS = 200
"""Clips that are shown with pictures, the worst; the page stays below some 10 MB."""

STRIP_FRAMES = 5
"""Evenly spaced frames of a strip; the least confident one is a further."""

_STRIP_SIDE = 160  # pixels
_MAX_BYTES = 256 << 20  # of a summary; a clip has about 500 bytes


@dataclass
class ClipRow:
    """A clip on the page.

    Attributes:
        name: Its name.
        status: `done`, `skipped` or `failed`.
        row: Its entry in the summary.
        record: Its record; None for a failed clip.
        links: Text and address of its files.
        strip: Pictures of it.
        notes: What is the matter with it.
        texts: Notes on its masks, by the name of the frame.
    """

    name: str
    status: str
    row: dict[str, Any]
    record: RunRecord | None = None
    links: list[tuple[str, str]] = field(default_factory=list)
    strip: list[Picture] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    texts: dict[str, str] = field(default_factory=dict)

    @property
    def confidence(self) -> float | None:
        """Mean confidence of its masks."""
        return None if self.record is None else mean(self.record.confidence.values())

    @property
    def doubtful(self) -> int:
        """Number of its doubtful masks."""
        return 0 if self.record is None else sum(map(is_doubtful, self.record.confidence.values()))

    def number(self, key: str) -> float | None:
        """Returns a number of the summary; None if it has none."""
        value = self.row.get(key)
        return float(value) if isinstance(value, (int, float)) else None

    @property
    def rank(self) -> tuple[float, str]:
        """The lower, the worse: failed clips, then J or else the mean confidence, its estimate."""
        quality = self.number("J")
        if quality is None:
            quality = -1.0 if self.status == "failed" else self.confidence
        return (0.0 if quality is None else quality), self.name


def write_batch_report(out: Path) -> Path:
    """Writes `report.html` into the folder of a finished batch; masks and frames are read.

    Args:
        out: Folder of the batch, with `summary.json`, or the summaries of its parts.

    Returns:
        The file.

    Raises:
        DependencyError: Jinja2 is not installed.
        InputError: There is no summary, or a damaged one.
        UsageError: The folder has a `report.html` that this package did not write.
        StorageError: The file cannot be written.
    """
    files = _summary_files(out)
    if not files:
        raise InputError(
            "A finished batch has summary.json",
            met="none" if out.is_dir() else "no such folder",
            where=out,
            remedy="Run the command batch to its end, with the same --out",
        )
    summaries = [_read_summary(path) for path in files]
    rows = {row["sequence"]: row for summary in summaries for row in summary["sequences"]}
    clips = sorted((_open_row(out, row) for row in rows.values()), key=lambda clip: clip.rank)
    for clip in clips[:STRIPS]:
        if clip.record is not None:
            try:
                clip.strip = _strip(path_inside(out, clip.name), clip.record)
            except DeepLabGygoError as error:
                clip.notes.append(f"without pictures: {error}")
    records = [clip.record for clip in clips if clip.record is not None]
    frames, seconds = sum(r.frames for r in records), sum(r.total_seconds for r in records)
    text = render(
        "batch.html.j2",
        name=out.resolve().name,
        clips=clips,
        statuses={s: sum(c.status == s for c in clips) for s in ("done", "skipped", "failed")},
        doubtful=sum(clip.doubtful for clip in clips),
        frames=frames,
        seconds=seconds,
        speed=frames / seconds if seconds > 0 else None,
        # Means of J are over objects; those of several parts cannot be joined.
        scores=summaries[0].get("mean") if len(summaries) == 1 else None,
        strips=STRIPS,
    )
    return write_page(out / REPORT_NAME, text)


def is_batch(folder: Path) -> bool:
    """Checks whether a folder is that of a finished batch."""
    return bool(_summary_files(folder))


def _summary_files(folder: Path) -> list[Path]:
    """Returns the summaries of a batch, the latest last, which counts for a clip in several."""
    files = folder.glob("summary*.json")
    return sorted(files, key=lambda path: (path.stat().st_mtime_ns, path.name))


def _read_summary(path: Path) -> dict[str, Any]:
    values = read_json(path, _MAX_BYTES)
    rows = values.get("sequences") if isinstance(values, dict) else None
    is_list = isinstance(rows, list) and all(
        isinstance(row, dict)
        and isinstance(row.get("sequence"), str)
        and isinstance(row.get("status"), str)
        for row in rows
    )
    if not is_list:
        raise InputError(
            "The summary of a batch has a name and a status for every sequence",
            met="none, or others",
            where=path,
            remedy="Run the command batch again, with the same --out",
        )
    return values


def _open_row(out: Path, row: dict[str, Any]) -> ClipRow:
    clip = ClipRow(row["sequence"], row["status"], row)
    warnings = row.get("warnings")
    notes = [row.get("error"), *(warnings if isinstance(warnings, list) else [])]
    clip.notes = [str(note) for note in notes if note]
    try:
        folder = path_inside(out, safe_relative(clip.name, out))
        clip.record = RunRecord.read(folder) if clip.status != "failed" else None
    except InputError as error:
        clip.notes.append(str(error))
        return clip
    if clip.record is not None:
        clip.record, clip.texts = reviewed(folder, clip.record)
        clip.notes += [text for text in clip.record.warnings if text not in clip.notes]
    places = {"report": REPORT_NAME, "overlay": OVERLAY_NAME, "files": "."}
    clip.links = [
        (text, quote(f"{clip.name}/" if place == "." else f"{clip.name}/{place}"))
        for text, place in places.items()
        if (folder / place).exists()
    ]
    return clip


def _strip(folder: Path, record: RunRecord) -> list[Picture]:
    """Draws frames of a clip: evenly spaced ones, and the least confident one."""
    sequence = open_source(record)
    indices = result_indices(folder, sequence, record)
    chosen = {indices[k] for k in spread(len(indices), STRIP_FRAMES)}
    values = [record.confidence.get(sequence.frame_names[k]) for k in indices]
    chosen |= {indices[k] for k in least_confident(values, 1, below=math.inf)}
    shown = draw(
        sequence,
        folder / MASK_FOLDER,
        record.confidence,
        several=record.objects > 1,
        small=chosen,
        side=_STRIP_SIDE,
    )
    return list(shown)
