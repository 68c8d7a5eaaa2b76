"""The page: one HTML file that needs nothing else, neither files nor a network."""

from __future__ import annotations

import base64
import math
from collections.abc import Sequence
from dataclasses import dataclass
from importlib import resources
from pathlib import Path
from typing import Any

from deeplab_gygo.benchmark import provenance
from deeplab_gygo.benchmark.overview import MODES, make_overview
from deeplab_gygo.benchmark.plan import BenchmarkConfig, BenchmarkDataset, quotations_of
from deeplab_gygo.benchmark.results import CellResult, sequence_order
from deeplab_gygo.benchmark.strips import PERCENTS, PREDICTION_COLOR, TRUTH_COLOR, SequenceStrips
from deeplab_gygo.benchmark.tables import DECAY_STATEMENT, FPS_STATEMENT
from deeplab_gygo.benchmark.view import ABSENT, COLUMNS, DatasetTable, hardware_words
from deeplab_gygo.errors import DependencyError
from deeplab_gygo.evaluation.quoted import QuotedSource

_TEMPLATE = "benchmark.html.j2"
_STRONGEST = 0.55  # opacity of the tint of J = 0


@dataclass(frozen=True)
class DatasetPart:
    """What the page shows of a data set.

    Attributes:
        table: Its main table.
        results: The results of its cells.
        figures: Name of a figure -> SVG.
        strips: Pictures; None where the data was not at hand.
    """

    table: DatasetTable
    results: tuple[CellResult, ...]
    figures: dict[str, bytes]
    strips: tuple[SequenceStrips, ...] | None

    @property
    def dataset(self) -> BenchmarkDataset:
        """The data set."""
        return self.table.dataset

    @property
    def measured(self) -> list[CellResult]:
        """The cells with means."""
        return [result for result in self.results if result.is_measured]

    @property
    def missing(self) -> list[CellResult]:
        """The cells without means."""
        return [result for result in self.results if not result.is_measured]

    @property
    def heat(self) -> HeatTable:
        """The table of J by sequence and row."""
        return _heat(self)

    def image(self, name: str) -> str:
        """Returns a figure as a `data:` address; empty where there is none."""
        data = self.figures.get(name)
        if data is None:
            return ""
        return "data:image/svg+xml;base64," + base64.b64encode(data).decode()


@dataclass(frozen=True)
class HeatTable:
    """J by sequence, the worst first, and by row.

    Attributes:
        columns: Method, mode, variant of every column, and whether it is quoted.
        rows: Name of the sequence, frames that count, and J of every column; NaN for unknown.
    """

    columns: tuple[tuple[str, str, str, bool], ...]
    rows: tuple[tuple[str, int, tuple[float, ...]], ...]


def require_jinja() -> Any:
    """Imports Jinja2.

    Raises:
        DependencyError: It is not installed.
    """
    try:
        import jinja2
    except ImportError as error:
        raise DependencyError("jinja2", "report", "Writing the page of the benchmark") from error
    return jinja2


def make_page(
    config: BenchmarkConfig,
    parts: Sequence[DatasetPart],
    sources: dict[str, QuotedSource],
    config_text: str,
) -> str:
    """Makes the page.

    Args:
        config: The benchmark.
        parts: What is shown of every data set.
        sources: Sources of quoted rows, in the order of their numbers.
        config_text: Text of the file that the benchmark was read from.

    Returns:
        HTML.

    Raises:
        DependencyError: Jinja2 is not installed.
    """
    jinja2 = require_jinja()
    folder = Path(str(resources.files("deeplab_gygo.benchmark") / "templates"))
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(folder),
        autoescape=True,
        trim_blocks=True,
        lstrip_blocks=True,
        undefined=jinja2.StrictUndefined,
    )
    environment.filters |= {"number": _number, "tint": _tint, "rgb": _rgb}
    results = [result for part in parts for result in part.results]
    return environment.get_template(_TEMPLATE).render(
        config=config,
        parts=parts,
        sources=list(sources.values()),
        overview=make_overview([part.table for part in parts], list(sources)),
        modes=MODES,
        columns=COLUMNS,
        absent=ABSENT,
        percents=PERCENTS,
        truth_color=TRUTH_COLOR,
        prediction_color=PREDICTION_COLOR,
        fps_statement=FPS_STATEMENT,
        decay_statement=DECAY_STATEMENT,
        environments=provenance.environments(results),
        commands=provenance.commands(results),
        weights=provenance.weights_used(results),
        times=provenance.TIMES,
        hardware_words=hardware_words,
        config_text=config_text.strip(),
    )


def _heat(part: DatasetPart) -> HeatTable:
    quoted = [
        value
        for value in quotations_of(part.dataset).values
        if value.sequences and value.set == part.dataset.name
    ]
    columns = [(r.row.label, r.row.mode_in_force, r.row.variant, False) for r in part.measured]
    columns += [(value.method, value.mode, "", True) for value in quoted]
    rows = []
    for name in sequence_order(part.results, part.dataset):
        found = [
            next((s for s in result.sequences if s.name == name), None) for result in part.measured
        ]
        values = [math.nan if s is None else s.region.mean for s in found]
        values += [value.sequences.get(name, math.nan) for value in quoted]
        frames = max(s.frame_count for s in found if s is not None)
        rows.append((name, frames, tuple(values)))
    return HeatTable(tuple(columns), tuple(rows))


def _number(value: float | None, decimals: int = 3) -> str:
    """Words a number; a dash where it is not known."""
    if value is None or math.isnan(value):
        return ABSENT
    return f"{value:.{decimals}f}".replace("-", "\N{MINUS SIGN}")


def _tint(value: float) -> str:
    """Chooses the colour behind a J: the lower, the stronger; nothing from .95 on."""
    if math.isnan(value):
        return "transparent"
    share = min(max((0.95 - value) / 0.95, 0.0), 1.0)
    return f"rgba(213, 94, 0, {_STRONGEST * share:.3f})"


def _rgb(color: tuple[int, int, int]) -> str:
    return f"rgb({', '.join(map(str, color))})"
