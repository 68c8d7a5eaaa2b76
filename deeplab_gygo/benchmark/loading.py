"""Reading what a batch left in the folder of a cell; no network is loaded."""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Iterable, Sequence
from typing import Any

from deeplab_gygo.benchmark.availability import missing_weights, weights_hash
from deeplab_gygo.benchmark.plan import BenchmarkConfig, BenchmarkRow, Cell
from deeplab_gygo.benchmark.results import CellResult, SequenceResult, mean
from deeplab_gygo.datasets.registry import Dataset
from deeplab_gygo.errors import InputError
from deeplab_gygo.evaluation import DatasetScore, Statistics, evaluate, write_report
from deeplab_gygo.io.atomic import replacing
from deeplab_gygo.io.config_file import to_plain
from deeplab_gygo.runs.run_record import RECORD_NAME
from deeplab_gygo.runs.sequence_record import SequenceRecord, finished_record

SCORE_FOLDER = "scores"
"""Folder of the official tables of a cell, as `batch` names it."""

_KEY_NAME = "measured.json"
"""Says which results the scores beside it are of."""


def load_cell(cell: Cell, config: BenchmarkConfig, dataset: Dataset | None = None) -> CellResult:
    """Reads what was measured in a cell.

    Scores that are missing, or older than a result, are measured anew where the data is at hand.

    Args:
        cell: The cell.
        config: The benchmark; results of other numbers, seed or precision do not count.
        dataset: The data; None where it is not at hand.

    Returns:
        The result; it has a reason instead of means where a sequence is missing.

    Raises:
        InputError: The data set lacks a sequence of its list, or scores are damaged.
        StorageError: New scores cannot be written.
    """
    names = expected_sequences(cell, dataset)
    records = {name: finished_record(cell.folder / name) for name in names}
    done = {name: record for name, record in records.items() if record is not None}
    online = to_plain(cell.row.online_config())
    reason = _why_not(cell, config, online, done, names, dataset is not None)
    if reason:
        return CellResult(cell, reason)
    document = read_scores(cell, names)
    if document is None:
        if dataset is None:
            return CellResult(cell, "not scored, and the data is not at hand")
        document = keep_scores(cell, evaluate(cell.folder, dataset, split=cell.dataset.split))
    try:
        return _with_scores(cell, online, document, done)
    except (KeyError, TypeError) as error:
        raise InputError(
            "The scores of a cell are those that this program wrote",
            met=f"{type(error).__name__}: {error}",
            where=cell.folder / SCORE_FOLDER / "scores.json",
            remedy="Delete the folder; the scores are measured anew",
        ) from error


def _why_not(
    cell: Cell,
    config: BenchmarkConfig,
    online: dict[str, Any],
    done: dict[str, SequenceRecord],
    names: list[str],
    has_data: bool,
) -> str:
    """Says why a cell has no means; empty where it has."""
    if not done:
        missing = missing_weights(cell.row) or ("" if has_data else "the data is not at hand")
        return f"not run: {missing}" if missing else "not run"
    if any(not _is_of(record, cell.row, config, online) for record in done.values()):
        return "not run with these options: what lies there was made with others"
    weights = weights_hash(cell.row)
    if weights and any(record.hashes["weights"] != weights for record in done.values()):
        return "not run with these weights: what lies there was made with others"
    if len(done) < len(names):
        return f"incomplete: {len(done)} of {len(names)} sequences{_first_failure(cell)}"
    return ""


def _first_failure(cell: Cell) -> str:
    try:
        text = (cell.folder / "failures.jsonl").read_text(encoding="utf-8")
        return f"; {json.loads(text.splitlines()[0])['message']}"
    except (OSError, ValueError, KeyError, IndexError, TypeError):
        return ""


def expected_sequences(cell: Cell, dataset: Dataset | None) -> list[str]:
    """Names the sequences that a cell consists of.

    Args:
        cell: The cell.
        dataset: The data; without it the summary of the batch says what its list named.

    Returns:
        The names; empty where neither is there.
    """
    if dataset is not None:
        return dataset.names(cell.dataset.split)
    try:
        summary = json.loads((cell.folder / "summary.json").read_text(encoding="utf-8"))
        return [row["sequence"] for row in summary["sequences"]]
    except (OSError, ValueError, KeyError, TypeError):
        return []


def read_scores(cell: Cell, names: Sequence[str]) -> dict[str, Any] | None:
    """Reads the scores of a cell if they are those of the results that lie there.

    Args:
        cell: The cell.
        names: Its sequences.

    Returns:
        The document that `evaluation.report` wrote; None where it is missing or out of date.
    """
    folder = cell.folder / SCORE_FOLDER
    try:
        key = json.loads((folder / _KEY_NAME).read_text(encoding="utf-8"))
        if key != _key(cell, names):
            return None
        return json.loads((folder / "scores.json").read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None


def keep_scores(cell: Cell, score: DatasetScore) -> dict[str, Any]:
    """Writes the official tables of a cell beside its results.

    Args:
        cell: The cell.
        score: The scores of all its sequences.

    Returns:
        The document that `evaluation.report` wrote.

    Raises:
        StorageError: The tables cannot be written.
    """
    folder = cell.folder / SCORE_FOLDER
    write_report(score, folder)
    key = _key(cell, [sequence.name for sequence in score.sequences])
    with replacing(folder / _KEY_NAME) as side:
        side.write_text(json.dumps(key, indent=1) + "\n", encoding="utf-8")
    return json.loads((folder / "scores.json").read_text(encoding="utf-8"))


def _key(cell: Cell, names: Sequence[str]) -> dict[str, str]:
    """Says by the hash of its record which run a result is of."""
    return {
        name: hashlib.sha256((cell.folder / name / RECORD_NAME).read_bytes()).hexdigest()
        for name in names
    }


def _is_of(
    record: SequenceRecord, row: BenchmarkRow, config: BenchmarkConfig, expected: dict[str, Any]
) -> bool:
    """Tells whether a result was made with the numbers of its row.

    Options that the package has gained since are not held against it, unless the row sets them:
    what was measured can be shown, with a note; to run it again is what the batch decides.
    """
    found = record.config.get("online", {})
    compared = {name for name in expected if name in found or name in row.online}
    # JSON knows no tuples and writes numbers in its own way: both sides pass through it.
    expected = json.loads(json.dumps({name: expected[name] for name in compared}))
    same = expected == json.loads(json.dumps({name: found.get(name) for name in compared}))
    described = (record.config.get("method", "deeplab"), record.config.get("precision"))
    return same and described == (row.method, config.precision) and record.seed == config.seed


def _gained(expected: dict[str, Any], records: Iterable[SequenceRecord]) -> str:
    """Says which options the package has gained since a cell was measured."""
    names = {name for r in records for name in expected if name not in r.config.get("online", {})}
    listed = ", ".join(sorted(names))
    return f"measured before there were the options {listed}" if names else ""


def _with_scores(
    cell: Cell,
    online: dict[str, Any],
    document: dict[str, Any],
    records: dict[str, SequenceRecord],
) -> CellResult:
    means, unknown = document["mean"], {"J": {"mean": None}, "F": {"mean": None}}
    last = document["mean_with_last_frame"] or unknown
    scores = {sequence["name"]: sequence for sequence in document["sequences"]}
    return CellResult(
        cell,
        sequences=tuple(_sequence(scores[name], record) for name, record in records.items()),
        region=_statistics([means["J"]]),
        contour=_statistics([means["F"]]),
        statement=document["frames_statement"],
        notes=tuple(document["notes"]),
        caveat=_gained(online, records.values()),
        with_last=(_number(last["J"]["mean"]), _number(last["F"]["mean"])),
    )


def _sequence(score: dict[str, Any], record: SequenceRecord) -> SequenceResult:
    objects = score["objects"]
    per_frame = zip(*(item["per_frame"]["J"] for item in objects), strict=True)
    return SequenceResult(
        name=score["name"],
        region=_statistics([item["J"] for item in objects]),
        contour=_statistics([item["F"] for item in objects]),
        frame_names=tuple(score["frame_names"]),
        counted=tuple(score["counted"]),
        frames=tuple(mean([_number(value) for value in values]) for values in per_frame),
        record=record,
    )


def _statistics(rows: Sequence[dict[str, float | None]]) -> Statistics:
    return Statistics(
        *(mean([_number(row[name]) for row in rows]) for name in ("mean", "recall", "decay"))
    )


def _number(value: float | None) -> float:
    return math.nan if value is None else float(value)
