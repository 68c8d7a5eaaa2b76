"""Checks of what clients ask of the engine."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from deeplab_gygo.errors import UsageError
from deeplab_gygo.runs.output_kinds import OUTPUTS, OutputOptions
from deeplab_gygo.server.states import Stroke

MAX_POINTS = 20_000
"""Points of all strokes of a request."""


def check_strokes(
    label: int, strokes: Sequence[Stroke], box: Any, *, corrects: bool = False
) -> None:
    """Raises `UsageError` unless strokes or a box show an object; see `Engine.strokes`."""
    if not 1 <= label <= 254:
        raise UsageError("The id of an object is in 1..254", met=label)
    if box is None and not (corrects and strokes) and not any(stroke.inside for stroke in strokes):
        raise UsageError(
            "A mask follows from a stroke inside the object, or a box",
            met="neither",
            remedy="Click on the object",
        )
    points = sum(len(stroke.points) for stroke in strokes)
    if points > MAX_POINTS or any(not stroke.points for stroke in strokes):
        raise UsageError(f"Strokes have 1 to {MAX_POINTS} points", met=points)


def check_outputs(outputs: Sequence[str], options: dict[str, Any]) -> None:
    """Raises `UsageError` unless the kinds of results and their options are known."""
    unknown = [name for name in outputs if name not in OUTPUTS]
    if unknown or not outputs:
        raise UsageError(
            f"Outputs are of {', '.join(OUTPUTS)}", met=", ".join(unknown)[:100] or "none"
        )
    try:
        checked = OutputOptions(**options)
    except TypeError as error:
        raise UsageError(
            "The options are background, foreground, smooth and spin", met=", ".join(options)[:100]
        ) from error
    if checked.color is None:
        raise UsageError("A background is green, white, black or #rrggbb", met="another word")
