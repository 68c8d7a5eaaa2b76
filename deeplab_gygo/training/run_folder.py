"""The folder of a training: of one training at a time, free of leftovers."""

from __future__ import annotations

import errno
import os
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path

from deeplab_gygo.errors import UsageError
from deeplab_gygo.io.atomic import storage_error
from deeplab_gygo.io.locking import locked
from deeplab_gygo.training.checkpoints import CHECKPOINT_NAME

RESULTS = ("parent.npz", "last.npz")
"""Weights that a training writes."""

_WRITTEN = (*RESULTS, CHECKPOINT_NAME, "log.csv", "config.json")
_NOT_A_FOLDER = (
    errno.EEXIST, errno.ENOTDIR, errno.ENAMETOOLONG, errno.ELOOP, errno.EINVAL
)  # fmt: skip


def make_run_folder(folder: Path) -> None:
    """Makes the folder of a training, if it is absent.

    Raises:
        UsageError: Its path is a file or no path, or it has results without a checkpoint, which a
            new training would replace.
        StorageError: It cannot be made.
    """
    rule, remedy = "The results of a training go into a folder", "Give another --out"
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        if error.errno not in _NOT_A_FOLDER:
            raise storage_error(folder, error) from error
        is_file = error.errno in (errno.EEXIST, errno.ENOTDIR)
        met = "a file" if is_file else (error.strerror or "").lower()
        raise UsageError(rule, met=met, where=str(folder)[:300], remedy=remedy) from error
    except ValueError as error:  # a zero byte, or half a surrogate pair
        raise UsageError(rule, met=error, where="--out", remedy=remedy) from error
    if os.path.lexists(folder / CHECKPOINT_NAME):
        return
    found = [name for name in RESULTS if os.path.lexists(folder / name)]
    if found:
        raise UsageError(
            "A new training starts in a folder without results of another",
            met=f"{' and '.join(found)} without {CHECKPOINT_NAME}",
            where=folder,
            remedy="Give another --out, or move the results away",
        )


@contextmanager
def owned(folder: Path) -> Iterator[None]:
    """Keeps other trainings out of a folder, and removes unfinished files of killed ones.

    Args:
        folder: Existing folder.

    Raises:
        UsageError: Another training, of any process or machine, is in it.
        StorageError: It is not writable.
    """
    # The lock is in the folder: the one around it need not be writable.
    lock = locked(folder.resolve() / CHECKPOINT_NAME)
    try:
        lock.__enter__()
    except OSError as error:
        raise storage_error(folder, error) from error
    with ExitStack() as stack:
        stack.push(lock)
        for name in _WRITTEN:
            for leftover in folder.glob(f".{name}.*part*"):
                with suppress(OSError):
                    leftover.unlink()
        yield
