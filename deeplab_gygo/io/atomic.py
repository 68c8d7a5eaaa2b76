"""Atomic output (written beside its destination, then renamed), and the cache folder."""

from __future__ import annotations

import errno
import logging
import os
import re
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from stat import S_ISDIR

from deeplab_gygo.errors import StorageError
from deeplab_gygo.io.locking import (
    InUse,
    Lock,
    LocksUnsupported,
    is_same,
    locked,
    make_folder,
    random_side_path,
    side_folders,
    side_path,
    try_lock,
)
from deeplab_gygo.io.names import expanded

logger = logging.getLogger(__name__)

CACHE_VARIABLE = "DEEPLAB_GYGO_CACHE"
"""Environment variable that names the folder of cached files."""

FULL = (errno.ENOSPC, errno.EDQUOT, errno.EROFS)
"""Errors of a whole file system: full, or not to be written."""

_CACHE_SECONDS = 600.0  # wait for another process that fills the same cache
_SHOWN = 8  # names in a message
_OTHER_BY_NOW = (errno.ENOTEMPTY, errno.EEXIST, errno.ENOTDIR, errno.EISDIR, errno.ENOENT)
_REMEDIES = {
    errno.ENOENT: "Run the command again, and let nothing else remove what it writes",
    errno.ENAMETOOLONG: "Choose a shorter name",
    errno.ELOOP: "Choose a path without links that lead in a circle",
    errno.EISDIR: "Choose another name, or remove the folder",
    errno.ENOTDIR: "Choose another name, or remove the file",
    errno.EEXIST: "Choose another name, or remove the file",
    errno.EROFS: "Choose a folder that may be written",
    errno.EACCES: "Choose a folder that may be written",
    errno.EPERM: "Choose a folder that may be written",
}

Contents = dict[str, tuple[int, ...]]
"""What a folder holds: size and time of every file below it, by relative path; () of a folder."""


@contextmanager
def replacing(path: str | Path) -> Iterator[Path]:
    """Yields a hidden side file to write; renames it to its destination when the body succeeds.

    Args:
        path: Destination; its folder is made where it is absent.

    Raises:
        StorageError: The file cannot be written: disk full, folder not writable. After any error
            of the body the destination is as it was.
    """
    path = Path(path)
    try:
        make_folder(path.parent)
        with _side_file(path) as side:
            yield side
            os.replace(side, path)
    except OSError as error:
        raise storage_error(path, error) from error


@contextmanager
def _side_file(path: Path) -> Iterator[Path]:
    """Makes an empty side file and holds its lock; one that a killed process left is taken over."""
    side, descriptor = side_path(path, "part"), None
    with suppress(LocksUnsupported):
        descriptor = try_lock(side)
    if descriptor is None:  # another process writes to the same destination
        side = random_side_path(path, "part")
        descriptor = os.open(side, os.O_RDWR | os.O_CREAT | os.O_EXCL, 0o666)
    try:
        os.truncate(side, 0)
        yield side
    finally:
        if is_same(descriptor, side):  # else it was renamed, and the name may be another's by now
            with suppress(OSError):
                side.unlink()
        os.close(descriptor)


@contextmanager
def replacing_folder(
    path: str | Path,
    *,
    check: Callable[[Path], object] | None = None,
    keep_existing: bool = False,
    side: Path | None = None,
    remedy: str | None = None,
) -> Iterator[Path]:
    """Yields a side folder to fill; renames it to its destination when the body succeeds.

    The destination is locked meanwhile. It is replaced only if it is at the end what it was at the
    start: where somebody made or changed something there, the new folder stays beside it, under
    the name `<name>.new`. Side folders of runs that were killed are removed.

    Args:
        path: Destination, links resolved.
        check: Raises an error if the destination may not be replaced; called under the lock.
        keep_existing: Discard the new folder if the destination exists by then, for caches that
            several processes fill with the same content.
        side: The side folder; it may exist, and stays where the body fails. None is a hidden one
            that is removed.
        remedy: As for `storage_error`.

    Raises:
        InUse: Another run writes to the destination.
        StorageError: The folder cannot be written, somebody changed the destination, or removed
            the side folder. After any error the destination is as it was.
    """
    target = Path(os.path.abspath(path))
    stays, in_body = side is not None, False
    side = side or random_side_path(target, "partial")
    try:
        with locked(target, wait=_CACHE_SECONDS if keep_existing else 0) as lock:
            sweep(target, lock)
            with _writing(lock, target):
                if check is not None:
                    check(target)
                with _held_open(target) as former:
                    before = contents(target)
                    side.mkdir(exist_ok=stays)
                    side_folders.add(side)
                    try:
                        with _held_open(side) as descriptor:
                            in_body = True
                            yield side
                            in_body = False
                            _check_present(side, descriptor)
                        if keep_existing:
                            _move_or_drop(side, target)
                        else:
                            _swap(side, target, before, former)
                    finally:
                        side_folders.discard(side)
                        if not stays:
                            _remove(side)
                        with suppress(OSError):
                            side.rmdir()  # if nothing was written to it
    except OSError as error:
        file = str(error.filename or side) if in_body else str(side)
        # An error of the body about a file elsewhere comes from reading its inputs.
        is_output = file.startswith(str(side)) and error.errno is not None
        if in_body and not (is_output or error.errno in FULL):
            raise
        where = error.filename if in_body and error.filename else target
        raise storage_error(where, error, remedy) from error


@contextmanager
def _writing(lock: Lock, target: Path) -> Iterator[None]:
    if lock.writing:
        raise InUse(
            "A folder takes the results of one run at a time",
            met="this run writes to it already",
            where=target,
            remedy="Choose another folder",
        )
    lock.writing = True
    try:
        yield
    finally:
        lock.writing = False


def sweep(target: Path, lock: Lock) -> None:
    """Removes what killed runs left beside a destination; an earlier result is put back.

    Args:
        target: The destination.
        lock: Its lock. Where it does not keep other processes out, nothing is removed.
    """
    if not lock.exclusive or lock.writing:
        return
    stem = side_path(target, "").name
    for name in os.listdir(target.parent):
        if not name.startswith(stem):
            continue
        if not (found := re.fullmatch(r"(partial|former)-[0-9a-f]+", name.removeprefix(stem))):
            continue
        side = target.with_name(name)
        if found[1] == "partial":
            logger.warning("%s: removed, left behind by a killed run", side)
            shutil.rmtree(side, ignore_errors=True)
        else:  # killed between the two renames of `_swap`
            place = _put_back(side, target)
            logger.warning("%s: put back, an earlier result that a killed run put aside", place)


def files_below(folder: Path) -> list[str]:
    """Returns the relative paths of all files and links below a folder, in order."""
    found = contents(folder) or {}
    return sorted(name for name, identity in found.items() if name and identity)


def contents(path: Path) -> Contents | None:
    """Returns what is at a path, to be compared with what is there later; None for nothing."""
    try:
        found = {"": _identity(path.lstat())}
    except FileNotFoundError:
        return None
    for folder, folders, files in os.walk(path):
        for name in (*folders, *files):
            entry = Path(folder, name)
            with suppress(FileNotFoundError):  # removed by somebody in between
                found[entry.relative_to(path).as_posix()] = _identity(entry.lstat())
    return found


def _identity(status: os.stat_result) -> tuple[int, ...]:
    # No inodes: some network file systems give new ones to what is not open.
    return () if S_ISDIR(status.st_mode) else (status.st_size, status.st_mtime_ns)


@contextmanager
def _held_open(path: Path) -> Iterator[int | None]:
    """Opens a file or folder, so that its inode stays its own; None where there is nothing."""
    try:
        descriptor = os.open(path, os.O_RDONLY | getattr(os, "O_NONBLOCK", 0))
    except FileNotFoundError:
        yield None
        return
    try:
        yield descriptor
    finally:
        os.close(descriptor)


def _check_present(side: Path, descriptor: int | None) -> None:
    if descriptor is None or not is_same(descriptor, side):
        raise StorageError(
            "The folder that a run writes to stays until its end",
            met="it was removed or replaced by another program",
            where=side,
            remedy="Run the command again",
        )


def _swap(side: Path, target: Path, before: Contents | None, descriptor: int | None) -> None:
    """Puts a folder in the place of what was there before; beside it if that changed since."""
    former, changed = None, _changes(before, descriptor, target)
    try:
        if before is not None and not changed:  # a folder with files cannot be renamed onto
            former = random_side_path(target, "former")
            os.rename(target, former)
            # A second look, where others do not find it by its name any more.
            changed = _changes(before, descriptor, former)
        if not changed:
            os.rename(side, target)
            if former is not None:
                old = random_side_path(target, "partial")
                os.rename(former, old)  # a name that is removed after a kill too
                _remove(old)
    except OSError as error:
        if error.errno not in _OTHER_BY_NOW:
            raise
        changed = [target.name]
    finally:
        if former is not None and former.exists():
            _put_back(former, target)
    if changed:
        beside = _visible(target, "new")
        os.rename(side, beside)
        raise StorageError(
            "Output replaces only what was at its place when the run began",
            met=f"since then made, changed or removed: {', '.join(changed)}",
            where=target,
            remedy=f"The new result is {beside}: rename it, or remove it",
        )


def _move_or_drop(side: Path, target: Path) -> None:
    try:
        os.rename(side, target)
    except OSError:
        if not target.is_dir():
            raise


def _changes(before: Contents | None, descriptor: int | None, path: Path) -> list[str]:
    """Returns some names of what differs at a path from what was seen, and opened, before."""
    old, new = before or {}, contents(path) or {}
    names = sorted(name for name in old.keys() | new.keys() if old.get(name) != new.get(name))
    if not names and descriptor is not None and not is_same(descriptor, path):
        names = [""]
    more = [f"{len(names) - _SHOWN} more"] if len(names) > _SHOWN else []
    return [name or "the folder itself" for name in names[:_SHOWN]] + more


def _put_back(former: Path, target: Path) -> Path:
    """Renames a folder that was put aside; to a visible name where its place is taken."""
    try:
        os.rename(former, target)
        return target
    except OSError:
        place = _visible(target, "former")
        os.rename(former, place)
        return place


def _visible(target: Path, kind: str) -> Path:
    """Returns a free name beside a destination: `<name>.<kind>`, `<name>.<kind>-2` and so on."""
    number = 1
    while True:
        suffix = kind if number == 1 else f"{kind}-{number}"
        path = target.with_name(side_path(target, suffix).name.removeprefix("."))
        if not os.path.lexists(path):
            return path
        number += 1


def _remove(folder: Path) -> None:
    """Removes a folder, also where an interrupt comes in between."""
    try:
        shutil.rmtree(folder, ignore_errors=True)
    except KeyboardInterrupt:
        shutil.rmtree(folder, ignore_errors=True)
        raise


def cache_folder() -> Path:
    """Returns `DEEPLAB_GYGO_CACHE`, or the folder `deeplab_gygo` in the user's cache folder.

    It is made where it is absent, for its owner alone. All of it can be deleted while no command
    runs.
    """
    base = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    folder = expanded(os.environ.get(CACHE_VARIABLE) or Path(base) / "deeplab_gygo")
    with suppress(OSError):  # whoever writes to it says why it cannot be made
        make_folder(folder, 0o700)
    return folder


def storage_error(path: str | Path, error: OSError, remedy: str | None = None) -> StorageError:
    """Returns the package's error for a file or folder that cannot be written."""
    fitting = _REMEDIES.get(error.errno or 0, "Free space, or choose a folder that may be written")
    return StorageError(
        "Output must be writable",
        met=error.strerror or str(error) or type(error).__name__,
        where=path,
        remedy=remedy or fitting,
    )
