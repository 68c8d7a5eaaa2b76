"""Writes scores down: the official DAVIS tables, one row per frame, text, Markdown and JSON.

The two CSV files of the official code (davisvideochallenge/davis2017-evaluation,
`evaluation_method.py`) keep their names, columns and three decimals. The official code shows an
old file where one exists; here every file is made anew each time.
"""

from __future__ import annotations

import contextlib
import csv
import io
import json
import math
import os
from collections.abc import Iterable, Sequence
from pathlib import Path

from deeplab_gygo.errors import StorageError
from deeplab_gygo.evaluation.measures import Statistics
from deeplab_gygo.evaluation.scores import FEW_FRAMES, DatasetScore, ObjectScore, SequenceScore

GLOBAL_COLUMNS = (
    "J&F-Mean",
    "J-Mean",
    "J-Recall",
    "J-Decay",
    "F-Mean",
    "F-Recall",
    "F-Decay",
)
SEQUENCE_COLUMNS = ("Sequence", "J-Mean", "F-Mean")
FRAME_COLUMNS = ("Sequence", "Object", "Frame", "Counted", "J", "F")


def write_report(score: DatasetScore, directory: str | Path) -> list[Path]:
    """Writes all files of a report; files of an earlier report are replaced.

    Args:
        score: What to report.
        directory: Where the files go; made if absent.

    Returns:
        The files: `global_results-<split>.csv` and `per-sequence_results-<split>.csv` as the
        official code writes them, `per-frame.csv`, `scores.json` and `table.md`.

    Raises:
        StorageError: A file cannot be written.
    """
    directory = Path(directory)
    split = score.split.replace("/", "_")
    contents = {
        f"global_results-{split}.csv": global_csv(score),
        f"per-sequence_results-{split}.csv": per_sequence_csv(score),
        "per-frame.csv": per_frame_csv(score),
        "scores.json": score_json(score),
        "table.md": markdown_table(score),
    }
    return [_write(directory / name, text) for name, text in contents.items()]


def global_csv(score: DatasetScore) -> str:
    """Makes the official table of means: one row, `%.3f`, an absent value left empty."""
    row = [score.mean, *_values(score.region), *_values(score.contour)]
    return _csv([GLOBAL_COLUMNS, [_number(value, absent="") for value in row]])


def per_sequence_csv(score: DatasetScore) -> str:
    """Makes the official table of means per object, in rows `<sequence>_<object>`."""
    rows = [
        (row.label, _number(row.region.mean, absent=""), _number(row.contour.mean, absent=""))
        for row in score.objects()
    ]
    return _csv([SEQUENCE_COLUMNS, *rows])


def per_frame_csv(score: DatasetScore) -> str:
    """Makes a table of all annotated frames, with six decimals and whether each one counted.

    The values of a frame that was not measured are empty.
    """
    rows: list[Sequence[object]] = [FRAME_COLUMNS]
    for sequence in score.sequences:
        counted = sequence.counted
        for row, object_id in enumerate(sequence.object_ids):
            for column, frame in enumerate(sequence.frame_names):
                values = sequence.region[row, column], sequence.contour[row, column]
                texts = (_number(value, decimals=6, absent="") for value in values)
                rows.append((sequence.name, object_id, frame, int(column in counted), *texts))
    return _csv(rows)


def score_json(score: DatasetScore) -> str:
    """Makes a JSON document of everything: means, objects, frames, notes; null for absent."""
    with_last = score.with_last_frame() if score.frames == "official" else None
    document = {
        "dataset": score.dataset,
        "split": score.split,
        "frames": score.frames,
        "frames_statement": score.frames_statement,
        "notes": notes(score),
        "mean": _summary(score),
        "mean_with_last_frame": _summary(with_last) if with_last else None,
        "sequences": [_sequence_summary(sequence) for sequence in score.sequences],
    }
    return json.dumps(document, indent=2, allow_nan=False) + "\n"


def text_table(score: DatasetScore, *, worst_first: bool = False) -> str:
    """Makes a table for the terminal.

    Args:
        score: What to show.
        worst_first: Whether to sort by J&F, worst first, instead of the order of the split.

    Returns:
        Lines of equal columns, the mean at the end, then which frames counted and the notes.
    """
    header, *rows = _table(score, worst_first)
    widths = [max(len(row[column]) for row in (header, *rows)) for column in range(len(header))]
    lines = [
        row[0].ljust(widths[0])
        + "".join("  " + cell.rjust(width) for cell, width in zip(row[1:], widths[1:], strict=True))
        for row in (header, *rows)
    ]
    rule = "-" * len(lines[0])
    body = [lines[0], rule, *lines[1:-1], rule, lines[-1]]
    caption = f"{score.dataset} {score.split}"
    return "\n".join([caption, *body, score.frames_statement, *notes(score)]) + "\n"


def markdown_table(score: DatasetScore, *, worst_first: bool = False) -> str:
    """Makes the same table in Markdown.

    Args:
        score: What to show.
        worst_first: Whether to sort by J&F, worst first, instead of the order of the split.

    Returns:
        A table, below it which frames counted and the notes as a list.
    """
    header, *rows = (
        [cell.replace("|", "\\|") for cell in row] for row in _table(score, worst_first)
    )
    rows[-1] = [f"**{cell}**" for cell in rows[-1]]
    align = ["---", *["---:"] * (len(header) - 1)]
    lines = ["| " + " | ".join(row) + " |" for row in (header, align, *rows)]
    remarks = [f"- {text}" for text in (score.frames_statement, *notes(score))]
    title = f"**{score.dataset} {score.split}**"
    return "\n".join([title, "", *lines, "", *remarks]) + "\n"


def notes(score: DatasetScore) -> list[str]:
    """Says what a reader must know to read the means: short clips and what the last frame does.

    Args:
        score: What is reported.

    Returns:
        Sentences; none where every sequence is long enough. For GyGO, whose clips are short, the
        means with the last frame counted are always given beside the official ones.
    """
    empty = [sequence.name for sequence in score.sequences if not sequence.counted]
    short = [
        f"{sequence.name} ({len(sequence.counted)})"
        for sequence in score.sequences
        if sequence.counted and sequence.is_short
    ]
    sentences = []
    if empty:
        sentences.append(f"No frame counted, left out of the means: {_listing(empty)}.")
    if short:
        sentences.append(
            f"Fewer than {FEW_FRAMES} frames counted, decay says little: {_listing(short)}."
        )
    if score.frames == "official" and (empty or short or score.dataset == "gygo"):
        with_last = score.with_last_frame()
        if with_last is None:
            sentences.append("With the last frames counted: unknown, some have no result.")
        else:
            sentences.append(
                f"With the last frames counted: J&F {_number(with_last.mean)}, "
                f"J {_number(with_last.region.mean)}, F {_number(with_last.contour.mean)}."
            )
    return sentences


def _table(score: DatasetScore, worst_first: bool) -> list[list[str]]:
    """Makes header, one row per object, and the row of means, as text."""
    objects = score.objects()
    if worst_first:
        objects.sort(key=_rank)
    several = any(len(sequence.object_ids) > 1 for sequence in score.sequences)
    rows = [
        [
            "sequence",
            "frames",
            "J&F",
            *(f"{m} {s}" for m in "JF" for s in Statistics.__annotations__),
        ]
    ]
    for row in objects:
        label = row.label if several else row.sequence
        rows.append([label, str(row.frame_count), *_cells(row)])
    counted = sum(len(sequence.counted) for sequence in score.sequences)
    what = "objects" if several else "sequences"
    rows.append([f"mean of {len(objects)} {what}", str(counted), *_cells(score)])
    return rows


def _cells(row: ObjectScore | DatasetScore) -> list[str]:
    joint = (row.region.mean + row.contour.mean) / 2
    return [_number(value) for value in (joint, *_values(row.region), *_values(row.contour))]


def _rank(row: ObjectScore) -> tuple[bool, float]:
    joint = row.region.mean + row.contour.mean
    return math.isnan(joint), joint


def _values(values: Statistics) -> tuple[float, float, float]:
    return values.mean, values.recall, values.decay


def _number(value: float, *, decimals: int = 3, absent: str = "-") -> str:
    return absent if math.isnan(value) else f"{value:.{decimals}f}"


def _listing(names: Sequence[str], limit: int = 8) -> str:
    more = f" and {len(names) - limit} more" if len(names) > limit else ""
    return ", ".join(names[:limit]) + more


def _plain(value: float) -> float | None:
    return None if math.isnan(value) else float(value)


def _summary(row: ObjectScore | DatasetScore) -> dict[str, object]:
    names = ("mean", "recall", "decay")
    return {
        "J&F": _plain((row.region.mean + row.contour.mean) / 2),
        "J": dict(zip(names, map(_plain, _values(row.region)), strict=True)),
        "F": dict(zip(names, map(_plain, _values(row.contour)), strict=True)),
    }


def _sequence_summary(sequence: SequenceScore) -> dict[str, object]:
    objects = []
    for index, row in enumerate(sequence.objects()):
        frames = {
            "J": [_plain(value) for value in sequence.region[index]],
            "F": [_plain(value) for value in sequence.contour[index]],
        }
        objects.append({"object": row.object_id, **_summary(row), "per_frame": frames})
    return {
        "name": sequence.name,
        "frame_names": list(sequence.frame_names),
        "counted": [index in sequence.counted for index in range(len(sequence.frame_names))],
        "objects": objects,
    }


def _csv(rows: Iterable[Iterable[object]]) -> str:
    text = io.StringIO()
    csv.writer(text, lineterminator="\n").writerows(rows)
    return text.getvalue()


def _write(path: Path, text: str) -> Path:
    """Writes beside and renames, so that no reader ever sees half a file."""
    part = path.with_name(path.name + ".part")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        part.write_text(text, encoding="utf-8")
        os.replace(part, path)
    except OSError as error:
        with contextlib.suppress(OSError):
            part.unlink(missing_ok=True)
        raise StorageError(
            "The report must be writable",
            met=error.strerror or error,
            where=path,
            remedy="Free space or choose another folder",
        ) from error
    return path
