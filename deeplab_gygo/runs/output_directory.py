"""Folders of results that appear complete or not at all."""

from __future__ import annotations

from collections.abc import Collection
from contextlib import AbstractContextManager
from pathlib import Path

from deeplab_gygo.io.atomic import replacing_folder
from deeplab_gygo.io.locking import side_path
from deeplab_gygo.io.output_folder import check_new_folder, claimed, resolved
from deeplab_gygo.runs.result_files import RECORD_NAME
from deeplab_gygo.runs.run_record import corrected_masks, list_files


def partial_folder(path: str | Path) -> Path:
    """Returns the folder of an unfinished result: `<name>.partial` beside the target."""
    target = resolved(path)
    return target.with_name(side_path(target, "partial").name.removeprefix("."))


def output_directory(path: str | Path, safe: Collection[str] = ()) -> AbstractContextManager[Path]:
    """Opens the side folder `<name>.partial`, which is renamed to the target in the end.

    Any error, an interruption from the keyboard included, leaves the side folder and the target as
    they are. The target is locked meanwhile, see `replacing_folder`.

    Args:
        path: The target folder; an earlier result in it is replaced, other files never are, nor
            masks that were corrected by hand.
        safe: Names of corrected masks that are not lost by it.

    Raises:
        UsageError: The target is a file, holds other files, or contains the working directory; or
            another run writes to it.
        StorageError: The folder cannot be written, or somebody changed it meanwhile.
    """

    def as_written(folder: Path) -> set[str]:
        return list_files(folder) - (corrected_masks(folder) - set(safe))

    def check(target: Path) -> Path:
        return check_new_folder(target, True, marker=RECORD_NAME, list_files=as_written)

    return replacing_folder(resolved(path), check=check, side=partial_folder(path))


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
