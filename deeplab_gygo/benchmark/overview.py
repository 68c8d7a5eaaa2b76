"""The table in the form of the GyGO README: methods down, modes and data sets across."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from deeplab_gygo.benchmark.plan import BenchmarkDataset, quotations_of
from deeplab_gygo.benchmark.view import DatasetTable, TableRow

MODES = ("zero-shot", "one-shot", "fine-tune")
README_SOURCE = "gygo"
"""Source in `quoted.yaml` whose table this one is like."""


@dataclass(frozen=True)
class OverviewRow:
    """One method.

    Attributes:
        method: Its name.
        cells: By mode, then by data set: the rows of the main table that belong there.
    """

    method: str
    cells: tuple[tuple[TableRow, ...], ...]


@dataclass(frozen=True)
class Overview:
    """The whole table.

    Attributes:
        datasets: The data sets.
        measured: The methods that were measured, or are to be.
        quoted: The methods of the source.
        quoted_on: Label of the set that the quoted values of each data set's column are of; empty
            where there is none.
        source: Number of the source; 0 where nothing is quoted from it.
    """

    datasets: tuple[BenchmarkDataset, ...]
    measured: tuple[OverviewRow, ...]
    quoted: tuple[OverviewRow, ...]
    quoted_on: tuple[str, ...]
    source: int


def make_overview(tables: Sequence[DatasetTable], sources: Sequence[str]) -> Overview:
    """Makes the table.

    Args:
        tables: The main tables.
        sources: Names of the sources, in the order of their numbers.

    Returns:
        The table.
    """
    source = sources.index(README_SOURCE) + 1 if README_SOURCE in sources else 0
    own = [[row for row in table.rows if row.name] for table in tables]
    theirs = [
        [row for row in table.rows if row.origin == "quoted" and row.source == source]
        for table in tables
    ]
    quoted_on = tuple(
        next((quotations_of(table.dataset).sets[row.dataset].label for row in rows), "")
        for table, rows in zip(tables, theirs, strict=True)
    )
    return Overview(
        tuple(table.dataset for table in tables),
        _rows(own),
        _rows(theirs) if source else (),
        quoted_on,
        source,
    )


def _rows(by_dataset: Sequence[Sequence[TableRow]]) -> tuple[OverviewRow, ...]:
    methods = dict.fromkeys(row.method for rows in by_dataset for row in rows)
    return tuple(
        OverviewRow(
            method,
            tuple(
                tuple(row for row in rows if row.method == method and row.mode == mode)
                for mode in MODES
                for rows in by_dataset
            ),
        )
        for method in methods
    )
