"""Segmentation of many sequences: finished ones are skipped, failures are listed."""

from __future__ import annotations

import errno
import json
import logging
import time
import traceback
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Literal, Protocol

import numpy as np
from tabulate import SEPARATING_LINE, tabulate
from tqdm import tqdm

from deeplab_gygo.errors import DeepLabGygoError, StorageError
from deeplab_gygo.evaluation import SequenceScore, evaluate_sequence
from deeplab_gygo.io.atomic import replacing, storage_error
from deeplab_gygo.io.masks import VOID, read_mask
from deeplab_gygo.runs.clip import Clip
from deeplab_gygo.runs.plan import Item
from deeplab_gygo.runs.run_record import MASK_FOLDER, RunRecord, finished_record
from deeplab_gygo.runs.settings import RunSettings

logger = logging.getLogger(__name__)

Status = Literal["done", "skipped", "failed"]

# Errors of a disk that the next sequence would meet too.
_FULL = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EROFS}

_COLUMNS = {
    "sequence": "", "status": "", "frames": "", "adaptation_seconds": ".1f",
    "amortized_fps": ".2f", "J": ".3f", "F": ".3f",
}  # fmt: skip


class Runner(Protocol):
    """Segments clips into folders, as `runner.SequenceRunner` does."""

    def run(self, clip: Clip, out: Path, *, keep_bars: bool = True) -> RunRecord:
        """Segments a clip into a folder."""
        ...


@dataclass(frozen=True)
class Outcome:
    """Result of one sequence of a batch.

    Attributes:
        name: Name of the sequence.
        status: `skipped` if the folder holds the result of the same input and settings.
        record: Record of the result; None for a failed one.
        score: J and F; None unless every frame has an annotation.
        error: The error as plain values; None unless it failed.
    """

    name: str
    status: Status
    record: RunRecord | None = None
    score: SequenceScore | None = None
    error: dict[str, Any] | None = None

    def row(self) -> dict[str, Any]:
        """Returns the row of the summary, as plain values; None for unknown values."""
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
    """Result of a batch.

    Attributes:
        outcomes: One per sequence, in the order of the plan.
        seconds: Wall time of the whole batch.
        failures_file: List of the failures, one JSON object per line; None without failures.
    """

    outcomes: list[Outcome]
    seconds: float
    failures_file: Path | None = None

    def count(self, status: Status) -> int:
        """Returns the number of sequences with a status."""
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

    def table(self) -> str:
        """Formats the rows and their means as a table for the terminal."""
        rows = [
            ["-" if row[key] is None else format(row[key], form) for key, form in _COLUMNS.items()]
            for row in [outcome.row() for outcome in self.outcomes] + [self.mean_row()]
        ]
        return tabulate(
            [*rows[:-1], SEPARATING_LINE, rows[-1]],
            headers=["sequence", "status", "frames", "adapt s", "FPS", "J", "F"],
            colalign=("left", "left", *["right"] * 5),
            disable_numparse=True,
        ) + (
            f"\n{self.count('done')} done, {self.count('skipped')} skipped, "
            f"{self.count('failed')} failed in {self.seconds:.1f} s. FPS counts adaptation, "
            "decoding and writing.\n"
        )


@dataclass
class Batch:
    """Sequences to segment with one network into one folder.

    The results of a sequence appear in `<out>/<name>` when they are complete. `failures.jsonl` is
    written while the batch runs, `summary.json` at its end.

    Attributes:
        items: The sequences.
        settings: Settings of all of them. With `overwrite`, finished sequences are repeated too.
        out: Folder of the results.
        label: Appended to the names of the two files, so that parts of a batch can share a folder.
        make_runner: Creates the runner; by default a `SequenceRunner`. It is called for the first
            sequence that needs it: a finished batch loads no network.
    """

    items: Sequence[Item]
    settings: RunSettings
    out: Path
    label: str = ""
    make_runner: Callable[[RunSettings], Runner] | None = None
    _runner: Runner | None = field(default=None, init=False, repr=False)

    def run(self) -> BatchResult:
        """Segments the sequences that are not finished.

        Returns:
            The result of every sequence.

        Raises:
            StorageError: The disk is full or cannot be written: no other sequence could be
                finished either. Finished results stay.
        """
        started = time.monotonic()
        summary_file = self.out / f"summary{self.label}.json"
        try:
            self.out.mkdir(parents=True, exist_ok=True)
            # Files of an earlier run would be taken for those of this one.
            self._failures.unlink(missing_ok=True)
            summary_file.unlink(missing_ok=True)
        except OSError as error:
            raise storage_error(self.out, error) from error
        outcomes = []
        disable = None if self.settings.progress else True  # None: where there is no terminal
        with tqdm(self.items, desc="batch", unit="sequence", disable=disable) as bar:
            for item in bar:
                outcomes.append(self._try(item))
        failures = self._failures if any(o.status == "failed" for o in outcomes) else None
        result = BatchResult(outcomes, time.monotonic() - started, failures)
        summary = {
            "sequences": [outcome.row() for outcome in result.outcomes],
            "mean": result.mean_row(),
            "done": result.count("done"),
            "skipped": result.count("skipped"),
            "failed": result.count("failed"),
            "seconds": result.seconds,
            "settings": {**asdict(self.settings), "weights": str(self.settings.weights_path or "")},
        }
        with replacing(summary_file) as side:
            side.write_text(json.dumps(summary, indent=1) + "\n", encoding="utf-8")
        return result

    @property
    def _failures(self) -> Path:
        return self.out / f"failures{self.label}.jsonl"

    def _try(self, item: Item) -> Outcome:
        try:
            return self._segment(item, item.open())
        except StorageError:
            raise
        except DeepLabGygoError as error:
            return self._failed(item, error)
        except Exception as error:  # one damaged clip must not end the batch
            if isinstance(error, OSError) and error.errno in _FULL:
                raise storage_error(error.filename or self.out, error) from error
            logger.debug("%s", "".join(traceback.format_exception(error)))
            unexpected = DeepLabGygoError(
                "A sequence is segmented without an unexpected error",
                met=f"{type(error).__name__}: {' '.join(str(error).split())}",
                where=item.name,
                remedy="Segment it alone with --debug for the details",
            )
            return self._failed(item, unexpected)

    def _segment(self, item: Item, clip: Clip) -> Outcome:
        folder = self.out / item.name
        record = finished_record(folder)
        status: Status = "done"
        if record is not None and not self.settings.overwrite:
            if record.matches(clip, self.settings):
                status = "skipped"
            else:
                logger.info("%s: segmented again, its input or settings changed", item.name)
        if status == "done":
            if self._runner is None:
                if self.make_runner is None:
                    from deeplab_gygo.runs.runner import SequenceRunner  # loads Keras

                    self.make_runner = SequenceRunner
                self._runner = self.make_runner(self.settings)
            record = self._runner.run(clip, folder, keep_bars=False)
        outcome = Outcome(item.name, status, record, score_result(clip, folder))
        j = outcome.row()["J"]
        logger.info(
            "%s: %s%d frames, adaptation %.1f s, %.2f FPS%s",
            item.name, "already finished: " if status == "skipped" else "", record.masks,
            record.adaptation_seconds, record.amortized_fps, "" if j is None else f", J {j:.3f}",
        )  # fmt: skip
        return outcome

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


def _mean(values: Sequence[float | None]) -> float | None:
    known = [value for value in values if value is not None and value == value]
    return float(sum(known) / len(known)) if known else None


def score_result(clip: Clip, folder: Path) -> SequenceScore | None:
    """Measures the masks of a result by the official protocol.

    Args:
        clip: The clip with its annotations.
        folder: Folder of the result.

    Returns:
        The score; None without annotations of every frame, or where masks were not written.

    Raises:
        InputError: An annotation or a mask is unusable.
    """
    masks = folder / MASK_FOLDER
    if clip.truth is None or not masks.is_dir():
        return None
    indices = range(clip.start, len(clip.sequence))
    names = [clip.sequence.frame_names[index] for index in indices]
    object_ids = None
    if clip.multi_object:  # the official DAVIS 2017 code takes every id up to the highest
        first = clip.truth(clip.start)
        object_ids = range(1, int(np.where(first == VOID, 0, first).max(initial=0)) + 1)
    return evaluate_sequence(
        (read_mask(masks / f"{name}.png", mask_format="ids") for name in names),
        (clip.truth(index) for index in indices),
        name=clip.sequence.name,
        frame_names=names,
        multi_object=clip.multi_object,
        object_ids=object_ids,
    )
