"""Fetching of the GyGO data set: a download that survives cuts, a pinned hash, safe unpacking."""

from __future__ import annotations

import logging
import time
import urllib.parse
from pathlib import Path

from tqdm import tqdm

from deeplab_gygo.datasets.archive import ArchiveLock, FetchedFile, check_file, extract_archive
from deeplab_gygo.datasets.layout import find_dataset_root
from deeplab_gygo.datasets.registry import Dataset, open_dataset
from deeplab_gygo.datasets.transfer import (
    PartFile,
    TransferCut,
    WrongContent,
    continue_transfer,
    storage_error,
)
from deeplab_gygo.errors import InputError, StorageError, UsageError

logger = logging.getLogger(__name__)

# Address in the README of https://github.com/ilchemla/gygo-dataset since 2018-03-28.
GYGO_URL = "https://gygox-assets.oss-us-east-1.aliyuncs.com/gygo-dataset.tar.gz"
LOCK_NAME = "gygo.lock.json"
LONGEST_PAUSE = 60.0  # seconds between two tries, however many failed


def download(
    url: str,
    destination: str | Path,
    *,
    sha256: str | None = None,
    size: int | None = None,
    progress: bool = True,
    retries: int = 8,
    timeout: float = 30.0,
    pause: float = 1.0,
) -> FetchedFile:
    """Downloads a file over HTTP; a cut transfer, in this run or an earlier one, is continued.

    What has arrived lies in `<destination>.part` until it is whole and its hash is right; then it
    gets its name in one step. A destination that exists is taken as it is, its hash checked.

    Args:
        url: Address, http or https.
        destination: File to make; its folder is made where needed.
        sha256: Hash that the content must have, hexadecimal; None to accept any.
        size: Bytes that the content must have; None to accept any.
        progress: Show a progress bar on a terminal.
        retries: Failed tries in a row, without a new byte, after which to give up.
        timeout: Seconds without a byte after which the connection counts as cut.
        pause: Seconds before the first retry; doubled with every failure in a row.

    Returns:
        The file with its hash.

    Raises:
        InputError: The address does not lead to a file, or its content has another hash or size.
        StorageError: The disk is full or cannot be written, or the connection stays cut.
        UsageError: The address is not http or https.
    """
    destination = Path(destination).expanduser()
    if urllib.parse.urlsplit(url).scheme not in ("http", "https"):
        raise UsageError("An address to download from begins with http:// or https://", met=url)
    if destination.exists():
        return check_file(destination, sha256=sha256, size=size, url=url)
    try:
        destination.parent.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise storage_error(error, destination.parent) from error
    part = PartFile(destination)
    transfer = _Retries(url, part, retries=retries, timeout=timeout, pause=pause)
    with tqdm(
        desc=f"download {destination.name}",
        unit="B",
        unit_scale=True,
        unit_divisor=1024,
        disable=None if progress else True,
    ) as bar:
        version = transfer.run(bar, hashed=sha256 is not None, size=size)
    try:
        fetched = check_file(part.path, sha256=sha256, size=size, url=url, etag=version.etag)
    except WrongContent:
        part.discard()  # whole and wrong: continuing it could never make it right
        raise
    try:
        part.finish(destination)
    except OSError as error:
        raise storage_error(error, destination) from error
    return FetchedFile(destination, fetched.size, fetched.sha256, url, version.etag)


class _Retries:
    """Continues one transfer until it is whole, waiting longer after every failure in a row."""

    def __init__(self, url: str, part: PartFile, *, retries: int, timeout: float, pause: float):
        self._url, self._part = url, part
        self._retries, self._timeout, self._pause = retries, timeout, pause

    def run(self, bar: tqdm, *, hashed: bool, size: int | None):
        def show(done: int, total: int | None) -> None:
            bar.total = total
            bar.update(done - bar.n)

        # A server that cannot resume and is cut at the same place each time makes no progress,
        # though bytes arrive: what counts is the farthest byte so far.
        failures, farthest = 0, self._part.size
        while True:
            try:
                return continue_transfer(
                    self._url,
                    self._part,
                    timeout=self._timeout,
                    may_resume_blindly=hashed,
                    expected_size=size,
                    on_progress=show,
                )
            except TransferCut as cut:
                failures = 0 if self._part.size > farthest else failures + 1
                farthest = max(farthest, self._part.size)
                if failures > self._retries:
                    raise StorageError(
                        "The download must come to its end",
                        met=f"{cut}, {failures} times in a row without a new byte",
                        where=self._url,
                        remedy="Run the command again later; it goes on where it stopped",
                    ) from cut
                wait = min(LONGEST_PAUSE, self._pause * 2 ** max(0, failures - 1))
                logger.warning("%s; trying again in %.1f s", cut, wait)
                time.sleep(wait)


def fetch_gygo(
    root: str | Path,
    *,
    archive: str | Path | None = None,
    url: str = GYGO_URL,
    sha256: str | None = None,
    resolution: str = "480p",
    keep_archive: bool = False,
    progress: bool = True,
    retries: int = 8,
    timeout: float = 30.0,
    pause: float = 1.0,
) -> Dataset:
    """Makes the GyGO data set available in a folder, from its publisher or from an archive.

    The publisher names no hash. Therefore size and SHA-256 of the first archive that was unpacked
    are written to `gygo.lock.json` in the root, and every later archive must equal it.

    Args:
        root: Folder of the data set; one that holds it already is opened without a download.
        archive: An archive that was fetched by hand; None to download.
        url: Address of the archive.
        sha256: Hash that the archive must have; None to trust the lock, or the first use.
        resolution: Resolution to open: "480p" or "original".
        keep_archive: Keep the downloaded archive; a given one is never removed.
        progress: Show progress bars on a terminal.
        retries: See `download`.
        timeout: See `download`.
        pause: See `download`.

    Returns:
        The opened data set.

    Raises:
        InputError: The archive is not the pinned one, damaged, unsafe or not GyGO.
        StorageError: The disk is full or cannot be written, or the connection stays cut.
    """
    root = Path(root).expanduser()
    if find_dataset_root(root) is not None:
        logger.info("GyGO is there already: %s", root)
        return open_dataset("gygo", root, resolution)
    lock = ArchiveLock(root / LOCK_NAME)
    pinned = lock.read()
    if pinned is not None:
        sha256 = lock.agree(pinned, sha256)
    try:
        if archive is not None:
            source = check_file(Path(archive).expanduser(), sha256=sha256)
        else:
            # The pinned size refuses a replaced archive before gigabytes of it are fetched.
            source = download(
                url,
                root / "gygo-dataset.tar.gz",
                sha256=sha256,
                size=pinned and pinned.size,
                progress=progress,
                retries=retries,
                timeout=timeout,
                pause=pause,
            )
    except WrongContent as error:
        raise lock.explain(error) if pinned is not None else error from None
    extract_archive(
        source.path,
        root / "gygo-dataset",
        find_content=lambda folder: _gygo_content(folder, source.path),
        progress=progress,
    )
    dataset = open_dataset("gygo", root, resolution)
    if pinned is None:
        lock.write(source)
    if archive is None and not keep_archive:
        source.path.unlink()
    return dataset


def _gygo_content(folder: Path, archive: Path) -> Path:
    content = find_dataset_root(folder)
    if content is None:
        raise InputError(
            "The archive must hold a GyGO data set: JPEGImages, Annotations, ImageSets",
            met=", ".join(sorted(path.name for path in folder.iterdir())[:10]) or "nothing",
            where=archive,
            remedy="Check that it is the archive of the GyGO data set",
        )
    return content
