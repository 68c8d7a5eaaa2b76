"""Stores measured results in `experiments/results` and writes the tables of the documentation.

    python tools/update_results.py add NAME OUT/summary.json   # stores the summary of a batch
    python tools/update_results.py render                      # README.md, results.md, outputs.md

No number of these tables is typed: they are made of the stored summaries and of the published
values in `deeplab_gygo/evaluation/quoted.yaml`. J decay is that of the
official tables that a batch writes beside its summary.
"""

from __future__ import annotations

import argparse
import json
import statistics
from pathlib import Path
from typing import Any

from small_tables import corrections_table, effort_table, matte_table, strokes_table
from tabulate import tabulate

from deeplab_gygo.benchmark.plan import BenchmarkConfig
from deeplab_gygo.errors import UsageError
from deeplab_gygo.evaluation.quoted import QuotedValue, read_quotations
from deeplab_gygo.inference.config import DEFAULT_PRESET, OnlineConfig, preset
from deeplab_gygo.io.atomic import replacing
from deeplab_gygo.io.config_file import load_yaml, to_plain

ROOT = Path(__file__).resolve().parents[1]
RESULTS = ROOT / "experiments" / "results"
BEGIN, END = "<!-- results: made by tools/update_results.py -->", "<!-- end of results -->"
PEERS = ("<!-- peers: made by tools/update_results.py -->", "<!-- end of peers -->")
SEQUENCES = ("<!-- sequences: made by tools/update_results.py -->", "<!-- end of sequences -->")
PUBLISHED = ("<!-- published: made by tools/update_results.py -->", "<!-- end of published -->")
GPU = ("<!-- gpu: made by tools/update_results.py -->", "<!-- end of gpu -->")
MATTE = ("<!-- matte: made by tools/update_results.py -->", "<!-- end of matte -->")
CORRECTIONS = (
    "<!-- corrections: made by tools/update_results.py -->", "<!-- end of corrections -->"
)  # fmt: skip
STROKES = ("<!-- strokes: made by tools/update_results.py -->", "<!-- end of strokes -->")
EFFORT = ("<!-- effort: made by tools/update_results.py -->", "<!-- end of effort -->")
PEER_SET, PEER_RESULT = "davis2016-val_dev", "davis-val_dev"
PACKAGE = "this package"
BENCHMARK = ROOT / "experiments" / "benchmark.yaml"
ABSENT = "-"
HEADINGS = (
    "dataset", "mode", "J", "F", "J decay", "worst sequence (J)",
)  # fmt: skip


def add(name: str, summary: Path) -> None:
    """Stores the results of a batch: per sequence and mean, with settings and hardware."""
    data = json.loads(summary.read_text(encoding="utf-8"))
    records = sorted(summary.parent.rglob("run.json"))
    record = json.loads(records[0].read_text(encoding="utf-8")) if records else {}
    keep = ("sequence", "frames", "adaptation_seconds", "amortized_fps", "J", "F")
    mean_decay, decays = decays_of(summary)
    sequences = [
        {**{key: row[key] for key in keep}, "J_decay": decays.get(row["sequence"])}
        for row in data["sequences"]
    ]
    stored = {
        "name": name,
        "mean": {**{key: data["mean"][key] for key in keep}, "J_decay": mean_decay},
        "worst": worst_of(sequences),
        "sequences": sequences,
        **_changes(data["settings"]),
        "online": data["settings"]["online"],
        "seed": data["settings"]["seed"],
        "weights_sha256": record.get("hashes", {}).get("weights"),
        "hardware": record.get("hardware"),
        "versions": record.get("versions"),
    }
    path = RESULTS / f"{name}.json"
    with replacing(path) as side:
        side.write_text(json.dumps(rounded(stored), indent=1) + "\n", encoding="utf-8")
    print(path)


def _changes(settings: dict[str, Any]) -> dict[str, Any]:
    """Returns the preset of a batch, and the options that differ from it."""
    name, online = settings.get("preset"), settings["online"]
    if name not in OnlineConfig.PRESETS:
        return {"preset": None}
    values = to_plain(preset(name, mode=online["mode"]))
    return {
        "preset": name,
        "changes": {key: value for key, value in online.items() if value != values.get(key)},
    }


def decays_of(summary: Path) -> tuple[float | None, dict[str, float | None]]:
    """Reads J decay from the scores that a batch writes beside its summary.

    Args:
        summary: `summary.json`, or `summary-<part>.json` of a part of a batch.

    Returns:
        The mean over all objects, and by sequence the mean over its objects; None and nothing if
        the batch has no scores.
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
    """Returns name and J of the sequence with the lowest J; None if none was measured."""
    measured = [row for row in sequences if row["J"] is not None]
    worst = min(measured, key=lambda row: row["J"], default=None)
    return worst and {"sequence": worst["sequence"], "J": worst["J"]}


def rounded(value: Any) -> Any:
    """Returns plain values with five decimals, as they are stored."""
    if isinstance(value, float):
        return round(value, 5)
    if isinstance(value, dict):
        return {key: rounded(item) for key, item in value.items()}
    return [rounded(item) for item in value] if isinstance(value, list) else value


def table() -> str:
    """Returns the stored results as a Markdown table, with speed of clips and hardware below."""
    rows, hardware = [], set()
    for path in sorted(RESULTS.glob("*.json")):
        data = json.loads(path.read_text(encoding="utf-8"))
        if "worst" not in data:
            continue
        mean, worst = data["mean"], data["worst"]
        rows.append(
            [
                data["name"].split("--")[0],
                _mode(data),
                number(mean["J"], 3),
                number(mean["F"], 3),
                number(mean["J_decay"], 3),
                f"{worst['sequence']} ({worst['J']:.2f})" if worst else ABSENT,
            ]
        )
        hardware.add(hardware_words(data["hardware"]))
    words = "Measured on: " + "; ".join(sorted(hardware)) + "."
    return "\n".join([markdown(HEADINGS, rows), "", *_clips(), words])


def peers_table() -> str:
    """Returns measured and published scores on the sequences of val_dev, the best J first."""
    rows = load_yaml(BenchmarkConfig, BENCHMARK).rows
    material = next(row.trained_on for row in rows if row.method == "deeplab")
    scored = [
        (data["mean"]["J"], data["mean"]["F"], PACKAGE, _mode(data), material, "measured")
        for path in sorted(RESULTS.glob(f"{PEER_RESULT}--*.json"))
        for data in [json.loads(path.read_text(encoding="utf-8"))]
    ] + [
        (v.J, v.F, _method(v), v.mode, v.trained_on or ABSENT, "quoted")
        for v in read_quotations().only([PEER_SET]).values
    ]
    scored.sort(key=lambda row: -row[0])
    cells = [[row[2], row[3], number(row[0], 3), number(row[1], 3), *row[4:]] for row in scored]
    return markdown(("method", "mode", "J", "F", "trained on", "origin"), cells)


def sequences_table() -> str:
    """Returns J by sequence of val_dev: published scores, and those of this package."""
    columns: dict[str, dict[str, float | None]] = {
        f"{value.method}, quoted": {**value.sequences, "mean": value.J}
        for value in read_quotations().only([PEER_SET]).values
        if value.sequences
    }
    for name in ("one-shot", "balanced", "best"):
        path = RESULTS / f"{PEER_RESULT}--{name}.json"
        if path.is_file():
            data = json.loads(path.read_text(encoding="utf-8"))
            scores = {row["sequence"]: row["J"] for row in data["sequences"]}
            columns[f"{PACKAGE}, {name}"] = {**scores, "mean": data["mean"]["J"]}
    names = next(iter(columns.values()))
    rows = [[name, *(number(scores.get(name), 3) for scores in columns.values())] for name in names]
    return markdown(("sequence", *columns), rows)


def published_table() -> str:
    """Returns the published scores on all other sets, and the sources of all."""
    quotations = read_quotations()
    numbers = {name: f"[{index}]" for index, name in enumerate(quotations.sources, start=1)}
    rows = [
        [
            item.label, _method(v), v.mode, number(v.J, v.decimals), number(v.F, 3),
            number(v.JF, 3), f"{'~' if v.approximate else ''}{v.fps:g}" if v.fps else ABSENT,
            v.hardware or ABSENT, v.trained_on or ABSENT, numbers[v.source],
        ]
        for key, item in quotations.sets.items()
        for v in quotations.only([key]).values
        if key != PEER_SET
    ]  # fmt: skip
    header = ("set", "method", "mode", "J", "F", "J&F", "FPS", "hardware", "trained on", "source")
    sources = [f"{n}. {s.text}. <{s.url}>" for n, s in enumerate(quotations.sources.values(), 1)]
    return "\n".join([markdown(header, rows), "", *sources])


def read(name: str) -> Any:
    """Returns the content of a file of results."""
    return json.loads((RESULTS / name).read_text(encoding="utf-8"))


def gpu_table() -> str:
    """Returns the figures of a GPU."""
    data = read("gpu.json")
    rows = [[r["measure"], f"{r['value']:.3g} {r['unit']}".strip(), r["wanted"] or ABSENT]
            for r in data["rows"]]  # fmt: skip
    return "\n".join([markdown(("measure", "value", "aim"), rows), "", data["about"]])


def _method(value: QuotedValue) -> str:
    """Returns the name of a method with the remark on it."""
    return f"{value.method} ({value.note})" if value.note else value.method


def markdown(header: tuple[str, ...], rows: list[list[str]]) -> str:
    """Returns a Markdown table of texts."""
    return tabulate(rows, header, "github", disable_numparse=True)


def number(value: float | None, decimals: int) -> str:
    """Formats a number without a negative zero; a dash for None."""
    return ABSENT if value is None else f"{round(value, decimals) + 0.0:.{decimals}f}"


def _mode(data: dict[str, Any]) -> str:
    """Returns the mode of a result with its preset and the changed options."""
    mode, start = data["online"]["mode"], data["preset"]
    if start is None:
        return mode
    words = [f"`--preset {start}`"] if mode == "fine-tune" or start != DEFAULT_PRESET else []
    changes = {key: value for key, value in data["changes"].items() if key != "mode"}
    words += [f"`--online.{key} {value}`" for key, value in changes.items()]
    return ", ".join([mode, *words])


def _clips() -> list[str]:
    """Returns speed and peak memory of single clips, compilation included, by their length."""
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


def hardware_words(hardware: dict[str, Any]) -> str:
    """Returns the hardware of a result as a phrase."""
    return ", ".join(f"{key} {value}" for key, value in hardware.items() if value)


def write_block(path: Path, begin: str, end: str, body: str) -> None:
    """Replaces the text between two markers of a file.

    Args:
        path: The file.
        begin: First marker.
        end: Last marker.
        body: New text between them.

    Raises:
        UsageError: The file lacks the markers.
        StorageError: The file cannot be written.
    """
    head, found, rest = path.read_text(encoding="utf-8").partition(begin)
    _, closed, tail = rest.partition(end)
    if not (found and closed):
        raise UsageError(
            "A generated table is between two markers",
            met="none",
            where=path,
            remedy=f"Write {begin} and {end} into it",
        )
    with replacing(path) as side:
        side.write_text(f"{head}{begin}\n{body}\n{end}{tail}", encoding="utf-8")


def main() -> None:
    """Runs the subcommand."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    commands = parser.add_subparsers(dest="command", required=True)
    adding = commands.add_parser("add", help="store the summary of a batch")
    adding.add_argument("name", help="such as davis-val_dev--zero-shot")
    adding.add_argument("summary", type=Path)
    commands.add_parser("render", help="write the tables of README.md and docs/")
    options = parser.parse_args()
    if options.command == "add":
        add(options.name, options.summary)
    else:
        write_block(ROOT / "README.md", BEGIN, END, table())
        write_block(ROOT / "README.md", *PEERS, peers_table())
        page = ROOT / "docs" / "results.md"
        write_block(page, *SEQUENCES, sequences_table())
        write_block(page, *PUBLISHED, published_table())
        write_block(page, *GPU, gpu_table())
        write_block(page, *CORRECTIONS, corrections_table(read("corrections.json"), markdown))
        write_block(page, *STROKES, strokes_table(read("strokes.json"), markdown))
        write_block(page, *EFFORT, effort_table(read("annotation.json"), markdown))
        outputs = ROOT / "docs" / "outputs.md"
        write_block(outputs, *MATTE, matte_table(read("matte.json"), markdown))


if __name__ == "__main__":
    main()
