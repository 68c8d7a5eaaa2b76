"""The archive of a data set: its hash, the record that pins it, and its safe unpacking."""

from __future__ import annotations

import datetime
import hashlib
import json
import lzma
import shutil
import tarfile
import zlib
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path

from tqdm import tqdm

from deeplab_gygo.datasets.transfer import WrongContent, require_space, storage_error
from deeplab_gygo.errors import InputError, UsageError

# What tarfile and its decompressors raise on a damaged or cut file.
_DAMAGE = (tarfile.ReadError, tarfile.HeaderError, EOFError, zlib.error, lzma.LZMAError)


@dataclass(frozen=True)
class FetchedFile:
    """A file on disk and what identifies its version.

    Attributes:
        path: The file.
        size: Bytes.
        sha256: Hash of the content, hexadecimal, lower case.
        url: Where it came from; None for a local file.
        etag: `ETag` that the server gave; None where it gave none.
    """

    path: Path
    size: int
    sha256: str
    url: str | None = None
    etag: str | None = None


def check_file(
    path: str | Path,
    *,
    sha256: str | None = None,
    size: int | None = None,
    url: str | None = None,
    etag: str | None = None,
) -> FetchedFile:
    """Hashes a file and compares it with what is known of it.

    Args:
        path: The file.
        sha256: Expected hash, hexadecimal; None to accept any.
        size: Expected bytes; None to accept any.
        url: Where it came from, for the result.
        etag: `ETag` of the server, for the result.

    Returns:
        The file with its hash.

    Raises:
        InputError: The file is absent or its size or hash is another one.
    """
    path = Path(path)
    if not path.is_file():
        raise InputError("The file must exist", met="no such file", where=path)
    with open(path, "rb") as file:
        found = FetchedFile(
            path, path.stat().st_size, hashlib.file_digest(file, "sha256").hexdigest(), url, etag
        )
    for what, expected, met in (
        ("size in bytes", size, found.size),
        ("SHA-256", sha256.lower() if sha256 else None, found.sha256),
    ):
        if expected is not None and expected != met:
            raise WrongContent(
                f"The {what} of the file must be {expected}",
                met=met,
                where=url or path,
                remedy="Fetch the file again; if it stays so, it is damaged or was replaced",
            )
    return found


def extract_archive(
    archive: str | Path,
    destination: str | Path,
    *,
    find_content: Callable[[Path], Path],
    progress: bool = True,
) -> Path:
    """Unpacks a tar archive (plain, gzip, bzip2 or xz) into a folder that appears at the end.

    The members go to a side folder first, with the `data` filter of `tarfile`, which refuses
    members that would land outside of it, links that leave it and special files. The side folder
    is renamed when it is complete, hence an interrupted run leaves no half data set.

    Args:
        archive: The archive.
        destination: Folder to make; must not exist, its parent is made where needed.
        find_content: Gets the side folder and returns the folder within it, or itself, that is to
            become the destination; raises where the archive holds something else.
        progress: Show a progress bar on a terminal.

    Returns:
        The destination.

    Raises:
        InputError: The archive is absent, damaged, not a tar archive or unsafe.
        StorageError: The disk is full or cannot be written.
        UsageError: This Python is too old to unpack safely.
    """
    archive, destination = Path(archive), Path(destination)
    if not hasattr(tarfile, "data_filter"):
        raise UsageError(
            "Safe unpacking needs Python 3.11.4 or newer", remedy="Use a newer Python 3"
        )
    if not archive.is_file():
        raise InputError("The archive must exist", met="no such file", where=archive)
    if destination.exists():
        raise InputError(
            "The folder for the content of the archive must not exist yet",
            where=destination,
            remedy="Remove it, or open the data set that it holds",
        )
    side = destination.with_name(f".{destination.name}.unpacking")
    try:
        destination.parent.mkdir(parents=True, exist_ok=True)
        # Photos hardly shrink in an archive, so that its size is about what will be written.
        require_space(destination.parent, archive.stat().st_size, "Unpacking")
        shutil.rmtree(side, ignore_errors=True)  # of a run that was killed
        side.mkdir()
        _unpack(archive, side, progress)
        find_content(side).rename(destination)
    except OSError as error:
        raise storage_error(error, destination) from error
    finally:
        shutil.rmtree(side, ignore_errors=True)
    return destination


def _unpack(archive: Path, folder: Path, progress: bool) -> None:
    bar = tqdm.wrapattr(
        open(archive, "rb"),
        "read",
        total=archive.stat().st_size,
        desc=f"unpack {archive.name}",
        disable=None if progress else True,
    )
    # Not the stream mode of tarfile ("r|"): it takes a cut gzip file for the end of the archive.
    try:
        with bar as stream, tarfile.open(fileobj=stream, mode="r:*") as members:
            for member in members:
                members.extract(member, folder, filter="data")
            # An archive ends with a block of zeros; tarfile takes a cut header for the end too.
            if members.fileobj.tell() < members.offset + tarfile.BLOCKSIZE:
                raise tarfile.ReadError("the archive has no end")
            while members.fileobj.read(1 << 20):
                pass  # to the last byte, so that the decompressor compares its checksum
    except tarfile.FilterError as error:
        raise InputError(
            "Every member of the archive must land inside the folder that it is unpacked to",
            met=str(error),
            where=archive,
            remedy="Do not use this archive; fetch it from its publisher again",
        ) from error
    except _DAMAGE as error:
        raise _damaged(archive, error) from error
    except OSError as error:
        if error.errno is None:  # of a decompressor, not of the method
            raise _damaged(archive, error) from error
        raise


def _damaged(archive: Path, error: Exception) -> InputError:
    return InputError(
        "The archive must be a whole tar archive (plain, gzip, bzip2 or xz)",
        met=str(error) or type(error).__name__,
        where=archive,
        remedy="Fetch it again; the download may have been cut",
    )


class ArchiveLock:
    """The record of the archive that a data set came from."""

    def __init__(self, path: Path):
        self._path = path

    def read(self) -> FetchedFile | None:
        """Reads the pinned archive; None where nothing is pinned."""
        try:
            record = json.loads(self._path.read_text(encoding="utf-8"))
            return FetchedFile(
                Path(record["path"]),
                int(record["size"]),
                str(record["sha256"]),
                record.get("url"),
                record.get("etag"),
            )
        except FileNotFoundError:
            return None
        except (ValueError, KeyError, TypeError) as error:
            raise InputError(
                "The record of the pinned archive must be readable",
                met=f"{type(error).__name__}: {error}",
                where=self._path,
                remedy="Remove it to pin the next archive",
            ) from error

    def agree(self, pinned: FetchedFile, sha256: str | None) -> str:
        """Gives the hash that an archive must have; raises where a given one is another."""
        if sha256 is not None and sha256.lower() != pinned.sha256:
            raise self.explain(
                WrongContent(
                    f"The given SHA-256 must equal the pinned one, {pinned.sha256}", met=sha256
                )
            )
        return pinned.sha256

    def explain(self, error: WrongContent) -> WrongContent:
        """Says in an error about an archive where the expectation comes from."""
        return WrongContent(
            error.rule,
            met=error.met,
            where=error.where or self._path,
            remedy=f"The expected value was pinned in {self._path}; "
            "if the archive was replaced on purpose, remove that file",
        )

    def write(self, source: FetchedFile) -> None:
        """Pins an archive."""
        record = asdict(source) | {
            "path": source.path.name,
            "pinned": datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
        }
        unfinished = self._path.with_name(self._path.name + ".unfinished")
        try:
            self._path.parent.mkdir(parents=True, exist_ok=True)
            unfinished.write_text(json.dumps(record, indent=2) + "\n", encoding="utf-8")
            unfinished.replace(self._path)
        except OSError as error:
            raise storage_error(error, self._path) from error
