"""Figures of a benchmark: J against speed, J over time, and J of every sequence over time."""

from __future__ import annotations

import io
import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from deeplab_gygo.benchmark.plan import BenchmarkRow
from deeplab_gygo.benchmark.results import CellResult, SequenceResult, sequence_order
from deeplab_gygo.evaluation.quoted import QuotedValue

MARKERS = {"zero-shot": "o", "one-shot": "s", "fine-tune": "D", "": "v"}
"""Marker by mode."""

_POSITIONS = 41  # of relative time: every 2.5 %
_GRAY = "#8a8a8a"
_SETTINGS: dict[Any, Any] = {
    "font.size": 9,
    "text.parse_math": False,  # names of sequences and methods are no formulas
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "axes.axisbelow": True,
    "grid.color": "#e3e3e3",
    # Names in an SVG follow from this and the content, so that equal results give equal files.
    "svg.hashsalt": "deeplab-gygo",
    "pdf.fonttype": 42,
}


@dataclass(frozen=True)
class Style:
    """Matplotlib color, line style and marker of a row."""

    color: str
    line: str
    marker: str


def draw(
    cells: Sequence[CellResult], quoted: Sequence[QuotedValue], rows: Sequence[BenchmarkRow]
) -> dict[str, Any]:
    """Draws the figures of a dataset.

    Args:
        cells: Its cells; unmeasured ones are left out.
        quoted: Published scores beside them.
        rows: All rows of the benchmark, which determine the styles.

    Returns:
        Matplotlib figures by name; none without measured cells.
    """
    measured = [cell for cell in cells if not cell.reason]
    if not measured:
        return {}
    styles = styles_of(rows)
    return {
        "j_against_fps": j_against_fps(measured, quoted, styles),
        "j_over_time": j_over_time(measured, styles),
        "j_of_sequences": j_of_sequences(measured, sequence_order(measured), styles),
    }


def styles_of(rows: Sequence[BenchmarkRow]) -> dict[str, Style]:
    """Returns the style of every row by name; the lines of classical methods are dashed."""
    styles = {}
    for at, row in enumerate(rows):
        lines = ("--", ":") if row.is_classical else ("-", "-.")
        # The color cycle has ten colors; the next ten rows differ by their lines.
        styles[row.name] = Style(f"C{at % 10}", lines[at // 10 % 2], MARKERS[row.mode])
    return styles


def encode(figure: Any, form: str) -> bytes:
    """Returns a Matplotlib figure as `svg` or `pdf`; equal figures give equal bytes."""
    import matplotlib

    stamp = "Date" if form == "svg" else "CreationDate"
    buffer = io.BytesIO()
    with matplotlib.rc_context(_SETTINGS):
        figure.savefig(buffer, format=form, metadata={stamp: None})
    return buffer.getvalue()


def j_against_fps(
    results: Sequence[CellResult], quoted: Sequence[QuotedValue], styles: dict[str, Style]
) -> Any:
    """Plots mean J against FPS on a logarithmic axis; values without FPS are left out."""
    figure, axes = _figure(8.4, 4.8)
    for result in results:
        style = styles[result.row.name]
        if result.fps > 0:
            axes.plot(
                result.fps, result.region.mean, style.marker, color=style.color,
                label=result.row.title,
            )  # fmt: skip
    for value in quoted:
        if value.J is not None and value.fps:
            marker = MARKERS[value.mode]
            axes.plot(value.fps, value.J, marker, color=_GRAY, markerfacecolor="none")
            axes.annotate(
                f"{value.title} (quoted)", (value.fps, value.J), (6, -3), color=_GRAY,
                textcoords="offset points", fontsize=7,
            )  # fmt: skip
    axes.set_xscale("log")
    axes.xaxis.set_major_formatter(lambda value, _: f"{value:g}")
    axes.set_xlabel("frames per second, fine-tuning included (logarithmic)")
    axes.set_ylabel("mean J")
    figure.legend(loc="outside right upper", frameon=False, fontsize=8)
    return figure


def j_over_time(results: Sequence[CellResult], styles: dict[str, Style]) -> Any:
    """Plots J over the relative time of the sequences, averaged over them."""
    figure, axes = _figure(7.2, 4.0)
    for result in results:
        style, curve = styles[result.row.name], mean_curve(result.sequences)
        times = np.linspace(0, 100, _POSITIONS)
        axes.plot(times, curve, style.line, color=style.color, label=result.row.title)
    axes.set_xlim(0, 100)
    axes.set_ylim(0, 1)
    axes.set_xlabel("relative time, %")
    axes.set_ylabel("J, mean over the sequences")
    figure.legend(loc="outside right upper", frameon=False, fontsize=8)
    return figure


def mean_curve(sequences: Sequence[SequenceResult]) -> np.ndarray:
    """Averages J over sequences at equal relative times.

    Args:
        sequences: The sequences; uncounted and unmeasured frames are left out.

    Returns:
        float64 [41], J at 0, 2.5, ... 100 % of the counted frames; NaN without measured frames.
    """
    positions = np.linspace(0, 1, _POSITIONS)
    curves = []
    for sequence in sequences:
        values = np.array(sequence.frames)[np.array(sequence.counted, bool)]
        known = np.isfinite(values)
        if known.any():
            times = np.linspace(0, 1, len(values)) if len(values) > 1 else np.array([0.5])
            curves.append(np.interp(positions, times[known], values[known]))
    return np.mean(curves, axis=0) if curves else np.full(_POSITIONS, math.nan)


def j_of_sequences(
    results: Sequence[CellResult], order: Sequence[str], styles: dict[str, Style]
) -> Any:
    """Plots J over the counted frames of every sequence, in one small figure each."""
    columns = min(4, len(order))
    rows = math.ceil(len(order) / columns)
    figure, grid = _figure(9.6, 1.55 * rows + 0.07 * len(results) + 0.5, rows, columns)
    grid = np.atleast_1d(grid)
    lines: dict[str, Any] = {}
    for axes, name in zip(grid.flat, order, strict=False):
        for result in results:
            style = styles[result.row.name]
            for sequence in result.sequences:
                if sequence.name == name:
                    shown = [(t, j) for t, j in enumerate(sequence.frames) if sequence.counted[t]]
                    (lines[result.row.title],) = axes.plot(
                        *zip(*shown, strict=True), style.line, color=style.color, linewidth=1.1
                    )
        axes.set_title(name.rpartition("/")[2], fontsize=8.5, loc="left")
        axes.set_ylim(0, 1)
        axes.tick_params(labelsize=7.5)
    for axes in grid.flat[len(order) :]:
        axes.set_visible(False)
    figure.supxlabel("frame", fontsize=8.5)
    figure.supylabel("J", fontsize=8.5)
    figure.legend(
        lines.values(), lines.keys(), loc="outside upper left", ncols=3, frameon=False, fontsize=8
    )
    return figure


def _figure(width: float, height: float, rows: int = 1, columns: int = 1) -> tuple[Any, Any]:
    """Returns an empty figure, in inches, with its axes: one, or an array [rows, columns]."""
    import matplotlib.figure

    with matplotlib.rc_context(_SETTINGS):
        figure = matplotlib.figure.Figure(figsize=(width, height), layout="constrained")
        grid = figure.subplots(rows, columns, sharey=True, squeeze=False)
    return figure, grid if rows * columns > 1 else grid[0, 0]
