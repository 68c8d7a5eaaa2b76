"""Puts measured results into `experiments/results` and the table of the README.

    python tools/update_results.py add NAME OUT/summary.json   # keep a batch's summary
    python tools/update_results.py render                      # write the table into README.md

No number of the README is typed: the table between its markers is made of the kept summaries. J
decay is that of the official tables that a batch writes beside its summary.
"""

from __future__ import annotations

import argparse
import json
import statistics
from pathlib import Path
from typing import Any

from deeplab_gygo.errors import UsageError
from deeplab_gygo.inference.config import DEFAULT_PRESET, PRESETS, preset
from deeplab_gygo.io.atomic import replacing
from deeplab_gygo.io.config_file import to_plain

ROOT = Path(__file__).resolve().parents[1]
RESULTS = ROOT / "experiments" / "results"
BEGIN, END = "<!-- results: made by tools/update_results.py -->", "<!-- end of results -->"
ABSENT = "-"


def add(name: str, summary: Path) -> None:
    """Keeps what a batch measured: per sequence and mean, with settings and hardware."""
    data = json.loads(summary.read_text(encoding="utf-8"))
    records = sorted(summary.parent.rglob("run.json"))
    record = json.loads(records[0].read_text(encoding="utf-8")) if records else {}
    keep = ("sequence", "frames", "adaptation_seconds", "amortized_fps", "J", "F")
    mean_decay, decays = decays_of(summary)
    sequences = [
        {**{key: row[key] for key in keep}, "J_decay": decays.get(row["sequence"])}
        for row in data["sequences"]
    ]
    kept = {
        "name": name,
        "mean": {**{key: data["mean"][key] for key in keep}, "J_decay": mean_decay},
        "worst": worst_of(sequences),
        "sequences": sequences,
        **_start(data["settings"]),
        "online": data["settings"]["online"],
        "seed": data["settings"]["seed"],
        "weights_sha256": record.get("hashes", {}).get("weights"),
        "hardware": record.get("hardware"),
        "versions": record.get("versions"),
    }
    path = RESULTS / f"{name}.json"
    with replacing(path) as side:
        side.write_text(json.dumps(rounded(kept), indent=1) + "\n", encoding="utf-8")
    print(path)


def _start(settings: dict[str, Any]) -> dict[str, Any]:
    """Tells the preset that a batch started from, and what was changed in it."""
    name, online = settings.get("preset"), settings["online"]
    if name not in PRESETS:
        return {"preset": None}
    values = to_plain(preset(name))
    return {
        "preset": name,
        "changes": {key: value for key, value in online.items() if value != values.get(key)},
    }


def decays_of(summary: Path) -> tuple[float | None, dict[str, float | None]]:
    """Reads J decay from the scores that a batch writes beside its summary.

    Args:
        summary: `summary.json`, or `summary-<part>.json` of a part of a batch.

    Returns:
        The mean over all objects, and by sequence the mean over its objects; None and nothing
        where the batch has no scores.
    """
    scores = summary.parent / summary.stem.replace("summary", "scores", 1) / "scores.json"
    if not scores.is_file():
        return None, {}
    data = json.loads(scores.read_text(encoding="utf-8"))
    decays: dict[str, float | None] = {}
    for sequence in data["sequences"]:
        values = [row["J"]["decay"] for row in sequence["objects"]]
        known = [value for value in values if value is not None]
        decays[sequence["name"]] = statistics.fmean(known) if known else None
    return data["mean"]["J"]["decay"], decays


def worst_of(sequences: list[dict[str, Any]]) -> dict[str, Any] | None:
    """Returns name and J of the sequence with the lowest J; None where none was measured."""
    measured = [row for row in sequences if row["J"] is not None]
    worst = min(measured, key=lambda row: row["J"], default=None)
    return worst and {"sequence": worst["sequence"], "J": worst["J"]}


def rounded(value: Any) -> Any:
    """Returns plain values with five decimals, as results are kept."""
    if isinstance(value, float):
        return round(value, 5)
    if isinstance(value, dict):
        return {key: rounded(item) for key, item in value.items()}
    return [rounded(item) for item in value] if isinstance(value, list) else value


def table() -> str:
    """Returns the kept results as a Markdown table, with the hardware below."""
    lines = [
        "| material | mode | J | F | J decay | adaptation, s | FPS, amortized "
        "| worst sequence (J) |",
        "|---|---|---|---|---|---|---|---|",
    ]
    hardware = set()
    for path in sorted(RESULTS.glob("*.json")):
        data = json.loads(path.read_text(encoding="utf-8"))
        if "mean" not in data:
            continue
        mean = data["mean"]
        # Results that were kept before worst and decay were still have what the worst follows from.
        worst = data.get("worst") or worst_of(data["sequences"])
        cells = [
            data["name"].split("--")[0],
            _mode(data),
            number(mean["J"], 3),
            number(mean["F"], 3),
            number(mean.get("J_decay"), 3),
            number(mean["adaptation_seconds"], 1),
            number(mean["amortized_fps"], 1),
            f"{worst['sequence']} ({worst['J']:.2f})" if worst else ABSENT,
        ]
        lines.append("| " + " | ".join(cells) + " |")
        hardware.add(hardware_words(data["hardware"]))
    words = "Measured on: " + "; ".join(sorted(hardware)) + "."
    return "\n".join([*lines, "", *_losses(), *_clips(), *_demo(), words])


def _mode(data: dict[str, Any]) -> str:
    """Names the mode of a result, and what was chosen in it."""
    online = data["online"]
    mode, start = online["mode"], data.get("preset")
    if start is None:  # kept before there were presets
        is_full = mode == "fine-tune" and online["adapt"] == "full"
        return f"{mode}, `--adapt full`" if is_full else mode
    words = [f"`--preset {start}`"] if mode == "fine-tune" or start != DEFAULT_PRESET else []
    changes = {key: value for key, value in data["changes"].items() if key != "mode"}
    words += [f"`--online.{key} {value}`" for key, value in changes.items()]
    return ", ".join([mode, *words])


def number(value: float | None, decimals: int) -> str:
    """Returns a number as a cell of a table; a dash where there is none."""
    return ABSENT if value is None else f"{value:.{decimals}f}"


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
            if row["J"] is not None and (before.get(row["sequence"]) or 0) - 0.05 > row["J"]
        ]
        lines.append(f"More than .05 below zero-shot in {name}: {', '.join(lost) or 'none'}.")
    return [*lines, ""]


def hardware_words(hardware: Any) -> str:
    """Says what a result was measured on."""
    if not isinstance(hardware, dict):
        return str(hardware)
    return ", ".join(f"{key} {value}" for key, value in hardware.items() if value)


def render() -> None:
    """Writes the table between the markers of the README."""
    write_block(ROOT / "README.md", BEGIN, END, table())


def write_block(path: Path, begin: str, end: str, body: str, *, after: str = "") -> None:
    """Writes what lies between two markers of a file.

    Args:
        path: The file.
        begin: First marker.
        end: Last marker.
        body: What is to lie between them.
        after: Marker behind which both are put where the file has none; empty puts them nowhere.

    Raises:
        UsageError: The file has no such place.
        StorageError: The file cannot be written.
    """
    text = path.read_text(encoding="utf-8")
    if begin not in text and after and after in text:
        text = text.replace(after, f"{after}\n\n{begin}\n{end}", 1)
    head, found, rest = text.partition(begin)
    _, closed, tail = rest.partition(end)
    if not (found and closed):
        raise UsageError(
            "The place of the figures lies between two markers",
            met="none",
            where=path,
            remedy=f"Write {begin} and {end} into it",
        )
    with replacing(path) as side:
        side.write_text(f"{head}{begin}\n{body}\n{end}{tail}", encoding="utf-8")


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
