"""Puts measured results into `experiments/results` and the table of the README.

    python tools/update_results.py add NAME OUT/summary.json   # keep a batch's summary
    python tools/update_results.py render                      # write the table into README.md

No number of the README is typed: the table between its markers is made of the kept summaries.
"""

from __future__ import annotations

import argparse
import json
import statistics
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
RESULTS = ROOT / "experiments" / "results"
BEGIN, END = "<!-- results: made by tools/update_results.py -->", "<!-- end of results -->"


def add(name: str, summary: Path) -> None:
    """Keeps what a batch measured: per sequence and mean, with settings and hardware."""
    data = json.loads(summary.read_text(encoding="utf-8"))
    records = list(summary.parent.rglob("run.json"))
    record = json.loads(records[0].read_text(encoding="utf-8")) if records else {}
    keep = ("sequence", "frames", "adaptation_seconds", "amortized_fps", "J", "F")
    kept = {
        "name": name,
        "mean": {key: data["mean"][key] for key in keep},
        "sequences": [{key: row[key] for key in keep} for row in data["sequences"]],
        "online": data["settings"]["online"],
        "seed": data["settings"]["seed"],
        "weights_sha256": record.get("hashes", {}).get("weights"),
        "hardware": record.get("hardware"),
        "versions": record.get("versions"),
    }
    RESULTS.mkdir(parents=True, exist_ok=True)
    path = RESULTS / f"{name}.json"
    path.write_text(json.dumps(_rounded(kept), indent=1) + "\n", encoding="utf-8")
    print(path)


def _rounded(value):
    if isinstance(value, float):
        return round(value, 5)
    if isinstance(value, dict):
        return {key: _rounded(item) for key, item in value.items()}
    return [_rounded(item) for item in value] if isinstance(value, list) else value


def table() -> str:
    """Returns the kept results as a Markdown table, with the hardware below."""
    lines = [
        "| material | mode | J | F | adaptation, s | FPS, amortised | worst sequence (J) |",
        "|---|---|---|---|---|---|---|",
    ]
    hardware = set()
    for path in sorted(RESULTS.glob("*.json")):
        data = json.loads(path.read_text(encoding="utf-8"))
        if "mean" not in data:
            continue
        mean, online = data["mean"], data["online"]
        mode = online["mode"] + (", `--adapt full`" if online["adapt"] == "full" else "")
        if online["mode"] != "fine-tune":
            mode = online["mode"]
        worst = min(data["sequences"], key=lambda row: row["J"])
        lines.append(
            f"| {data['name'].split('--')[0]} | {mode} | {mean['J']:.3f} | {mean['F']:.3f} "
            f"| {mean['adaptation_seconds']:.1f} | {mean['amortized_fps']:.1f} "
            f"| {worst['sequence']} ({worst['J']:.2f}) |"
        )
        hardware.add(_words(data["hardware"]))
    words = "Measured on: " + "; ".join(sorted(hardware)) + "."
    return "\n".join([*lines, "", *_losses(), *_clips(), *_demo(), words])


def _clips() -> list[str]:
    """Tells speed and peak memory of single clips, compilation included, by their length."""
    lines = []
    for path in sorted(RESULTS.glob("clip_*.json")):
        runs = json.loads(path.read_text(encoding="utf-8"))["runs"]
        for frames in sorted({run["frames"] for run in runs}):
            same = [run for run in runs if run["frames"] == frames]
            fps = statistics.median(run["amortized_fps"] for run in same)
            memory = statistics.median(run["peak_memory_mb"] for run in same)
            lines.append(
                f"- One clip at 480p in a new process, {path.stem.split('_')[1]}, {frames} frames: "
                f"{fps:.2f} FPS, peak memory {memory:.0f} MB (median of {len(same)} runs)."
            )
    return [*lines, ""]


def _demo() -> list[str]:
    """Tells what `make demo` printed, and how large the parent is."""
    demo = json.loads((RESULTS / "demo.json").read_text(encoding="utf-8"))
    size = (ROOT / "deeplab_gygo" / "parents" / "parent.npz").stat().st_size
    return [
        f"`make demo`: J {demo['J']:.3f}, F {demo['F']:.3f}, {demo['amortized_fps']:.2f} FPS "
        f"(a rendered clip: synthetic). The shipped parent has {size / 1e6:.1f} MB.",
        "",
    ]


def _losses() -> list[str]:
    """Names the sequences that fine-tuning left more than .05 below zero-shot."""
    kept = {path.stem: json.loads(path.read_text("utf-8")) for path in RESULTS.glob("*--*.json")}
    lines = []
    for name, data in sorted(kept.items()):
        base = kept.get(name.split("--")[0] + "--zero-shot")
        if base is None or data["online"]["mode"] != "fine-tune":
            continue
        before = {row["sequence"]: row["J"] for row in base["sequences"]}
        lost = [
            f"{row['sequence']} ({before[row['sequence']]:.2f} to {row['J']:.2f})"
            for row in data["sequences"]
            if row["J"] < before[row["sequence"]] - 0.05
        ]
        lines.append(f"More than .05 below zero-shot in {name}: {', '.join(lost) or 'none'}.")
    return [*lines, ""]


def _words(hardware) -> str:
    if not isinstance(hardware, dict):
        return str(hardware)
    return ", ".join(f"{key} {value}" for key, value in hardware.items() if value)


def render() -> None:
    """Writes the table between the markers of the README."""
    path = ROOT / "README.md"
    text = path.read_text(encoding="utf-8")
    before, rest = text.split(BEGIN)
    after = rest.split(END)[1]
    path.write_text(f"{before}{BEGIN}\n{table()}\n{END}{after}", encoding="utf-8")


def main() -> None:
    """Runs the sub-command."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    commands = parser.add_subparsers(dest="command", required=True)
    adding = commands.add_parser("add", help="keep the summary of a batch")
    adding.add_argument("name", help="such as davis-val_dev--zero-shot")
    adding.add_argument("summary", type=Path)
    commands.add_parser("render", help="write the table of the README")
    options = parser.parse_args()
    if options.command == "add":
        add(options.name, options.summary)
    else:
        render()


if __name__ == "__main__":
    main()
