"""Folders of results: which ones may be made or replaced, and their locks."""

from __future__ import annotations

import os
from collections.abc import Callable, Collection, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from deeplab_gygo.errors import UsageError
from deeplab_gygo.io.atomic import files_below, storage_error, sweep
from deeplab_gygo.io.listing import shorten
from deeplab_gygo.io.locking import locked
from deeplab_gygo.io.names import expanded

ListFiles = Callable[[Path], Collection[str]]
"""Returns the files of a result that its record names, by relative path, the record included."""

_OF_SYSTEMS = (".DS_Store", "Thumbs.db", "desktop.ini")  # made by showing a folder


@contextmanager
def claimed(
    path: str | Path, overwrite: bool, *, marker: str, list_files: ListFiles | None
) -> Iterator[Path]:
    """Locks a folder of results, removes what killed runs left beside it, and checks it.

    Args:
        path: The folder; it and those around it may be absent.
        overwrite: As in `check_new_folder`.
        marker: Likewise.
        list_files: Likewise.

    Yields:
        The absolute path, links resolved.

    Raises:
        InUse: Another run writes to the folder.
        UsageError: The folder exists and may not be replaced.
        StorageError: The lock cannot be made beside the folder.
    """
    target = resolved(path)
    in_body = False
    try:
        with locked(target) as lock:
            sweep(target, lock)
            check_new_folder(target, overwrite, marker=marker, list_files=list_files)
            in_body = True
            yield target
            in_body = False
    except OSError as error:
        if in_body:
            raise
        raise storage_error(target, error) from error


def check_new_folder(
    path: str | Path, overwrite: bool, *, marker: str, list_files: ListFiles | None
) -> Path:
    """Checks that a folder of results can be made, or replaced without loss.

    Args:
        path: The folder.
        overwrite: Whether an earlier result may be replaced.
        marker: File in every result of this kind; a folder with other files is never replaced.
        list_files: Names the files that belong to the result; with any other file in it the folder
            is not replaced. None where no file is removed.

    Returns:
        The absolute path, links resolved.

    Raises:
        UsageError: The folder exists and may not be replaced, or its name cannot be one.
    """
    target = resolved(path)
    if not os.path.lexists(target):
        return target
    if not target.is_dir():
        raise UsageError(
            "The target of results is a folder",
            met="a file",
            where=target,
            remedy="Choose another name, or remove the file",
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
    if list_files is not None:
        _check_nothing_else(target, list_files(target))
    return target


def resolved(path: str | Path) -> Path:
    """Returns the absolute path of a folder of results, links resolved.

    Raises:
        UsageError: No folder can have that name, links lead in a circle, or it is the working
            directory, the home, or around one of them.
    """
    try:
        target = Path(path).resolve()
        with suppress(FileNotFoundError, NotADirectoryError, PermissionError):
            os.lstat(target)
    except (OSError, RuntimeError, ValueError) as error:
        raise UsageError(
            "Results are written to a folder that can be made",
            met=getattr(error, "strerror", None) or error,
            where=str(path)[:100],
            remedy="Choose another name",
        ) from error
    if not target.name:
        raise UsageError("Results need a folder of their own", met=str(target))
    here = Path.cwd()
    if target in (here, *here.parents, expanded("~").resolve()):
        raise UsageError(
            "Results never replace the working directory, the home or a folder around them",
            where=target,
            remedy="Choose a folder below it",
        )
    return target


def _check_nothing_else(target: Path, listed: Collection[str]) -> None:
    others = [
        name
        for name in files_below(target)
        if name not in listed and os.path.basename(name) not in _OF_SYSTEMS
    ]
    if others:
        given = "; a mask that was corrected by hand can be given by --mask FRAME=FILE"
        of_masks = any(name.startswith("masks/") for name in others)
        raise UsageError(
            "Only files that this program wrote are replaced, and as it wrote them",
            met=f"others, or changed since: {shorten(others)}",
            where=target,
            remedy="Move these files elsewhere, or choose another folder" + given * of_masks,
        )
