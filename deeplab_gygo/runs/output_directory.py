"""A folder of results that appears whole or not at all."""

from __future__ import annotations

import errno
import logging
import os
import shutil
import threading
import time
from pathlib import Path
from types import TracebackType

from deeplab_gygo.io.atomic import storage_error
from deeplab_gygo.errors import (StorageError, UsageError)

logger = logging.getLogger(__name__)

MARKER_NAME = "run.json"
"""A folder that holds this file was written by this package and may be replaced by it."""

_STALE_SECONDS = 3600.0
"""A side folder of another process that has ended is removed when it is older than this; the
process could also run on another machine that shares the disk."""

_STORAGE_ERRNOS = {errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EACCES, errno.EPERM}

_in_use: set[Path] = set()
_in_use_lock = threading.Lock()


class OutputDirectory:
    """Collects results in a hidden folder beside the target and renames it when all went well.

    A context manager that gives the side folder to write into. Any error, an interruption from
    the keyboard included, removes the side folder and leaves the target as it was.

    Args:
        path: The target folder.
        overwrite: Whether a folder that is not empty and holds no `run.json`, which this package
            therefore has not written, may be replaced as well.
        marker: Name of the file that marks a folder as written by this package.

    Attributes:
        path: The target folder, absolute, links followed.
        folder: The side folder, there while the context is open.

    Raises:
        UsageError: The target is a file, holds other things, or holds the working directory.
    """

    def __init__(self, path: str | Path, overwrite: bool = False, marker: str = MARKER_NAME):
        self.path = Path(path).expanduser().resolve()
        self.folder = self.path.parent / f".{self.path.name}.partial-{os.getpid()}"
        self._overwrite, self._marker = overwrite, marker
        self._check_target()

    def __enter__(self) -> Path:
        self._check_target()
        with _in_use_lock:
            if self.folder in _in_use:
                raise UsageError(
                    "One folder takes the results of one run at a time",
                    met="another run of this process writes to it",
                    where=self.path,
                )
            _in_use.add(self.folder)
        try:
            self._remove_leftovers()
            self.folder.mkdir(parents=True)
        except OSError as error:
            self._release()
            raise storage_error(error.filename or self.path, error) from error
        return self.folder

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        try:
            if kind is None:
                self._put_in_place()
        except OSError as failure:
            raise storage_error(failure.filename or self.path, failure) from failure
        finally:
            shutil.rmtree(self.folder, ignore_errors=True)
            self._release()
        if isinstance(error, OSError) and self._is_ours(error):
            raise storage_error(error.filename or self.path, error) from error

    def _check_target(self) -> None:
        if not self.path.name:
            raise UsageError("Results need a folder of their own", met=str(self.path))
        if not self.path.exists():
            return
        if not self.path.is_dir():
            raise UsageError(
                "The target of results is a folder",
                met="a file",
                where=self.path,
                remedy="Choose another name, or remove the file",
            )
        here = Path.cwd()
        if self.path in (here, *here.parents, Path(os.path.expanduser("~")).resolve()):
            raise UsageError(
                "Results never replace the working directory, the home or a folder around them",
                where=self.path,
                remedy="Choose a folder below it",
            )
        ours = (self.path / self._marker).is_file()
        if not ours and not self._overwrite and any(self.path.iterdir()):
            raise UsageError(
                f"A folder with other things in it (no {self._marker}) is not replaced",
                where=self.path,
                remedy="Choose another folder, or ask for it by overwrite",
            )

    def _remove_leftovers(self) -> None:
        """Removes side folders of runs that were killed."""
        if self.folder.exists():
            # Not in use by this process, so an earlier one had the same number, as in containers.
            shutil.rmtree(self.folder)
        prefix = f".{self.path.name}.partial-"
        if not self.path.parent.is_dir():
            return
        for other in self.path.parent.glob(f"{_literal(prefix)}*"):
            number = other.name[len(prefix) :]
            if number.isdigit() and other != self.folder and _is_stale(other, int(number)):
                logger.warning("%s: removed what a run that was killed left behind", other)
                shutil.rmtree(other, ignore_errors=True)

    def _put_in_place(self) -> None:
        if not self.path.exists():
            os.replace(self.folder, self.path)
            return
        # A folder that is not empty cannot be renamed onto; the former one steps aside.
        former = self.path.with_name(f".{self.path.name}.former-{os.getpid()}")
        shutil.rmtree(former, ignore_errors=True)
        os.replace(self.path, former)
        try:
            os.replace(self.folder, self.path)
        except BaseException:
            os.replace(former, self.path)
            raise
        shutil.rmtree(former, ignore_errors=True)

    def _is_ours(self, error: OSError) -> bool:
        """Tells whether an error of the body comes from writing here, not from reading inputs."""
        if error.errno in (errno.ENOSPC, errno.EDQUOT):
            return True
        name = str(error.filename or "")
        return error.errno in _STORAGE_ERRNOS and name.startswith(str(self.folder))

    def _release(self) -> None:
        with _in_use_lock:
            _in_use.discard(self.folder)


def _literal(text: str) -> str:
    """Escapes the special characters of a glob pattern."""
    return "".join(f"[{letter}]" if letter in "*?[" else letter for letter in text)


def _is_stale(folder: Path, process: int) -> bool:
    """Tells whether a side folder's process has ended and nothing has touched it for long."""
    try:
        if time.time() - folder.stat().st_mtime < _STALE_SECONDS:
            return False
        os.kill(process, 0)
    except ProcessLookupError:
        return True
    except OSError:  # no right to signal it: it runs; or the folder is gone
        return False
    return False


def check_free_space(folder: str | Path, needed: int) -> None:
    """Raises where a disk has less room than a result will need.

    Args:
        folder: A folder on the disk; it or one of its parents exists.
        needed: Bytes.

    Raises:
        StorageError: There is less room.
    """
    place = Path(folder).absolute()
    while not place.exists():
        place = place.parent
    free = shutil.disk_usage(place).free
    if free < needed:
        raise StorageError(
            f"The results need about {needed / 2**20:.0f} MiB of disk space",
            met=f"{free / 2**20:.0f} MiB free",
            where=folder,
            remedy="Free space, or choose a folder on another disk",
        )
