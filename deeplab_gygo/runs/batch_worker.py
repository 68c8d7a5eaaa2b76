"""What segments or skips one sequence of a batch, in this process or in a worker."""

from __future__ import annotations

import logging
import traceback
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Protocol, TypeGuard

import numpy as np

from deeplab_gygo._version import __version__
from deeplab_gygo.errors import DeepLabGygoError, InputError, StorageError, UsageError
from deeplab_gygo.evaluation import SequenceScore, evaluate_sequence
from deeplab_gygo.io.atomic import FULL, storage_error
from deeplab_gygo.io.escaping import printable
from deeplab_gygo.io.listing import shorten
from deeplab_gygo.io.local_names import cited
from deeplab_gygo.io.locking import InUse
from deeplab_gygo.io.masks import VOID, read_mask
from deeplab_gygo.io.names import path_inside, safe_relative
from deeplab_gygo.io.output_folder import claimed
from deeplab_gygo.runs.batch_result import Outcome, Status
from deeplab_gygo.runs.clip import Clip
from deeplab_gygo.runs.item import Item
from deeplab_gygo.runs.remote_batch import PER_FRAME, RemoteBatch
from deeplab_gygo.runs.result_files import MASK_FOLDER, RECORD_NAME, inspect_files
from deeplab_gygo.runs.run_record import RunRecord, is_complete
from deeplab_gygo.runs.settings import RunSettings

logger = logging.getLogger(__name__)


class Runner(Protocol):
    """Segments clips into folders, as `runner.SequenceRunner` does."""

    def run(self, clip: Clip, out: Path, *, keep_bars: bool = True) -> RunRecord:
        """Segments a clip into a folder."""
        ...


@dataclass
class BatchWorker:
    """Segments the sequences of a batch one at a time, with one network.

    It is picklable where `items` and `make_runner` are.

    Attributes:
        items: As in `Batch`, like the following.
        settings: Settings of all sequences.
        out: Folder of the results, local or at a URL.
        make_runner: Creates the runner; by default a `SequenceRunner`. It is called for the first
            sequence that needs it.
        replace_changed: Whether finished results of other input, settings or version are replaced.
    """

    items: Sequence[Item]
    settings: RunSettings
    out: Path | RemoteBatch
    make_runner: Callable[[RunSettings], Runner] | None = None
    replace_changed: bool = False
    _runner: Runner | None = field(default=None, init=False, repr=False)

    def process(self, index: int, *, report_in_use: bool = False) -> Outcome | None:
        """Segments or skips a sequence.

        Args:
            index: Its index in `items`.
            report_in_use: Whether it has failed if another run works on it.

        Returns:
            The outcome; None if another run works on it.

        Raises:
            StorageError: The disk is full or cannot be written: no other sequence could be
                finished either.
        """
        item = self.items[index]
        out = self.out.local_folder() if isinstance(self.out, RemoteBatch) else self.out
        try:
            try:
                folder = path_inside(out, safe_relative(item.name, out))
            except InputError:
                with item.opened():  # whose error names the row of the list
                    raise
            # Files that do not belong to a result matter only if it is replaced.
            with claimed(folder, True, marker=RECORD_NAME, list_files=None), item.opened() as clip:
                return self._segment(item, clip, folder)
        except InUse as error:
            return failed(item, error) if report_in_use else None
        except DeepLabGygoError as error:
            if isinstance(error, StorageError) and _is_full(error.__cause__):
                raise
            return failed(item, error)
        except Exception as error:  # one damaged clip must not end the batch
            if _is_full(error):
                raise storage_error(error.filename or out, error) from error
            logger.debug("%s", "".join(traceback.format_exception(error)))
            unexpected = DeepLabGygoError(
                "A sequence is segmented without an unexpected error",
                met=f"{type(error).__name__}: {' '.join(str(error).split())}",
                where=printable(item.name),
                remedy="Segment it alone with --debug for the details",
            )
            return failed(item, unexpected)

    def _segment(self, item: Item, clip: Clip, folder: Path) -> Outcome:
        """Segments a sequence unless its result is finished; its lock is held."""
        remote = self.out if isinstance(self.out, RemoteBatch) else None
        if remote is not None and not self.settings.overwrite:
            record = remote.record(item.name)
            if record is not None:
                any_version = not self.replace_changed
                if record.matches(clip, self.settings, any_version=any_version):
                    needed = clip.truth is not None and "masks" in record.outputs
                    with remote.masks(item.name, needed=needed) as place:
                        return self._outcome(item, clip, place, "skipped", record)
                if not self.replace_changed:
                    raise remote.changed(item.name)
        record, warning = self._finished(item, clip, folder)
        # A local result that was not uploaded is done by that.
        status: Status = "done" if record is None or remote is not None else "skipped"
        if record is None:
            record = self._run(clip, folder)
        outcome = self._outcome(item, clip, folder, status, record, warning)
        if remote is not None:
            remote.upload(folder, item.name)
        return outcome

    def _outcome(
        self, item: Item, clip: Clip, folder: Path, status: Status, record: RunRecord,
        warning: str = "",
    ) -> Outcome:  # fmt: skip
        """Measures a result and reports it."""
        score, warnings = None, [warning] if warning else []
        try:
            score = score_result(clip, folder)
        except InputError as error:
            if not warnings:
                raise
            warnings.append(f"not measured: {error}")
        for text in warnings:
            logger.warning("%s: %s", item.name, text)
        record = replace(record, **PER_FRAME)
        outcome = Outcome(item.name, status, record, score, warnings=tuple(warnings))
        j = outcome.row()["J"]
        logger.info(
            "%s: %s%d frames, adaptation %.1f s, %.2f FPS%s",
            item.name, "already finished: " if status == "skipped" else "", record.masks,
            record.adaptation_seconds, record.amortized_fps, "" if j is None else f", J {j:.3f}",
        )  # fmt: skip
        return outcome

    def _run(self, clip: Clip, folder: Path) -> RunRecord:
        if self._runner is None:
            if self.make_runner is None:
                from deeplab_gygo.runs.runner import SequenceRunner  # loads Keras

                self.make_runner = SequenceRunner
            self._runner = self.make_runner(self.settings)
        return self._runner.run(clip, folder, keep_bars=False)

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


def failed(item: Item, error: DeepLabGygoError) -> Outcome:
    """Reports the error of a sequence, and returns its outcome; local copies are shown as URLs."""
    logger.error("%s", printable(cited(f"{item.name}: {error}")))
    failure = {
        "sequence": item.name,
        "kind": type(error).__name__,
        "message": cited(str(error)),
        "rule": error.rule,
        "met": None if error.met is None else cited(str(error.met)),
        "where": None if error.where is None else cited(str(error.where)),
        "remedy": error.remedy,
        "exit_status": error.exit_status,
    }
    return Outcome(item.name, "failed", error=failure)


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
