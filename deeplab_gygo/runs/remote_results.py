"""Results at a URL: read in bulk, and uploaded whole, the record last."""

from __future__ import annotations

import hashlib
import logging
import shutil
from collections.abc import Collection, Iterator
from contextlib import contextmanager
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any

from deeplab_gygo.errors import InputError, UsageError
from deeplab_gygo.io import storage
from deeplab_gygo.io.atomic import files_below
from deeplab_gygo.io.names import expanded
from deeplab_gygo.io.reading import parse_json
from deeplab_gygo.io.scratch import scratch
from deeplab_gygo.io.storage import display, is_url, join
from deeplab_gygo.runs.output_directory import claim
from deeplab_gygo.runs.result_files import RECORD_NAME
from deeplab_gygo.runs.run_record import RunRecord, finished_record

if TYPE_CHECKING:
    from deeplab_gygo.runs.clip import Clip
    from deeplab_gygo.runs.settings import RunSettings

logger = logging.getLogger(__name__)

_MAX_RECORD_BYTES = 512 << 20
_CHUNK = 1000  # records in memory


class RemoteResults:
    """The results of clips in a folder of object storage.

    A clip is finished when its record is there: the record is written after all that it describes,
    and removed before anything of it is replaced.

    Args:
        url: URL of the folder.

    Raises:
        UsageError: The URL is of the web, or of no folder in a bucket.

    Example:
        >>> import tempfile
        >>> folder = Path(tempfile.mkdtemp())
        >>> _ = (folder / "run.json").write_text('{"masks": 3}')
        >>> results = RemoteResults("memory://bucket/results")
        >>> results.upload(folder, "shoes/red")
        >>> list(results.records())
        [('shoes/red', {'masks': 3})]
    """

    def __init__(self, url: str):
        self.url = url.rstrip("/")
        if self.url.lower().startswith(("http:", "https:")) or not is_url(self.url):
            raise UsageError(
                "Results are uploaded to a folder of object storage",
                met=display(url),
                where="--out",
                remedy="Give a folder in a bucket, such as s3://BUCKET/results, or a local one",
            )

    def record(self, name: str) -> dict[str, Any] | None:
        """Reads the record of a clip.

        Args:
            name: Name of the clip; may contain slashes.

        Returns:
            The record as it was written; None if the clip is not finished, or its record cannot be
            read.

        Raises:
            InputError: The folder may not be read.
            StorageError: The storage does not answer.
        """
        url = join(self.url, name, RECORD_NAME)
        try:
            content = storage.read_url(url, _MAX_RECORD_BYTES)
        except storage.NotFound:
            return None
        try:
            values = parse_json(content, display(url))
            if isinstance(values, dict):
                return values
            raise InputError("A run record is an object", met=type(values).__name__)
        except (InputError, UnicodeDecodeError) as error:
            logger.warning("%s: not taken for a finished clip: %s", display(url), error)
            return None

    def records(self, names: Collection[str] | None = None) -> Iterator[tuple[str, dict[str, Any]]]:
        """Reads the records of all finished clips: one listing, then many at a time.

        Args:
            names: Names of the clips that matter; None reads those of all. With names, only the
                folders at the top are listed, not every mask.

        Yields:
            Name and record of every finished clip; at most a thousand records are in memory.

        Raises:
            InputError: The folder may not be read.
            StorageError: The storage does not answer.
        """
        if names is None:
            end = f"/{RECORD_NAME}"
            found = [each for each in storage.list_files(self.url) if each.endswith(end)]
            wanted = (each.removesuffix(end) for each in found)
        else:
            top = set(storage.list_names(self.url))
            wanted = (name for name in names if name.partition("/")[0] in top)
        while chunk := list(islice(wanted, _CHUNK)):
            for name, record in zip(chunk, storage.each(chunk, self.record), strict=True):
                if record is not None:
                    yield name, record

    def upload(self, folder: Path, name: str) -> None:
        """Uploads the result of a clip, its record last.

        Args:
            folder: Folder of the finished result.
            name: Name of the clip; may contain slashes. An earlier result of that name is replaced:
                its record is removed first, and its other files before the new record is there.

        Raises:
            StorageError: A file cannot be read or uploaded. The clip then has no record.
        """
        target = join(self.url, name)
        files = [each for each in files_below(folder) if each != RECORD_NAME]
        there = storage.list_files(target).keys()
        if RECORD_NAME in there:
            storage.remove(join(target, RECORD_NAME))
        stale = there - set(files) - {RECORD_NAME}
        for _ in storage.each(stale, lambda each: storage.remove(join(target, each))):
            pass
        for _ in storage.each(files, lambda each: self.put_file(folder / each, f"{name}/{each}")):
            pass
        self.put_file(folder / RECORD_NAME, f"{name}/{RECORD_NAME}")

    def put_file(self, file: Path, name: str) -> None:
        """Uploads one file, such as the summary of a batch; raises `StorageError`."""
        storage.upload(file, join(self.url, name))


@contextmanager
def claimed_output(out: str | Path, overwrite: bool) -> Iterator[Path]:
    """Yields the local folder for the result of a run; uploads it where the target is a URL.

    Args:
        out: Folder to make, or its URL.
        overwrite: Whether an earlier result may be replaced.

    Yields:
        The folder; of a URL one below the scratch folder, the same for every run with that URL, so
        that an interrupted run goes on. It is removed when it has been uploaded.

    Raises:
        UsageError: There is an earlier result, another run writes to the folder, or the URL is of
            no folder in a bucket.
        StorageError: The folder cannot be made, or not uploaded: then it stays, and the same
            command uploads it.
    """
    if not is_url(out):
        with claim(expanded(out), overwrite) as folder:
            yield folder
        return
    url = str(out).rstrip("/")
    name = storage.name_of(url)
    results = RemoteResults(storage.parent(url))
    if not overwrite and results.record(name) is not None:
        raise UsageError(
            "--out is a new folder",
            met="an earlier result",
            where=display(url),
            remedy="Choose another, or give --overwrite to replace it",
        )
    place = scratch().folder / "results" / hashlib.sha256(url.encode()).hexdigest()[:32]
    with claim(place / name, True) as folder:
        yield folder
        results.upload(folder, name)
    shutil.rmtree(place, ignore_errors=True)


def kept_result(
    out: str | Path, folder: Path, clip: Clip, settings: RunSettings
) -> RunRecord | None:
    """Returns the record of a finished result that could not be uploaded before.

    Args:
        out: Target of the run.
        folder: The folder that `claimed_output` yields for it.
        clip: The clip.
        settings: Settings of the run.

    Returns:
        The record; None where the clip must be segmented.
    """
    record = finished_record(folder) if is_url(out) else None
    return record if record is not None and record.matches(clip, settings) else None
