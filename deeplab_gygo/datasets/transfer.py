"""Download of one file over HTTP: retries, limits, and nothing kept that is not complete."""

from __future__ import annotations

import logging
import os
import re
import sys
import time
from contextlib import suppress
from pathlib import Path
from typing import Any, BinaryIO
from urllib.parse import urlsplit

import pooch
import requests

from deeplab_gygo.datasets.space import SpaceLimit
from deeplab_gygo.errors import InputError, StorageError, UsageError
from deeplab_gygo.io.atomic import storage_error
from deeplab_gygo.io.escaping import printable
from deeplab_gygo.io.names import expanded
from deeplab_gygo.io.reading import check_regular

logger = logging.getLogger(__name__)

MAX_DOWNLOAD_BYTES = 20 << 30
"""Largest file, unless another limit is given."""

LONGEST_PAUSE = 60.0  # seconds between two tries, however many failed
LOWEST_RATE = 1000  # bytes per second, on average, after the first minute
_RATE_AFTER = 60.0  # seconds
_PASSING = frozenset({408, 425, 429})  # client errors of HTTP that may pass (RFC 9110, RFC 6585)
_FINAL = (
    requests.exceptions.InvalidURL,
    requests.exceptions.InvalidSchema,  # a redirect to an address that is not HTTP
    requests.exceptions.MissingSchema,
    requests.exceptions.TooManyRedirects,
)


def download(
    url: str,
    destination: str | Path,
    *,
    sha256: str | None = None,
    max_bytes: int = MAX_DOWNLOAD_BYTES,
    progress: bool = True,
    retries: int = 8,
    timeout: float = 30.0,
    pause: float = 1.0,
) -> Path:
    """Downloads a file over HTTP; it appears when it is complete and its hash is right.

    One process at a time may download to one destination.

    Args:
        url: Address, http or https.
        destination: File to make; its folder is made where it is absent. An existing file with the
            right hash is kept without a download, any other one is replaced.
        sha256: Hash that the content must have, hexadecimal; None to accept any.
        max_bytes: Largest content.
        progress: Show a progress bar on a terminal.
        retries: Number of further tries after the connection failed.
        timeout: Seconds without data after which the connection counts as failed.
        pause: Seconds before the first retry; doubled with every further one, at most 60.

    Returns:
        The destination.

    Raises:
        InputError: The server has no such file, or its content is empty, too large, or has another
            hash.
        StorageError: The disk is full or cannot be written, or the connection fails repeatedly or
            is slower than `LOWEST_RATE`.
        UsageError: The address is not http or https, the hash is none, or `retries` is negative.
    """
    check_download(url, sha256, retries)
    destination = expanded(destination)
    side = part_file(destination)
    try:
        if sha256 and destination.is_file() and pooch.file_hash(str(destination)) == sha256.lower():
            return destination
        destination.parent.mkdir(parents=True, exist_ok=True)
        for attempt in range(retries + 1):
            try:
                _transfer(url, side, max_bytes, progress, timeout)
                break
            except requests.RequestException as error:
                _check_passing(error, url, attempt, retries)
                wait = min(LONGEST_PAUSE, pause * 2**attempt)
                logger.warning("%s; next try in %.1f s", printable(error), wait)
                time.sleep(wait)
        if not side.stat().st_size:
            raise InputError("The address must lead to the file", met="an empty answer", where=url)
        check_hash(side, sha256, url)
        os.replace(side, destination)
    except OSError as error:
        raise storage_error(destination, error) from error
    finally:
        with suppress(OSError):
            side.unlink()
    return destination


def part_file(destination: Path) -> Path:
    """Returns the file that a download is written to until it is complete."""
    return destination.with_name(f".{destination.name}.part")


class _LimitedFile:
    """A file that ends a download that is too large for its limit or its disk, or too slow."""

    def __init__(self, file: BinaryIO, space: SpaceLimit, url: str):
        self._file, self._space, self._url = file, space, url
        self._started, self._size = time.monotonic(), 0

    def write(self, content: bytes) -> int:
        self._space.count(len(content))
        self._size += len(content)
        seconds = time.monotonic() - self._started
        if seconds > _RATE_AFTER and self._size < LOWEST_RATE * seconds:
            raise StorageError(
                f"A download has at least {LOWEST_RATE} bytes per second on average",
                met=f"{self._size} bytes in {seconds:.0f} s",
                where=self._url,
                remedy="Run the command again later, or fetch the file by hand",
            )
        return self._file.write(content)

    def flush(self) -> None:
        """Leaves the flushing after every piece to the buffer."""


def _transfer(url: str, side: Path, max_bytes: int, progress: bool, timeout: float) -> None:
    """Writes what a server answers to a file, which is replaced."""
    space = SpaceLimit(side.parent, max_bytes, url, "A download has")

    def check_length(response: requests.Response, **_: Any) -> None:
        length = response.headers.get("Content-Length", "")
        if response.ok and not response.is_redirect and length.isdecimal():
            space.require(int(length))

    downloader = pooch.HTTPDownloader(
        progressbar=progress and sys.stderr.isatty(),
        timeout=timeout,
        headers={"Accept-Encoding": "identity"},  # the hash is that of the file as it is stored
        hooks={"response": check_length},
    )
    side.unlink(missing_ok=True)  # of the try before
    with open(side, "xb") as file:
        try:
            downloader(url, _LimitedFile(file, space, url), None)
        except requests.RequestException:
            raise
        except ValueError as error:  # a header that is no number
            raise InputError("A server must answer by HTTP", met=error, where=url) from error


def _check_passing(error: requests.RequestException, url: str, attempt: int, retries: int) -> None:
    """Raises unless another try may succeed."""
    status = getattr(error.response, "status_code", 0)
    if isinstance(error, _FINAL) or (400 <= status < 500 and status not in _PASSING):
        raise InputError(
            "The address must lead to the file",
            met=printable(error),
            where=url,
            remedy="Check the address, or fetch the file by hand and give it as archive",
        ) from error
    if attempt == retries:
        raise StorageError(
            "The download must be completed",
            met=f"{printable(error)}, after {retries + 1} tries",
            where=url,
            remedy="Run the command again later, or fetch the file by hand",
        ) from error


def check_download(url: str, sha256: str | None, retries: int) -> None:
    """Raises `UsageError` for an address, hash or number that is none."""
    try:
        parts = urlsplit(url)
        is_address = parts.scheme.lower() in ("http", "https") and bool(parts.hostname)
        is_address &= parts.port is None or parts.port > 0
    except ValueError:
        is_address = False
    if not is_address or re.search(r"[^!-~]", url):
        raise UsageError(
            "An address to download from begins with http:// or https:// and is ASCII without "
            "spaces",
            met=printable(url),
            remedy="Write other characters as %XX",
        )
    if sha256 is not None and not re.fullmatch(r"[0-9A-Fa-f]{64}", sha256):
        raise UsageError("A SHA-256 has 64 hexadecimal digits", met=printable(sha256))
    if retries < 0:
        raise UsageError("The number of retries is 0 or more", met=retries)


def check_hash(path: Path, expected: str | None, where: str | Path | None = None) -> str:
    """Returns the SHA-256 of a file; raises `InputError` if it is not the expected one."""
    check_regular(path)
    found = pooch.file_hash(str(path))
    if expected is not None and found != expected.lower():
        raise InputError(
            f"The SHA-256 of the file must be {expected}",
            met=found,
            where=where or path,
            remedy="Fetch it again; if it was replaced on purpose, give its hash, or remove the "
            "record that pins the former one",
        )
    return found
