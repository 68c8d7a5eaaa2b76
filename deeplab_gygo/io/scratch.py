"""The scratch folder: local copies of what URLs lead to, as many as fit.

An entry is a folder `<key>` with the file or folder, and a file `<key>.lock` with its size. A lock
on that file (flock) is shared by those who use the entry and exclusive for who fills or removes it,
so that processes share a scratch folder: none copies what another one has, removes what another
one uses, or takes a half copy for a whole one. The key is of the URL and the version of its
content.
"""

from __future__ import annotations

import gc
import hashlib
import logging
import math
import os
import secrets
import shutil
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from functools import cache
from pathlib import Path

from deeplab_gygo.errors import StorageError, UsageError
from deeplab_gygo.io import storage
from deeplab_gygo.io.atomic import cache_folder, storage_error
from deeplab_gygo.io.local_names import note_copy
from deeplab_gygo.io.locking import fcntl, is_same, make_folder
from deeplab_gygo.io.names import expanded, safe_relative
from deeplab_gygo.io.storage import display, is_url, name_of

logger = logging.getLogger(__name__)

FOLDER_VARIABLE = "DEEPLAB_GYGO_SCRATCH"
"""Environment variable that names the scratch folder."""

SIZE_VARIABLE = "DEEPLAB_GYGO_SCRATCH_GB"
"""Environment variable with the largest size of the scratch folder, GB of 1e9 bytes."""

DEFAULT_BYTES = 20_000_000_000
"""Largest size of the scratch folder unless it is chosen."""

_PATIENCE_SECONDS = 600.0  # wait for entries that others use
_POLL_SECONDS = 0.1
_TOKEN = secrets.token_hex(8)  # versions what has none, for this process


class Lease:
    """The right to use a local copy until it is closed, or nobody refers to it.

    Attributes:
        path: The copy: a file or folder of the name that the URL ends with.
    """

    def __init__(self, path: Path, descriptor: int):
        self.path, self._descriptor = path, descriptor

    def close(self) -> None:
        """Gives the copy up; it may be removed from now on."""
        descriptor, self._descriptor = self._descriptor, -1
        if descriptor >= 0:
            os.close(descriptor)

    def __del__(self) -> None:
        self.close()


class Scratch:
    """A folder with local copies of what URLs lead to, of a limited size; oldest out first.

    Threads and processes may share one.

    Args:
        folder: The folder; None is `scratch` in the cache folder of the user.
        max_bytes: Largest size of all copies together.
        patience: Seconds to wait for room that copies in use take.

    Example:
        >>> import tempfile
        >>> from deeplab_gygo.io.storage import write_url
        >>> write_url("memory://clips/shoe.txt", b"a shoe")
        >>> scratch = Scratch(Path(tempfile.mkdtemp()), max_bytes=1000)
        >>> with scratch.local("memory://clips/shoe.txt") as path:
        ...     print(path.name, path.read_text())
        shoe.txt a shoe
    """

    def __init__(
        self,
        folder: Path | None = None,
        max_bytes: int = DEFAULT_BYTES,
        *,
        patience: float = _PATIENCE_SECONDS,
    ):
        self._given = folder
        self.max_bytes = max_bytes
        self.patience = patience

    @property
    def folder(self) -> Path:
        """The folder; it is made when it is used."""
        return cache_folder() / "scratch" if self._given is None else self._given

    @contextmanager
    def local(self, path: str | Path) -> Iterator[Path]:
        """Yields a local path for a path that a user gave.

        Args:
            path: A local path, which is yielded as it is; or the URL of a file or of a folder, of
                which the files right below it are copied.

        Yields:
            The path; a copy stays until the body ends.

        Raises:
            InputError: There is nothing at the URL, or it may not be read.
            DependencyError: The package for URLs of the kind is missing.
            StorageError: The copy does not fit into the scratch folder, the disk is full, or the
                storage does not answer.
        """
        if not is_url(path):
            yield expanded(path)
            return
        lease = self.lease(str(path))
        try:
            yield lease.path
        finally:
            lease.close()

    def lease(self, url: str, *, deep: bool = False) -> Lease:
        """Copies what a URL leads to, unless a copy is there; raises as `local`.

        Args:
            url: URL of a file or of a folder.
            deep: Whether all files below a folder are copied, not only those right below it.

        Returns:
            The copy, to be closed when it is not needed any more.
        """
        stored, name = storage.inspect(url, deep=deep), name_of(url)
        if stored.num_bytes > self.max_bytes:
            raise StorageError(
                f"A clip fits into the scratch folder, of {self.max_bytes / 1e9:g} GB",
                met=f"{stored.num_bytes / 1e9:g} GB",
                where=display(url),
                remedy=f"Allow a larger one by --scratch-gb or {SIZE_VARIABLE}",
            )
        identity = f"{url.rstrip('/')}\0{stored.version or f'{_TOKEN}{deep}'}"
        key = hashlib.sha256(identity.encode()).hexdigest()[:32]
        folder = self.folder / key
        try:
            make_folder(self.folder, 0o700)
            while True:
                if (descriptor := self._locked(key, shared=True)) is not None:
                    if folder.is_dir():
                        now = time.time_ns()  # that of the system is too coarse for an order
                        os.utime(self.folder / f"{key}.lock", ns=(now, now))
                        note_copy(folder / name, url)
                        return Lease(folder / name, descriptor)
                    os.close(descriptor)
                self._fill(key, url, name, stored)
        except OSError as error:
            remedy = f"Free space, or choose a folder on a local disk by {FOLDER_VARIABLE}"
            raise storage_error(self.folder, error, remedy) from error

    def _fill(self, key: str, url: str, name: str, stored: storage.Stored) -> None:
        """Copies what is at a URL into the entry of a key, unless another process did it first."""
        folder, side = self.folder / key, self.folder / f"{key}.partial"
        descriptor = self._locked(key)
        assert descriptor is not None
        try:
            if folder.is_dir():
                return
            shutil.rmtree(side, ignore_errors=True)  # of a process that was killed
            self._make_room(key, stored.num_bytes, url)
            logger.debug("%s: copied to the scratch folder", display(url))
            (side / name if stored.is_folder else side).mkdir(parents=True)

            def copy(file: str) -> int:
                below = safe_relative(file, display(url), result=False) if file else ""
                place = side / name / below
                place.parent.mkdir(parents=True, exist_ok=True)
                source = storage.join(url, file) if file else url
                storage.fetch(source, stored.sizes[file], place, self.max_bytes)
                return place.stat().st_size

            copied = sum(storage.each(stored.sizes, copy))
            if copied > stored.num_bytes:  # of unknown size before
                self._make_room(key, copied, url)
            os.rename(side, folder)
        except BaseException:
            shutil.rmtree(side, ignore_errors=True)
            if not folder.is_dir():
                (self.folder / f"{key}.lock").unlink(missing_ok=True)
            raise
        finally:
            os.close(descriptor)

    def _make_room(self, key: str, needed: int, url: str) -> None:
        """Removes the oldest entries that nobody uses, and notes the size of a new one."""
        deadline, noted = time.monotonic() + self.patience, False
        while True:
            room = self._locked(".room")
            assert room is not None
            try:
                entries: list[tuple[int, Path, int]] = []
                for path in self.folder.glob("*.lock"):
                    with suppress(OSError, ValueError):  # removed meanwhile
                        if path.name not in (f"{key}.lock", ".room.lock"):
                            entries.append((path.stat().st_mtime_ns, path, int(path.read_text())))
                total = needed + sum(size for *_, size in entries)
                for _, path, size in sorted(entries):
                    if total <= self.max_bytes:
                        break
                    if self._remove(path):
                        total -= size
                if total <= self.max_bytes:
                    (self.folder / f"{key}.lock").write_text(str(needed))
                    return
            finally:
                os.close(room)
            if time.monotonic() >= deadline:
                raise StorageError(
                    f"The clips in use fit into the scratch folder, of {self.max_bytes / 1e9:g} GB",
                    met=f"{total / 1e9:g} GB",
                    where=display(url),
                    remedy=f"Allow a larger one by --scratch-gb or {SIZE_VARIABLE}, or use fewer "
                    "workers",
                )
            if not noted:
                noted = True
                logger.info("%s: waiting for room in the scratch folder", display(url))
            gc.collect()  # sequences that nobody refers to any more hold their copies
            time.sleep(_POLL_SECONDS)

    def _remove(self, path: Path) -> bool:
        """Removes the entry of a lock file, unless it is in use."""
        key = path.name.removesuffix(".lock")
        descriptor = self._locked(key, wait=False)
        if descriptor is None:
            return False
        try:
            for folder in (self.folder / key, self.folder / f"{key}.partial"):
                shutil.rmtree(folder, ignore_errors=True)
            path.unlink(missing_ok=True)
        finally:
            os.close(descriptor)
        return True

    def _locked(self, key: str, *, shared: bool = False, wait: bool = True) -> int | None:
        """Locks the file of a key.

        Returns:
            A descriptor that holds the lock until it is closed; None where another one holds it and
            it is not waited for.
        """
        path = self.folder / f"{key}.lock"
        while True:
            descriptor = os.open(path, os.O_RDWR | os.O_CREAT | getattr(os, "O_CLOEXEC", 0), 0o600)
            try:
                if fcntl is not None:
                    kind = fcntl.LOCK_SH if shared else fcntl.LOCK_EX
                    fcntl.flock(descriptor, kind | (0 if wait else fcntl.LOCK_NB))
                if is_same(descriptor, path):  # else it was removed before it was locked
                    return descriptor
            except BlockingIOError:
                os.close(descriptor)
                return None
            except BaseException:
                os.close(descriptor)
                raise
            os.close(descriptor)


_default: Scratch | None = None


def scratch() -> Scratch:
    """Returns the scratch folder of this process.

    Raises:
        UsageError: The environment variable with its size is no number above 0.
    """
    return _default or configure_scratch()


def configure_scratch(folder: str | Path | None = None, max_bytes: float | None = None) -> Scratch:
    """Sets the scratch folder of this process.

    Args:
        folder: The folder; None takes `FOLDER_VARIABLE`, or else `scratch` in the cache folder.
        max_bytes: Largest size of all copies; None takes `SIZE_VARIABLE`, or else `DEFAULT_BYTES`.

    Raises:
        UsageError: The size is none.
    """
    global _default
    folder = folder or os.environ.get(FOLDER_VARIABLE) or None
    if max_bytes is None:
        try:
            max_bytes = float(os.environ.get(SIZE_VARIABLE) or DEFAULT_BYTES / 1e9) * 1e9
        except ValueError:
            max_bytes = 0
    if not 0 < max_bytes < math.inf:
        raise UsageError(
            "The size of the scratch folder is a number of GB above 0",
            met=os.environ.get(SIZE_VARIABLE) or max_bytes / 1e9,
            where=f"--scratch-gb, {SIZE_VARIABLE}",
        )
    _default = Scratch(None if folder is None else expanded(folder), int(max_bytes))
    return _default


def held(path: str | Path, *, deep: bool = False) -> Path:
    """Returns a local path: of a URL that of a copy, which stays until the process ends.

    Args:
        path: A local path or a URL, such as that of weights.
        deep: As in `Scratch.lease`.

    Raises:
        DeepLabGygoError: As in `Scratch.local`.
    """
    return _leased(str(path), deep).path if is_url(path) else expanded(path)


@cache
def _leased(url: str, deep: bool) -> Lease:
    return scratch().lease(url, deep=deep)
