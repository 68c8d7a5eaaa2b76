"""Running a batch: what is finished is skipped, what fails is listed, the rest is done."""

from __future__ import annotations

import errno
import json
import logging
import time
import traceback
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Literal

from tqdm import tqdm

from deeplab_gygo.runs.clip import Clip
from deeplab_gygo.runs.plan import Item
from deeplab_gygo.runs.sequence_record import (SequenceRecord, finished_record, hashes_of, identity_config)
from deeplab_gygo.runs.scoring import score_result
from deeplab_gygo.runs.settings import RunSettings
from deeplab_gygo.io.atomic import (replacing, storage_error)
from deeplab_gygo.errors import (DeepLabGygoError, StorageError, UsageError)
from deeplab_gygo.evaluation import SequenceScore
from deeplab_gygo.runs.run_record import RECORD_NAME

logger = logging.getLogger(__name__)

Status = Literal["done", "skipped", "failed"]

_FULL = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EROFS}
"""Errors of a disk that the next sequence would meet too."""


@dataclass(frozen=True)
class Outcome:
    """What became of one sequence of a batch.

    Attributes:
        name: Name of the sequence.
        status: `skipped` is finished before, with the same identity.
        record: Record of the result; None for a failed one.
        score: J and F, where every frame has an annotation.
        error: Why it failed.
    """

    name: str
    status: Status
    record: SequenceRecord | None = None
    score: SequenceScore | None = None
    error: dict[str, Any] | None = None

    def row(self) -> dict[str, Any]:
        """Returns what a table shows, as plain values; None for what is not known."""
        record, score = self.record, self.score
        objects = [] if score is None or not score.counted else score.objects()
        return {
            "sequence": self.name,
            "status": self.status,
            "frames": record and record.masks,
            "adaptation_seconds": record and record.adaptation_seconds,
            "amortized_fps": record and record.amortized_fps,
            "J": _mean([row.region.mean for row in objects]),
            "F": _mean([row.contour.mean for row in objects]),
            "error": self.error and self.error["message"],
        }


@dataclass(frozen=True)
class BatchResult:
    """What became of a batch.

    Attributes:
        outcomes: One a sequence, in the order of the plan.
        seconds: Wall time of the whole batch.
        failures_file: Where failures are listed, one JSON object a line; None without failures.
    """

    outcomes: list[Outcome]
    seconds: float
    failures_file: Path | None = None

    def count(self, status: Status) -> int:
        """Returns the number of sequences that ended so."""
        return sum(outcome.status == status for outcome in self.outcomes)

    @property
    def scores(self) -> list[SequenceScore]:
        """The scores of the sequences that have one."""
        return [outcome.score for outcome in self.outcomes if outcome.score is not None]

    def mean_row(self) -> dict[str, Any]:
        """Returns the means over sequences; frames are summed, FPS is over all frames."""
        rows = [outcome.row() for outcome in self.outcomes]
        records = [outcome.record for outcome in self.outcomes if outcome.record is not None]
        frames = sum(record.frames for record in records)
        seconds = sum(record.total_seconds for record in records)
        objects = [row for score in self.scores if score.counted for row in score.objects()]
        return {
            "sequence": f"mean of {len(records)}",
            "status": "",
            "frames": sum(record.masks for record in records),
            "adaptation_seconds": _mean([r["adaptation_seconds"] for r in rows]),
            "amortized_fps": frames / seconds if seconds else None,
            "J": _mean([row.region.mean for row in objects]),
            "F": _mean([row.contour.mean for row in objects]),
            "error": None,
        }


@dataclass
class Batch:
    """A batch: sequences, one network for all of them, and a folder for the results.

    The results of a sequence appear in `<out>/<name>` when they are whole. `failures.jsonl` is
    there while the batch runs, `summary.json` at its end.

    Attributes:
        items: What is to be done.
        settings: How. `overwrite` does finished sequences anew too.
        out: Folder of the results.
        label: Joined to the names of the two files, so that parts of a batch can share a folder.
        make_runner: Makes what segments a clip; by default a `SequenceRunner`. It is made when
            the first sequence needs it: a batch that is finished already loads no network.
    """

    items: Sequence[Item]
    settings: RunSettings
    out: Path
    label: str = ""
    make_runner: Callable[[RunSettings], Any] | None = None
    _runner: Any = field(default=None, init=False, repr=False)

    def run(self) -> BatchResult:
        """Does what is not finished yet.

        Returns:
            What became of every sequence.

        Raises:
            StorageError: The disk is full or cannot be written: no other sequence could be
                finished either. What is finished stays.
        """
        started = time.monotonic()
        self._prepare()
        outcomes = []
        with tqdm(
            self.items, desc="batch", unit="sequence", disable=None if self._shown else True
        ) as bar:
            for item in bar:
                outcomes.append(self._do(item))
        failures = self._failures if any(o.status == "failed" for o in outcomes) else None
        result = BatchResult(outcomes, time.monotonic() - started, failures)
        self._write_summary(result)
        return result

    @property
    def _shown(self) -> bool:
        return self.settings.progress

    @property
    def _failures(self) -> Path:
        return self.out / f"failures{self.label}.jsonl"

    def _prepare(self) -> None:
        try:
            self.out.mkdir(parents=True, exist_ok=True)
            # Those of an earlier run would be taken for this one's.
            self._failures.unlink(missing_ok=True)
            (self.out / f"summary{self.label}.json").unlink(missing_ok=True)
        except OSError as error:
            raise storage_error(self.out, error) from error

    def _do(self, item: Item) -> Outcome:
        try:
            return self._segment(item, item.open())
        except StorageError:
            raise
        except DeepLabGygoError as error:
            return self._failed(item, error)
        except OSError as error:
            if error.errno in _FULL:
                raise storage_error(error.filename or self.out, error) from error
            return self._failed(item, _unexpected(error, item))
        except Exception as error:  # one bad clip must not cost the others their night
            return self._failed(item, _unexpected(error, item))

    def _segment(self, item: Item, clip: Clip) -> Outcome:
        folder = self.out / item.name
        record = finished_record(folder)
        status: Status = "done"
        if record is not None and not self.settings.overwrite:
            if self._matches(record, clip):
                status = "skipped"
            else:
                logger.info("%s: done anew, its input or settings changed", item.name)
        elif _holds_other_files(folder):
            raise UsageError(
                "A folder of results is new, or was written by this program",
                met="other files",
                where=folder,
                remedy="Move them away, or choose another --out",
            )
        if status == "done":
            record = self._run_one(clip, folder)
        score = score_result(clip, folder)
        logger.info("%s: %s", item.name, _words(status, record, score))
        return Outcome(item.name, status, record, score)

    def _matches(self, record: SequenceRecord, clip: Clip) -> bool:
        settings = self.settings
        return record.matches(hashes_of(clip, settings), identity_config(settings), settings.seed)

    def _run_one(self, clip: Clip, folder: Path) -> SequenceRecord:
        if self._runner is None:
            if self.make_runner is None:
                from deeplab_gygo.runs.runner import SequenceRunner  # loads Keras

                self.make_runner = SequenceRunner
            self._runner = self.make_runner(self.settings)
        return self._runner.run(clip, folder, keep_bars=False)

    def _failed(self, item: Item, error: DeepLabGygoError) -> Outcome:
        logger.error("%s: %s", item.name, error)
        failure = {
            "sequence": item.name,
            "kind": type(error).__name__,
            "message": str(error),
            "rule": error.rule,
            "met": None if error.met is None else str(error.met),
            "where": None if error.where is None else str(error.where),
            "remedy": error.remedy,
            "exit_status": error.exit_status,
        }
        try:
            with open(self._failures, "a", encoding="utf-8") as file:
                file.write(json.dumps(failure) + "\n")
        except OSError as problem:
            raise storage_error(self._failures, problem) from problem
        return Outcome(item.name, "failed", error=failure)

    def _write_summary(self, result: BatchResult) -> None:
        summary = {
            "sequences": [outcome.row() for outcome in result.outcomes],
            "mean": result.mean_row(),
            "done": result.count("done"),
            "skipped": result.count("skipped"),
            "failed": result.count("failed"),
            "seconds": result.seconds,
            "settings": {**asdict(self.settings), "weights": str(self.settings.weights_path or "")},
        }
        with replacing(self.out / f"summary{self.label}.json") as side:
            side.write_text(json.dumps(summary, indent=1) + "\n", encoding="utf-8")


def _holds_other_files(folder: Path) -> bool:
    is_ours = (folder / RECORD_NAME).is_file()
    return folder.exists() and not is_ours and (not folder.is_dir() or any(folder.iterdir()))


def _unexpected(error: Exception, item: Item) -> DeepLabGygoError:
    logger.debug("%s", "".join(traceback.format_exception(error)))
    return DeepLabGygoError(
        "A sequence is segmented without an unexpected error",
        met=f"{type(error).__name__}: {' '.join(str(error).split())}",
        where=item.name,
        remedy="Segment it alone with --debug for the details",
    )


def _mean(values: Sequence[float | None]) -> float | None:
    known = [value for value in values if value is not None and value == value]
    return float(sum(known) / len(known)) if known else None


def _words(status: Status, record: SequenceRecord, score: SequenceScore | None) -> str:
    text = (
        f"{record.masks} frames, adaptation {record.adaptation_seconds:.1f} s, "
        f"{record.amortized_fps:.2f} FPS"
    )
    if score is not None and score.counted:
        text += f", J {_mean([row.region.mean for row in score.objects()]):.3f}"
    return f"finished before ({text})" if status == "skipped" else text
