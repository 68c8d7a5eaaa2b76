"""Folders of results that appear complete or not at all."""

from __future__ import annotations

from contextlib import AbstractContextManager
from pathlib import Path

from deeplab_gygo.io.atomic import replacing_folder
from deeplab_gygo.io.output_folder import check_new_folder, claimed, resolved
from deeplab_gygo.runs.result_files import RECORD_NAME
from deeplab_gygo.runs.run_record import list_files


def output_directory(path: str | Path) -> AbstractContextManager[Path]:
    """Opens a hidden side folder to fill, which is renamed to the target when the body succeeds.

    Any error, an interruption from the keyboard included, removes the side folder and leaves the
    target as it was. The target is locked meanwhile, see `replacing_folder`.

    Args:
        path: The target folder; an earlier result in it is replaced, other files never are.

    Raises:
        UsageError: The target is a file, holds other files, or contains the working directory; or
            another run writes to it.
        StorageError: The folder cannot be written, or somebody changed it meanwhile.
    """

    def check(target: Path) -> Path:
        return check_new_folder(target, True, marker=RECORD_NAME, list_files=list_files)

    return replacing_folder(resolved(path), check=check)


def claim(path: str | Path, overwrite: bool) -> AbstractContextManager[Path]:
    """Locks a folder of results and checks it before any work is done; see `io.output_folder`.

    A run of the same thread writes to it under the same lock.

    Args:
        path: The target folder.
        overwrite: Whether an earlier result may be replaced.

    Raises:
        UsageError: The folder exists and may not be replaced, or another run writes to it.
        StorageError: The folder cannot be made.
    """
    return claimed(path, overwrite, marker=RECORD_NAME, list_files=list_files)
