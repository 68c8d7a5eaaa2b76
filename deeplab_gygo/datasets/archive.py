"""Unpacking of untrusted tar archives.

Members are read one by one and written by this module alone: the filters of `tarfile` follow links
that earlier members made, and can be led outside (CVE-2025-4517). Here no link is made at all.
"""

from __future__ import annotations

import bz2
import gzip
import io
import lzma
import os
import tarfile
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO, cast

from tqdm import tqdm

from deeplab_gygo.datasets.space import SpaceLimit
from deeplab_gygo.errors import InputError
from deeplab_gygo.io.escaping import printable
from deeplab_gygo.io.names import folded, safe_relative
from deeplab_gygo.io.reading import check_regular

MAX_UNPACKED_BYTES = 64 << 30
"""Largest archive, unpacked, with its headers."""

MAX_RATIO = 20
"""Largest ratio of unpacked to packed bytes; images pack by a few percent, zeros a thousandfold."""

ANY_RATIO_BYTES = 64 << 20
"""Unpacked bytes below which any ratio is accepted."""

MAX_ENTRIES = 50_000
"""Most files and folders."""

MAX_DEPTH = 16
"""Most folders above a file."""

MAX_HEADER_BYTES = 1 << 20
"""Largest extended header, which holds a long name or attributes."""

MAX_HEADERS = 4
"""Most extended headers of one member."""

_XZ_MEMORY = 256 << 20  # of the decoder; the strongest preset of xz needs 65 MiB
_CHUNK = 1 << 20  # bytes
_FILES = (tarfile.REGTYPE, tarfile.AREGTYPE, tarfile.CONTTYPE)
_EXTENDED = (tarfile.XHDTYPE, tarfile.SOLARIS_XHDTYPE, tarfile.XGLTYPE, tarfile.GNUTYPE_LONGNAME)
_SAID = ("path", "size")  # of all that an extended header can say of a member
_KINDS = {
    tarfile.SYMTYPE: "a symbolic link", tarfile.LNKTYPE: "a hard link",
    tarfile.GNUTYPE_LONGLINK: "a link", tarfile.FIFOTYPE: "a named pipe",
    tarfile.CHRTYPE: "a device", tarfile.BLKTYPE: "a device",
    tarfile.GNUTYPE_SPARSE: "a sparse file",
}  # fmt: skip
# Errors of headers and decompressors on a damaged or truncated file; ValueError: text that is none.
_DAMAGE = (tarfile.HeaderError, EOFError, zlib.error, lzma.LZMAError, ValueError)
_RULE = "Every member of the archive must be a file or folder inside the target folder"


def unpack_archive(
    archive: str | Path,
    folder: str | Path,
    *,
    max_bytes: int = MAX_UNPACKED_BYTES,
    progress: bool = False,
) -> None:
    """Unpacks a tar archive (plain, gzip, bzip2 or xz) into an empty folder.

    Only files and folders are made, with the usual rights; owners and times are dropped. An archive
    with anything else, with a name that leaves the folder, or with two names that some file system
    takes for one, is refused. What was written until then stays in the folder.

    Args:
        archive: The archive.
        folder: An existing, empty folder that nobody else writes to.
        max_bytes: Most bytes after decompression; `MAX_RATIO` holds beside it.
        progress: Show a progress bar on a terminal.

    Raises:
        InputError: The archive is absent, no tar archive, damaged, truncated, unsafe, or exceeds a
            limit of this module.
        StorageError: The disk has no room.
        OSError: The folder cannot be written.

    Example:
        >>> import tempfile
        >>> with tempfile.TemporaryDirectory() as place:
        ...     _ = (Path(place) / "list.txt").write_text("shoe")
        ...     with tarfile.open(f"{place}/a.tar.gz", "w:gz") as made:
        ...         made.add(f"{place}/list.txt", "lists/val.txt")
        ...     (Path(place) / "to").mkdir()
        ...     unpack_archive(f"{place}/a.tar.gz", f"{place}/to")
        ...     (Path(place) / "to/lists/val.txt").read_text()
        'shoe'
    """
    archive = Path(archive)
    packed = check_regular(archive)
    limit = min(max_bytes, max(ANY_RATIO_BYTES, MAX_RATIO * packed))
    space = SpaceLimit(Path(folder), limit, archive, "An archive of this size unpacks to")
    target = _Target(Path(folder), archive)
    try:
        with _decompressed(archive, packed, progress) as stream:
            tar = _TarStream(stream, space, archive)
            for name, size in tar.members():
                if size is None:
                    target.make_folder(name)
                else:
                    with target.make_file(name) as file:
                        tar.copy(size, file)
    except _DAMAGE as error:
        raise _damaged(archive, error) from error
    except OSError as error:
        if error.errno is None:  # of a decompressor, not of the operating system
            raise _damaged(archive, error) from error
        raise


class _TarStream:
    """The members of a decompressed tar stream, in order; every byte is counted."""

    def __init__(self, stream: BinaryIO, space: SpaceLimit, where: Path):
        self._stream, self._space, self._where = stream, space, where

    def members(self) -> Iterator[tuple[str, int | None]]:
        """Yields name and size of every member; the size of a folder is None.

        The content of a file must be copied before the next member. After the block of zeros that
        ends an archive only zeros may follow: a damaged header is an error, not an end.
        """
        said: dict[str, str] = {}
        headers = 0
        while (block := self._take(tarfile.BLOCKSIZE)).strip(b"\0"):
            header = tarfile.TarInfo.frombuf(block, "utf-8", "surrogateescape")
            if header.size < 0:
                raise tarfile.HeaderError("a negative size")
            if header.type in _EXTENDED:
                headers += 1
                if header.size > MAX_HEADER_BYTES or headers > MAX_HEADERS:
                    met = f"extended header {headers} of a member, {header.size} bytes"
                    raise _unsafe(met, self._where)
                said |= self._extended(header)
                continue
            name = said.get("path", header.name)
            if header.type in _FILES:
                yield self._checked(name), int(said.get("size", header.size))
            elif header.type != tarfile.DIRTYPE:
                met = f"{_KINDS.get(header.type, 'another kind of member')}, {name[:100]!r}"
                raise _unsafe(met, self._where)
            elif name.rstrip("/") != ".":  # the folder that was packed
                yield self._checked(name), None
            said, headers = {}, 0
        if headers:
            raise tarfile.HeaderError("an extended header without a member")
        while rest := self._read(_CHUNK):  # to the end: decompressors compare their checksum there
            if rest.strip(b"\0"):
                raise tarfile.HeaderError("data after the end of the archive")

    def copy(self, size: int, file: BinaryIO) -> None:
        """Copies the content of the present member."""
        self._space.require(size)
        for start in range(0, size, _CHUNK):
            file.write(self._take(min(_CHUNK, size - start)))
        self._take(-size % tarfile.BLOCKSIZE)

    def _checked(self, name: str) -> str:
        name = safe_relative(name, self._where, rule=_RULE, result=False)
        if name.count("/") > MAX_DEPTH:
            met = f"'{name[:100]}...', more than {MAX_DEPTH} folders deep"
            raise _unsafe(met, self._where)
        return name

    def _extended(self, header: tarfile.TarInfo) -> dict[str, str]:
        """Returns what an extended header says of the next member: its path, its size."""
        content = self._take(header.size)
        self._take(-header.size % tarfile.BLOCKSIZE)
        if header.type == tarfile.GNUTYPE_LONGNAME:
            return {"path": content.split(b"\0", 1)[0].decode()}
        records = _pax_records(content)
        if any(key.startswith(b"GNU.sparse") for key in records):
            raise _unsafe("a sparse file", self._where)
        said = {key: records[key.encode()].decode() for key in _SAID if key.encode() in records}
        if said and header.type == tarfile.XGLTYPE:
            raise _unsafe("one path or size for all members", self._where)
        if not said.get("size", "0").isdecimal():
            raise tarfile.HeaderError("a size that is no number")
        return said

    def _take(self, size: int) -> bytes:
        content = self._read(size)
        if len(content) < size:
            raise EOFError("the archive has no end")
        return content

    def _read(self, size: int) -> bytes:
        content = self._stream.read(size)
        self._space.count(len(content))
        return content


class _Target:
    """The folder that is filled; no name is made twice, whatever its case."""

    def __init__(self, folder: Path, where: Path):
        self._folder, self._where = folder, where
        self._made: dict[str, str] = {}  # folded name -> name, of a folder with a slash at its end

    def make_folder(self, name: str) -> None:
        """Makes a folder and those above it where they are absent."""
        for end in (*(i for i, char in enumerate(name) if char == "/"), len(name)):
            if self._is_new(f"{name[:end]}/"):
                os.mkdir(self._folder / name[:end], 0o755)

    def make_file(self, name: str) -> BinaryIO:
        """Makes a file, opened for writing, and the folders above it."""
        above, slash, _ = name.rpartition("/")
        if slash:
            self.make_folder(above)
        self._is_new(name)
        return open(self._folder / name, "xb", opener=_open_new)

    def _is_new(self, name: str) -> bool:
        """Notes a name; an equal one, without regard to case, may only be the same folder."""
        key = folded(name.rstrip("/"))
        former = self._made.get(key)
        if former is None:
            if len(self._made) >= MAX_ENTRIES:
                raise _unsafe(f"more than {MAX_ENTRIES} files and folders", self._where)
            self._made[key] = name
        elif former != name or not name.endswith("/"):
            raise _unsafe(f"'{former[:100]}' and '{name[:100]}', one name", self._where)
        return former is None


def _open_new(path: str, flags: int) -> int:
    return os.open(path, flags | getattr(os, "O_NOFOLLOW", 0), 0o644)


def _pax_records(content: bytes) -> dict[bytes, bytes]:
    """Splits an extended header into its records: length, space, key, `=`, value."""
    records: dict[bytes, bytes] = {}
    start = 0
    while start < len(content):
        digits, space, _ = content[start : start + 10].partition(b" ")
        end = start + int(digits) if space and digits.isdigit() else start
        key, equals, value = content[start + len(digits) + 1 : end - 1].partition(b"=")
        if not equals or content[end - 1 : end] != b"\n":
            raise tarfile.HeaderError("a damaged extended header")
        records[key] = value
        start = end
    return records


@contextmanager
def _decompressed(archive: Path, size: int, progress: bool) -> Iterator[BinaryIO]:
    """Opens an archive by its first bytes, whatever its name."""
    title, disable = f"unpack {archive.name}", None if progress else True
    with (
        open(archive, "rb") as file,
        tqdm.wrapattr(file, "read", total=size, desc=title, disable=disable) as counted,
    ):
        packed = cast(BinaryIO, counted)
        magic = file.read(6)
        file.seek(0)
        if magic.startswith(b"\x1f\x8b"):
            yield cast(BinaryIO, gzip.GzipFile(fileobj=packed))
        elif magic.startswith(b"BZh"):
            yield cast(BinaryIO, bz2.BZ2File(packed))
        elif magic == b"\xfd7zXZ\0":
            yield cast(BinaryIO, io.BufferedReader(_XzReader(packed)))
        else:
            yield packed


class _XzReader(io.RawIOBase):
    """An xz file; unlike by `lzma.open`, the memory of the decoder has a limit."""

    def __init__(self, file: BinaryIO):
        self._file = file
        self._decoder = lzma.LZMADecompressor(lzma.FORMAT_XZ, memlimit=_XZ_MEMORY)

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: memoryview) -> int:  # type: ignore[override]
        while not self._decoder.eof:
            packed = self._file.read(_CHUNK) if self._decoder.needs_input else b""
            if self._decoder.needs_input and not packed:
                raise EOFError("the archive has no end")
            content = self._decoder.decompress(packed, len(buffer))
            if content:
                buffer[: len(content)] = content
                return len(content)
        if (self._decoder.unused_data + self._file.read(_CHUNK)).strip(b"\0"):
            raise lzma.LZMAError("data after the end of the archive")
        return 0


def _unsafe(met: str, where: Path) -> InputError:
    remedy = "Do not use this archive; fetch it from its publisher again"
    return InputError(_RULE, met=printable(met), where=where, remedy=remedy)


def _damaged(archive: Path, error: Exception) -> InputError:
    return InputError(
        "The archive must be a complete tar archive (plain, gzip, bzip2 or xz)",
        met=str(error) or type(error).__name__,
        where=archive,
        remedy="Fetch it again; the download may have been truncated",
    )
