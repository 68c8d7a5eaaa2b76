"""Download of the GyGO dataset: retries, a pinned SHA-256 and safe unpacking."""

from __future__ import annotations

import datetime
import json
import logging
import lzma
import shutil
import sys
import tarfile
import time
import zlib
from pathlib import Path, PurePosixPath
from typing import BinaryIO, cast

import pooch
import requests
from tqdm import tqdm

from deeplab_gygo.datasets.layout import find_dataset_root
from deeplab_gygo.datasets.registry import Dataset, open_dataset
from deeplab_gygo.errors import InputError, StorageError, UsageError
from deeplab_gygo.io.atomic import move_folder, replacing, storage_error

logger = logging.getLogger(__name__)

# Address in the README of https://github.com/ilchemla/gygo-dataset since 2018-03-28.
GYGO_URL = "https://gygox-assets.oss-us-east-1.aliyuncs.com/gygo-dataset.tar.gz"
LOCK_NAME = "gygo.lock.json"
ARCHIVE_NAME = "gygo-dataset.tar.gz"
LONGEST_PAUSE = 60.0  # seconds between two tries, however many failed
# Errors of tarfile and its decompressors on a damaged or truncated file.
_DAMAGE = (tarfile.ReadError, tarfile.HeaderError, EOFError, zlib.error, lzma.LZMAError)
_PASSING = frozenset({408, 425, 429})  # client errors of HTTP that may pass (RFC 9110, RFC 6585)


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
    """Downloads and unpacks the GyGO dataset, or unpacks a given archive, and opens the dataset.

    The publisher names no hash. Therefore the SHA-256 of the first archive that was unpacked is
    written to `gygo.lock.json` in the root, and every later archive must equal it.

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

    Returns:
        The opened dataset.

    Raises:
        InputError: The archive is not the pinned one, damaged, unsafe or not GyGO.
        StorageError: The disk is full or cannot be written, or the connection fails repeatedly.
    """
    root = Path(root).expanduser()
    if find_dataset_root(root) is not None:
        logger.info("GyGO exists already: %s", root)
        return open_dataset("gygo", root, resolution)
    lock = root / LOCK_NAME
    pinned = _pinned_hash(lock)
    if None not in (sha256, pinned) and str(sha256).lower() != pinned:
        raise InputError(
            f"The given SHA-256 must equal the pinned one, {pinned}",
            met=sha256,
            where=lock,
            remedy="If the archive was replaced on purpose, remove that file",
        )
    known = pinned or sha256
    path = Path(archive).expanduser() if archive is not None else root / ARCHIVE_NAME
    if archive is None:
        download(
            url,
            path,
            sha256=known,
            progress=progress,
            retries=retries,
            timeout=timeout,
            pause=pause,
        )
    try:
        digest = _check_hash(path, known)
        _extract(path, root / "gygo-dataset", progress=progress)
    except InputError:
        if archive is None:
            path.unlink(missing_ok=True)  # what is damaged would be damaged the next time too
        raise
    dataset = open_dataset("gygo", root, resolution)
    if pinned is None:
        record = {
            "path": path.name,
            "url": None if archive is not None else url,
            "size": path.stat().st_size,
            "sha256": digest,
            "pinned": datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
        }
        with replacing(lock) as side:
            side.write_text(json.dumps(record, indent=2) + "\n", encoding="utf-8")
    if archive is None and not keep_archive:
        path.unlink()
    return dataset


def download(
    url: str,
    destination: str | Path,
    *,
    sha256: str | None = None,
    progress: bool = True,
    retries: int = 8,
    timeout: float = 30.0,
    pause: float = 1.0,
) -> Path:
    """Downloads a file over HTTP; it appears when it is complete and its hash is right.

    Args:
        url: Address, http or https.
        destination: File to make; its folder is made where it is absent. An existing file with the
            right hash, or any one where no hash is given, is kept without a download.
        sha256: Hash that the content must have, hexadecimal; None to accept any.
        progress: Show a progress bar on a terminal.
        retries: Number of further tries after the connection failed.
        timeout: Seconds without data after which the connection counts as failed.
        pause: Seconds before the first retry; doubled with every further one, at most 60.

    Returns:
        The destination.

    Raises:
        InputError: The server has no such file, or its content has another hash.
        StorageError: The disk is full or cannot be written, or the connection fails repeatedly.
        UsageError: The address is not http or https.
    """
    destination = Path(destination).expanduser()
    if not url.lower().startswith(("http://", "https://")):
        raise UsageError("An address to download from begins with http:// or https://", met=url)
    pooch.get_logger().setLevel(logging.WARNING)
    downloader = pooch.HTTPDownloader(
        progressbar=progress and sys.stderr.isatty(),
        timeout=timeout,
        headers={"Accept-Encoding": "identity"},  # the hash is that of the file as it is stored
    )
    for attempt in range(retries + 1):
        try:
            pooch.retrieve(
                url,
                known_hash=sha256 and f"sha256:{sha256.lower()}",
                fname=destination.name,
                path=destination.parent,
                downloader=downloader,
            )
            return destination
        except requests.RequestException as error:
            status = getattr(error.response, "status_code", 0)
            if 400 <= status < 500 and status not in _PASSING:
                raise InputError(
                    "The address must lead to the file",
                    met=error,
                    where=url,
                    remedy="Check the address, or fetch the file by hand and give it as archive",
                ) from error
            if attempt == retries:
                raise StorageError(
                    "The download must be completed",
                    met=f"{error}, after {retries + 1} tries",
                    where=url,
                    remedy="Run the command again later, or fetch the file by hand",
                ) from error
            wait = min(LONGEST_PAUSE, pause * 2**attempt)
            logger.warning("%s; next try in %.1f s", error, wait)
            time.sleep(wait)
        except ValueError as error:  # pooch: the hash differs; the download is deleted
            raise _wrong_hash(sha256, str(error).split(". ")[0], url) from error
        except OSError as error:
            raise storage_error(destination, error) from error
    raise UsageError("The number of retries is 0 or more", met=retries)


def _pinned_hash(lock: Path) -> str | None:
    try:
        return str(json.loads(lock.read_text(encoding="utf-8"))["sha256"])
    except FileNotFoundError:
        return None
    except (ValueError, KeyError, TypeError) as error:
        raise InputError(
            "The record of the pinned archive must be readable",
            met=f"{type(error).__name__}: {error}",
            where=lock,
            remedy="Remove it to pin the next archive",
        ) from error


def _check_hash(path: Path, expected: str | None) -> str:
    if not path.is_file():
        raise InputError("The archive must exist", met="no such file", where=path)
    found = pooch.file_hash(str(path))
    if expected is not None and found != expected.lower():
        raise _wrong_hash(expected, found, path)
    return found


def _wrong_hash(expected: str | None, met: str, where: str | Path) -> InputError:
    return InputError(
        f"The SHA-256 of the file must be {expected}",
        met=met,
        where=where,
        remedy=f"Fetch it again; if it was replaced on purpose, give its hash, or remove the "
        f"{LOCK_NAME} that pins the former one",
    )


def _extract(archive: Path, destination: Path, *, progress: bool) -> None:
    """Unpacks a tar archive of GyGO into a folder that appears when it is complete."""
    side = destination.with_name(f".{destination.name}.unpacking")
    try:
        shutil.rmtree(side, ignore_errors=True)  # of a run that was killed
        side.mkdir(parents=True)
        _unpack(archive, side, progress)
        content = find_dataset_root(side)
        if content is None:
            raise InputError(
                "The archive must hold a GyGO dataset: JPEGImages, Annotations, ImageSets",
                met=", ".join(sorted(path.name for path in side.iterdir())[:10]) or "nothing",
                where=archive,
                remedy="Check that it is the archive of the GyGO dataset",
            )
        move_folder(content, destination)
    except OSError as error:
        raise storage_error(destination, error) from error
    finally:
        shutil.rmtree(side, ignore_errors=True)


def _unpack(archive: Path, folder: Path, progress: bool) -> None:
    bar = tqdm.wrapattr(
        open(archive, "rb"),
        "read",
        total=archive.stat().st_size,
        desc=f"unpack {archive.name}",
        disable=None if progress else True,
    )
    # Not the stream mode of tarfile ("r|"): it takes a truncated gzip file for the archive's end.
    try:
        with bar as stream, tarfile.open(fileobj=cast(BinaryIO, stream), mode="r:*") as members:
            for member in members:
                _check_member(member)
                members.extract(member, folder, filter="data")
            # An archive ends with a block of zeros; tarfile takes a truncated header for it too.
            if members.fileobj.tell() < members.offset + tarfile.BLOCKSIZE:
                raise tarfile.ReadError("the archive has no end")
            while members.fileobj.read(1 << 20):
                pass  # to the last byte, so that the decompressor compares its checksum
    except tarfile.FilterError as error:
        raise InputError(
            "Every member of the archive must be a file or folder inside the target folder",
            met=str(error),
            where=archive,
            remedy="Do not use this archive; fetch it from its publisher again",
        ) from error
    except _DAMAGE as error:
        raise _damaged(archive, error) from error
    except OSError as error:
        if error.errno is None:  # of a decompressor, not of the operating system
            raise _damaged(archive, error) from error
        raise


def _check_member(member: tarfile.TarInfo) -> None:
    """Refuses what a dataset has no need of, beside what tarfile's `data` filter refuses."""
    path = PurePosixPath(member.name)
    if path.is_absolute() or ".." in path.parts or "\\" in member.name:
        raise tarfile.OutsideDestinationError(member, member.name)
    if not (member.isfile() or member.isdir()):
        raise tarfile.SpecialFileError(member)


def _damaged(archive: Path, error: Exception) -> InputError:
    return InputError(
        "The archive must be a complete tar archive (plain, gzip, bzip2 or xz)",
        met=str(error) or type(error).__name__,
        where=archive,
        remedy="Fetch it again; the download may have been truncated",
    )
