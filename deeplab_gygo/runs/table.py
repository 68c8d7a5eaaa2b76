"""The table at the end of a batch."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from deeplab_gygo.runs.batch import BatchResult

COLUMNS = ("sequence", "status", "frames", "adapt s", "FPS", "J", "F")
_DECIMALS = {"adaptation_seconds": 1, "amortized_fps": 2, "J": 3, "F": 3}


def batch_table(result: BatchResult) -> str:
    """Makes a table for the terminal.

    Args:
        result: What became of a batch.

    Returns:
        Lines of equal columns; the means at the end, and what they count.
    """
    rows = [_cells(outcome.row()) for outcome in result.outcomes]
    return "\n".join(
        [
            *aligned([COLUMNS, *rows, _cells(result.mean_row())]),
            f"{result.count('done')} done, {result.count('skipped')} skipped, "
            f"{result.count('failed')} failed in {result.seconds:.1f} s. FPS counts adaptation, "
            "decoding and writing.",
            "",
        ]
    )


def aligned(rows: Sequence[Sequence[str]]) -> list[str]:
    """Aligns rows of cells: first column left, others right, rules after header and before end."""
    widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]
    lines = [
        row[0].ljust(widths[0])
        + "".join("  " + cell.rjust(width) for cell, width in zip(row[1:], widths[1:], strict=True))
        for row in rows
    ]
    rule = "-" * len(lines[0])
    return [lines[0], rule, *lines[1:-1], rule, lines[-1]]


def _cells(row: dict[str, Any]) -> list[str]:
    keys = ("sequence", "status", "frames", *_DECIMALS)
    return [_text(row[key], _DECIMALS.get(key)) for key in keys]


def _text(value: Any, decimals: int | None) -> str:
    if value is None:
        return "-"
    return str(value) if decimals is None else f"{value:.{decimals}f}"
