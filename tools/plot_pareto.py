"""Plots J against time: the Pareto front of presets and modes.

    python tools/plot_pareto.py            # docs/pareto.png and the table of docs/results.md
    python tools/plot_pareto.py --check    # writes nothing; status 1 unless every preset is on it

Points are the results of one dataset that `tools/update_results.py add` stored. A preset is current
if all options of its result equal those of the preset today. The time is that of one clip of
`--frames` frames, the given one included: fine-tuning, then decoding, network and writing of every
other frame, at the mean speed of the dataset.
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
from update_results import hardware_words, markdown, number, rounded, write_block

from deeplab_gygo.errors import DeepLabGygoError, DependencyError, InputError
from deeplab_gygo.inference.config import OnlineConfig, preset
from deeplab_gygo.io.atomic import replacing
from deeplab_gygo.io.config_file import to_plain

BEGIN, END = "<!-- pareto: made by tools/plot_pareto.py -->", "<!-- end of pareto -->"


@dataclass(frozen=True)
class Point:
    """One result as a point of the curve.

    Attributes:
        name: Setting: the part after `--` of the name of the result.
        preset: The measured preset; empty for none.
        is_current: Whether it was measured with its options of today.
        J: Mean J of the dataset, 0..1.
        F: Mean F, 0..1.
        adaptation_seconds: Fine-tuning of a clip.
        clip_seconds: Fine-tuning and all frames of a clip.
        fps: Predicted frames of a clip divided by `clip_seconds`.
        worst: Name and J of the worst sequence.
        hardware: Hardware of the measurement.
    """

    name: str
    preset: str
    is_current: bool
    J: float
    F: float
    adaptation_seconds: float
    clip_seconds: float
    fps: float
    worst: str
    hardware: str

    @property
    def label(self) -> str:
        """The preset, or else the name."""
        return self.preset or self.name

    def dominates(self, other: Point) -> bool:
        """Whether this is as accurate and fast as the other, and better in one of both."""
        no_worse = self.J >= other.J and self.clip_seconds <= other.clip_seconds
        return no_worse and (self.J > other.J or self.clip_seconds < other.clip_seconds)


def read_points(results: Path, dataset: str, frames: int) -> list[Point]:
    """Reads the results of a dataset.

    Args:
        results: Folder of the stored results.
        dataset: The part before `--` of their names.
        frames: Length of the clip.

    Returns:
        The points, fastest first.

    Raises:
        InputError: There are none.
    """
    points = []
    for path in sorted(results.glob(f"{dataset}--*.json")):
        data = json.loads(path.read_text(encoding="utf-8"))
        mean = data.get("mean", {})
        if mean.get("J") is not None and mean.get("amortized_fps"):
            points.append(_point(data, frames))
    if not points:
        raise InputError(
            f"There are results named {dataset}--<setting>.json",
            met="none with J and FPS",
            where=results,
            remedy="Store the summary of a batch with tools/update_results.py add",
        )
    return sorted(points, key=lambda point: (point.clip_seconds, -point.J))


def _point(data: dict[str, Any], frames: int) -> Point:
    mean, online = data["mean"], data["online"]
    # The given mask is no predicted frame, except in zero-shot, which predicts it too.
    given = 0 if online["mode"] == "zero-shot" else 1
    clips = sum(row["frames"] is not None for row in data["sequences"])
    made = mean["frames"] - clips * given
    adaptation = mean["adaptation_seconds"]
    frame_seconds = (made / mean["amortized_fps"] - clips * adaptation) / made
    seconds = adaptation + (frames - given) * frame_seconds
    worst = data["worst"]
    changed = {key for key in data.get("changes", {}) if key != "mode"}
    name = "" if changed else data["preset"] or ""
    return Point(
        name=data["name"].partition("--")[2],
        preset=name,
        is_current=bool(name) and preset_of(online) == name,
        J=mean["J"],
        F=mean["F"],
        adaptation_seconds=adaptation,
        clip_seconds=seconds,
        fps=(frames - given) / seconds,
        worst=f"{worst['sequence']} ({worst['J']:.2f})",
        hardware=hardware_words(data["hardware"]),
    )


def preset_of(online: dict[str, Any]) -> str:
    """Returns the preset with exactly these options today; empty if there is none."""
    for name in OnlineConfig.PRESETS:
        if rounded(to_plain(preset(name, mode=online["mode"]))) == rounded(online):
            return name
    return ""


def dominated(points: Sequence[Point]) -> dict[str, list[str]]:
    """Returns the labels of the dominating points for every point that is not on the front."""
    beaten = {
        point.name: [other.label for other in points if other.dominates(point)] for point in points
    }
    return {name: better for name, better in beaten.items() if better}


def complaints(points: Sequence[Point]) -> list[str]:
    """Lists why the presets are no Pareto front; empty if all were measured and are on it."""
    sentences, beaten = [], dominated(points)
    for name in OnlineConfig.PRESETS:
        own = [point for point in points if point.preset == name]
        if not any(point.is_current for point in own):
            sentences.append(f"The preset {name} is not measured with its options of today.")
        for point in own:
            if point.name in beaten:
                better = ", ".join(beaten[point.name])
                sentences.append(f"The preset {name} is not on the front: {better} beats it.")
    machines = sorted({point.hardware for point in points})
    if len(machines) > 1:
        sentences.append(f"The points are of different machines: {'; '.join(machines)}.")
    return sentences


def draw(points: Sequence[Point], path: Path, title: str, frames: int) -> None:
    """Plots the points and their front as PNG; dominated points are hollow.

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
    """Returns image, table and complaints in Markdown; `image` is relative to the page."""
    beaten = dominated(points)
    header = (
        "setting", "J", "F", "worst sequence (J)", "adaptation, s", f"{frames} frames, s",
        "FPS, amortized", "on the front",
    )  # fmt: skip
    rows = [
        [
            f"**{point.label}**" if point.preset else point.label,
            number(point.J, 3),
            number(point.F, 3),
            point.worst,
            number(point.adaptation_seconds, 1),
            number(point.clip_seconds, 1),
            number(point.fps, 2),
            f"no: {', '.join(beaten[point.name])}" if point.name in beaten else "yes",
        ]
        for point in points
    ]
    lines = [f"![J against time]({image})", "", markdown(header, rows)]
    return "\n".join([*lines, "", "Presets are bold.", *complaints(points)])


def main(arguments: Sequence[str] | None = None) -> int:
    """Plots the front and writes its table, or checks the presets.

    Args:
        arguments: Words of the command line; None takes those of the process.

    Returns:
        0; 1 with `--check` if a preset is not on the front; or the status of an error.
    """
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--dataset", default="davis-val_dev", help="results to show")
    parser.add_argument("--frames", type=int, default=70, help="length of the clip")
    parser.add_argument("--check", action="store_true", help="write nothing, fail if one is off")
    options = parser.parse_args(arguments)
    try:
        points = read_points(update_results.RESULTS, options.dataset, options.frames)
        if not options.check:
            drawing = update_results.ROOT / "docs" / "pareto.png"
            page = update_results.ROOT / "docs" / "results.md"
            draw(points, drawing, options.dataset, options.frames)
            text = block(points, drawing.name, options.frames)
            write_block(page, BEGIN, END, text)
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
