"""Folders of results that appear complete or not at all."""

from __future__ import annotations

import errno
import glob
import logging
import os
import shutil
import threading
import time
from pathlib import Path
from types import TracebackType

from deeplab_gygo.errors import UsageError
from deeplab_gygo.io.atomic import move_folder, storage_error
from deeplab_gygo.runs.run_record import RECORD_NAME

logger = logging.getLogger(__name__)

_STALE_SECONDS = 3600.0
"""Age from which the side folder of a process that has ended is removed; a younger one may belong
to a process on another machine that shares the disk."""

_STORAGE_ERRNOS = {errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EACCES, errno.EPERM}

_in_use: set[Path] = set()
_in_use_lock = threading.Lock()


class OutputDirectory:
    """Yields a hidden side folder to fill; renames it to the target when the body succeeds.

    A context manager. Any error, an interruption from the keyboard included, removes the side
    folder and leaves the target as it was.

    Args:
        path: The target folder.
        overwrite: Whether a folder with other files, which this package has not written, is
            replaced too.
        marker: Name of the file that marks a folder as written by this package.

    Attributes:
        path: The target folder, absolute, links resolved.
        folder: The side folder; exists while the context is open.

    Raises:
        UsageError: The target is a file, holds other files, or contains the working directory.
    """

    def __init__(self, path: str | Path, overwrite: bool = False, marker: str = RECORD_NAME):
        self.path = Path(path).expanduser().resolve()
        self.folder = self.path.parent / f".{self.path.name}.partial-{os.getpid()}"
        self._overwrite, self._marker = overwrite, marker
        self._check_target()

    def __enter__(self) -> Path:
        self._check_target()
        with _in_use_lock:
            if self.folder in _in_use:
                raise UsageError(
                    "A folder takes the results of one run at a time",
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
                move_folder(self.folder, self.path)
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
                f"A folder with other files in it (no {self._marker}) is not replaced",
                where=self.path,
                remedy="Choose another folder",
            )

    def _remove_leftovers(self) -> None:
        """Removes side folders of runs that were killed."""
        if self.folder.exists():  # of an earlier process of the same number, as in containers
            shutil.rmtree(self.folder)
        prefix = f".{self.path.name}.partial-"
        if not self.path.parent.is_dir():
            return
        for other in self.path.parent.glob(f"{glob.escape(prefix)}*"):
            number = other.name[len(prefix) :]
            if number.isdigit() and other != self.folder and _is_stale(other, int(number)):
                logger.warning("%s: removed, left behind by a killed run", other)
                shutil.rmtree(other, ignore_errors=True)

    def _is_ours(self, error: OSError) -> bool:
        """Checks whether an error of the body comes from writing here, not from reading inputs."""
        if error.errno in (errno.ENOSPC, errno.EDQUOT):
            return True
        name = str(error.filename or "")
        return error.errno in _STORAGE_ERRNOS and name.startswith(str(self.folder))

    def _release(self) -> None:
        with _in_use_lock:
            _in_use.discard(self.folder)


def check_new_folder(out: Path, overwrite: bool, marker: str = RECORD_NAME) -> None:
    """Checks early that a folder of results can be made.

    Args:
        out: The folder.
        overwrite: Whether an earlier result may be replaced.
        marker: File in every result of this kind; a folder without it is never replaced.

    Raises:
        UsageError: The folder exists and may not be replaced.
    """
    OutputDirectory(out, marker=marker)  # checks the target, and makes nothing
    if out.is_dir() and any(out.iterdir()) and not overwrite:
        raise UsageError(
            "--out is a new folder",
            met="an earlier result",
            where=out,
            remedy="Choose another, or give --overwrite to replace it",
        )


def _is_stale(folder: Path, process: int) -> bool:
    """Checks whether the process of a side folder has ended and the folder is old."""
    if os.name == "nt":  # there os.kill(process, 0) is no question
        return False
    try:
        if time.time() - folder.stat().st_mtime < _STALE_SECONDS:
            return False
        os.kill(process, 0)
    except ProcessLookupError:
        return True
    except OSError:  # no right to signal it: it runs; or the folder is gone
        return False
    return False
