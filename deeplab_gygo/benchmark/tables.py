"""Tables of a benchmark: CSV, Markdown, LaTeX and text, measured rows beside quoted ones."""

from __future__ import annotations

import csv
import io
import math
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Literal

from tabulate import LATEX_ESCAPE_RULES, tabulate

from deeplab_gygo.benchmark.plan import BenchmarkDataset
from deeplab_gygo.benchmark.results import CellResult, mean
from deeplab_gygo.evaluation.quoted import QuotedSource, QuotedValue
from deeplab_gygo.io import escaping
from deeplab_gygo.io.escaping import csv_cell, printable

MEASURES = ("J", "J_recall", "J_decay", "F", "F_recall", "F_decay")
COLUMNS = (*MEASURES, "adaptation_seconds", "fps")
HEADINGS = ("J", "J recall", "J decay", "F", "F recall", "F decay", "adaptation, s", "FPS")
ABSENT = "-"

CELL_COLUMNS = (
    "origin", "dataset", "split", "row", "method", "mode", "variant", *COLUMNS,
    "J_with_last_frame", "F_with_last_frame", "seconds_per_frame", "sequences", "frames_counted",
    "hardware", "trained_on", "note", "reason", "source", "weights_sha256", "version",
)  # fmt: skip
SEQUENCE_COLUMNS = (
    "dataset", "row", "method", "mode", "variant", "sequence", "frames_counted", *COLUMNS,
    "seconds_per_frame", "steps", "peak_memory_mb", "warnings",
)  # fmt: skip

STATEMENT = (
    "Recall is the fraction of frames above .5; decay is the mean of the first quarter minus that "
    "of the last (lower is better). FPS is amortized over whole sequences: fine-tuning, decoding, "
    "network and writing count."
)


@dataclass(frozen=True)
class TableRow:
    """One row of a table.

    Attributes:
        origin: `measured`, `quoted` from a publication, or `absent`: not run.
        dataset: Name of the dataset, or of the set of a quoted row.
        method: Name of the method.
        mode: Its mode.
        variant: Distinguishes rows of the same method and mode.
        values: Numbers by column; NaN if unknown.
        hardware: Hardware of the measurement.
        trained_on: Material of the offline training; empty if unknown or none.
        note: Remark for readers.
        source: Number of the source of a quoted row, from 1.
        reason: Why an absent row was not measured.
        approximate: Whether the source calls its FPS approximate.
        decimals: Decimals of J and F.
        name: Name of the row in the benchmark; empty for quoted rows.
        best: Columns with the best value of the measured rows.
    """

    origin: Literal["measured", "quoted", "absent"]
    dataset: str
    method: str
    mode: str
    variant: str = ""
    values: dict[str, float] = field(default_factory=dict)
    hardware: str = ""
    trained_on: str = ""
    note: str = ""
    source: int = 0
    reason: str = ""
    approximate: bool = False
    decimals: int = 3
    name: str = ""
    best: frozenset[str] = frozenset()

    @property
    def full_mode(self) -> str:
        """Mode and variant."""
        return ", ".join(word for word in (self.mode, self.variant) if word)

    def text(self, column: str) -> str:
        """Formats the number of a column."""
        value = self.values.get(column, math.nan)
        if math.isnan(value):
            return ABSENT
        if column == "fps" and self.origin == "quoted":
            return f"{'~' if self.approximate else ''}{value:g}"
        if column == "fps":
            return f"{value:.{0 if value >= 100 else 1 if value >= 10 else 2}f}"
        return f"{value:.{1 if column == 'adaptation_seconds' else self.decimals}f}"


@dataclass(frozen=True)
class DatasetTable:
    """Table of a dataset: titled sections of measured and of quoted rows, and remarks."""

    dataset: BenchmarkDataset
    sections: tuple[tuple[str, tuple[TableRow, ...]], ...]
    remarks: tuple[str, ...]

    @property
    def rows(self) -> list[TableRow]:
        """The rows of all sections."""
        return [row for _, rows in self.sections for row in rows]


def sources_of(datasets: Iterable[BenchmarkDataset]) -> dict[str, QuotedSource]:
    """Returns the sources quoted beside some datasets, in the order of their numbers."""
    return {key: source for item in datasets for key, source in item.quotations.sources.items()}


def dataset_tables(
    datasets: Sequence[BenchmarkDataset], results: Sequence[CellResult]
) -> list[DatasetTable]:
    """Makes one table per dataset of the results of all cells."""
    numbers = {name: index for index, name in enumerate(sources_of(datasets), start=1)}
    tables = []
    for dataset in datasets:
        cells = [result for result in results if result.dataset is dataset]
        count = max((len(result.sequences) for result in cells), default=0)
        title = f"Measured: {dataset.label}" + (f", {count} sequences" if count else "")
        sections = [(title, tuple(_mark_best([_measured(result) for result in cells])))]
        quotations = dataset.quotations
        for name, item in quotations.sets.items():
            same = "the same sequences" if name == dataset.name else "other sequences"
            rows = [_quoted(v, numbers[v.source]) for v in quotations.values if v.set == name]
            title = f"Quoted: {item.label}, {item.sequences} sequences ({same})"
            sections.append((title, tuple(rows)))
        measured = [result for result in cells if not result.reason]
        remarks = dict.fromkeys([dataset.note, *(result.statement for result in measured)])
        # A note on all rows is one on the dataset.
        shared = dict.fromkeys(note for result in measured for note in result.notes)
        remarks |= {n: None for n in shared if all(n in result.notes for result in measured)}
        tables.append(DatasetTable(dataset, tuple(sections), tuple(filter(None, remarks))))
    return tables


def hardware_words(hardware: dict[str, Any]) -> str:
    """Names the accelerator of a run, or else its processor and the number of cores."""
    if hardware.get("gpu"):
        return str(hardware["gpu"])
    cpu = re.sub(r"\((?:R|TM)\)|\bCPU\b|@.*$", "", str(hardware.get("cpu") or "unknown CPU"))
    cores = hardware.get("cores")
    words = " ".join(cpu.split())
    return f"{words}, {cores} core{'s' if cores != 1 else ''}" if cores else words


def cells_csv(
    tables: Sequence[DatasetTable],
    results: Sequence[CellResult],
    sources: dict[str, QuotedSource],
) -> str:
    """Returns a CSV table of one row per cell or quoted value, with six decimals."""
    cells = {(result.dataset.name, result.row.name): result for result in results}
    urls = ["", *(source.url for source in sources.values())]
    rows = []
    for row in (row for table in tables for row in table.rows):
        shared = ("origin", "dataset", "method", "mode", "variant")
        words = ("hardware", "trained_on", "note", "reason")
        values: dict[str, object] = {name: getattr(row, name) for name in (*shared, *words)}
        values |= row.values | {"source": urls[row.source]}
        if row.name:
            result = cells[row.dataset, row.name]
            values |= {
                "row": row.name,
                "split": result.dataset.split,
                "J_with_last_frame": result.with_last[0],
                "F_with_last_frame": result.with_last[1],
                "seconds_per_frame": mean(s for r in result.records for s in r.frame_seconds),
                "sequences": len(result.sequences),
                "frames_counted": sum(sequence.frame_count for sequence in result.sequences),
                "weights_sha256": _joined(r.hashes["weights"] for r in result.records),
                "version": _joined(r.versions.get("deeplab-gygo", "") for r in result.records),
            }
        rows.append(values)
    return _csv(CELL_COLUMNS, rows)


def sequences_csv(results: Iterable[CellResult]) -> str:
    """Returns a CSV table of one row per sequence and cell, the worst of a cell first."""
    rows = []
    for result in results:
        for sequence in result.worst_first:
            record = sequence.record
            values = {
                "dataset": result.dataset.name,
                "row": result.row.name,
                "method": result.row.label,
                "mode": result.row.mode,
                "variant": result.row.variant,
                "sequence": sequence.name,
                "frames_counted": sequence.frame_count,
                "adaptation_seconds": record.adaptation_seconds,
                "fps": record.amortized_fps,
                "seconds_per_frame": record.seconds_per_frame,
                "steps": record.steps,
                "peak_memory_mb": float(record.peak_memory_mb),
                "warnings": " | ".join(record.warnings),
            }
            measures = dict(zip(MEASURES, (*sequence.region, *sequence.contour), strict=True))
            rows.append(values | measures)
    return _csv(SEQUENCE_COLUMNS, rows)


def markdown(title: str, tables: Sequence[DatasetTable], sources: dict[str, QuotedSource]) -> str:
    """Returns a Markdown document of the tables, their remarks and the sources."""
    escaped = escaping.markdown
    parts = [f"# {escaped(title)}"]
    for table in tables:
        parts.append(f"## {escaped(table.dataset.label)}")
        for heading, rows in table.sections:
            parts += [f"**{escaped(heading)}**", _formatted(rows, "pipe")]
        parts.append("\n".join(f"- {escaped(text)}" for text in table.remarks))
    parts.append(f"{STATEMENT} Bold: best of the measured rows.")
    if sources:
        parts.append("Quoted from:\n\n" + "\n".join(map(escaped, _listed(sources))))
    return "\n\n".join(filter(None, parts)) + "\n"


def latex(tables: Sequence[DatasetTable], sources: dict[str, QuotedSource]) -> str:
    """Returns the tables in LaTeX, one float each, which need the package `booktabs`."""
    parts = ["% Made by: deeplab-gygo benchmark. Needs \\usepackage{booktabs}."]
    for table in tables:
        # The escaping of LaTeX leaves the asterisks of bold cells, which are numbers.
        body = re.sub(
            r"\*\*([0-9.]+)\*\*", r"\\textbf{\1}", _formatted(table.rows, "latex_booktabs")
        )
        notes = [*table.remarks, STATEMENT, *(f"[{line}]" for line in _listed(sources))]
        label = table.dataset.name.replace("_", "-")
        parts.append(rf"""\begin{{table*}}
\centering\small\setlength{{\tabcolsep}}{{4pt}}
\caption{{{_escaped(table.dataset.label)}}}
\label{{tab:{label}}}
{body}
\par\footnotesize\raggedright {_escaped(" ".join(notes))}
\end{{table*}}""")
    return "\n\n".join(parts) + "\n"


def text(table: DatasetTable) -> str:
    """Returns the measured rows for the terminal, and the reasons of those that are absent."""
    columns = dict(zip(COLUMNS, HEADINGS, strict=True))
    _, rows = table.sections[0]
    measured = [[r.name, *map(r.text, columns)] for r in rows if r.origin == "measured"]
    lines = [printable(table.dataset.label)]
    if measured:
        lines.append(_aligned(measured, ["row", *columns.values()], "plain", left=1))
    reasons = (printable(f"{r.name}: {r.reason}") for r in rows if r.origin == "absent")
    return "\n".join([*lines, *reasons])


def _measured(result: CellResult) -> TableRow:
    row, values = result.row, {}
    if not result.reason:
        values = dict(zip(MEASURES, (*result.region, *result.contour), strict=True))
        values |= {"adaptation_seconds": result.adaptation_seconds, "fps": result.fps}
    return TableRow(
        origin="absent" if result.reason else "measured",
        dataset=result.dataset.name,
        method=row.label,
        mode=row.mode,
        variant=row.variant,
        values=values,
        hardware=_joined(hardware_words(record.hardware) for record in result.records),
        trained_on=row.trained_on,
        note=row.note,
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
        trained_on=value.trained_on,
        note=value.note,
        source=source,
        approximate=value.approximate,
        decimals=value.decimals,
    )


def _mark_best(rows: list[TableRow]) -> list[TableRow]:
    """Marks the best J and F as formatted, so that equal texts are marked alike."""
    best = {}
    for column in ("J", "F"):
        known = [row.text(column) for row in rows if row.text(column) != ABSENT]
        if known:
            best[column] = max(known, key=float)
    return [replace(r, best=frozenset(c for c in best if r.text(c) == best[c])) for r in rows]


def _formatted(rows: Sequence[TableRow], style: str) -> str:
    """Formats rows with all columns; bold cells are in asterisks. LaTeX is escaped by tabulate."""
    escaped = escaping.markdown if style == "pipe" else printable
    cells = []
    for row in rows:
        method = f"{row.method} ({row.note})" if row.note else row.method
        numbers = [f"**{row.text(c)}**" if c in row.best else row.text(c) for c in COLUMNS]
        reason = row.reason if style == "pipe" else row.reason.partition(":")[0]
        origin = (
            f"quoted [{row.source}]" if row.origin == "quoted" else escaped(reason or "measured")
        )
        words = map(escaped, (method, row.full_mode, row.hardware, row.trained_on))
        method, mode, hardware, trained_on = words
        cells.append([method, mode, *numbers, hardware, trained_on, origin])
    header = ["method", "mode", *HEADINGS, "hardware", "trained on", "origin"]
    return _aligned(cells, header, style, left=2, last=3)


def _aligned(
    cells: list[list[str]], header: list[str], style: str, left: int, last: int = 0
) -> str:
    """Formats cells: the first and last columns to the left, numbers between to the right."""
    align = ["left"] * left + ["right"] * (len(header) - left - last) + ["left"] * last
    return tabulate(cells, header, style, disable_numparse=True, colalign=align if cells else None)


def _listed(sources: dict[str, QuotedSource]) -> list[str]:
    return [f"{n}. {s.text}. {s.url}".rstrip() for n, s in enumerate(sources.values(), start=1)]


def _escaped(words: str) -> str:
    return "".join(LATEX_ESCAPE_RULES.get(letter, letter) for letter in printable(words))


def _joined(words: Iterable[str]) -> str:
    return "; ".join(dict.fromkeys(words))


def _csv(columns: Sequence[str], rows: Iterable[dict[str, Any]]) -> str:
    """Writes rows with a header; floats get six decimals, NaN and missing values are empty."""
    file = io.StringIO()
    writer = csv.DictWriter(file, columns, restval="", lineterminator="\n")
    writer.writeheader()
    for row in rows:
        numbers = {
            k: "" if math.isnan(v) else f"{v:.6f}" for k, v in row.items() if type(v) is float
        }
        writer.writerow({k: csv_cell(v) for k, v in (row | numbers).items()})
    return file.getvalue()
