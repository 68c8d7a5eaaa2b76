"""Writes the report of a benchmark: tables, figures, and one HTML page without outside parts."""

from __future__ import annotations

import base64
import json
import math
import shlex
from collections.abc import Sequence
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from deeplab_gygo.benchmark import figures, strips, tables
from deeplab_gygo.benchmark.plan import BenchmarkConfig, cells_of
from deeplab_gygo.benchmark.results import CellResult, load_cell, sequence_order
from deeplab_gygo.datasets.registry import Dataset
from deeplab_gygo.errors import DependencyError
from deeplab_gygo.io.atomic import replacing
from deeplab_gygo.runs.report_page import page_environment


@dataclass(frozen=True)
class DatasetPart:
    """Section of a dataset on the page.

    Figures are SVG `data:` URLs by name, strips are by sequence, None without the data.
    """

    table: tables.DatasetTable
    measured: list[CellResult]
    order: list[str]
    figures: dict[str, str]
    strips: dict[str, list[strips.Strip]] | None

    @property
    def by_sequence(self) -> list[tuple[str, int, list[float]]]:
        """Name, number of counted frames, and J of every measured cell and quoted method."""
        rows = []
        for name in self.order:
            found = [{s.name: s for s in result.sequences}.get(name) for result in self.measured]
            values = [math.nan if s is None else s.region.mean for s in found]
            values += [value.sequences.get(name, math.nan) for value in self.quoted]
            rows.append((name, max(s.frame_count for s in found if s is not None), values))
        return rows

    @property
    def quoted(self) -> list[Any]:
        """Quoted values with published scores of the same sequences."""
        values = self.table.dataset.quotations.values
        return [v for v in values if v.sequences and v.set == self.table.dataset.name]


def render(
    config: BenchmarkConfig, out: str | Path, data_root: str | Path | None, config_text: str
) -> tuple[list[CellResult], list[Path]]:
    """Writes tables, figures and the page; no network is loaded.

    Args:
        config: The benchmark.
        out: Output folder with the results.
        data_root: Folder of the data; None for no data, and then no strips.
        config_text: Text of the configuration file, shown on the page.

    Returns:
        The results of all cells, and the files: the page first.

    Raises:
        DependencyError: Matplotlib or Jinja2 is not installed.
        InputError: A result, or the data, is damaged.
        StorageError: A file cannot be written.
    """
    require_packages()
    out = Path(out)
    data = {item.name: item.open(data_root) for item in config.datasets}
    results = [load_cell(cell, config, data[cell.dataset.name]) for cell in cells_of(config, out)]
    main = tables.dataset_tables(config.datasets, results)
    sources = tables.sources_of(config.datasets)
    contents: dict[Path, bytes] = {}
    parts = []
    for table in main:
        dataset = table.dataset
        cells = [result for result in results if result.dataset is dataset]
        drawn = figures.draw(cells, dataset.quotations.values, config.rows)
        for key, figure in drawn.items():
            path = out / "figures" / f"{key}-{dataset.name}.pdf"
            contents[path] = figures.encode(figure, "pdf")
        parts.append(_part(config, table, cells, data[dataset.name], drawn))
    texts = {
        "benchmark.html": make_page(config, parts, results, config_text),
        "benchmark.csv": tables.cells_csv(main, results, sources),
        "benchmark_sequences.csv": tables.sequences_csv(results),
        "benchmark.md": tables.markdown(config.title, main, sources),
        "benchmark.tex": tables.latex(main, sources),
    }
    contents = {out / name: text.encode("utf-8") for name, text in texts.items()} | contents
    for path, content in contents.items():
        with replacing(path) as side:
            side.write_bytes(content)
    return results, list(contents)


def make_page(
    config: BenchmarkConfig,
    parts: Sequence[DatasetPart],
    results: Sequence[CellResult],
    config_text: str,
) -> str:
    """Returns the HTML page of the results of all cells, a section per dataset."""
    environment = page_environment(str(__package__))
    environment.filters |= {"number": _number, "tint": _tint}
    # Machines, versions and weights, each with the cells that ran with them.
    origins: dict[str, dict[str, None]] = {}
    commands: dict[str, None] = {}
    for result in results:
        for record in result.records:
            # The first word is the path of the installed script or module.
            commands[shlex.join(["deeplab-gygo", *record.command[1:]])] = None
            origin = {
                "hardware": tables.hardware_words(record.hardware),
                **{k: str(v) for k, v in record.hardware.items() if v},
                **record.versions,
                "weights": record.hashes["weights"],
            }
            key = json.dumps(origin)
            origins.setdefault(key, {})[result.cell.name] = None
    return environment.get_template("benchmark.html.j2").render(
        config=config,
        parts=parts,
        sources=list(tables.sources_of(config.datasets).values()),
        columns=tables.COLUMNS,
        headings=tables.HEADINGS,
        statement=tables.STATEMENT,
        percents=strips.PERCENTS,
        colors={"annotation": strips.TRUTH_COLOR, "prediction": strips.PREDICTION_COLOR},
        commands=list(commands),
        origins=[(json.loads(key), list(cells)) for key, cells in origins.items()],
        config_text=config_text.strip(),
    )


def require_packages() -> None:
    """Raises `DependencyError` if a package of the report is not installed."""
    for package in ("matplotlib", "jinja2"):
        if find_spec(package) is None:
            raise DependencyError(package, "report", "The report of a benchmark")


def _part(
    config: BenchmarkConfig,
    table: tables.DatasetTable,
    cells: list[CellResult],
    data: Dataset | None,
    drawn: dict[str, Any],
) -> DatasetPart:
    measured = [cell for cell in cells if not cell.reason]
    order = sequence_order(measured)
    encoded = {k: base64.b64encode(figures.encode(f, "svg")).decode() for k, f in drawn.items()}
    images = {key: f"data:image/svg+xml;base64,{text}" for key, text in encoded.items()}
    made = None
    if data is not None:
        shown = [r for r in measured if not config.strip_rows or r.row.name in config.strip_rows]
        names = strips.chosen(order, config.strips)
        made = {name: strips.make_strips(shown, data, name) for name in names}
    return DatasetPart(table, measured, order, images, made)


def _number(value: float, decimals: int = 3) -> str:
    return tables.ABSENT if math.isnan(value) else f"{value:.{decimals}f}"


def _tint(value: float) -> str:
    """Returns the background color of a J: the lower, the stronger; none from .95 on."""
    share = 0.0 if math.isnan(value) else min(max((0.95 - value) / 0.95, 0.0), 1.0)
    return f"rgba(213, 94, 0, {0.55 * share:.3f})"
