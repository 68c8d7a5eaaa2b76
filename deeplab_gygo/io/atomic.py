"""Atomic output (written beside its destination, then renamed), and the cache folder."""

from __future__ import annotations

import os
import shutil
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from deeplab_gygo.errors import StorageError

CACHE_VARIABLE = "DEEPLAB_GYGO_CACHE"
"""Environment variable that names the folder of cached files."""


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
    side = path.with_name(f".{path.name}.{os.getpid()}-{threading.get_ident()}.part")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        yield side
        os.replace(side, path)
    except OSError as error:
        raise storage_error(path, error) from error
    finally:
        with suppress(OSError):
            side.unlink()


@contextmanager
def replacing_folder(
    path: str | Path, *, keep_existing: bool = False, remedy: str | None = None
) -> Iterator[Path]:
    """Yields a hidden side folder to fill; renames it to its destination when the body succeeds.

    Args:
        path: Destination.
        keep_existing: Discard the new folder if the destination exists by then, for caches that
            several processes fill with the same content.
        remedy: As for `storage_error`.

    Raises:
        StorageError: The folder cannot be written. After any error the destination is as it was.
    """
    path = Path(path)
    side = path.with_name(f".{path.name}.{os.getpid()}-{threading.get_ident()}.part")
    try:
        shutil.rmtree(side, ignore_errors=True)  # left behind by a killed process of this number
        side.mkdir(parents=True)
        yield side
        try:
            if not (keep_existing and path.is_dir()):
                move_folder(side, path)
        except OSError:
            if not (keep_existing and path.is_dir()):  # else another process was faster
                raise
    except OSError as error:
        raise storage_error(path, error, remedy) from error
    finally:
        shutil.rmtree(side, ignore_errors=True)


def move_folder(source: Path, destination: Path) -> None:
    """Renames a folder on its file system; an existing destination is replaced, or restored."""
    # A folder that is not empty cannot be renamed onto: it steps aside first.
    former = destination.with_name(f".{destination.name}.former-{os.getpid()}")
    exists = destination.exists()
    if exists:
        shutil.rmtree(former, ignore_errors=True)
        os.replace(destination, former)
    try:
        os.replace(source, destination)
    except BaseException:
        if exists:
            os.replace(former, destination)
        raise
    shutil.rmtree(former, ignore_errors=True)


def cache_folder() -> Path:
    """Returns `DEEPLAB_GYGO_CACHE`, or the folder `deeplab_gygo` in the user's cache folder.

    It may not exist yet. All of it can be deleted while no command runs.
    """
    base = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    return Path(os.environ.get(CACHE_VARIABLE) or Path(base) / "deeplab_gygo").expanduser()


def storage_error(path: str | Path, error: OSError, remedy: str | None = None) -> StorageError:
    """Returns the package's error for a file or folder that cannot be written."""
    return StorageError(
        "Output must be writable",
        met=error.strerror or str(error) or type(error).__name__,
        where=path,
        remedy=remedy or "Free space, or choose a folder that may be written",
    )
