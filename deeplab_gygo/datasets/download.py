"""Download of the GyGO dataset: one process at a time, with retries and a pinned SHA-256."""

from __future__ import annotations

import datetime
import errno
import json
import logging
import os
import re
import shutil
from pathlib import Path
from typing import Any, cast

from deeplab_gygo.datasets.archive import unpack_archive
from deeplab_gygo.datasets.layout import (
    ANNOTATION_FOLDER,
    IMAGE_FOLDER,
    LIST_FOLDER,
    find_dataset_root,
)
from deeplab_gygo.datasets.registry import Dataset, open_dataset
from deeplab_gygo.datasets.transfer import (
    MAX_DOWNLOAD_BYTES,
    check_download,
    check_hash,
    download,
    part_file,
)
from deeplab_gygo.errors import InputError, StorageError, UsageError
from deeplab_gygo.io.atomic import replacing, storage_error
from deeplab_gygo.io.escaping import printable
from deeplab_gygo.io.listing import shorten
from deeplab_gygo.io.locking import InUse, locked
from deeplab_gygo.io.names import expanded
from deeplab_gygo.io.reading import check_regular, read_json

logger = logging.getLogger(__name__)

# Address in the README of https://github.com/ilchemla/gygo-dataset since 2018-03-28.
GYGO_URL = "https://gygox-assets.oss-us-east-1.aliyuncs.com/gygo-dataset.tar.gz"
LOCK_NAME = "gygo.lock.json"
ARCHIVE_NAME = "gygo-dataset.tar.gz"
FOLDER_NAME = "gygo-dataset"
_WRONG_ROOT = {errno.EEXIST, errno.ENOTDIR, errno.ENAMETOOLONG, errno.ELOOP}


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
    lock_timeout: float = 3600.0,
) -> Dataset:
    """Downloads and unpacks the GyGO dataset, or unpacks a given archive, and opens the dataset.

    The publisher names no hash. Therefore the SHA-256 of the first archive that was unpacked is
    written to `gygo.lock.json` in the root, and every later archive must equal it. A second process
    that fetches into the same root waits for the first and opens what it made.

    Args:
        root: Folder of the dataset; one that holds it already is opened without a download.
        archive: An archive that was fetched by hand; None to download.
        url: Address of the archive.
        sha256: Hash that the archive must have; None to trust the lock, or the first use.
        resolution: Resolution to open: "480p" or "original".
        keep_archive: Keep the downloaded archive; a given one is never removed.
        progress: Show progress bars on a terminal.
        retries: As in `download`.
        timeout: As in `download`.
        pause: As in `download`.
        lock_timeout: Seconds to wait for another process that fetches into the same root.

    Returns:
        The opened dataset.

    Raises:
        InputError: The archive is not the pinned one, damaged, unsafe, too large or not GyGO.
        StorageError: The disk is full or cannot be written, the connection fails repeatedly, or
            another process does not end.
        UsageError: The root is no folder, holds another `gygo-dataset`, or an address, hash or
            number is none.
    """
    root = expanded(root)
    check_download(url, sha256, retries)
    if find_dataset_root(root) is not None:
        logger.info("GyGO exists already: %s", root)
        return open_dataset("gygo", root, resolution)
    connection = {"retries": retries, "timeout": timeout, "pause": pause}
    given = None if archive is None else expanded(archive)
    try:
        with locked(root.resolve() / FOLDER_NAME, wait=lock_timeout):
            if find_dataset_root(root) is None:  # else another process made it meanwhile
                root.mkdir(parents=True, exist_ok=True)
                _fetch(root, given, url, sha256, keep_archive, progress, **connection)
    except InUse as error:
        raise StorageError(
            f"A download into one root waits for another for at most {lock_timeout:g} s",
            met="it has not ended",
            where=root,
            remedy="Run the command again when it has, or end it",
        ) from error
    except (OSError, RuntimeError) as error:  # RuntimeError: links in a circle
        if getattr(error, "errno", errno.ELOOP) in _WRONG_ROOT:
            met = getattr(error, "strerror", error)
            raise UsageError("The root of a download is a folder", met=met, where=root) from error
        raise storage_error(root, cast(OSError, error)) from error
    return open_dataset("gygo", root, resolution)


def _fetch(
    root: Path,
    given: Path | None,
    url: str,
    sha256: str | None,
    keep_archive: bool,
    progress: bool,
    **connection: Any,
) -> None:
    """Makes the dataset in a root that is locked and has none; arguments as in `fetch_gygo`."""
    destination, lock = root / FOLDER_NAME, root / LOCK_NAME
    if os.path.lexists(destination):
        raise UsageError(
            "The folder of the dataset does not exist before the download",
            met="something that is no dataset",
            where=destination,
            remedy="Move it away, or choose another root",
        )
    pinned = _pinned(lock)
    known, max_bytes = pinned or (sha256 and sha256.lower(), MAX_DOWNLOAD_BYTES)
    if sha256 is not None and sha256.lower() != known:
        raise InputError(
            f"The given SHA-256 must equal the pinned one, {known}",
            met=sha256,
            where=lock,
            remedy="If the archive was replaced on purpose, remove that file",
        )
    path = given or root / ARCHIVE_NAME
    part_file(root / ARCHIVE_NAME).unlink(missing_ok=True)  # of a run that was killed
    if given is None:
        download(url, path, sha256=known, max_bytes=max_bytes, progress=progress, **connection)
    try:
        digest = check_hash(path, known)
        size = path.stat().st_size
        _extract(path, destination, progress=progress)
    except BaseException as error:
        # What is damaged stays so, and without a hash no later run would trust the rest.
        if given is None and (known is None or isinstance(error, InputError)):
            path.unlink(missing_ok=True)
        raise
    if pinned is None:
        record = {
            "path": path.name,
            "url": None if given else url,
            "size": size,
            "sha256": digest,
            "pinned": datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
        }
        with replacing(lock) as side:
            side.write_text(json.dumps(record, indent=2) + "\n", encoding="utf-8")
    if given is None and not keep_archive:
        path.unlink()


def _pinned(lock: Path) -> tuple[str, int] | None:
    """Reads hash and size of the pinned archive; None if there is none."""
    if not os.path.lexists(lock):
        return None
    check_regular(lock, error=UsageError)
    record = read_json(lock, 1 << 20)
    try:
        sha256, size = str(record["sha256"]), int(record["size"])
        if not re.fullmatch(r"[0-9a-f]{64}", sha256) or size < 0:
            raise ValueError(f"sha256 {sha256!r}, size {size}")
    except (ValueError, KeyError, TypeError) as error:
        raise InputError(
            "The record of the pinned archive must be readable",
            met=f"{type(error).__name__}: {printable(error)}",
            where=lock,
            remedy="Remove it to pin the next archive",
        ) from error
    return sha256, size


def _extract(archive: Path, destination: Path, *, progress: bool) -> None:
    """Unpacks a tar archive of GyGO into a folder that appears when it is complete."""
    side = destination.with_name(f".{destination.name}.unpacking")
    try:
        shutil.rmtree(side, ignore_errors=True)  # of a run that was killed
        side.mkdir()
        unpack_archive(archive, side, progress=progress)
        content = find_dataset_root(side)
        folders = (IMAGE_FOLDER, ANNOTATION_FOLDER, LIST_FOLDER)
        if content is None or not all((content / name).is_dir() for name in folders):
            raise InputError(
                f"The archive must hold a GyGO dataset: {', '.join(folders)}",
                met=shorten(sorted(path.name for path in (content or side).iterdir())) or "nothing",
                where=archive,
                remedy="Check that it is the archive of the GyGO dataset",
            )
        os.rename(content, destination)  # refuses to replace what another put there meanwhile
    except OSError as error:
        raise storage_error(destination, error) from error
    finally:
        shutil.rmtree(side, ignore_errors=True)
