"""Untrusted arrays (`.npy`) and archives of them (`.npz`), checked before anything is unpacked.

`numpy.load` unpacks a member before its size is known, and allocates what its header asks for.
"""

from __future__ import annotations

import io
import math
import warnings
import zipfile
from collections.abc import Collection, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, BinaryIO, NamedTuple

import numpy as np

from deeplab_gygo.errors import DeepLabGygoError, InputError
from deeplab_gygo.io.reading import check_regular, read_bytes

MAX_ARRAYS = 20_000
"""Most arrays of an archive."""

MAX_BYTES = 4 << 30
"""Default limit on the arrays of an archive together, bytes."""

_MAX_MEMBER_LIST = 8 << 20  # bytes of the list of members, which is read whole
_MAX_HEADER = 4096  # bytes; those that NumPy writes have 118 for arrays of few axes
_MAX_AXES = 16
_CHUNK = 1 << 20
_PREFIXES = {(1, 0): 10, (2, 0): 12}  # bytes before the text of a header, by version of the format


class ArrayHeader(NamedTuple):
    """What the header of a stored array states.

    Attributes:
        shape: Its shape.
        dtype: Its dtype: numbers or booleans.
        fortran_order: Whether the first axis varies fastest.
        start: Bytes before the numbers.
    """

    shape: tuple[int, ...]
    dtype: np.dtype
    fortran_order: bool
    start: int


class ArrayArchive:
    """An open archive of arrays; made by `open_npz`.

    Attributes:
        names: Names of the arrays, in the order of the archive.
        sizes: Size of every array by name, bytes with its header, as the list of members states
            it; reading never yields more.
    """

    def __init__(self, file: BinaryIO, max_bytes: int, dtypes: Collection[Any] | None, said: _Said):
        self._said = said
        self._dtypes = None if dtypes is None else {np.dtype(dtype) for dtype in dtypes}
        with said.damage():
            self._archive = zipfile.ZipFile(_ShortReads(file))
            self._members = _checked_members(self._archive, max_bytes)
        self.names = tuple(self._members)
        self.sizes = {name: member.file_size for name, member in self._members.items()}

    def header(self, name: str) -> ArrayHeader:
        """Reads the header of an array, and checks it against the size of the member.

        Raises:
            DeepLabGygoError: There is no such array, it is damaged, or its dtype is not one of
                those allowed.
        """
        with self._said.damage(), self._archive.open(self._member(name)) as stream:
            return self._header(name, stream.read(_MAX_HEADER + max(_PREFIXES.values())))

    def read(self, name: str, max_bytes: int | None = None) -> np.ndarray:
        """Reads an array.

        Args:
            name: Its name.
            max_bytes: Largest size with its header, bytes; None for no limit beyond that of the
                archive.

        Raises:
            DeepLabGygoError: As in `header`, or it is larger.
        """
        with self._said.damage():
            member = self._member(name)
            if max_bytes is not None and member.file_size > max_bytes:
                raise ValueError(f"{name} has {member.file_size} bytes, more than {max_bytes}")
            with self._archive.open(member) as stream:
                content = stream.read(_MAX_HEADER + max(_PREFIXES.values()))
                header = self._header(name, content)
                parts = [content[header.start :]]
                while part := stream.read(_CHUNK):  # raises at the end if the CRC differs
                    parts.append(part)
            numbers = bytearray().join(parts)
            if header.start + len(numbers) != member.file_size:
                raise ValueError(f"{name} ends too early")
            return _shaped(numbers, header)

    def _member(self, name: str) -> zipfile.ZipInfo:
        if name not in self._members:
            raise ValueError(f"no array {name}")
        return self._members[name]

    def _header(self, name: str, content: bytes) -> ArrayHeader:
        return _parse_header(name, content, self._members[name].file_size, self._dtypes)


def _parse_header(
    name: str, content: bytes, size: int, dtypes: Collection[Any] | None
) -> ArrayHeader:
    """Parses the start of a stored array, and checks it against the size of the whole, bytes."""
    if content[:6] != np.lib.format.MAGIC_PREFIX:
        raise ValueError(f"{name} is no array")
    stream = io.BytesIO(content)
    version = np.lib.format.read_magic(stream)
    if version not in _PREFIXES:
        raise ValueError(f"{name} has version {version} of the format of arrays")
    read = np.lib.format.read_array_header_1_0
    if version == (2, 0):
        read = np.lib.format.read_array_header_2_0
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # headers of Python 2
        # Only the start of the member is given to it: a length that goes beyond is an error.
        shape, fortran_order, dtype = read(stream, max_header_size=_MAX_HEADER)
    if dtype.kind not in "biuf" or (dtypes is not None and dtype not in dtypes):
        raise ValueError(f"{name} has the dtype {dtype}")
    if len(shape) > _MAX_AXES or min(shape, default=0) < 0:
        raise ValueError(f"{name} has the shape {shape[:_MAX_AXES]}")
    start = stream.tell()
    expected = math.prod(shape) * dtype.itemsize
    if start + expected != size:
        raise ValueError(f"{name} has {size - start} bytes for the shape {shape} of {dtype}")
    return ArrayHeader(tuple(map(int, shape)), dtype, bool(fortran_order), start)


def _shaped(numbers: bytes | bytearray, header: ArrayHeader) -> np.ndarray:
    array = np.frombuffer(numbers, header.dtype)
    if header.fortran_order:
        return array.reshape(header.shape[::-1]).T
    return array.reshape(header.shape)


def _checked_members(archive: zipfile.ZipFile, max_bytes: int) -> dict[str, zipfile.ZipInfo]:
    """Returns the members of an archive by the names of their arrays."""
    members = archive.infolist()
    if len(members) > MAX_ARRAYS:
        raise ValueError(f"{len(members)} arrays, more than {MAX_ARRAYS}")
    named: dict[str, zipfile.ZipInfo] = {}
    for member in members:
        path, method = member.filename, member.compress_type
        shown = repr(path if len(path) <= 100 else f"{path[:97]}...")
        if not path.endswith(".npy"):
            raise ValueError(f"{shown} is no array")
        if member.flag_bits & 0x1:
            raise ValueError(f"{shown} is encrypted")
        if method not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
            raise ValueError(f"{shown} has the compression method {method}")
        if method == zipfile.ZIP_STORED and member.compress_size != member.file_size:
            raise ValueError(f"{shown} has two sizes")
        if path.removesuffix(".npy") in named:
            raise ValueError(f"two arrays of the name {shown}")
        named[path.removesuffix(".npy")] = member
    total = sum(member.file_size for member in members)
    if total > max_bytes:
        raise ValueError(f"{total} bytes unpacked, more than {max_bytes}")
    return named


class _Said(NamedTuple):
    """What messages say: file, condition, remedy, and the class of the errors."""

    path: str | Path
    rule: str
    remedy: str | None
    error: type[DeepLabGygoError]

    @contextmanager
    def damage(self, kind: type[Exception] = Exception) -> Iterator[None]:
        """Converts the errors of damaged files, of which zipfile, zlib and NumPy have many."""
        try:
            yield
        except kind as problem:
            met = " ".join(str(problem).split())[:300]
            if type(problem) is not ValueError:
                met = f"{type(problem).__name__}: {met}".removesuffix(": ")
            raise self.error(self.rule, met=met, where=self.path, remedy=self.remedy) from problem


class _ShortReads(io.BufferedIOBase):
    """A file whose reads are limited: zipfile reads a list of members of any size at once."""

    def __init__(self, file: BinaryIO):
        self._file = file
        self.seek, self.tell = file.seek, file.tell  # type: ignore[method-assign]

    def seekable(self) -> bool:
        return True

    def readable(self) -> bool:
        return True

    def read(self, size: int | None = -1) -> bytes:
        limit = _MAX_MEMBER_LIST
        content = self._file.read(limit + 1 if size is None or size < 0 else min(size, limit + 1))
        if len(content) > limit:
            raise ValueError(f"a list of members of more than {limit} bytes")
        return content


@contextmanager
def open_npz(
    path: str | Path,
    *,
    max_bytes: int = MAX_BYTES,
    dtypes: Collection[Any] | None = None,
    rule: str = "An archive of arrays is one written by this package (.npz)",
    remedy: str | None = None,
    error: type[DeepLabGygoError] = InputError,
) -> Iterator[ArrayArchive]:
    """Opens an archive of arrays after a check of its list of members; nothing is unpacked.

    Args:
        path: Regular file, written by `numpy.savez` or `numpy.savez_compressed`.
        max_bytes: Largest size of all arrays together, bytes.
        dtypes: Dtypes that the arrays may have; None for all numbers and
            booleans.
        rule: Condition, for messages. A `ValueError` of the block is one of this archive too.
        remedy: Action for the reader, for messages.
        error: Class of the errors.

    Yields:
        The archive.

    Raises:
        DeepLabGygoError: There is no such file, or it is damaged, encrypted, compressed by another
            method than deflate, or larger than allowed. It is of the class `error`.

    Example:
        >>> import tempfile
        >>> folder = tempfile.TemporaryDirectory()
        >>> path = Path(folder.name) / "arrays.npz"
        >>> np.savez_compressed(path, steps=np.arange(3))
        >>> with open_npz(path) as archive:
        ...     archive.header("steps").shape, archive.read("steps").tolist()
        ((3,), [0, 1, 2])
    """
    check_regular(path, error=error)
    said = _Said(path, rule, remedy, error)
    with said.damage():
        file = open(path, "rb")
    with file, said.damage(ValueError):
        yield ArrayArchive(file, max_bytes, dtypes, said)


def read_npy(path: str | Path, *, max_bytes: int = MAX_BYTES) -> np.ndarray:
    """Reads an array of numbers or booleans from a `.npy` file; nothing in it is run.

    Args:
        path: Regular file, written by `numpy.save`.
        max_bytes: Largest size of the array, bytes.

    Raises:
        InputError: There is no such file, it is damaged, larger, or holds other values.

    Example:
        >>> import tempfile
        >>> path = Path(tempfile.mkdtemp()) / "mask.npy"
        >>> np.save(path, np.eye(2, dtype=bool))
        >>> read_npy(path).tolist()
        [[True, False], [False, True]]
    """
    rule = "An array of a .npy file has numbers or booleans, as numpy.save writes them"
    said = _Said(path, rule, "Save the mask again by numpy.save", InputError)
    content = read_bytes(path, max_bytes + _MAX_HEADER)
    with said.damage():
        header = _parse_header("it", content[: _MAX_HEADER + 12], len(content), None)
        return _shaped(content[header.start :], header)
