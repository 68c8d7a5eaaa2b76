"""Reads the results of a cell from its folder; no network is loaded."""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from deeplab_gygo.benchmark.plan import BenchmarkConfig, BenchmarkDataset, BenchmarkRow, Cell
from deeplab_gygo.datasets.registry import Dataset
from deeplab_gygo.errors import InputError
from deeplab_gygo.evaluation import DatasetScore, Statistics, evaluate, write_report
from deeplab_gygo.io.atomic import replacing
from deeplab_gygo.io.config_file import to_plain
from deeplab_gygo.models.weight_file import file_hash
from deeplab_gygo.runs.run_record import RECORD_NAME, RunRecord, finished_record

SCORE_FOLDER = "scores"
"""Folder of the official tables of a cell, as in the folder of a batch."""

_KEY_NAME = "measured.json"  # hashes of the records that the scores belong to
_UNKNOWN = Statistics(math.nan, math.nan, math.nan)


@dataclass(frozen=True)
class SequenceResult:
    """Result of one sequence.

    Attributes:
        name: Name of the sequence.
        region: Statistics of J, averaged over the objects.
        contour: Statistics of F, averaged over the objects.
        frame_names: Names of the annotated frames in temporal order.
        counted: Whether each frame counts.
        frames: J of each frame in [0, 1], averaged over the objects; NaN if not measured.
        record: Record of the run.
    """

    name: str
    region: Statistics
    contour: Statistics
    frame_names: tuple[str, ...]
    counted: tuple[bool, ...]
    frames: tuple[float, ...]
    record: RunRecord

    @property
    def frame_count(self) -> int:
        """Number of counted frames."""
        return sum(self.counted)


@dataclass(frozen=True)
class CellResult:
    """Result of a row on a dataset.

    Attributes:
        cell: The cell.
        reason: Why there are no means; empty if every sequence was measured.
        sequences: Results in the order of the split.
        region: Statistics of J, averaged over all objects; NaN without means.
        contour: Likewise of F.
        statement: Sentence on the counted frames.
        notes: Remarks on the means.
        with_last: Mean J and F with the last frames counted; NaN if not measured.
    """

    cell: Cell
    reason: str = ""
    sequences: tuple[SequenceResult, ...] = ()
    region: Statistics = _UNKNOWN
    contour: Statistics = _UNKNOWN
    statement: str = ""
    notes: tuple[str, ...] = ()
    with_last: tuple[float, float] = (math.nan, math.nan)

    @property
    def row(self) -> BenchmarkRow:
        """The row."""
        return self.cell.row

    @property
    def dataset(self) -> BenchmarkDataset:
        """The dataset."""
        return self.cell.dataset

    @property
    def records(self) -> list[RunRecord]:
        """Records of the measured sequences."""
        return [sequence.record for sequence in self.sequences]

    @property
    def adaptation_seconds(self) -> float:
        """Mean wall time of fine-tuning per sequence; NaN without results."""
        return mean(record.adaptation_seconds for record in self.records)

    @property
    def fps(self) -> float:
        """Frames per second over all sequences, fine-tuning included; NaN without results."""
        seconds = sum(record.total_seconds for record in self.records)
        return sum(record.frames for record in self.records) / seconds if seconds else math.nan

    @property
    def worst_first(self) -> list[SequenceResult]:
        """The sequences by ascending J; those without J last."""
        return sorted(self.sequences, key=lambda s: (math.isnan(s.region.mean), s.region.mean))


def load_cell(cell: Cell, config: BenchmarkConfig, dataset: Dataset | None = None) -> CellResult:
    """Reads the result of a cell; absent or outdated scores are computed if the data is present.

    Args:
        cell: The cell.
        config: The benchmark; results of other options, seed or precision are not taken.
        dataset: The data; None if absent.

    Returns:
        The result; it has a reason instead of means if a sequence is missing.

    Raises:
        InputError: The dataset lacks a sequence of its list, or scores are damaged.
        StorageError: New scores cannot be written.
    """
    names = _expected_sequences(cell, dataset)
    found = {name: finished_record(cell.folder / name) for name in names}
    records = {name: record for name, record in found.items() if record is not None}
    reason = _why_not(cell, config, records, names, dataset is not None)
    if reason:
        return CellResult(cell, reason)
    document = read_scores(cell, names)
    if document is None:
        if dataset is None:
            return CellResult(cell, "not evaluated, and the data is absent")
        score = evaluate(cell.folder, dataset, split=cell.dataset.split)
        document = write_scores(cell, score)
    try:
        return _with_scores(cell, document, records)
    except (KeyError, TypeError) as error:
        raise InputError(
            "The scores of a cell have the form that this program writes",
            met=f"{type(error).__name__}: {error}",
            where=cell.folder / SCORE_FOLDER / "scores.json",
            remedy="Delete the folder; the scores are computed again",
        ) from error


def read_scores(cell: Cell, names: Sequence[str]) -> dict[str, Any] | None:
    """Reads the scores of a cell; None if absent or older than its results.

    Args:
        cell: The cell.
        names: Its sequences.

    Returns:
        The document of `evaluation.report.score_json`.
    """
    folder = cell.folder / SCORE_FOLDER
    try:
        if json.loads((folder / _KEY_NAME).read_text(encoding="utf-8")) != _key(cell, names):
            return None
        return json.loads((folder / "scores.json").read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None


def write_scores(cell: Cell, score: DatasetScore) -> dict[str, Any]:
    """Writes the official tables of a cell beside its results.

    Returns:
        The document of `evaluation.report.score_json`.

    Raises:
        StorageError: The tables cannot be written.
    """
    folder = cell.folder / SCORE_FOLDER
    write_report(score, folder)
    key = _key(cell, [sequence.name for sequence in score.sequences])
    with replacing(folder / _KEY_NAME) as side:
        side.write_text(json.dumps(key, indent=1) + "\n", encoding="utf-8")
    return json.loads((folder / "scores.json").read_text(encoding="utf-8"))


def sequence_order(results: Sequence[CellResult]) -> list[str]:
    """Returns the names of the sequences by ascending J, averaged over the rows of a dataset."""
    values: dict[str, list[float]] = {}
    for result in results:
        for sequence in result.sequences:
            values.setdefault(sequence.name, []).append(sequence.region.mean)
    means = {name: mean(found) for name, found in values.items()}
    return sorted(values, key=lambda name: (math.isnan(means[name]), means[name]))


def mean(values: Iterable[float]) -> float:
    """Averages the values that are not NaN; NaN if there are none."""
    known = [value for value in values if not math.isnan(value)]
    return math.fsum(known) / len(known) if known else math.nan


def _expected_sequences(cell: Cell, dataset: Dataset | None) -> list[str]:
    """Returns the sequences of a cell; without the data those in the summary of its batch."""
    if dataset is not None:
        return dataset.names(cell.dataset.split)
    try:
        summary = json.loads((cell.folder / "summary.json").read_text(encoding="utf-8"))
        return [row["sequence"] for row in summary["sequences"]]
    except (OSError, ValueError, KeyError, TypeError):
        return []


def _why_not(
    cell: Cell,
    config: BenchmarkConfig,
    records: dict[str, RunRecord],
    names: list[str],
    has_data: bool,
) -> str:
    """Returns why a cell has no means; empty if it has."""
    if not records:
        missing = cell.row.missing_weights or ("" if has_data else "the data is absent")
        return f"not run: {missing}" if missing else "not run"
    # JSON has no tuples, so both sides are compared as JSON.
    expected = json.loads(json.dumps([cell.row.method, to_plain(cell.row.online_config())]))
    for record in records.values():
        made = [record.config.get("method"), record.config.get("online")]
        made_with = (record.config.get("precision"), record.seed)
        if json.loads(json.dumps(made)) != expected or made_with != (config.precision, config.seed):
            return "not run with these options: the results there were made with others"
    weights = _weights_hash(cell.row)
    if weights and any(record.hashes["weights"] != weights for record in records.values()):
        return "not run with these weights: the results there were made with others"
    if len(records) < len(names):
        return f"incomplete: {len(records)} of {len(names)} sequences{_first_failure(cell)}"
    return ""


def _first_failure(cell: Cell) -> str:
    try:
        text = (cell.folder / "failures.jsonl").read_text(encoding="utf-8")
        return f"; {json.loads(text.splitlines()[0])['message']}"
    except (OSError, ValueError, KeyError, IndexError, TypeError):
        return ""


def _weights_hash(row: BenchmarkRow) -> str:
    """Returns the SHA-256 of the weights of a row; empty if absent or not needed."""
    path = row.weights_path
    return file_hash(path) if path is not None and path.is_file() else ""


def _key(cell: Cell, names: Sequence[str]) -> dict[str, str]:
    """Returns the hash of the record of every sequence, which identifies its run."""
    return {
        name: hashlib.sha256((cell.folder / name / RECORD_NAME).read_bytes()).hexdigest()
        for name in names
    }


def _with_scores(cell: Cell, document: dict[str, Any], records: dict[str, RunRecord]) -> CellResult:
    unknown = {"J": {"mean": None}, "F": {"mean": None}}
    last = document["mean_with_last_frame"] or unknown
    scores = {sequence["name"]: sequence for sequence in document["sequences"]}
    return CellResult(
        cell,
        sequences=tuple(_sequence(scores[name], record) for name, record in records.items()),
        region=_statistics([document["mean"]["J"]]),
        contour=_statistics([document["mean"]["F"]]),
        statement=document["frames_statement"],
        notes=tuple(document["notes"]),
        with_last=(_number(last["J"]["mean"]), _number(last["F"]["mean"])),
    )


def _sequence(score: dict[str, Any], record: RunRecord) -> SequenceResult:
    objects = score["objects"]
    per_frame = zip(*(item["per_frame"]["J"] for item in objects), strict=True)
    return SequenceResult(
        name=score["name"],
        region=_statistics([item["J"] for item in objects]),
        contour=_statistics([item["F"] for item in objects]),
        frame_names=tuple(score["frame_names"]),
        counted=tuple(score["counted"]),
        frames=tuple(mean(map(_number, values)) for values in per_frame),
        record=record,
    )


def _statistics(rows: Sequence[dict[str, float | None]]) -> Statistics:
    return Statistics(*(mean(_number(row[name]) for row in rows) for name in Statistics._fields))


def _number(value: float | None) -> float:
    return math.nan if value is None else float(value)
