"""The figures: J against speed, J over time, and J over time of every sequence."""

from __future__ import annotations

import io
import math
from collections.abc import Sequence
from typing import Any

import numpy as np

from deeplab_gygo.benchmark.labels import place_labels, spread
from deeplab_gygo.benchmark.results import CellResult, SequenceResult
from deeplab_gygo.benchmark.style import FAINT, INK, MARKERS, RC, Look, require_matplotlib
from deeplab_gygo.evaluation.quoted import QuotedValue

_POSITIONS = 41  # on the axis of relative time: every 2.5 %
_COLUMNS = 4  # of small figures


def encode(figure: Any, form: str) -> bytes:
    """Writes a figure; equal figures give equal bytes.

    Args:
        figure: Figure of Matplotlib.
        form: `svg`, `pdf` or `png`.

    Returns:
        The file.
    """
    stamps = {"svg": {"Date": None}, "pdf": {"CreationDate": None}, "png": {"Software": None}}
    buffer = io.BytesIO()
    with _settings():
        figure.savefig(buffer, format=form, dpi=160, metadata=stamps[form])
    return buffer.getvalue()


def j_against_fps(
    results: Sequence[CellResult], quoted: Sequence[QuotedValue], looks: dict[str, Look]
) -> Any:
    """Draws J against amortized FPS, which is logarithmic.

    Args:
        results: Cells of one data set; those that are not measured are left out.
        quoted: Published values beside them; those without FPS are left out.
        looks: Look of every row.

    Returns:
        The figure; None where there is nothing to draw.
    """
    measured = [result for result in results if result.is_measured and result.fps > 0]
    others = [value for value in quoted if value.J is not None and value.fps]
    if not measured:
        return None
    figure, axes = _axes(7.2, 4.6)
    methods = [r for r in measured if not r.row.is_reference] or measured
    low, high = _limits([r.region.mean for r in methods] + [value.J for value in others])
    points = []
    for result in measured:
        look, height = looks[result.row.name], result.region.mean
        style = {"color": look.ink, "fontsize": 8.5}
        text = result.row.title
        if height < low:  # a reference far below would leave the others no room
            text, height = f"{text}: J {height:.2f} ↓", low
        axes.plot(
            result.fps, height, look.marker, color=look.color, markersize=7, zorder=3,
            markeredgecolor="white", markeredgewidth=0.6, clip_on=False,
        )  # fmt: skip
        points.append((result.fps, height, text, style))
    for value in others:
        axes.plot(
            value.fps, value.J, MARKERS[value.mode], markerfacecolor="none", color=FAINT,
            markersize=6, zorder=2,
        )  # fmt: skip
        style = {"color": FAINT, "fontsize": 7.5, "style": "italic"}
        points.append((value.fps, value.J, value.title, style))
    _log_axis(axes, [x for x, *_ in points])
    axes.set_ylim(low, high)
    axes.set_xlabel("frames a second, fine-tuning included (logarithmic)")
    axes.set_ylabel("J mean")
    _legend_of_modes(figure, bool(others))
    place_labels(axes, points)
    return figure


def _legend_of_modes(figure: Any, has_quoted: bool) -> None:
    """Explains the markers above the axes."""
    from matplotlib.lines import Line2D

    keys = [
        Line2D([], [], marker=marker, color=INK, linestyle="none", markersize=5.5, label=mode)
        for mode, marker in MARKERS.items()
        if mode
    ]
    if has_quoted:
        keys.append(
            Line2D([], [], marker="o", color=FAINT, markerfacecolor="none", linestyle="none",
                   markersize=5.5, label="hollow: quoted, other hardware")
        )  # fmt: skip
    figure.legend(
        handles=keys, loc="outside upper left", ncols=len(keys), frameon=False, fontsize=8,
        handletextpad=0.2, columnspacing=1.4, borderaxespad=0.2,
    )  # fmt: skip


def _limits(values: Sequence[float]) -> tuple[float, float]:
    """Chooses limits of J in twentieths that leave room for labels above and below."""
    room = 0.15 * (max(values) - min(values)) + 0.02
    low = math.floor((min(values) - room) * 20) / 20
    high = math.ceil((max(values) + room) * 20) / 20
    return max(0.0, low), min(1.0, high)


def j_over_time(results: Sequence[CellResult], looks: dict[str, Look]) -> Any:
    """Draws the mean J of a data set over the relative time of its sequences.

    Args:
        results: Cells of one data set; those that are not measured are left out.
        looks: Look of every row.

    Returns:
        The figure; None where there is nothing to draw.
    """
    measured = [result for result in results if result.is_measured]
    if not measured:
        return None
    figure, axes = _axes(7.2, 4.0)
    where = np.linspace(0, 100, _POSITIONS)
    ends = []
    for result in measured:
        look = looks[result.row.name]
        curve = mean_curve(result.sequences)
        axes.plot(where, curve, linestyle=look.line, color=look.color, linewidth=look.width)
        ends.append(float(curve[-1]))
    axes.set_xlim(0, 100)
    axes.set_ylim(0, 1)
    axes.set_xlabel("part of the sequence, %")
    axes.set_ylabel("J, mean over the sequences")
    # A line of text is 11 points high; the axes are about 250.
    for result, end, place in zip(measured, ends, spread(ends, 0.048, 0, 1), strict=True):
        look = looks[result.row.name]
        axes.plot([100.5, 104], [end, place], color=look.color, linewidth=0.6, clip_on=False)
        axes.text(104.6, place, result.row.title, color=look.ink, fontsize=8.5, va="center")
    return figure


def mean_curve(sequences: Sequence[SequenceResult]) -> np.ndarray:
    """Averages J over sequences at equal parts of their time.

    Args:
        sequences: The sequences; only frames that count and were measured are taken.

    Returns:
        float64 [41] of J at 0, 2.5, ... 100 % of the frames that count; NaN where none is.
    """
    where = np.linspace(0, 1, _POSITIONS)
    curves = []
    for sequence in sequences:
        values = np.array(
            [value for value, counts in zip(sequence.frames, sequence.counted, strict=True)
             if counts]
        )  # fmt: skip
        known = np.isfinite(values)
        if known.any():
            times = np.linspace(0, 1, len(values)) if len(values) > 1 else np.array([0.5])
            curves.append(np.interp(where, times[known], values[known]))
    return np.mean(curves, axis=0) if curves else np.full(_POSITIONS, math.nan)


def j_of_sequences(
    results: Sequence[CellResult], order: Sequence[str], looks: dict[str, Look]
) -> Any:
    """Draws J over the frames of every sequence, one small figure each.

    Args:
        results: Cells of one data set; those that are not measured are left out.
        order: Names of the sequences, in the order of the small figures.
        looks: Look of every row.

    Returns:
        The figure; None where there is nothing to draw.
    """
    measured = [result for result in results if result.is_measured]
    if not (measured and order):
        return None
    columns = min(_COLUMNS, len(order))
    rows = -(-len(order) // columns)
    legend_rows = -(-len(measured) // 3)
    height = 1.55 * rows + 0.2 * legend_rows + 0.45
    figure = _figure(9.6, height)
    with _settings():
        grid = figure.subplots(rows, columns, sharey=True, squeeze=False)
    for axes in grid.flat[len(order) :]:
        axes.set_visible(False)
    handles: dict[str, Any] = {}
    for axes, name in zip(grid.flat, order, strict=False):
        for result in measured:
            sequence = next((item for item in result.sequences if item.name == name), None)
            if sequence is not None:
                handles[result.row.title] = _draw_frames(axes, sequence, looks[result.row.name])
        axes.set_title(name.rpartition("/")[2], fontsize=8.5, loc="left", pad=3)
        axes.set_ylim(0, 1)
        axes.set_yticks([0, 0.5, 1])
        axes.tick_params(labelsize=7.5, length=2)
        axes.margins(x=0)
    for axes in grid[:, 0]:
        axes.set_ylabel("J", fontsize=8.5)
    figure.supxlabel("frame", fontsize=8.5)
    figure.legend(
        handles.values(), handles.keys(), loc="outside upper left", ncols=3, frameon=False,
        fontsize=8.5, handlelength=2.4, borderaxespad=0.2,
    )  # fmt: skip
    return figure


def _draw_frames(axes: Any, sequence: SequenceResult, look: Look) -> Any:
    """Draws J of the frames that count, by their position."""
    times = [index for index, counts in enumerate(sequence.counted) if counts]
    values = [sequence.frames[index] for index in times]
    return axes.plot(
        times, values, linestyle=look.line, color=look.color, linewidth=0.75 * look.width
    )[0]


def _settings() -> Any:
    """Puts the settings of all figures in force: a context."""
    import matplotlib

    return matplotlib.rc_context(RC)


def _figure(width: float, height: float) -> Any:
    """Makes an empty figure, in inches."""
    figure_class = require_matplotlib()
    with _settings():
        return figure_class(figsize=(width, height), layout="constrained")


def _axes(width: float, height: float) -> tuple[Any, Any]:
    figure = _figure(width, height)
    with _settings():
        return figure, figure.add_subplot()


def _log_axis(axes: Any, values: Sequence[float]) -> None:
    """Makes the horizontal axis logarithmic, with plain numbers at 1, 2 and 5."""
    from matplotlib.ticker import FuncFormatter, LogLocator, NullFormatter

    axes.set_xscale("log")
    axes.set_xlim(min(values) / 1.6, max(values) * 1.6)
    wide = max(values) / min(values) > 300
    axes.xaxis.set_major_locator(LogLocator(subs=(1.0,) if wide else (1.0, 2.0, 5.0)))
    axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
    axes.xaxis.set_minor_formatter(NullFormatter())
    axes.grid(which="minor", axis="x", visible=False)
    axes.tick_params(axis="x", which="minor", color=INK, length=2)
