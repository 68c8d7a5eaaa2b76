"""Output that appears whole or not at all."""

from __future__ import annotations

import os
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from deeplab_gygo.errors import StorageError


@contextmanager
def replacing(path: str | Path) -> Iterator[Path]:
    """Lets a file be written beside its destination and renames it when that went well.

    Args:
        path: Destination; its folder is made where it is absent. What lies there stays until the
            new file is whole.

    Yields:
        The side file to write, hidden and in the folder of the destination.

    Raises:
        StorageError: The file cannot be written: disk full, folder not writable. Any other error
            of the body passes through. In both cases nothing is left behind.
    """
    path = Path(path)
    side = side_path(path)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        yield side
        os.replace(side, path)
    except BaseException as error:
        remove_side(side)
        if isinstance(error, OSError):
            raise storage_error(path, error) from error
        raise


def side_path(path: Path) -> Path:
    """Names the hidden file beside a destination that this thread writes before it is renamed."""
    return path.with_name(f".{path.name}.{os.getpid()}-{threading.get_ident()}.part")


def remove_side(side: Path) -> None:
    """Removes a side file if there is one; what led to the removal counts, not that it failed."""
    with suppress(OSError):
        side.unlink()


def storage_error(path: str | Path, error: OSError) -> StorageError:
    """Words the refusal of an operating system to write.

    Args:
        path: The file that was to be written.
        error: What the operating system said.

    Returns:
        The error to raise.
    """
    return StorageError(
        "Output must be writable",
        met=error.strerror or str(error) or type(error).__name__,
        where=path,
        remedy="Free space, or choose a folder that may be written",
    )
