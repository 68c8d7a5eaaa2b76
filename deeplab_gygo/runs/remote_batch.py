"""The results of a batch at a URL: which are finished, and what an interruption leaves.

Object storage has no locks: one batch, or parts that share no sequence, writes to a URL at a time.
"""

from __future__ import annotations

import hashlib
import logging
import shutil
import tempfile
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import fields
from pathlib import Path
from typing import Any

from deeplab_gygo.errors import DeepLabGygoError, InputError, StorageError, UsageError
from deeplab_gygo.io import storage
from deeplab_gygo.io.atomic import files_below
from deeplab_gygo.io.scratch import scratch
from deeplab_gygo.io.storage import display, is_url, join
from deeplab_gygo.runs.batch_result import Outcome
from deeplab_gygo.runs.item import Item
from deeplab_gygo.runs.remote_results import RemoteResults
from deeplab_gygo.runs.result_files import MASK_FOLDER
from deeplab_gygo.runs.run_record import SCHEMA, RunRecord
from deeplab_gygo.runs.settings import RunSettings

logger = logging.getLogger(__name__)

PER_FRAME: dict[str, Any] = {
    "files": {}, "confidence": {}, "frame_seconds": [], "network_seconds": [], "losses": [],
}  # fmt: skip
"""Fields of a record that grow with the clip: a batch of 20 000 clips does not hold them."""

_UNKNOWN: dict[str, Any] = {"versions": {}, "hardware": {}, "peak_memory_mb": 0.0}


class RemoteBatch:
    """A folder of results at a URL; picklable.

    A sequence is finished when its record is there. Where its input is at a URL too, the record is
    compared with the settings and the name of the input alone: nothing is copied to skip it.

    Args:
        url: URL of the folder.
        settings: Settings of the batch.
    """

    def __init__(self, url: str, settings: RunSettings):
        self.url, self._settings = url.rstrip("/"), settings
        self._results = RemoteResults(self.url)

    def local_folder(self) -> Path:
        """Returns the folder of this machine in which results are made before they are uploaded."""
        return scratch().folder / "results" / hashlib.sha256(self.url.encode()).hexdigest()[:32]

    def upload(self, folder: Path, name: str) -> None:
        """Uploads a result, its record last, and removes the local one."""
        try:
            self._results.upload(folder, name)
        except BaseException:
            self.remove_unfinished([name])
            raise
        shutil.rmtree(folder, ignore_errors=True)

    def finished(
        self, items: Sequence[Item], *, replace: bool = False
    ) -> Iterator[tuple[int, Outcome | DeepLabGygoError]]:
        """Yields the sequences with a video at a URL that are finished, by one listing.

        Args:
            items: All sequences.
            replace: Whether those of other input or settings are not finished.

        Yields:
            Index, and the outcome; or the error where input or settings changed.
        """
        if self._settings.overwrite:
            return
        indices = {item.name: index for index, item in enumerate(items) if is_url(item.video)}
        for name, values in self._results.records(indices):
            index = indices[name]
            record = _record_of(values)
            if record is None:
                continue
            if self._is_same(record, items[index].video):
                logger.info("%s: already finished: %d frames", name, record.masks)
                yield index, Outcome(name, "skipped", record)
            elif not replace:
                yield index, self.changed(name)

    def record(self, name: str) -> RunRecord | None:
        """Reads the record of a sequence, without its values of single frames and files."""
        values = self._results.record(name)
        return None if values is None else _record_of(values)

    @contextmanager
    def masks(self, name: str, *, needed: bool) -> Iterator[Path]:
        """Yields a local folder with the masks of a result; without them unless they are needed."""
        if not needed:
            yield self.local_folder() / name
            return
        with scratch().local(join(self.url, name, MASK_FOLDER)) as folder:
            yield folder.parent

    def changed(self, name: str) -> UsageError:
        """Returns the error for a finished result of other input or settings."""
        return UsageError(
            "Finished results are replaced only where that is asked for",
            met="its input or settings changed",
            where=display(join(self.url, name)),
            remedy="Give --overwrite to segment it again, or choose another folder",
        )

    def _is_same(self, record: RunRecord, video: str) -> bool:
        """Checks a record without its input: the settings, and the name of the video."""
        settings = self._settings
        return (
            record.source == display(video)
            and record.seed == settings.seed
            and record.config == settings.identity
            and record.hashes["weights"] == settings.weights_hash
        )

    def remove_unfinished(self, names: Iterable[str]) -> None:
        """Removes what was uploaded of results that have no record."""
        for name in names:
            with suppress(StorageError, InputError):  # the storage may be what failed
                if self._results.record(name) is None:
                    folder = join(self.url, name)
                    urls = [join(folder, file) for file in storage.list_files(folder)]
                    for _ in storage.each(urls, storage.remove):
                        pass

    def remove(self, names: Iterable[str]) -> None:
        """Removes files right in the folder, where they are there."""
        for name in names:
            storage.remove(join(self.url, name))


@contextmanager
def uploaded_folder(url: str) -> Iterator[Path]:
    """Yields a local folder; the files in it are uploaded at the end, if there is no error.

    Args:
        url: URL of the folder that they are uploaded to.
    """
    results = RemoteResults(url)
    with tempfile.TemporaryDirectory(prefix="deeplab-gygo-") as folder:
        yield Path(folder)
        for name in files_below(Path(folder)):
            results.put_file(Path(folder, name), name)


def _record_of(values: dict[str, Any]) -> RunRecord | None:
    """Makes a record of its JSON; None where it is damaged or of another version."""
    if values.get("schema") != SCHEMA:
        return None
    names = {each.name for each in fields(RunRecord)} - PER_FRAME.keys()
    try:
        return RunRecord(**_UNKNOWN | {name: values[name] for name in names & values.keys()})
    except (TypeError, InputError):
        return None
