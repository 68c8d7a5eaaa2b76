"""Segmentation of many sequences: finished ones are skipped, failures are listed."""

from __future__ import annotations

import json
import logging
import time
import traceback
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Protocol, TypeGuard

import numpy as np

from deeplab_gygo._version import __version__
from deeplab_gygo.errors import DeepLabGygoError, InputError, StorageError, UsageError
from deeplab_gygo.evaluation import SequenceScore, evaluate_sequence
from deeplab_gygo.io.atomic import FULL, replacing, storage_error
from deeplab_gygo.io.escaping import printable
from deeplab_gygo.io.listing import shorten
from deeplab_gygo.io.locking import InUse
from deeplab_gygo.io.masks import VOID, read_mask
from deeplab_gygo.io.names import path_inside, safe_relative
from deeplab_gygo.io.output_folder import claimed
from deeplab_gygo.runs.batch_report import write_batch_report
from deeplab_gygo.runs.batch_result import BatchResult, Outcome, Status
from deeplab_gygo.runs.clip import Clip
from deeplab_gygo.runs.plan import Item
from deeplab_gygo.runs.progress import BatchProgress
from deeplab_gygo.runs.report_page import REPORT_NAME, check_place
from deeplab_gygo.runs.result_files import MASK_FOLDER, RECORD_NAME, inspect_files
from deeplab_gygo.runs.run_record import RunRecord, is_complete
from deeplab_gygo.runs.settings import RunSettings

logger = logging.getLogger(__name__)

_PATIENCE_SECONDS = 3600.0
_POLL_SECONDS = 1.0


class Runner(Protocol):
    """Segments clips into folders, as `runner.SequenceRunner` does."""

    def run(self, clip: Clip, out: Path, *, keep_bars: bool = True) -> RunRecord:
        """Segments a clip into a folder."""
        ...


@dataclass
class Batch:
    """Sequences to segment with one network into one folder.

    The results of a sequence appear in `<out>/<name>` when they are complete. A finished result is
    compared with the hashes in its record: a damaged one is segmented again, one with masks that
    were corrected by hand is kept and reported. Several batches may run on one folder: a sequence
    that another one works on is passed over and looked at again at the end.

    `failures.jsonl` is written while the batch runs, `summary.json` at its end; of several batches
    each writes both whole, and the last one's remain.

    Attributes:
        items: The sequences.
        settings: Settings of all of them. With `overwrite`, finished sequences are repeated too.
        out: Folder of the results.
        label: Appended to the names of the two files, so that parts of a batch can share a folder.
        make_runner: Creates the runner; by default a `SequenceRunner`. It is called for the first
            sequence that needs it: a finished batch loads no network.
        replace_changed: Whether finished results of other input, settings or version are replaced
            without `overwrite`: in a folder that only such batches write to.
        patience: Seconds to wait for a sequence that another process works on.
    """

    items: Sequence[Item]
    settings: RunSettings
    out: Path
    label: str = ""
    make_runner: Callable[[RunSettings], Runner] | None = None
    replace_changed: bool = False
    patience: float = _PATIENCE_SECONDS
    _runner: Runner | None = field(default=None, init=False, repr=False)
    _failed: list[dict[str, Any]] = field(default_factory=list, init=False, repr=False)

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
        self._failed.clear()
        if "report" in self.settings.outputs:
            check_place(self.out / REPORT_NAME)
        try:
            self.out.mkdir(parents=True, exist_ok=True)
            # Files of an earlier run would be taken for those of this one.
            self._failures.unlink(missing_ok=True)
            summary_file.unlink(missing_ok=True)
        except OSError as error:
            raise storage_error(self.out, error) from error
        outcomes: dict[int, Outcome] = {}
        with BatchProgress(self.settings.progress_kind, len(self.items)) as progress:
            for index, outcome in self._outcomes():
                outcomes[index] = outcome
                progress.finished(outcome.name, outcome.status)
        if self._failed:  # once more: another batch on this folder may have begun since
            self._write_failures()
        result = BatchResult(
            [outcomes[index] for index in range(len(self.items))],
            time.monotonic() - started,
            self._failures if self._failed else None,
        )
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
        if "report" in self.settings.outputs:
            write_batch_report(self.out)
        return result

    @property
    def _failures(self) -> Path:
        return self.out / f"failures{self.label}.jsonl"

    def _outcomes(self) -> Iterator[tuple[int, Outcome]]:
        """Yields the outcomes as they come; sequences that another process works on at the end."""
        postponed = []
        for index, item in enumerate(self.items):
            if (outcome := self._try(item)) is None:
                name = printable(item.name)
                logger.info("%s: another run works on it; looked at again at the end", name)
                postponed.append(index)
            else:
                yield index, outcome
        if postponed:
            logger.info(
                "waiting for %d sequences of another run, %.0f s at most for each",
                len(postponed), self.patience,
            )  # fmt: skip
        deadline = time.monotonic() + self.patience
        while postponed:
            is_last, busy = time.monotonic() > deadline, []
            for index in postponed:
                if (outcome := self._try(self.items[index], report_in_use=is_last)) is None:
                    busy.append(index)
                else:
                    deadline = time.monotonic() + self.patience
                    yield index, outcome
            postponed = busy
            if postponed:
                time.sleep(_POLL_SECONDS)

    def _try(self, item: Item, *, report_in_use: bool = False) -> Outcome | None:
        """Segments or skips a sequence; None if another run works on it."""
        try:
            try:
                folder = path_inside(self.out, safe_relative(item.name, self.out))
            except InputError:
                item.open()  # whose error names the row of the list
                raise
            # Files that do not belong to a result matter only if it is replaced.
            with claimed(folder, True, marker=RECORD_NAME, list_files=None):
                return self._segment(item, item.open(), folder)
        except InUse as error:
            return self._report(item, error) if report_in_use else None
        except DeepLabGygoError as error:
            if isinstance(error, StorageError) and _is_full(error.__cause__):
                raise
            return self._report(item, error)
        except Exception as error:  # one damaged clip must not end the batch
            if _is_full(error):
                raise storage_error(error.filename or self.out, error) from error
            logger.debug("%s", "".join(traceback.format_exception(error)))
            unexpected = DeepLabGygoError(
                "A sequence is segmented without an unexpected error",
                met=f"{type(error).__name__}: {' '.join(str(error).split())}",
                where=printable(item.name),
                remedy="Segment it alone with --debug for the details",
            )
            return self._report(item, unexpected)

    def _segment(self, item: Item, clip: Clip, folder: Path) -> Outcome:
        """Segments a sequence unless its result is finished; its lock is held."""
        record, warning = self._finished(item, clip, folder)
        status: Status = "done" if record is None else "skipped"
        if record is None:
            if self._runner is None:
                if self.make_runner is None:
                    from deeplab_gygo.runs.runner import SequenceRunner  # loads Keras

                    self.make_runner = SequenceRunner
                self._runner = self.make_runner(self.settings)
            record = self._runner.run(clip, folder, keep_bars=False)
        score, warnings = None, [warning] if warning else []
        try:
            score = score_result(clip, folder)
        except InputError as error:
            if not warnings:
                raise
            warnings.append(f"not measured: {error}")
        for text in warnings:
            logger.warning("%s: %s", item.name, text)
        outcome = Outcome(item.name, status, record, score, warnings=tuple(warnings))
        j = outcome.row()["J"]
        logger.info(
            "%s: %s%d frames, adaptation %.1f s, %.2f FPS%s",
            item.name, "already finished: " if status == "skipped" else "", record.masks,
            record.adaptation_seconds, record.amortized_fps, "" if j is None else f", J {j:.3f}",
        )  # fmt: skip
        return outcome

    def _finished(self, item: Item, clip: Clip, folder: Path) -> tuple[RunRecord | None, str]:
        """Returns the record of a result that is kept, and a warning if something is the matter."""
        if self.settings.overwrite:
            return None, ""
        try:
            record = RunRecord.read(folder)
        except InputError as error:
            logger.warning("%s: segmented again: %s", item.name, error)
            return None, ""
        if record is None:
            return None, ""
        damaged, corrected = inspect_files(folder, record.files)
        any_version = not self.replace_changed
        changed = not record.matches(clip, self.settings, any_version=any_version)
        whole = not damaged and is_complete(record)
        if corrected:
            reason = (
                f"files are damaged: {shorten(damaged)}" if damaged else "all else is as written"
            )
            if changed:
                reason = "its input or settings changed"
            masks = f"kept, for masks were corrected by hand: {shorten(corrected)}"
            return record, f"{masks}; {reason}; to segment it again, move the folder"
        if changed and whole:
            if self.replace_changed:
                return None, ""
            raise UsageError(
                "Finished results are replaced only where that is asked for",
                met="its input or settings changed",
                where=folder,
                remedy="Give --overwrite to segment it again, or choose another folder",
            )
        if whole:
            is_old = record.version != __version__
            return record, f"kept, made by version {record.version}" if is_old else ""
        reason = shorten(damaged) or "the record lists too few masks"
        logger.warning("%s: segmented again: files are damaged: %s", item.name, reason)
        return None, ""

    def _report(self, item: Item, error: DeepLabGygoError) -> Outcome:
        """Adds a failure to the list on disk."""
        logger.error("%s", printable(f"{item.name}: {error}"))
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
        self._failed.append(failure)
        self._write_failures()
        return Outcome(item.name, "failed", error=failure)

    def _write_failures(self) -> None:
        with replacing(self._failures) as side:
            lines = "".join(json.dumps(failure) + "\n" for failure in self._failed)
            side.write_text(lines, encoding="utf-8")


def _is_full(error: BaseException | None) -> TypeGuard[OSError]:
    """Whether the next sequence would meet the error of a disk too."""
    return isinstance(error, OSError) and error.errno in FULL


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
