"""The curve of J against time: which presets and modes are worth their seconds.

    python tools/plot_pareto.py            # docs/pareto.png and the table of the README
    python tools/plot_pareto.py --check    # writes nothing; status 1 unless every preset is on it

Points are the results of one material that `tools/update_results.py add` kept. A result is that of
a preset if every number it was measured with is the preset's of today. The time is that of one
clip of `--frames` frames, the given one included: fine-tuning, then decoding, network and writing
of every other frame, at the mean speed of the material.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import update_results
from update_results import hardware_words, number, rounded, worst_of, write_block

from deeplab_gygo.errors import DeepLabGygoError, DependencyError, InputError
from deeplab_gygo.inference.config import PRESETS, preset
from deeplab_gygo.io.atomic import replacing
from deeplab_gygo.io.config_file import to_plain

BEGIN, END = "<!-- pareto: made by tools/plot_pareto.py -->", "<!-- end of pareto -->"


ADDED = {"common_fate": False}
"""Options that came after results which are kept, with the values that change nothing in them."""


@dataclass(frozen=True)
class Point:
    """One result as a point of the curve.

    Attributes:
        name: What follows `--` in the name of the result.
        preset: The preset that it measured; empty for none.
        J: Mean J of the material, 0..1.
        F: Mean F, 0..1.
        adaptation_seconds: Fine-tuning of a clip.
        clip_seconds: Fine-tuning and all frames of a clip.
        fps: Frames made of a clip by `clip_seconds`.
        worst: Name and J of the worst sequence.
        hardware: What it was measured on.
    """

    name: str
    preset: str
    J: float
    F: float
    adaptation_seconds: float
    clip_seconds: float
    fps: float
    worst: str
    hardware: str

    @property
    def label(self) -> str:
        """The preset where it is one, else the name."""
        return self.preset or self.name

    def dominates(self, other: Point) -> bool:
        """Whether this is as good and as quick as the other, and better in one of them."""
        no_worse = self.J >= other.J and self.clip_seconds <= other.clip_seconds
        return no_worse and (self.J > other.J or self.clip_seconds < other.clip_seconds)


def read_points(results: Path, material: str, frames: int) -> list[Point]:
    """Reads the results of a material.

    Args:
        results: Folder of the kept results.
        material: What precedes `--` in their names.
        frames: Length of the clip whose time is told.

    Returns:
        The points, quickest first.

    Raises:
        InputError: There are none.
    """
    points = []
    for path in sorted(results.glob(f"{material}--*.json")):
        data = json.loads(path.read_text(encoding="utf-8"))
        mean = data.get("mean", {})
        if mean.get("J") is not None and mean.get("amortized_fps"):
            points.append(_point(data, frames))
    if not points:
        raise InputError(
            f"There are results named {material}--<setting>.json",
            met="none with J and FPS",
            where=results,
            remedy="Keep the summary of a batch with tools/update_results.py add",
        )
    return sorted(points, key=lambda point: (point.clip_seconds, -point.J))


def _point(data: dict[str, Any], frames: int) -> Point:
    mean, online = data["mean"], data["online"]
    # The given mask is no frame that was made, except in zero-shot, which makes it too.
    given = 0 if online["mode"] == "zero-shot" else 1
    clips = sum(row["frames"] is not None for row in data["sequences"])
    made = mean["frames"] - clips * given
    adaptation = mean["adaptation_seconds"]
    frame_seconds = (made / mean["amortized_fps"] - clips * adaptation) / made
    seconds = adaptation + (frames - given) * frame_seconds
    worst = data.get("worst") or worst_of(data["sequences"])
    return Point(
        name=data["name"].partition("--")[2],
        preset=preset_of(online),
        J=mean["J"],
        F=mean["F"],
        adaptation_seconds=adaptation,
        clip_seconds=seconds,
        fps=(frames - given) / seconds,
        worst=f"{worst['sequence']} ({worst['J']:.2f})",
        hardware=hardware_words(data["hardware"]),
    )


def preset_of(online: dict[str, Any]) -> str:
    """Returns the preset that has exactly these numbers today; empty where none has."""
    known = {**ADDED, **online}
    for name in PRESETS:
        if rounded(to_plain(preset(name))) == rounded(known):
            return name
    return ""


def dominated(points: Sequence[Point]) -> dict[str, list[str]]:
    """Says which points are not on the Pareto front.

    Args:
        points: All points.

    Returns:
        Name of every dominated point -> labels of those that dominate it.
    """
    beaten = {
        point.name: [other.label for other in points if other.dominates(point)] for point in points
    }
    return {name: better for name, better in beaten.items() if better}


def complaints(points: Sequence[Point]) -> list[str]:
    """Says what keeps the presets from being a Pareto front.

    Args:
        points: All points.

    Returns:
        Sentences; none where every preset was measured and is on the front.
    """
    sentences, beaten = [], dominated(points)
    for name in PRESETS:
        own = [point for point in points if point.preset == name]
        if not own:
            sentences.append(f"The preset {name} is not measured with its numbers of today.")
        for point in own:
            if point.name in beaten:
                better = ", ".join(beaten[point.name])
                sentences.append(f"The preset {name} is not on the front: {better} beats it.")
    machines = sorted({point.hardware for point in points})
    if len(machines) > 1:
        sentences.append(f"The points are of different machines: {'; '.join(machines)}.")
    return sentences


def draw(points: Sequence[Point], path: Path, title: str, frames: int) -> None:
    """Draws the points and their front; dominated points are hollow.

    Args:
        points: All points.
        path: PNG to write.
        title: What is measured.
        frames: Length of the clip.

    Raises:
        DependencyError: Matplotlib is not installed.
        StorageError: The file cannot be written.
    """
    try:
        from matplotlib.figure import Figure
    except ImportError as error:
        raise DependencyError("matplotlib", "report", "Drawing the curve") from error
    beaten = dominated(points)
    figure = Figure(figsize=(7, 4.2), layout="constrained")
    axes = figure.add_subplot()
    front = [point for point in points if point.name not in beaten]
    axes.step(
        [point.clip_seconds for point in front], [point.J for point in front],
        where="post", color="tab:blue", linewidth=1, zorder=1,
    )  # fmt: skip
    for point in points:
        color = "tab:blue" if point.preset else "tab:gray"
        fill = "white" if point.name in beaten else color
        axes.scatter(point.clip_seconds, point.J, s=60, facecolors=fill, edgecolors=color, zorder=2)
        axes.annotate(
            f"{point.label}, {point.fps:.1f} FPS", (point.clip_seconds, point.J), xytext=(6, -11),
            textcoords="offset points", weight="bold" if point.preset else "normal",
        )  # fmt: skip
    axes.set_xlim(left=0, right=1.15 * max(point.clip_seconds for point in points))
    axes.margins(y=0.15)
    axes.set_xlabel(f"seconds for a clip of {frames} frames")
    axes.set_ylabel("J mean")
    axes.set_title(title)
    axes.grid(alpha=0.3)
    with replacing(path) as side:
        # Without the version of Matplotlib in it, so that the same results give the same file.
        figure.savefig(side, format="png", dpi=120, metadata={"Software": None})


def block(points: Sequence[Point], image: str, frames: int) -> str:
    """Returns curve, table and complaints in Markdown.

    Args:
        points: All points.
        image: Path of the drawing from the file that the block goes into.
        frames: Length of the clip.
    """
    beaten = dominated(points)
    lines = [
        f"![J against time]({image})",
        "",
        f"| setting | J | F | worst sequence (J) | adaptation, s | {frames} frames, s "
        "| FPS, amortized | on the front |",
        "|---|---|---|---|---|---|---|---|",
    ]
    for point in points:
        cells = [
            f"**{point.label}**" if point.preset else point.label,
            number(point.J, 3),
            number(point.F, 3),
            point.worst,
            number(point.adaptation_seconds, 1),
            number(point.clip_seconds, 1),
            number(point.fps, 2),
            f"no: {', '.join(beaten[point.name])}" if point.name in beaten else "yes",
        ]
        lines.append("| " + " | ".join(cells) + " |")
    return "\n".join([*lines, "", "Presets are bold.", *complaints(points)])


def main(arguments: Sequence[str] | None = None) -> int:
    """Draws the curve and writes its table, or checks the presets.

    Args:
        arguments: Words of the command line; None takes those of the process.

    Returns:
        0; 1 with `--check` where a preset is not on the front; or the status of an error.
    """
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--material", default="davis-val_dev", help="results to show")
    parser.add_argument("--frames", type=int, default=70, help="length of the clip")
    parser.add_argument("--check", action="store_true", help="write nothing, fail where one is off")
    options = parser.parse_args(arguments)
    try:
        points = read_points(update_results.RESULTS, options.material, options.frames)
        if not options.check:
            drawing = update_results.ROOT / "docs" / "pareto.png"
            readme = update_results.ROOT / "README.md"
            draw(points, drawing, options.material, options.frames)
            text = block(points, drawing.relative_to(readme.parent).as_posix(), options.frames)
            write_block(readme, BEGIN, END, text, after=update_results.END)
            print(drawing)
    except DeepLabGygoError as error:
        print(f"error: {error}", file=sys.stderr)
        return error.exit_status
    problems = complaints(points)
    for sentence in problems:
        print(sentence, file=sys.stderr)
    return 1 if options.check and problems else 0


if __name__ == "__main__":
    sys.exit(main())
