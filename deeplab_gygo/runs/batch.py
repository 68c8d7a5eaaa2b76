"""Segmentation of many sequences: finished ones are skipped, failures are listed."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Generator, Iterator, Sequence
from contextlib import closing, contextmanager
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from deeplab_gygo.errors import DeepLabGygoError, UsageError
from deeplab_gygo.io.atomic import replacing, storage_error
from deeplab_gygo.io.local_names import shown
from deeplab_gygo.io.storage import display, is_url, join
from deeplab_gygo.runs.batch_report import write_batch_report
from deeplab_gygo.runs.batch_result import BatchResult, Outcome
from deeplab_gygo.runs.batch_worker import BatchWorker, Runner, failed
from deeplab_gygo.runs.hand_out import HandOut, longest_first
from deeplab_gygo.runs.item import Item
from deeplab_gygo.runs.progress import BatchProgress
from deeplab_gygo.runs.remote_batch import RemoteBatch, uploaded_folder
from deeplab_gygo.runs.report_page import REPORT_NAME, check_place
from deeplab_gygo.runs.result_files import RECORD_NAME
from deeplab_gygo.runs.settings import RunSettings
from deeplab_gygo.runs.workers import WorkerOptions, opened_executor

_PATIENCE_SECONDS = 3600.0
_SEEN_SECONDS = 10.0  # in which file systems show what another machine wrote
_POLL_SECONDS = 0.1


@dataclass
class Batch:
    """Sequences to segment into one folder, with one network a worker.

    The results of a sequence appear in `<out>/<name>` when they are complete. A finished result is
    compared with the hashes in its record: a damaged one is segmented again, one with masks that
    were corrected by hand is kept and reported. Several batches may run on one folder: a sequence
    that another one works on is passed over and looked at again at the end.

    At a URL a result is made in the scratch folder of its worker and uploaded, the record last. One
    with a record counts as finished, its files are not read again; where the input is at a URL too,
    its content is not compared. Object storage has no locks: one batch, or parts that share no
    sequence, writes to a URL at a time.

    `failures.jsonl` is written while the batch runs, to a URL at its end, `summary.json` at its
    end; of several batches each writes both whole, and the last one's remain.

    Attributes:
        items: The sequences.
        settings: Settings of all of them. With `overwrite`, finished sequences are repeated too.
        out: Folder of the results, or its URL.
        label: Appended to the names of the two files, so that parts of a batch can share a folder.
        make_runner: Creates the runner; by default a `SequenceRunner`. It is called for the first
            sequence that needs it: a finished batch loads no network. Worker processes import it:
            it is a function of a module then, or a `functools.partial` of one.
        replace_changed: Whether finished results of other input, settings or version are replaced
            without `overwrite`: in a folder that only such batches write to.
        patience: Seconds to wait for a sequence that another process works on.
        workers: Number and place of the workers. Several begin with the longest sequences; the
            masks are those that one makes with as many threads.
    """

    items: Sequence[Item]
    settings: RunSettings
    out: Path | str
    label: str = ""
    make_runner: Callable[[RunSettings], Runner] | None = None
    replace_changed: bool = False
    patience: float = _PATIENCE_SECONDS
    workers: WorkerOptions = field(default_factory=WorkerOptions)
    _failed: list[dict[str, Any]] = field(default_factory=list, init=False, repr=False)

    def run(self) -> BatchResult:
        """Segments the sequences that are not finished.

        Returns:
            The result of every sequence.

        Raises:
            StorageError: The disk is full or cannot be written: no other sequence could be
                finished either. Finished results stay.
            UsageError: The workers cannot be had, or do not write to the folder; or a report is to
                be written at a URL.
        """
        started = time.monotonic()
        self._failed.clear()
        with self._folder() as (folder, remote):
            failures, summary_file = folder / self._names[0], folder / self._names[1]
            outcomes: dict[int, Outcome] = {}
            with (
                BatchProgress(self.settings.progress_kind, len(self.items)) as progress,
                closing(self._outcomes(remote or folder)) as found,
            ):
                for index, outcome in found:
                    outcomes[index] = outcome
                    if outcome.error is not None:
                        self._add_failure(failures, outcome.error)
                    progress.finished(outcome.name, outcome.status)
            if self._failed:  # once more: another batch on this folder may have begun since
                with replacing(failures) as side:
                    lines = "".join(json.dumps(failure) + "\n" for failure in self._failed)
                    side.write_text(lines, encoding="utf-8")
            listed = failures if remote is None else display(join(remote.url, failures.name))
            result = BatchResult(
                [outcomes[index] for index in range(len(self.items))],
                time.monotonic() - started,
                listed if self._failed else None,
            )
            with replacing(summary_file) as side:
                weights = shown(self.settings.weights_path or "")
                summary = result.summary({**asdict(self.settings), "weights": weights})
                side.write_text(json.dumps(summary, indent=1) + "\n", "utf-8")
            if "report" in self.settings.outputs:
                write_batch_report(folder)
        return result

    @property
    def _names(self) -> tuple[str, str]:
        return f"failures{self.label}.jsonl", f"summary{self.label}.json"

    @contextmanager
    def _folder(self) -> Iterator[tuple[Path, RemoteBatch | None]]:
        """Yields the folder of the list of failures and the summary; those of before are removed.

        Files of an earlier run would be taken for those of this one.
        """
        if is_url(self.out):
            if "report" in self.settings.outputs:
                raise UsageError(
                    "The report of a batch is written into a local folder",
                    met=display(str(self.out)),
                    where="--outputs report",
                    remedy="Leave it out; `deeplab-gygo report` writes it for a copy of the folder",
                )
            remote = RemoteBatch(str(self.out), self.settings)
            remote.remove(self._names)
            with uploaded_folder(remote.url) as folder:
                yield folder, remote
            return
        folder = Path(self.out)
        if "report" in self.settings.outputs:
            check_place(folder / REPORT_NAME)
        try:
            folder.mkdir(parents=True, exist_ok=True)
            for name in self._names:
                (folder / name).unlink(missing_ok=True)
        except OSError as error:
            raise storage_error(folder, error) from error
        yield folder, None

    def _outcomes(self, out: Path | RemoteBatch) -> Generator[tuple[int, Outcome]]:
        """Segments or skips the sequences, and yields the outcomes as they come."""
        order = range(len(self.items)) if self.workers.in_process else longest_first(self.items)
        remote = out if isinstance(out, RemoteBatch) else None
        if remote is not None:
            known = set()
            for index, found in remote.finished(self.items, replace=self.replace_changed):
                known.add(index)
                if isinstance(found, DeepLabGygoError):
                    found = failed(self.items[index], found)
                yield index, found
            order = [index for index in order if index not in known]
        worker = BatchWorker(self.items, self.settings, out, self.make_runner, self.replace_changed)
        options, work = self.workers, None
        try:
            with opened_executor(options, worker) as executor:
                work = HandOut(
                    executor, self.items, order, retries=options.retries, patience=self.patience
                )
                for index, outcome in work.outcomes():
                    if remote is None and options.several_machines and outcome.record is not None:
                        _check_shared(Path(self.out), outcome.name)
                    yield index, outcome
        finally:
            # After the workers have ended: what they were uploading is in nobody's way.
            if remote is not None and work is not None:
                remote.remove_unfinished([*work.in_progress, *work.given_up])

    def _add_failure(self, file: Path, failure: dict[str, Any]) -> None:
        self._failed.append(failure)
        try:
            with open(file, "a", encoding="utf-8") as lines:
                lines.write(json.dumps(failure) + "\n")
        except OSError as error:
            raise storage_error(file, error) from error


def _check_shared(out: Path, name: str) -> None:
    """Raises `UsageError` if what a worker wrote is not seen here."""
    deadline = time.monotonic() + _SEEN_SECONDS
    while not (out / name / RECORD_NAME).is_file():
        if time.monotonic() > deadline:
            raise UsageError(
                "The workers of a cluster write to a folder that all its machines share",
                met=f"'{name}' was written, and is not there",
                where=out,
                remedy="Give --out on a shared file system, or the URL of object storage",
            )
        time.sleep(_POLL_SECONDS)
