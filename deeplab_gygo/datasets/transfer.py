"""One resumable HTTP transfer: what a server answers to a request for the rest of a file.

A cut transfer is continued with `Range: bytes=N-` (RFC 9110, section 14) under the condition
`If-Range` (section 13.1.5), so that two versions of a file are never mixed: the validator that the
server gave with the first byte is kept beside the part file.
"""

from __future__ import annotations

import errno
import http.client
import json
import logging
import os
import re
import shutil
import urllib.error
import urllib.request
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path

from deeplab_gygo import __version__
from deeplab_gygo.errors import InputError, StorageError

logger = logging.getLogger(__name__)

CHUNK = 1 << 18  # bytes per read: small enough that a cut loses little, large enough for speed
# Left free on the disk when a download ends, so that the method and the records still can write.
SPARE_BYTES = 64 << 20
# Answers that may be another one later (RFC 9110, section 15; RFC 6585); other 4xx are final.
_PASSING = frozenset({408, 425, 429, 500, 502, 503, 504})


class WrongContent(InputError):
    """A file is whole, but not the one that was expected."""


class TransferCut(Exception):
    """A transfer ended early for a reason that may pass; the part file keeps what arrived."""


@dataclass(frozen=True)
class Version:
    """What a server says about the version of a file that it sends.

    Attributes:
        url: Address that was asked.
        etag: Value of the `ETag` field, quotes included.
        last_modified: Value of the `Last-Modified` field.
        size: Bytes of the whole file; None where the server does not say.
    """

    url: str
    etag: str | None = None
    last_modified: str | None = None
    size: int | None = None

    @property
    def validator(self) -> str | None:
        """What `If-Range` may carry: a strong ETag or a date; None where the server gave neither.

        Weak ETags (`W/"..."`) are of no use here (RFC 9110, section 13.1.5).
        """
        strong = self.etag if self.etag and not self.etag.startswith("W/") else None
        return strong or self.last_modified

    def agrees(self, other: Version) -> bool:
        """Says whether two answers can be about the same version of the file."""
        pairs = (
            (self.etag, other.etag),
            (self.last_modified, other.last_modified),
            (self.size, other.size),
        )
        return all(one == two for one, two in pairs if one is not None and two is not None)


class PartFile:
    """The unfinished file and the record of the version that it is a part of.

    Args:
        destination: Where the finished file will be.
    """

    def __init__(self, destination: Path):
        self.path = destination.with_name(destination.name + ".part")
        self._record = destination.with_name(destination.name + ".part.json")

    @property
    def size(self) -> int:
        """Bytes that have arrived."""
        try:
            return self.path.stat().st_size
        except FileNotFoundError:
            return 0

    def version(self) -> Version | None:
        """Reads the version that the part belongs to; None where nothing vouches for it."""
        try:
            return Version(**json.loads(self._record.read_text(encoding="utf-8")))
        except (FileNotFoundError, ValueError, TypeError):
            return None

    def restart(self, version: Version) -> None:
        """Empties the part and records the version that will fill it."""
        self.path.write_bytes(b"")
        self._record.write_text(json.dumps(asdict(version), indent=2), encoding="utf-8")

    def discard(self) -> None:
        """Removes the part and its record."""
        self.path.unlink(missing_ok=True)
        self._record.unlink(missing_ok=True)

    def finish(self, destination: Path) -> None:
        """Gives the part its final name in one step."""
        os.replace(self.path, destination)
        self._record.unlink(missing_ok=True)


def continue_transfer(
    url: str,
    part: PartFile,
    *,
    timeout: float,
    may_resume_blindly: bool,
    expected_size: int | None,
    on_progress: Callable[[int, int | None], None],
) -> Version:
    """Asks once for what is missing of a file and appends it to the part.

    Args:
        url: Address, http or https.
        part: The unfinished file, perhaps still absent.
        timeout: Seconds without a byte after which the connection counts as cut.
        may_resume_blindly: Resume also where the server gave no validator, because a hash of the
            whole file is checked afterwards.
        expected_size: Bytes that the whole file must have, where known.
        on_progress: Called with the bytes that are there and the bytes of the whole or None.

    Returns:
        The version of the file, which the part now holds completely.

    Raises:
        TransferCut: Trying again may help.
        InputError: The address is wrong or the file there has another size.
        StorageError: The disk is full or cannot be written.
    """
    known, offset = part.version(), part.size
    if offset and (
        known is None or known.url != url or not (known.validator or may_resume_blindly)
    ):
        logger.info("starting over: nothing vouches for the %d bytes in %s", offset, part.path)
        offset = 0
    if offset and offset == known.size:
        return known  # whole already: the process ended before it could rename the part
    request = urllib.request.Request(url, headers=_headers(offset, known))
    try:
        with urllib.request.urlopen(request, timeout=timeout) as answer:
            version, offset = _place_of(answer, url, part, known, offset)
            _check_size(version, expected_size, part, offset)
            on_progress(offset, version.size)
            _append(answer, part, offset, version.size, on_progress)
    except urllib.error.HTTPError as error:
        with error:
            return _explain_status(error, url, part, known, offset)
    except (http.client.HTTPException, OSError) as error:
        raise TransferCut(f"{type(error).__name__}: {error}") from error
    if version.size is not None and part.size < version.size:
        raise TransferCut(f"the connection closed after {part.size} of {version.size} bytes")
    return version


def require_space(folder: Path, needed: int, purpose: str) -> None:
    """Raises where a disk has too little room.

    Args:
        folder: An existing folder on the disk.
        needed: Bytes that will be written.
        purpose: What they are, for the message.

    Raises:
        StorageError: Fewer than `needed` bytes, plus some to spare, are free.
    """
    free = shutil.disk_usage(folder).free
    if free < needed + SPARE_BYTES:
        raise StorageError(
            f"{purpose} needs {needed / 1e6:.0f} MB of free disk space",
            met=f"{free / 1e6:.0f} MB free",
            where=folder,
            remedy="Free some space or choose a folder on another disk",
        )


def storage_error(error: OSError, path: Path) -> StorageError:
    """Turns an error of writing into one that says what to do."""
    full = error.errno in (errno.ENOSPC, errno.EDQUOT)
    return StorageError(
        "The file must be writable",
        met="the disk is full" if full else (error.strerror or str(error)),
        where=path,
        remedy="Free some space and run the command again; it goes on where it stopped"
        if full
        else "Choose a folder that can be written",
    )


def _headers(offset: int, known: Version | None) -> dict[str, str]:
    # `identity`: a range counts in bytes of the file, not of a compressed form of it.
    headers = {"User-Agent": f"deeplab-gygo/{__version__}", "Accept-Encoding": "identity"}
    if offset:
        headers["Range"] = f"bytes={offset}-"
        if known and known.validator:
            headers["If-Range"] = known.validator
    return headers


def _place_of(
    answer: http.client.HTTPResponse,
    url: str,
    part: PartFile,
    known: Version | None,
    offset: int,
) -> tuple[Version, int]:
    """Says at which byte an answer begins; empties the part where it is the whole file."""
    first, total = _content_range(answer.headers.get("Content-Range"))
    if answer.status != 206:
        length = answer.headers.get("Content-Length")
        first, total = 0, int(length) if length and length.isdigit() else None
    version = _version_of(answer.headers, url, total)
    if answer.status == 206:
        if first == offset and known is not None and known.agrees(version):
            # The record keeps the fields that a partial answer may leave out.
            return Version(url, known.etag, known.last_modified, total or known.size), offset
        part.discard()
        raise TransferCut("the server sent a part of another version of the file")
    try:
        part.restart(version)
    except OSError as error:
        raise storage_error(error, part.path) from error
    return version, 0


def _content_range(field: str | None) -> tuple[int | None, int | None]:
    """Reads first byte and total size from `bytes 5-9/10`, `bytes 5-9/*` or `bytes */10`."""
    match = re.match(r"bytes (?:(\d+)-\d+|\*)/(\d+|\*)", field or "")
    if not match:
        return None, None
    first, total = match.groups()
    return (int(first) if first else None), (int(total) if total != "*" else None)


def _version_of(headers, url: str, total: int | None) -> Version:
    return Version(url, headers.get("ETag"), headers.get("Last-Modified"), total)


def _check_size(version: Version, expected: int | None, part: PartFile, offset: int) -> None:
    """Refuses a file of the wrong size, or one too large for the disk, before it is fetched."""
    if version.size is None:
        return
    if expected is not None and version.size != expected:
        part.discard()
        raise WrongContent(
            "The file at the address must have the size that was recorded for it",
            met=f"{version.size} bytes instead of {expected}",
            where=version.url,
            remedy="Find out whether the publisher replaced the file",
        )
    require_space(part.path.parent, version.size - offset, "The download")


def _append(
    answer: http.client.HTTPResponse,
    part: PartFile,
    offset: int,
    total: int | None,
    on_progress: Callable[[int, int | None], None],
) -> None:
    try:
        file = open(part.path, "ab")
    except OSError as error:
        raise storage_error(error, part.path) from error
    with file:
        while True:
            # An error of reading is the network's, an error of writing is the disk's; both are
            # OSError, hence the two places.
            chunk = answer.read1(CHUNK)
            if not chunk:
                break
            try:
                file.write(chunk)
            except OSError as error:
                raise storage_error(error, part.path) from error
            offset += len(chunk)
            on_progress(offset, total)
        try:
            file.flush()
            os.fsync(file.fileno())
        except OSError as error:
            raise storage_error(error, part.path) from error


def _explain_status(
    error: urllib.error.HTTPError,
    url: str,
    part: PartFile,
    known: Version | None,
    offset: int,
) -> Version:
    """Turns an answer without a file into a result or an error."""
    if error.code == 416:
        total = _content_range(error.headers.get("Content-Range"))[1]
        version = _version_of(error.headers, url, total)
        if offset and total == offset and known is not None and known.agrees(version):
            return Version(url, known.etag, known.last_modified, total)  # it was whole already
        part.discard()
        raise TransferCut("the part was longer than the file at the address") from error
    if error.code in _PASSING:
        raise TransferCut(f"the server answered {error.code} {error.reason}") from error
    raise InputError(
        "The address must lead to the file",
        met=f"the server answered {error.code} {error.reason}",
        where=url,
        remedy="Check the address, or fetch the file by hand and give it to the command",
    ) from error
