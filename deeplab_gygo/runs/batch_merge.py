"""Joins what the parts of a batch wrote into what one batch would have written."""

from __future__ import annotations

import json
import os
import re
from collections.abc import Iterable, Iterator, Mapping
from contextlib import nullcontext
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from deeplab_gygo.errors import InputError
from deeplab_gygo.evaluation import DatasetScore, SequenceScore
from deeplab_gygo.io import storage
from deeplab_gygo.io.atomic import replacing, storage_error
from deeplab_gygo.io.listing import shorten
from deeplab_gygo.io.names import safe_relative
from deeplab_gygo.io.reading import parse_json, read_text
from deeplab_gygo.io.storage import display, is_url, join
from deeplab_gygo.runs.batch_report import write_batch_report
from deeplab_gygo.runs.batch_result import BatchResult, Outcome
from deeplab_gygo.runs.remote_batch import PER_FRAME, RemoteBatch, uploaded_folder
from deeplab_gygo.runs.run_record import RunRecord
from deeplab_gygo.runs.settings import RunSettings

_SUMMARY = re.compile(r"summary-(\d{1,9})-of-(\d{1,9})\.json")
_FAILURES = "failures.jsonl"
_MAX_BYTES = 4 << 30  # scores have a number a frame

# How a part ran; results do not follow from it.
_OF_A_RUN = ("progress", "json_progress", "overwrite", "weights")


@dataclass(frozen=True)
class MergedBatch:
    """The parts of a batch together.

    Attributes:
        result: Outcomes in the order of the whole batch; its seconds are those of all parts added.
        dataset: Kind of dataset, for the caption of the tables; empty without scores.
        split: Split, alike.
    """

    result: BatchResult
    dataset: str
    split: str


def merge_parts(out: Path | str) -> MergedBatch:
    """Joins summaries and failures of the parts of a batch; scores are only read.

    Args:
        out: Folder of the results, or its URL. `summary.json` and `failures.jsonl` are written into
            it.

    Returns:
        All parts together, as one batch has them.

    Raises:
        InputError: A part is missing, there are parts of several batches, a sequence is in two
            parts, or a file is damaged.
        StorageError: A file cannot be written.
    """
    source = _Source(str(out))
    count = _number_of_parts(source)
    labels = [f"-{index}-of-{count}" for index in range(count)]
    summaries = [_summary(source, f"summary{label}.json") for label in labels]
    _check_settings(source, labels, summaries)
    scores = [_scores(source, f"scores{label}/scores.json") for label in labels]
    measured = {one.name: one for score in scores if score for one in score.sequences}
    parts = [
        list(_outcomes(source, label, summary["sequences"], measured))
        for label, summary in zip(labels, summaries, strict=True)
    ]
    _check_sequences(source, labels, parts)
    longest = max(map(len, parts))
    outcomes = [part[index] for index in range(longest) for part in parts if index < len(part)]
    has_failures = any(outcome.error is not None for outcome in outcomes)
    seconds = sum(summary["seconds"] for summary in summaries)
    result = BatchResult(outcomes, seconds, source.where(_FAILURES) if has_failures else None)
    _write(result, summaries[0]["settings"], out)
    caption = next((score for score in scores if score), None)
    return MergedBatch(result, caption.dataset if caption else "", caption.split if caption else "")


class _Source:
    """The folder that the parts wrote to, local or at a URL."""

    def __init__(self, out: str):
        self._out, self._is_remote = out, is_url(out)

    def where(self, name: str = "") -> str:
        """Returns the path of a file, as it may be shown."""
        return display(join(self._out, name) if name else self._out)

    def names(self) -> list[str]:
        """Returns the names of the files right in the folder."""
        if self._is_remote:
            return storage.list_names(self._out)
        try:
            return os.listdir(self._out)
        except OSError as error:
            raise InputError(
                "A folder of results exists", met=error.strerror, where=self._out
            ) from error

    def read(self, name: str) -> str | None:
        """Reads a file; None where there is none."""
        path = join(self._out, name)
        if self._is_remote:
            try:
                return storage.read_url(path, _MAX_BYTES).decode()
            except storage.NotFound:
                return None
        return read_text(path, _MAX_BYTES) if os.path.exists(path) else None

    def records(self, names: list[str]) -> Iterable[RunRecord | None]:
        """Reads the records of sequences, without their values of single frames and files."""
        if self._is_remote:
            remote = RemoteBatch(self._out, RunSettings())  # which compares nothing here
            return storage.each(names, remote.record)
        found = (RunRecord.read(Path(self._out, name)) for name in names)
        return (record and replace(record, **PER_FRAME) for record in found)


def _number_of_parts(source: _Source) -> int:
    """Returns the number of parts that the names of the summaries state, if all are there."""
    found = [match for name in source.names() if (match := _SUMMARY.fullmatch(name))]
    counts = sorted({int(match[2]) for match in found})
    if len(counts) > 1:
        old = next(match[0] for match in found if int(match[2]) == counts[0])
        raise InputError(
            "The parts in a folder are those of one batch",
            met=" and ".join(f"parts of {count}" for count in counts),
            where=source.where(),
            remedy=f"Remove the files of the others, such as {old}",
        )
    count = counts[0] if counts else 0
    missing = [f"{k} of {count}" for k in sorted(set(range(count)) - {int(m[1]) for m in found})]
    if missing or not found:
        raise InputError(
            "Every part of a batch has finished, and left its summary",
            met=f"missing: {shorten(missing)}" if missing else "no summary of a part",
            where=source.where(),
            remedy="Run the missing parts: batch with --num-parts and --part-id"
            if missing
            else "Give the folder that the parts were written to, by batch with --num-parts",
        )
    return count


def _summary(source: _Source, name: str) -> dict[str, Any]:
    where = source.where(name)
    values = parse_json(source.read(name) or "", where)
    match values:
        case {"sequences": [*rows], "settings": dict(), "seconds": int() | float()}:
            if all(_is_row(row) for row in rows):
                return values
    raise InputError("A summary of a part is as the batch wrote it", met="another", where=where)


def _is_row(row: object) -> bool:
    match row:
        case {"sequence": str(), "status": "done" | "skipped" | "failed", "warnings": list()}:
            return True
    return False


def _check_settings(source: _Source, labels: list[str], summaries: list[dict[str, Any]]) -> None:
    kept = [
        {key: value for key, value in summary["settings"].items() if key not in _OF_A_RUN}
        for summary in summaries
    ]
    for label, settings in zip(labels, kept, strict=True):
        if changed := [key for key in kept[0] if settings.get(key) != kept[0][key]]:
            raise InputError(
                "The parts of a batch have the same settings",
                met=f"other {shorten(changed)} in summary{label}.json than in "
                f"summary{labels[0]}.json",
                where=source.where(),
                remedy="Run the part again with the settings of the others",
            )


def _outcomes(
    source: _Source, label: str, rows: list[dict[str, Any]], measured: Mapping[str, SequenceScore]
) -> Iterator[Outcome]:
    """Yields the outcomes of a part as the batch had them."""
    listed = source.where(f"failures{label}.jsonl")
    failures: dict[str, list[dict[str, Any]]] = {}
    for line in (source.read(f"failures{label}.jsonl") or "").splitlines():
        match parse_json(line, listed):
            case {"sequence": str(name), "message": str()} as failure:
                failures.setdefault(name, []).append(failure)
    where = source.where(f"summary{label}.json")
    finished = [safe_relative(r["sequence"], where) for r in rows if r["status"] != "failed"]
    records = iter(source.records(finished))
    for row in rows:
        name, status, warnings = row["sequence"], row["status"], tuple(row["warnings"])
        if status == "failed":
            if not failures.get(name):
                rule = "Every sequence that failed is in the list of failures"
                remedy = "Run its part again"
                raise InputError(rule, met=f"not {name}", where=listed, remedy=remedy)
            yield Outcome(name, status, error=failures[name].pop(0))
            continue
        record = next(records)
        if record is None:
            raise InputError(
                "Every finished sequence has its record",
                met=f"none of {name}",
                where=where,
                remedy="Run its part again",
            )
        yield Outcome(name, status, record, measured.get(name), warnings=warnings)


def _check_sequences(source: _Source, labels: list[str], parts: list[list[Outcome]]) -> None:
    """Checks that no sequence is in two parts, and that the parts divide one list."""
    seen: dict[str, str] = {}
    for label, part in zip(labels, parts, strict=True):
        for name in (outcome.name for outcome in part if outcome.status != "failed"):
            if name in seen:
                raise InputError(
                    "No sequence is in two parts of a batch",
                    met=f"{name} in summary{seen[name]}.json and summary{label}.json",
                    where=source.where(),
                    remedy="Run all parts with the same list",
                )
            seen[name] = label
    total, count = sum(map(len, parts)), len(parts)
    wanted = [len(range(index, total, count)) for index in range(count)]
    if (sizes := list(map(len, parts))) != wanted:
        raise InputError(
            "The parts of a batch divide one list",
            met=f"{shorten(map(str, sizes))} sequences, not {shorten(map(str, wanted))}",
            where=source.where(),
            remedy="Run all parts with the same list",
        )


def _scores(source: _Source, name: str) -> DatasetScore | None:
    """Reads the scores that a part wrote; None without any."""
    if (text := source.read(name)) is None:
        return None
    where = source.where(name)
    values = parse_json(text, where)
    try:
        sequences = tuple(_sequence(one, values["frames"]) for one in values["sequences"])
        return DatasetScore(values["dataset"], values["split"], sequences, values["frames"])
    except (KeyError, TypeError, ValueError) as error:
        raise InputError("Scores are as a batch writes them", met=error, where=where) from error


def _sequence(values: dict[str, Any], frames: Any) -> SequenceScore:
    names, objects = tuple(values["frame_names"]), values["objects"]
    first = tuple(names.index(one["first_frame"]) for one in objects)

    def measure(key: str) -> np.ndarray:
        rows = [one["per_frame"][key] for one in objects]
        return np.array(rows, np.float64).reshape(len(objects), len(names))  # null becomes NaN

    return SequenceScore(
        values["name"],
        names,
        tuple(one["object"] for one in objects),
        measure("J"),
        measure("F"),
        frames,
        first if any(first) else None,
    )


def _write(result: BatchResult, settings: Mapping[str, Any], out: Path | str) -> None:
    """Writes summary, list of failures and report as a batch does."""
    texts = {"summary.json": json.dumps(result.summary(settings), indent=1) + "\n"}
    if result.failures_file is not None:
        errors = [outcome.error for outcome in result.outcomes if outcome.error is not None]
        texts[_FAILURES] = "".join(json.dumps(error) + "\n" for error in errors)
    remote = is_url(out)
    try:
        if _FAILURES not in texts:  # those of an earlier batch
            storage.remove(join(out, _FAILURES)) if remote else Path(out, _FAILURES).unlink(True)
    except OSError as error:
        raise storage_error(out, error) from error
    with uploaded_folder(str(out)) if remote else nullcontext(Path(out)) as folder:
        for name, text in texts.items():
            with replacing(folder / name) as side:
                side.write_text(text, encoding="utf-8")
        if "report" in settings.get("outputs", ()) and not remote:
            write_batch_report(folder)
