"""Locks on destinations of output, between processes and, where the file system passes them on,
between machines.

A lock belongs to an open file (flock), not to a process number or a time: the system drops it when
its process ends, however that is. Where a file system has no locks, threads of one process are
still kept apart.
"""

from __future__ import annotations

import errno
import hashlib
import logging
import os
import re
import secrets
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

from deeplab_gygo.errors import UsageError

try:
    import fcntl
except ImportError:  # Windows
    fcntl = None  # type: ignore[assignment]

logger = logging.getLogger(__name__)

_MAX_NAME_BYTES = 255
_POLL_SECONDS = 0.1
_HELD = (errno.EWOULDBLOCK, errno.EACCES)
_NO_LOCKS = (errno.ENOLCK, errno.ENOSYS, errno.ENOTSUP, errno.EOPNOTSUPP, errno.EINVAL)
side_folders: set[Path] = set()
"""Side folders in use whose names do not tell it; a writer does not make them anew."""

_SIDE_FOLDER = re.compile(r"\..*\.(?:partial|former)-[0-9a-f]+", re.DOTALL)


class LocksUnsupported(Exception):
    """The file system has no locks; `locked` warns and goes on without."""


class InUse(UsageError):
    """Another run writes to the same destination."""


@dataclass
class Lock:
    """A lock that is held.

    Attributes:
        owner: Thread that holds it; it may take the lock again.
        exclusive: Whether other processes are kept out too.
        writing: Whether a side folder of the destination is being filled.
    """

    owner: int
    exclusive: bool = False
    writing: bool = False


_held: dict[Path, Lock] = {}
_registry = threading.Lock()
_warned = threading.Event()


@contextmanager
def locked(target: Path, *, wait: float = 0.0) -> Iterator[Lock]:
    """Holds the lock of a destination; the thread that holds it may take it again.

    The lock is on a hidden file beside the destination, which is removed at the end. Folders around
    it are made, and removed at the end where nothing else is in them.

    Args:
        target: The destination, absolute, links resolved.
        wait: Seconds to wait for another holder.

    Raises:
        InUse: Another thread or process holds the lock.
        OSError: The file of the lock cannot be made.
    """
    with _registry:
        lock = _held.get(target)
    if lock is not None and lock.owner == threading.get_ident():
        yield lock
        return
    made = make_folder(target.parent)
    try:
        lock, descriptor = _acquire(target, wait)
        try:
            yield lock
        finally:
            with _registry:
                del _held[target]
            if descriptor is not None:
                # While the lock is held: whoever opened the file before sees that it is no more.
                file = side_path(target, "lock")
                if is_same(descriptor, file):
                    with suppress(OSError):
                        file.unlink()
                os.close(descriptor)
    finally:
        for folder in reversed(made):
            with suppress(OSError):  # in use, or gone
                folder.rmdir()


def try_lock(path: Path) -> int | None:
    """Makes a file and locks it, unless another process has.

    Args:
        path: The file. A link is not followed.

    Returns:
        A descriptor that holds the lock until it is closed; None where another process holds it.

    Raises:
        LocksUnsupported: The file system has no locks; the file is removed.
        OSError: The file cannot be made.
    """
    flags = os.O_RDWR | os.O_CREAT | getattr(os, "O_NOFOLLOW", 0) | getattr(os, "O_CLOEXEC", 0)
    while True:
        try:
            descriptor = os.open(path, flags, 0o666)
        except FileNotFoundError:  # another process removed the folder, which it had made
            make_folder(path.parent)
            descriptor = os.open(path, flags, 0o666)
        try:
            if fcntl is None:
                raise OSError(errno.ENOSYS, os.strerror(errno.ENOSYS))
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            if is_same(descriptor, path):
                return descriptor
            # Its holder removed or renamed the file after it was opened here.
        except OSError as error:
            os.close(descriptor)
            if error.errno in _HELD:
                return None
            if error.errno in _NO_LOCKS:
                with suppress(OSError):
                    path.unlink()
                raise LocksUnsupported from error
            raise
        os.close(descriptor)


def is_same(descriptor: int, path: Path) -> bool:
    """Checks whether a path leads to an open file or folder."""
    try:
        return os.path.samestat(os.fstat(descriptor), os.lstat(path))
    except OSError:
        return False


def side_path(target: Path, kind: str) -> Path:
    """Returns a hidden name beside a destination: `.<name>.<kind>`.

    A name that would be longer than file systems take is cut, and its hash is added.
    """
    stem, room = target.name, _MAX_NAME_BYTES - len(kind) - 2
    if len(os.fsencode(stem)) > room:
        digest = hashlib.sha256(os.fsencode(stem)).hexdigest()[:16]
        while len(os.fsencode(stem)) > room - len(digest) - 1:
            stem = stem[:-1]
        stem = f"{stem}-{digest}"
    return target.with_name(f".{stem}.{kind}")


def random_side_path(target: Path, kind: str) -> Path:
    """Returns a hidden name beside a destination that nothing else has."""
    return side_path(target, f"{kind}-{secrets.token_hex(8)}")


def make_folder(folder: Path, mode: int = 0o777) -> list[Path]:
    """Makes a folder and those around it, but no side folder: its run is over where it is absent.

    Args:
        folder: The folder; may exist.
        mode: Permissions of new folders, less the mask of the process.

    Returns:
        The folders made, the outermost first.

    Raises:
        OSError: A folder cannot be made.
    """
    if folder.is_dir():
        return []
    if _SIDE_FOLDER.fullmatch(folder.name) or folder in side_folders:
        reason = "the unfinished folder of the run was removed by another program"
        raise FileNotFoundError(errno.ENOENT, reason, str(folder))
    made = make_folder(folder.parent, mode)
    try:
        folder.mkdir(mode)
    except FileExistsError:
        if not folder.is_dir():  # else another process was faster
            raise
        return made
    return [*made, folder]


def _acquire(target: Path, wait: float) -> tuple[Lock, int | None]:
    """Takes the lock of a destination, or waits for it."""
    lock, deadline, told = Lock(threading.get_ident()), time.monotonic() + wait, False
    while True:
        with _registry:
            is_free = target not in _held
            if is_free:
                _held[target] = lock  # keeps the other threads out
        descriptor = None
        if is_free:
            try:
                descriptor = try_lock(side_path(target, "lock"))
            except LocksUnsupported:
                if not _warned.is_set():
                    _warned.set()
                    logger.warning(
                        "%s: this file system has no locks; do not write to one folder from two "
                        "processes", target.parent,
                    )  # fmt: skip
                return lock, None
            except BaseException:
                with _registry:
                    del _held[target]
                raise
            if descriptor is not None:
                lock.exclusive = True
                return lock, descriptor
            with _registry:
                del _held[target]
        if time.monotonic() >= deadline:
            raise InUse(
                "A folder takes the results of one run at a time",
                met="another run writes to it",
                where=target,
                remedy="Wait until that run ends, or choose another folder",
            )
        if not told:
            logger.warning("%s: waiting for another process, %.0f s at most", target, wait)
            told = True
        time.sleep(_POLL_SECONDS)
