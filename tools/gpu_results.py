"""Results of tools/gpu_check.sh: a line of JSON each, and their table."""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path
from typing import Any

WANTED = {
    "first mask, cold": "25 s",
    "first mask, programs cached": "6 s",
    "first mask, warm process": "0.4 s",
    "fast: adaptation": "0.25 s",
    "fast: frames": "100 /s",
    "best: frames": "40 /s",
    "zero_shot: frames": "200 /s",
    "J minus that of the CPU": "0.002",
    "training: compilation": "60 s",
    "training: examples": "500 /s",
    "training: input wait": "0.1",
}
"""What a run should reach on an H200, by measure."""


def record(stage: str, measure: str, value: Any, unit: str = "", **more: Any) -> None:
    """Appends a result to the file of results and prints it."""
    line = {"stage": stage, "measure": measure, "value": value, "unit": unit, **more}
    if measure in WANTED:
        line["wanted"] = WANTED[measure]
    print(json.dumps(line), flush=True)
    with _path().open("a", encoding="utf-8") as file:
        file.write(json.dumps(line) + "\n")


def recorded(measure: str) -> Any:
    """Returns the value of an earlier result; None where there is none."""
    lines = [json.loads(line) for line in _path().read_text(encoding="utf-8").splitlines()]
    return next((x["value"] for x in reversed(lines) if x.get("measure") == measure), None)


def _path() -> Path:
    return Path(os.environ["OUT"]) / "gpu_check.jsonl"


def _shown(value: Any) -> str:
    """Formats a value in a few characters."""
    if isinstance(value, float):
        return f"{value:.4g}"
    if isinstance(value, dict):
        return " ".join(f"{key} {_shown(each)}" for key, each in value.items() if each is not None)
    if isinstance(value, list):
        return " ".join(map(_shown, value))
    return " ".join(str(value).split())[:160]


def table(text: str) -> str:
    """Formats results; stages that did not end well stand after them."""
    rows, notes = [], []
    for line in map(json.loads, text.splitlines()):
        if "measure" in line:
            value = line["value"]
            shown = _shown(value)
            rows.append((line["stage"], line["measure"], shown, line["unit"], line.get("wanted")))
        else:
            ended = "" if line["status"] == "0" else f", status {line['status']}"
            notes.append(f"{line['stage']}: {line.get('seconds', 0)} s{ended}")
    cells = [[str(cell or "") for cell in row] for row in rows]
    header = ["stage", "measure", "value", "unit", "wanted"]
    widths = [max(len(row[i]) for row in [header, *cells]) for i in range(len(header))]
    lines = [
        "  ".join(c.ljust(w) for c, w in zip(r, widths, strict=True)) for r in [header, *cells]
    ]
    return "\n".join([*(line.rstrip() for line in lines), "; ".join(notes)])


if __name__ == "__main__":
    print(table(Path(sys.argv[1]).read_text(encoding="utf-8")))
