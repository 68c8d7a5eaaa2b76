"""Writing everything that a benchmark shows, from what lies in its folder."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from deeplab_gygo.benchmark import figures, latex, tables
from deeplab_gygo.benchmark.availability import find_dataset
from deeplab_gygo.benchmark.loading import load_cell
from deeplab_gygo.benchmark.page import DatasetPart, make_page
from deeplab_gygo.benchmark.plan import BenchmarkConfig, cells_of, quotations_of
from deeplab_gygo.benchmark.results import CellResult, sequence_order
from deeplab_gygo.benchmark.strips import chosen, make_strips
from deeplab_gygo.benchmark.style import Look, looks_of
from deeplab_gygo.benchmark.view import DatasetTable, dataset_tables, sources_of
from deeplab_gygo.datasets.registry import Dataset
from deeplab_gygo.io.atomic import replacing

FIGURE_FOLDER = "figures"
"""Folder of the figures below the output folder, as PDF for papers."""


def load_results(
    config: BenchmarkConfig, out: str | Path, data: dict[str, Dataset | None]
) -> list[CellResult]:
    """Reads what was measured in every cell.

    Args:
        config: The benchmark.
        out: Output folder.
        data: The data by name of the data set; None where it is not at hand.

    Returns:
        One result a cell.

    Raises:
        InputError: A result, or the data, is damaged.
    """
    return [load_cell(cell, config, data[cell.dataset.name]) for cell in cells_of(config, out)]


def render(
    config: BenchmarkConfig,
    out: str | Path,
    data_root: str | Path | None,
    config_text: str,
) -> tuple[list[CellResult], list[Path]]:
    """Writes tables, figures and the page; no network is loaded.

    Args:
        config: The benchmark.
        out: Output folder, which holds the results.
        data_root: Folder that roots of data sets start at; None for no data, and then no strips.
        config_text: Text of the file that the benchmark was read from.

    Returns:
        What was measured, and the files: the page first.

    Raises:
        DependencyError: Matplotlib or Jinja2 is not installed.
        InputError: A result, or the data, is damaged.
        StorageError: A file cannot be written.
    """
    out = Path(out)
    data = {item.name: find_dataset(item, data_root) for item in config.datasets}
    results = load_results(config, out, data)
    main, sources = dataset_tables(config.datasets, results), sources_of(config.datasets)
    looks = looks_of(config.rows)
    parts, drawn = [], []
    for table in main:
        part, files = _part(config, table, results, looks, data[table.dataset.name], out)
        parts.append(part)
        drawn += files
    texts = {
        "benchmark.html": make_page(config, parts, sources, config_text),
        "benchmark.csv": tables.cells_csv(main, results, sources),
        "benchmark_sequences.csv": tables.sequences_csv(results),
        "benchmark.md": tables.markdown(config.title, main, sources),
        "benchmark.tex": latex.latex(main, sources),
    }
    written = [_write(out / name, text.encode("utf-8")) for name, text in texts.items()]
    return results, written + drawn


def _part(
    config: BenchmarkConfig,
    table: DatasetTable,
    results: Sequence[CellResult],
    looks: dict[str, Look],
    data: Dataset | None,
    out: Path,
) -> tuple[DatasetPart, list[Path]]:
    """Makes what the page shows of a data set, and writes its figures as PDF."""
    dataset = table.dataset
    cells = [result for result in results if result.dataset is dataset]
    order = sequence_order(results, dataset)
    made = {
        "j_against_fps": figures.j_against_fps(cells, quotations_of(dataset).values, looks),
        "j_over_time": figures.j_over_time(cells, looks),
        "j_of_sequences": figures.j_of_sequences(cells, order, looks),
    }
    drawn = {name: figure for name, figure in made.items() if figure is not None}
    files = [
        _write(out / FIGURE_FOLDER / f"{name}-{dataset.name}.pdf", figures.encode(figure, "pdf"))
        for name, figure in drawn.items()
    ]
    strips = None
    if data is not None:
        shown = [
            cell for cell in cells if not config.strip_rows or cell.row.name in config.strip_rows
        ]
        strips = tuple(make_strips(shown, data, chosen(order, config.strips)))
    vectors = {name: figures.encode(figure, "svg") for name, figure in drawn.items()}
    return DatasetPart(table, tuple(cells), vectors, strips), files


def _write(path: Path, content: bytes) -> Path:
    with replacing(path) as side:
        side.write_bytes(content)
    return path
