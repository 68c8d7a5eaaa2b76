"""Tables of single measurements for `tools/update_results.py`."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

Markdown = Callable[[tuple[str, ...], list[list[str]]], str]


def corrections_table(data: dict[str, Any], markdown: Markdown) -> str:
    """Returns J by the number of annotated frames, of the file of `measure_corrections.py`."""
    count = len(data["mean_J"])
    rows = [
        [name, *(f"{row['J']:.3f}" for row in rows)] for name, rows in data["sequences"].items()
    ]
    rows.append(["mean", *(f"{value:.3f}" for value in data["mean_J"])])
    others = [
        sum(each[k]["J_of_others"] for each in data["sequences"].values()) / len(data["sequences"])
        for k in range(count)
    ]
    rows.append(["mean of the frames without a mask", *(f"{value:.3f}" for value in others)])
    header = ("sequence", *(f"{k} annotated" for k in range(1, count + 1)))
    return f"{markdown(header, rows)}\n\n`{data['command']}`"


def matte_table(data: dict[str, Any], markdown: Markdown) -> str:
    """Returns errors of colors and alpha at edges, of the file of `measure_matte.py`."""
    mean = data["mean"]
    plain, smooth = mean["alpha"], mean["alpha, smoothed"]
    rows = [
        [f"color error at edges, {kind}, `--foreground`", *(f"{value:.1f}" for value in values)]
        for kind, values in (
            ("true alpha", mean["color, true alpha"]),
            ("alpha of the network", mean["color, alpha of the network"]),
        )
    ]
    rows += [
        [f"{name}, `--smooth`", f"{plain[k]:.3f}", f"{smooth[k]:.3f}"]
        for k, name in enumerate(("error of alpha at edges", "flicker against the true change"))
    ]
    about = f"{data['clips']} composed clips of {data['frames']} frames, preset {data['preset']}."
    return f"{markdown(('measure', 'as it is', 'with the option'), rows)}\n\n{about}"


SET_NAMES = {
    "table": "rendered table scenes (synthetic)",
    "like": "composed like objects (synthetic)",
    "weak": "composed weak parts (synthetic)",
    "train": "held-back sequences of DAVIS-2016 train",
    "ecssd": "photos of ECSSD",
}


def strokes_table(data: dict[str, Any], markdown: Markdown) -> str:
    """Returns J by the number of clicks, of the file of `measure_strokes.py`."""
    parts = []
    for kind, clicks, words in (
        ("first", (1, 3, 6), "a mask from nothing"),
        ("corrected", (0, 1, 3), "a correction of a propagated mask"),
    ):
        rows = [
            [
                SET_NAMES[name],
                str(row["count"]),
                *(
                    f"{row['J'][k]:.3f} ({data['former']['mean'][kind][name]['J'][k]:.3f})"
                    for k in clicks
                ),
            ]
            for name, row in data["mean"][kind].items()
        ]
        header = (words, "number", *(f"{k} clicks" if k != 1 else "1 click" for k in clicks))
        parts.append(markdown(header, rows))
    return "\n\n".join(parts)


def effort_table(data: dict[str, Any], markdown: Markdown) -> str:
    """Returns J against seconds of a person, of the file of `measure_annotation.py`."""
    mean, polygons = data["mean"]["propagation"], data["mean"]["polygons"]
    names = ["clicks on the first frame", *(f"correction {k}" for k in range(1, len(mean)))]
    rows = [
        [name, f"{row['person_seconds']:.0f}", f"{row['J']:.3f}"]
        for name, row in zip(names, mean, strict=True)
    ]
    rows.append(
        ["polygons on every tenth frame", f"{polygons['person_seconds']:.0f}",
         f"{polygons['J']:.3f}"]
    )  # fmt: skip
    header = ("after", "seconds of a person", "J")
    return f"{markdown(header, rows)}\n\n`{data['command']}`"
