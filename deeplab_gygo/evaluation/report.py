"""Writes scores: the official DAVIS tables, one row per frame, text, Markdown and JSON.

The two CSV files of the official code (davisvideochallenge/davis2017-evaluation,
`evaluation_method.py`) keep their names, columns and three decimals. The official code reads an
old file if one exists; here every file is written anew each time.
"""

from __future__ import annotations

import csv
import io
import json
import math
from collections.abc import Iterable, Sequence
from pathlib import Path

from tabulate import tabulate

from deeplab_gygo.evaluation.measures import Statistics
from deeplab_gygo.evaluation.scores import FEW_FRAMES, DatasetScore, ObjectScore, SequenceScore
from deeplab_gygo.io.atomic import replacing
from deeplab_gygo.io.escaping import csv_cell, markdown, printable
from deeplab_gygo.io.listing import shorten

GLOBAL_COLUMNS = ("J&F-Mean", "J-Mean", "J-Recall", "J-Decay", "F-Mean", "F-Recall", "F-Decay")
SEQUENCE_COLUMNS = ("Sequence", "J-Mean", "F-Mean")
FRAME_COLUMNS = ("Sequence", "Object", "Frame", "Counted", "J", "F")


def write_report(score: DatasetScore, directory: str | Path) -> list[Path]:
    """Writes all files of a report; files of an earlier report are replaced.

    Args:
        score: Scores to report.
        directory: Output folder; created if absent.

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
    for name, text in contents.items():
        with replacing(directory / name) as side:
            side.write_text(text, encoding="utf-8")
    return [directory / name for name in contents]


def global_csv(score: DatasetScore) -> str:
    """Returns the official table of means: one row, `%.3f`, an absent value left empty."""
    return _csv([GLOBAL_COLUMNS, _cells(score, absent="")])


def per_sequence_csv(score: DatasetScore) -> str:
    """Returns the official table of means per object, in rows `<sequence>_<object>`."""
    rows = [
        (row.label, _number(row.region.mean, absent=""), _number(row.contour.mean, absent=""))
        for row in score.objects()
    ]
    return _csv([SEQUENCE_COLUMNS, *rows])


def per_frame_csv(score: DatasetScore) -> str:
    """Returns a table of all annotated frames, with six decimals and whether each one counted.

    The values of a frame without a prediction are empty.
    """
    rows: list[Sequence[object]] = [FRAME_COLUMNS]
    for sequence in score.sequences:
        for row, object_id in enumerate(sequence.object_ids):
            counted = sequence.counted_for(row)
            for column, frame in enumerate(sequence.frame_names):
                values = sequence.region[row, column], sequence.contour[row, column]
                texts = (_number(value, decimals=6, absent="") for value in values)
                rows.append((sequence.name, object_id, frame, int(column in counted), *texts))
    return _csv(rows)


def score_json(score: DatasetScore) -> str:
    """Returns a JSON document of means, objects, frames and notes; null for absent values."""
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
    """Returns a table for the terminal.

    Args:
        score: Scores to tabulate.
        worst_first: Whether to sort by J&F, worst first, instead of the order of the split.

    Returns:
        Title, aligned columns with the means at the end, counted frames and notes.
    """
    lines = _table(score, "simple", worst_first).splitlines()
    body = [*lines[:-1], lines[1], lines[-1]]
    title = f"{score.dataset} {score.split}"
    remarks = map(printable, (score.frames_statement, *notes(score)))
    return "\n".join([printable(title), *body, *remarks]) + "\n"


def markdown_table(score: DatasetScore, *, worst_first: bool = False) -> str:
    """Returns the same table in Markdown, counted frames and notes as a list below.

    Args:
        score: Scores to tabulate.
        worst_first: Whether to sort by J&F, worst first, instead of the order of the split.
    """
    remarks = [f"- {markdown(text)}" for text in (score.frames_statement, *notes(score))]
    title = f"**{markdown(score.dataset)} {markdown(score.split)}**"
    return "\n".join([title, "", _table(score, "pipe", worst_first), "", *remarks]) + "\n"


def notes(score: DatasetScore) -> list[str]:
    """Lists remarks on the means: short clips, objects that join later, and the last frames.

    Args:
        score: Scores to report.

    Returns:
        Sentences; none if every sequence is long enough. For GyGO with its short clips the means
        with the last frames counted are always given beside the official ones.
    """
    counts = [item for sequence in score.sequences for item in _frame_counts(sequence)]
    empty = [name for name, count in counts if not count]
    short = [f"{name} ({count})" for name, count in counts if 0 < count < FEW_FRAMES]
    joining = [
        f"{sequence.name}_{object_id} ({sequence.frame_names[sequence.first_frame(row)]})"
        for sequence in score.sequences
        for row, object_id in enumerate(sequence.object_ids)
        if sequence.first_frame(row)
    ]
    sentences = []
    if joining:
        after = "with" if score.frames == "all" else "after"
        sentences.append(
            f"Objects that join later count from the frame {after} their first mask: "
            f"{shorten(joining)}."
        )
    if empty:
        sentences.append(f"No frame counted, left out of the means: {shorten(empty)}.")
    if short:
        sentences.append(
            f"Fewer than {FEW_FRAMES} frames counted, decay is unreliable: {shorten(short)}."
        )
    if score.frames == "official" and (empty or short or score.dataset == "gygo"):
        with_last = score.with_last_frame()
        if with_last is None:
            sentences.append("With the last frames counted: unknown, some have no prediction.")
        else:
            joint, region, _, _, contour, _, _ = _cells(with_last)
            sentences.append(f"With the last frames counted: J&F {joint}, J {region}, F {contour}.")
    return sentences


def _frame_counts(sequence: SequenceScore) -> list[tuple[str, int]]:
    """Returns the number of counted frames by object, or of the sequence if all have the same."""
    rows = sequence.objects()
    if len({row.frame_count for row in rows}) == 1:
        return [(sequence.name, rows[0].frame_count)]
    return [(row.label, row.frame_count) for row in rows]


def _table(score: DatasetScore, style: str, worst_first: bool) -> str:
    """Formats one row per object and a row of means."""
    objects = score.objects()
    if worst_first:
        objects.sort(key=lambda row: (math.isnan(row.mean), row.mean))
    several = any(len(sequence.object_ids) > 1 for sequence in score.sequences)
    names = [f"{measure} {name}" for measure in "JF" for name in Statistics._fields]
    escaped = markdown if style == "pipe" else printable
    rows = [
        [escaped(row.label if several else row.sequence), row.frame_count, *_cells(row)]
        for row in objects
    ]
    counted = sum(len(sequence.counted) for sequence in score.sequences)
    label = f"mean of {len(objects)} {'objects' if several else 'sequences'}"
    rows.append([label, counted, *_cells(score)])
    if style == "pipe":
        rows[-1] = [f"**{cell}**" for cell in rows[-1]]
    header = ["sequence", "frames", "J&F", *names]
    return tabulate(
        rows, header, style, disable_numparse=True, colglobalalign="right", colalign=("left",)
    )


def _cells(row: ObjectScore | DatasetScore, absent: str = "-") -> list[str]:
    """Formats J&F and the statistics of J and F, in the order of the official table."""
    return [_number(value, absent=absent) for value in (row.mean, *row.region, *row.contour)]


def _number(value: float, *, decimals: int = 3, absent: str = "-") -> str:
    return absent if math.isnan(value) else f"{value:.{decimals}f}"


def _plain(value: float) -> float | None:
    return None if math.isnan(value) else float(value)


def _summary(row: ObjectScore | DatasetScore) -> dict[str, object]:
    return {
        "J&F": _plain(row.mean),
        "J": {name: _plain(value) for name, value in row.region._asdict().items()},
        "F": {name: _plain(value) for name, value in row.contour._asdict().items()},
    }


def _sequence_summary(sequence: SequenceScore) -> dict[str, object]:
    objects = []
    for index, row in enumerate(sequence.objects()):
        frames = {
            "J": [_plain(value) for value in sequence.region[index]],
            "F": [_plain(value) for value in sequence.contour[index]],
        }
        first = sequence.frame_names[sequence.first_frame(index)]
        summary = _summary(row)
        objects.append(
            {"object": row.object_id, "first_frame": first, **summary, "per_frame": frames}
        )
    return {
        "name": sequence.name,
        "frame_names": list(sequence.frame_names),
        "counted": [index in sequence.counted for index in range(len(sequence.frame_names))],
        "objects": objects,
    }


def _csv(rows: Iterable[Iterable[object]]) -> str:
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerows(map(csv_cell, row) for row in rows)
    return text.getvalue()
