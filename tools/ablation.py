"""Makes the ablation table: one row per setting, all rows measured on the same frames.

    python tools/ablation.py --root DAVIS            # measures the missing rows, writes the table
    python tools/ablation.py --only lite2 steps-200  # measures some rows
    python tools/ablation.py --render                # writes the table only

Rows are in `experiments/ablation.yaml`. By default they are measured on every third frame of the
DAVIS train sequences that no parent was trained on. Every row starts from a preset and changes the
options in `online`; rows with equal options are measured once.

A measurement is stored in `experiments/results/ablation.json` under a hash of weights, options,
data and code, and is valid while none of them changes. A row with absent weights is listed as not
run.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any, get_args

from ablation_measure import measure
from ablation_rows import ROOT, Group, Results, Row, Selection, code_version, key_of, read_rows
from update_results import hardware_words, markdown, number

from deeplab_gygo.datasets.registry import open_dataset
from deeplab_gygo.errors import BatchFailed, DeepLabGygoError, UsageError
from deeplab_gygo.io.atomic import replacing

COLUMNS = (
    "row", "J mean", "F mean", "J decay", "adaptation, s", "FPS, amortized", "worst sequence (J)",
)  # fmt: skip


def measure_missing(rows: list[Row], results: Results, root: Path | None, out: Path) -> list[Row]:
    """Measures the rows with weights that were not measured with this code.

    Args:
        rows: The rows.
        results: Stored measurements.
        root: Folder of the dataset; needed only to measure a row.
        out: Folder of the masks, one folder per measurement.

    Returns:
        The rows that failed.
    """
    code, failed = code_version(), []
    for row in rows:
        if not row.weights_path.is_file():
            print(f"{row.name}: {_reason(row)}", file=sys.stderr)
            continue
        key = key_of(row, results.selection, code)
        found = results.find(row)
        if found and found["key"] == key:
            continue
        selection = results.selection
        dataset = open_dataset(selection.dataset, _existing(root), selection.resolution)
        try:
            measured = measure(row, dataset, selection, out / key[:16])
        except BatchFailed as error:
            print(f"{row.name}: {error}", file=sys.stderr)
            failed.append(row)
            continue
        results.store(row, {"key": key, "code": code, **measured})
        shown = ("name", "J", "F", "J_decay", "adaptation_seconds", "amortized_fps")
        print(json.dumps({name: measured[name] for name in shown}), flush=True)
    return failed


def _existing(root: Path | None) -> Path:
    if root is None:
        raise UsageError(
            "Rows are measured on a dataset",
            met="no --root, and no environment variable DEEPLAB_GYGO_DATA",
            remedy="Give --root, the folder of the dataset",
        )
    return root


def table(rows: list[Row], results: Results) -> str:
    """Returns the measurements as a Markdown table, rows by group, with a caption."""
    lines: list[list[str]] = []
    shown = []
    for group in get_args(Group):
        members = [row for row in rows if row.group == group]
        if members:
            lines.append([f"**{group}**", *[""] * (len(COLUMNS) - 1)])
        for row in members:
            found = results.find(row)
            shown += [found] if found else []
            cells = _cells(found) if found else [_reason(row), *[""] * (len(COLUMNS) - 2)]
            lines.append([row.name, *cells])
    return "\n".join([markdown(COLUMNS, lines), "", *_caption(results.selection, shown), ""])


def _cells(found: dict[str, Any]) -> list[str]:
    worst = found["worst"]
    return [
        *(number(found[name], 3) for name in ("J", "F", "J_decay")),
        number(found["adaptation_seconds"], 1),
        number(found["amortized_fps"], 2),
        f"{worst['sequence']} ({worst['J']:.2f})" if worst else number(None, 0),
    ]


def _reason(row: Row) -> str:
    """Returns why a row has no values."""
    if row.weights_path.is_file():
        return "not run"
    return f"not run: weights missing (made by {row.experiment})"


def _caption(selection: Selection, shown: list[dict[str, Any]]) -> list[str]:
    names = ", ".join(selection.sequences)
    lines = [f"{selection.dataset} {selection.split}: {names}. Seed {selection.seed}."]
    lines += sorted({found["frames"] for found in shown})
    if selection.stride > 1:
        lines.append(
            f"One frame in {selection.stride} of every sequence, which makes motion faster: the "
            "values compare among each other only."
        )
    lines.append(
        "FPS includes fine-tuning, decoding, writing of masks, and compilation in the first "
        "sequence of a row."
    )
    hardware = sorted({hardware_words(found["hardware"]) for found in shown})
    lines += [f"Measured on: {'; '.join(hardware)}."] if hardware else []
    if len({found["code"] for found in shown}) > 1:
        lines.append("The rows were measured with different versions of the code.")
    return lines


def main(arguments: Sequence[str] | None = None) -> int:
    """Measures the missing rows and writes the table.

    Args:
        arguments: Words of the command line; None takes those of the process.

    Returns:
        0; 3 if a row failed; or the status of an error.
    """
    options = _parser().parse_args(arguments)
    # TensorFlow reads it at import; hides its notes at start.
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
    try:
        rows = read_rows(options.rows)
        root = options.root or _default_root(options.dataset)
        results = Results(options.results, _selection(options, root))
        failed = []
        if not options.render:
            failed = measure_missing(_chosen(rows, options.only), results, root, options.out)
        text = options.results.with_suffix(".md")
        with replacing(text) as side:
            side.write_text(table(rows, results), encoding="utf-8")
    except DeepLabGygoError as error:
        print(f"error: {error}", file=sys.stderr)
        return error.exit_status
    print(text)
    return BatchFailed.exit_status if failed else 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    experiments = ROOT / "experiments"
    parser.add_argument("--rows", type=Path, default=experiments / "ablation.yaml")
    parser.add_argument("--results", type=Path, default=experiments / "results" / "ablation.json")
    parser.add_argument("--out", type=Path, default=ROOT / "out" / "ablation", help="of the masks")
    parser.add_argument("--only", nargs="+", metavar="NAME", help="rows to measure; all otherwise")
    parser.add_argument("--render", action="store_true", help="measure nothing")
    parser.add_argument("--dataset", default=Selection.dataset)
    parser.add_argument("--root", type=Path, help="folder of it [$DEEPLAB_GYGO_DATA/davis16]")
    parser.add_argument("--resolution", default=Selection.resolution)
    parser.add_argument("--split", default=Selection.split)
    parser.add_argument(
        "--sequences",
        nargs="+",
        help="[held-out ones of davis2016 train; else all]",
    )
    parser.add_argument("--stride", type=int, default=Selection.stride, help="1 takes every frame")
    parser.add_argument("--seed", type=int, default=Selection.seed)
    return parser


def _default_root(dataset: str) -> Path | None:
    """Returns the folder of the default dataset; None if unknown."""
    material = os.environ.get("DEEPLAB_GYGO_DATA")
    return Path(material) / "davis16" if material and dataset == Selection.dataset else None


def _selection(options: argparse.Namespace, root: Path | None) -> Selection:
    if options.stride < 1:
        raise UsageError("A stride is 1 or more", met=options.stride, where="--stride")
    names = options.sequences
    if names is None and (options.dataset, options.split) == (Selection.dataset, Selection.split):
        names = Selection.sequences
    elif names is None:
        dataset = open_dataset(options.dataset, _existing(root), options.resolution)
        names = dataset.names(options.split)
    return Selection(
        options.dataset,
        options.split,
        tuple(names),
        options.stride,
        options.resolution,
        options.seed,
    )


def _chosen(rows: list[Row], names: list[str] | None) -> list[Row]:
    unknown = set(names or ()) - {row.name for row in rows}
    if unknown:
        raise UsageError(
            "--only names rows of the table",
            met=", ".join(sorted(unknown)),
            remedy=f"Name some of: {', '.join(row.name for row in rows)}",
        )
    return rows if names is None else [row for row in rows if row.name in names]


if __name__ == "__main__":
    sys.exit(main())
