"""How rows look in figures: one hue a method, one shade a row, one marker a mode."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from deeplab_gygo.benchmark.plan import BenchmarkRow
from deeplab_gygo.errors import DependencyError

# Pairs of light and dark of one hue. Blue, vermilion and green of Okabe and Ito's palette, which
# people with any kind of colour vision tell apart (jfly.uni-koeln.de/color), darkened for lines.
_HUES = {
    "deeplab": ("#8fc1ea", "#08458a"),
    "osmn": ("#f2a36b", "#a83a00"),
    "osvos": ("#5fc9a5", "#00563d"),
}
_GREYS = ("#b4b4b4", "#585858")  # references stand behind the methods

MARKERS = {"zero-shot": "o", "one-shot": "s", "fine-tune": "D", "": "v"}
"""Marker by mode."""

_DASHES = ((0, (5, 2)), (0, (1, 1.4)), (0, (5, 1.5, 1, 1.5)))

INK = "#222222"
FAINT = "#8a8a8a"
GRID = "#e3e3e3"

RC = {
    "font.family": "sans-serif",
    "font.sans-serif": ["DejaVu Sans"],
    "font.size": 9,
    "axes.edgecolor": FAINT,
    "axes.labelcolor": INK,
    "axes.linewidth": 0.7,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "axes.axisbelow": True,
    "grid.color": GRID,
    "grid.linewidth": 0.6,
    "text.color": INK,
    "xtick.color": INK,
    "ytick.color": INK,
    "xtick.major.width": 0.6,
    "ytick.major.width": 0.6,
    "svg.fonttype": "path",
    # Names in an SVG follow from this and the content, so that equal results give equal files.
    "svg.hashsalt": "deeplab-gygo",
    "pdf.fonttype": 42,
}
"""Settings of Matplotlib for every figure."""


@dataclass(frozen=True)
class Look:
    """How a row is drawn.

    Attributes:
        color: Of lines and markers, hexadecimal sRGB.
        ink: The same hue for text, dark enough to be read.
        line: Line style of Matplotlib.
        width: Width of the line, points.
        marker: Marker of Matplotlib.
    """

    color: str
    ink: str
    line: Any
    width: float
    marker: str


def looks_of(rows: Sequence[BenchmarkRow]) -> dict[str, Look]:
    """Chooses how the rows of a benchmark are drawn, the same in every figure.

    Args:
        rows: All rows.

    Returns:
        Look by the name of the row; later rows of a method are darker.
    """
    looks = {}
    references = [row for row in rows if row.is_reference]
    for position, row in enumerate(references):
        color = _mixed(*_GREYS, _share(position, len(references)))
        line = _DASHES[position % len(_DASHES)]
        looks[row.name] = Look(color, _GREYS[1], line, 1.2, MARKERS[row.mode_in_force])
    for method, (light, dark) in _HUES.items():
        family = [row for row in rows if row.method == method]
        for position, row in enumerate(family):
            color = _mixed(light, dark, _share(position, len(family)))
            ink = _mixed(color, dark, 0.6)
            looks[row.name] = Look(color, ink, "-", 1.6, MARKERS[row.mode_in_force])
    return {row.name: looks[row.name] for row in rows}


def require_matplotlib() -> Any:
    """Imports Matplotlib's figure class.

    Raises:
        DependencyError: Matplotlib is not installed.
    """
    try:
        from matplotlib.figure import Figure
    except ImportError as error:
        raise DependencyError("matplotlib", "report", "Drawing the benchmark") from error
    return Figure


def _share(position: int, count: int) -> float:
    """Spreads the members of a family from light to dark; an only one is nearer to dark."""
    return 0.75 if count == 1 else position / (count - 1)


def _mixed(one: str, other: str, share: float) -> str:
    """Mixes two colours, `share` of the other."""
    first, last = ([int(color[at : at + 2], 16) for at in (1, 3, 5)] for color in (one, other))
    mixed = (round(a + (b - a) * share) for a, b in zip(first, last, strict=True))
    return "#" + "".join(f"{value:02x}" for value in mixed)
