"""The rows of the main table, measured, quoted or absent, in the order that all forms show."""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Literal

from deeplab_gygo.benchmark.plan import BenchmarkDataset, quotations_of
from deeplab_gygo.benchmark.results import CellResult
from deeplab_gygo.evaluation.quoted import Quotations, QuotedSource, QuotedValue

Origin = Literal["measured", "quoted", "absent"]

MEASURES = ("J", "J_recall", "J_decay", "F", "F_recall", "F_decay")
COLUMNS = (*MEASURES, "adaptation_seconds", "fps")
"""Columns of numbers of the main table."""

BOLD = ("J", "F")
"""Columns whose best measured value is emphasized."""

ABSENT = "–"


@dataclass(frozen=True)
class TableRow:
    """One row of the main table.

    Attributes:
        origin: `measured` here, `quoted` from a source, or `absent`: not run.
        dataset: Name of the data set, or of the set that quoted values are of.
        method: Name of the method.
        mode: Its mode; empty where a source has no word for it.
        variant: What tells it from others of this method and mode.
        values: Numbers by column; NaN for what is not known.
        hardware: What it was measured on.
        note: What a reader must know; begins with the trunk of a measured method.
        source: Number of the source, from 1; 0 for measured rows.
        reason: Why it is absent.
        approximate: Whether the source calls its FPS approximate.
        decimals: Digits behind the point of J and F.
        best: Columns in which it is the best of the measured rows.
        name: Name of the row of the benchmark; empty for quoted ones.
    """

    origin: Origin
    dataset: str
    method: str
    mode: str
    variant: str = ""
    values: dict[str, float] = field(default_factory=dict)
    hardware: str = ""
    note: str = ""
    source: int = 0
    reason: str = ""
    approximate: bool = False
    decimals: int = 3
    best: frozenset[str] = frozenset()
    name: str = ""

    @property
    def full_mode(self) -> str:
        """Mode and variant."""
        return ", ".join(word for word in (self.mode, self.variant) if word)

    def text(self, column: str) -> str:
        """Words a number; a dash where it is not known."""
        value = self.values.get(column, math.nan)
        if math.isnan(value):
            return ABSENT
        if column == "adaptation_seconds":
            return f"{value:.1f}"
        if column == "fps":
            return _rate(value, self.origin == "quoted", self.approximate)
        return f"{value:.{self.decimals}f}".replace("-", "\N{MINUS SIGN}")


@dataclass(frozen=True)
class Section:
    """Rows of a table that belong together.

    Attributes:
        title: What they have in common.
        rows: The rows.
    """

    title: str
    rows: tuple[TableRow, ...]


@dataclass(frozen=True)
class DatasetTable:
    """The main table of a data set.

    Attributes:
        dataset: The data set.
        sections: What was measured, then what is quoted, set by set.
        statements: What was measured: what the data is, and which frames counted.
        caveats: What limits the means.
    """

    dataset: BenchmarkDataset
    sections: tuple[Section, ...]
    statements: tuple[str, ...]
    caveats: tuple[str, ...]

    @property
    def remarks(self) -> tuple[str, ...]:
        """All sentences that belong below the table."""
        return self.statements + self.caveats

    @property
    def rows(self) -> list[TableRow]:
        """The rows of all sections."""
        return [row for section in self.sections for row in section.rows]


def sources_of(datasets: Iterable[BenchmarkDataset]) -> dict[str, QuotedSource]:
    """Returns the sources quoted beside data sets, in the order in which they are numbered."""
    sources: dict[str, QuotedSource] = {}
    for dataset in datasets:
        sources |= quotations_of(dataset).sources
    return sources


def dataset_tables(
    datasets: Sequence[BenchmarkDataset], results: Sequence[CellResult]
) -> list[DatasetTable]:
    """Makes the main tables.

    Args:
        datasets: The data sets, in the order of the tables.
        results: The results of all cells, in the order of the rows.

    Returns:
        One table a data set.
    """
    numbers = {name: index for index, name in enumerate(sources_of(datasets), start=1)}
    return [
        _table(dataset, [cell for cell in results if cell.dataset is dataset], numbers)
        for dataset in datasets
    ]


def hardware_words(hardware: dict[str, Any]) -> str:
    """Words what a run was measured on: the accelerator, or else processor and cores.

    Args:
        hardware: As `outputs.environment` describes it.

    Returns:
        A phrase for a table.
    """
    if hardware.get("gpu"):
        return str(hardware["gpu"])
    cpu = re.sub(r"\((?:R|TM)\)|\bCPU\b|@.*$", "", str(hardware.get("cpu") or "unknown CPU"))
    cores = hardware.get("cores")
    words = " ".join(cpu.split())
    return f"{words}, {cores} core{'s' if cores != 1 else ''}" if cores else words


def quoted_title(name: str, quotations: Quotations, dataset: BenchmarkDataset) -> str:
    """Says what set quoted values are of, and whether it is the one that was measured."""
    found = quotations.sets[name]
    same = "the same sequences" if name == dataset.name else "other sequences"
    return f"Quoted: {found.label}, {found.sequences} sequences ({same})"


def _table(
    dataset: BenchmarkDataset, results: list[CellResult], numbers: dict[str, int]
) -> DatasetTable:
    measured = tuple(_emphasized([_measured(result) for result in results]))
    sections = [Section(f"Measured: {_extent(dataset, results)}", measured)]
    quotations = quotations_of(dataset)
    for name in quotations.sets:
        rows = [
            _quoted(value, numbers[value.source])
            for value in quotations.values
            if value.set == name
        ]
        if rows:
            sections.append(Section(quoted_title(name, quotations, dataset), tuple(rows)))
    statements, caveats = _statements(dataset, results), _caveats(results)
    return DatasetTable(dataset, tuple(sections), tuple(statements), tuple(caveats))


def _extent(dataset: BenchmarkDataset, results: list[CellResult]) -> str:
    count = max((len(result.sequences) for result in results), default=0)
    return f"{dataset.label}, {count} sequences" if count else dataset.label


def _measured(result: CellResult) -> TableRow:
    row = result.row
    values = {}
    if result.is_measured:
        for name, found in (("J", result.region), ("F", result.contour)):
            values |= {name: found.mean, f"{name}_recall": found.recall}
            values[f"{name}_decay"] = found.decay
        values |= {"adaptation_seconds": result.adaptation_seconds, "fps": result.fps}
    return TableRow(
        origin="measured" if result.is_measured else "absent",
        dataset=result.dataset.name,
        method=row.label,
        mode=row.mode_in_force,
        variant=row.variant,
        values=values,
        hardware="; ".join(
            dict.fromkeys(hardware_words(record.hardware) for record in result.records)
        ),
        # A note may name the trunk too, for as long as no result does.
        note=", ".join(dict.fromkeys(filter(None, (result.trunk, *row.note.split(", "))))),
        reason=result.reason,
        name=row.name,
    )


def _quoted(value: QuotedValue, source: int) -> TableRow:
    numbers = {name: getattr(value, name) for name in (*MEASURES, "fps")}
    return TableRow(
        origin="quoted",
        dataset=value.set,
        method=value.method,
        mode=value.mode,
        values={name: math.nan if x is None else x for name, x in numbers.items()},
        hardware=value.hardware,
        note=value.note,
        source=source,
        approximate=value.approximate,
        decimals=value.decimals,
    )


def _emphasized(rows: list[TableRow]) -> list[TableRow]:
    """Marks the best values as they are shown, so that equal texts are marked alike."""
    best: dict[str, str] = {}
    for column in BOLD:
        texts = [row.text(column) for row in rows if row.origin == "measured"]
        known = [text for text in texts if text != ABSENT]
        if known:
            best[column] = max(known, key=float)
    return [
        replace(row, best=frozenset(c for c, text in best.items() if row.text(c) == text))
        for row in rows
    ]


def _statements(dataset: BenchmarkDataset, results: list[CellResult]) -> list[str]:
    counted = dict.fromkeys(result.statement for result in results if result.is_measured)
    return [*([dataset.note] if dataset.note else []), *counted]


def _caveats(results: list[CellResult]) -> list[str]:
    """Says what limits the means of all cells, and which cells are out of date."""
    measured = [result for result in results if result.is_measured]
    notes = dict.fromkeys(note for result in measured for note in result.notes)
    sentences = [note for note in notes if all(note in result.notes for result in measured)]
    for caveat in dict.fromkeys(result.caveat for result in measured if result.caveat):
        titles = [result.row.title for result in measured if result.caveat == caveat]
        who = "All measured rows" if len(titles) == len(measured) else ", ".join(titles)
        sentences.append(f"{who}: {caveat}; running the benchmark measures them again.")
    return sentences


def _rate(value: float, as_given: bool, approximate: bool) -> str:
    if as_given:
        return f"{'≈' if approximate else ''}{value:g}"
    return f"{value:.{0 if value >= 100 else 1 if value >= 10 else 2}f}"
