"""Folders of results that appear complete or not at all."""

from __future__ import annotations

import errno
import glob
import logging
import os
import shutil
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from deeplab_gygo.errors import UsageError
from deeplab_gygo.io.atomic import move_folder, storage_error
from deeplab_gygo.runs.run_record import RECORD_NAME

logger = logging.getLogger(__name__)

_STALE_SECONDS = 3600.0
"""Age from which the side folder of a process that has ended is removed; a younger one may belong
to a process on another machine that shares the disk."""

_FULL = {errno.ENOSPC, errno.EDQUOT}
_DENIED = {errno.EROFS, errno.EACCES, errno.EPERM}

_in_use: set[Path] = set()
_in_use_lock = threading.Lock()


@contextmanager
def output_directory(path: str | Path) -> Iterator[Path]:
    """Yields a hidden side folder to fill; renames it to the target when the body succeeds.

    Any error, an interruption from the keyboard included, removes the side folder and leaves the
    target as it was.

    Args:
        path: The target folder; an earlier result in it is replaced.

    Raises:
        UsageError: The target is a file, holds other files, or contains the working directory.
        StorageError: The folder cannot be written.
    """
    target = check_new_folder(path, overwrite=True)
    folder = target.parent / f".{target.name}.partial-{os.getpid()}"
    with _in_use_lock:
        if folder in _in_use:
            raise UsageError(
                "A folder takes the results of one run at a time",
                met="another run of this process writes to it",
                where=target,
            )
        _in_use.add(folder)
    in_body = False
    try:
        _remove_leftovers(folder)
        folder.mkdir(parents=True)
        in_body = True
        yield folder
        in_body = False
        move_folder(folder, target)
    except OSError as error:
        is_inside = str(error.filename or "").startswith(str(folder))
        if in_body and not (error.errno in _FULL or (error.errno in _DENIED and is_inside)):
            raise  # from reading inputs
        raise storage_error(error.filename or target, error) from error
    finally:
        shutil.rmtree(folder, ignore_errors=True)
        with _in_use_lock:
            _in_use.discard(folder)


def check_new_folder(path: str | Path, overwrite: bool, marker: str = RECORD_NAME) -> Path:
    """Checks that a folder of results can be made.

    Args:
        path: The folder.
        overwrite: Whether an earlier result may be replaced.
        marker: File in every result of this kind; a folder with other files is never replaced.

    Returns:
        The absolute path, links resolved.

    Raises:
        UsageError: The folder exists and may not be replaced.
    """
    target = Path(path).expanduser().resolve()
    if not target.name:
        raise UsageError("Results need a folder of their own", met=str(target))
    if not target.exists():
        return target
    if not target.is_dir():
        raise UsageError(
            "The target of results is a folder",
            met="a file",
            where=target,
            remedy="Choose another name, or remove the file",
        )
    here = Path.cwd()
    if target in (here, *here.parents, Path(os.path.expanduser("~")).resolve()):
        raise UsageError(
            "Results never replace the working directory, the home or a folder around them",
            where=target,
            remedy="Choose a folder below it",
        )
    if not any(target.iterdir()):
        return target
    if not (target / marker).is_file():
        raise UsageError(
            f"A folder with other files in it (no {marker}) is not replaced",
            where=target,
            remedy="Choose another folder",
        )
    if not overwrite:
        raise UsageError(
            "--out is a new folder",
            met="an earlier result",
            where=path,
            remedy="Choose another, or give --overwrite to replace it",
        )
    return target


def _remove_leftovers(folder: Path) -> None:
    """Removes side folders of runs that were killed, those of this process number first."""
    if folder.exists():  # of an earlier process of the same number, as in containers
        shutil.rmtree(folder)
    prefix = folder.name.rstrip("0123456789")
    for other in folder.parent.glob(f"{glob.escape(prefix)}*"):
        number = other.name[len(prefix) :]
        if number.isdigit() and _is_stale(other, int(number)):
            logger.warning("%s: removed, left behind by a killed run", other)
            shutil.rmtree(other, ignore_errors=True)


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
