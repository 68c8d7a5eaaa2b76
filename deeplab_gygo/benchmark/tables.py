"""The main table as CSV and Markdown, and the table of sequences as CSV."""

from __future__ import annotations

import csv
import io
import math
from collections.abc import Iterable, Sequence

from deeplab_gygo.benchmark.results import CellResult
from deeplab_gygo.benchmark.view import ABSENT, COLUMNS, DatasetTable, TableRow
from deeplab_gygo.evaluation.quoted import QuotedSource

CELL_COLUMNS = (
    "origin", "dataset", "split", "row", "method", "mode", "variant", *COLUMNS,
    "J_with_last_frame", "F_with_last_frame", "seconds_per_frame", "sequences", "frames_counted",
    "hardware", "note", "reason", "source",
    "weights_sha256", "version",
)  # fmt: skip
SEQUENCE_COLUMNS = (
    "dataset", "row", "method", "mode", "variant", "sequence", "frames_counted", *COLUMNS,
    "seconds_per_frame", "steps", "peak_memory_mb", "warnings",
)  # fmt: skip

HEADINGS = ("method", "mode", "J", "J recall", "J decay", "F", "F recall", "F decay",
            "adaptation, s", "FPS", "hardware", "origin")  # fmt: skip

FPS_STATEMENT = (
    "FPS is amortized over whole sequences: fine-tuning, decoding, network and writing count."
)

DECAY_STATEMENT = (
    "Recall is the part of the frames above .5; decay is the mean of the first quarter minus that "
    "of the last (lower is better)."
)


# === CSV ===


def cells_csv(
    tables: Sequence[DatasetTable],
    results: Sequence[CellResult],
    sources: dict[str, QuotedSource],
) -> str:
    """Makes a table of one row a cell, quoted ones included, with six decimals.

    Args:
        tables: The main tables.
        results: The results of all cells.
        sources: Sources of quoted rows, in the order of their numbers.

    Returns:
        CSV with a header; what is not known is empty.
    """
    cells = {(result.dataset.name, result.row.name): result for result in results}
    urls = ["", *(source.url for source in sources.values())]
    rows = []
    for row in (row for table in tables for row in table.rows):
        shared = ("origin", "dataset", "method", "mode", "variant", "hardware", "note", "reason")
        values: dict[str, object] = {name: getattr(row, name) for name in shared}
        values |= {column: _number(row.values.get(column)) for column in COLUMNS}
        values["source"] = urls[row.source]
        if row.name:
            values |= _of_cell(cells[row.dataset, row.name])
        rows.append(values)
    return _csv(CELL_COLUMNS, rows)


def _of_cell(result: CellResult) -> dict[str, object]:
    """Returns the columns that only a row of this benchmark has."""
    hashes = {record.hashes["weights"] for record in result.records}
    versions = {record.versions.get("deeplab-gygo", "") for record in result.records}
    return {
        "row": result.row.name,
        "split": result.dataset.split,
        "J_with_last_frame": _number(result.with_last[0]),
        "F_with_last_frame": _number(result.with_last[1]),
        "seconds_per_frame": _number(result.seconds_per_frame),
        "sequences": len(result.sequences),
        "frames_counted": sum(sequence.frame_count for sequence in result.sequences),
        "weights_sha256": " ".join(sorted(hashes)),
        "version": " ".join(sorted(versions)),
    }


def sequences_csv(results: Iterable[CellResult]) -> str:
    """Makes a table of one row a sequence of a cell, the worst of a cell first.

    Args:
        results: The results of all cells.

    Returns:
        CSV with a header; what is not known is empty.
    """
    rows = []
    for result in results:
        for sequence in result.worst_first:
            record = sequence.record
            row: dict[str, object] = {
                "dataset": result.dataset.name,
                "row": result.row.name,
                "method": result.row.label,
                "mode": result.row.mode_in_force,
                "variant": result.row.variant,
                "sequence": sequence.name,
                "frames_counted": sequence.frame_count,
                "steps": record.steps,
                "warnings": " | ".join(record.warnings),
            }
            numbers = {
                "adaptation_seconds": record.adaptation_seconds,
                "fps": record.amortized_fps,
                "seconds_per_frame": record.seconds_per_frame,
                "peak_memory_mb": record.peak_memory_mb,
            }
            for name, found in (("J", sequence.region), ("F", sequence.contour)):
                numbers |= {name: found.mean, f"{name}_recall": found.recall}
                numbers[f"{name}_decay"] = found.decay
            rows.append(row | {name: _number(value) for name, value in numbers.items()})
    return _csv(SEQUENCE_COLUMNS, rows)


def _number(value: float | None) -> str:
    return "" if value is None or math.isnan(value) else f"{value:.6f}"


def _csv(columns: Sequence[str], rows: Iterable[dict[str, object]]) -> str:
    text = io.StringIO()
    writer = csv.DictWriter(text, columns, restval="", lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    return text.getvalue()


# === Markdown ===


def markdown(title: str, tables: Sequence[DatasetTable], sources: dict[str, QuotedSource]) -> str:
    """Makes the main tables in Markdown.

    Args:
        title: Heading.
        tables: The main tables.
        sources: Sources of quoted rows, in the order of their numbers.

    Returns:
        Headings, tables, remarks and sources.
    """
    parts = [f"# {title}\n"]
    for table in tables:
        lines = [f"## {table.dataset.label}\n", _row(HEADINGS), _row(["---", "---"] + ["---:"] * 8
                 + ["---", "---"])]  # fmt: skip
        for section in table.sections:
            lines.append(_row([f"**{section.title}**", *[""] * (len(HEADINGS) - 1)]))
            lines += [_row(_markdown_cells(row)) for row in section.rows]
        parts.append("\n".join([*lines, "", *(f"- {text}" for text in table.remarks), ""]))
    parts.append(f"{DECAY_STATEMENT} {FPS_STATEMENT} Bold: best of the measured rows.\n")
    if sources:
        listed = [f"{n}. {s.text}. {s.url}".rstrip() for n, s in enumerate(sources.values(), 1)]
        parts.append("Quoted from:\n\n" + "\n".join(listed) + "\n")
    return "\n".join(parts)


def _markdown_cells(row: TableRow) -> list[str]:
    method = f"{row.method} ({row.note})" if row.note else row.method
    if row.origin == "absent":
        return [method, row.full_mode, *[ABSENT] * len(COLUMNS), "", row.reason]
    numbers = [f"**{row.text(c)}**" if c in row.best else row.text(c) for c in COLUMNS]
    origin = f"quoted [{row.source}]" if row.origin == "quoted" else "measured"
    return [method, row.full_mode, *numbers, row.hardware, origin]


def _row(cells: Sequence[str]) -> str:
    return "| " + " | ".join(cell.replace("|", "\\|") for cell in cells) + " |"
