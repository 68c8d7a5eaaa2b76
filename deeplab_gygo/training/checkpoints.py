"""Checkpoints that make a resumed training equal to an undisturbed one."""

from __future__ import annotations

import json
import os
import zipfile
from pathlib import Path
from typing import Any

import numpy as np

from deeplab_gygo.errors import InputError, StorageError

NAME = "checkpoint.npz"


def save_checkpoint(
    folder: Path, groups: dict[str, dict[str, np.ndarray]], state: dict[str, Any]
) -> None:
    """Writes arrays and state beside the last checkpoint and renames over it.

    Args:
        folder: Folder of the training.
        groups: Arrays by group (network, average, optimizer) and name.
        state: Plain values: step, seconds, best score, configuration hash.

    Raises:
        StorageError: The checkpoint cannot be written; the one before stays whole.
    """
    arrays = {f"{group}|{name}": a for group, part in groups.items() for name, a in part.items()}
    arrays["state"] = np.frombuffer(json.dumps(state).encode(), np.uint8)
    side = folder / f".{NAME}.partial-{os.getpid()}.npz"
    try:
        np.savez(side, **arrays)
        os.replace(side, folder / NAME)
    except OSError as error:
        side.unlink(missing_ok=True)
        raise StorageError(
            "A checkpoint can be written",
            met=error.strerror,
            where=folder / NAME,
            remedy="Free some space and run the same command again; it resumes",
        ) from error


def load_checkpoint(folder: Path) -> tuple[dict[str, dict[str, np.ndarray]], dict[str, Any]] | None:
    """Reads the checkpoint of a training.

    Args:
        folder: Folder of the training.

    Returns:
        Groups of arrays and state as given to `save_checkpoint`, or None where there is none.

    Raises:
        InputError: The file is damaged.
    """
    path = folder / NAME
    if not path.is_file():
        return None
    groups: dict[str, dict[str, np.ndarray]] = {}
    try:
        with np.load(path, allow_pickle=False) as archive:
            state = json.loads(archive["state"].tobytes().decode())
            for key in archive.files:
                if key != "state":
                    group, name = key.split("|", 1)
                    groups.setdefault(group, {})[name] = archive[key]
    except (zipfile.BadZipFile, ValueError, KeyError, EOFError) as error:
        raise InputError(
            "A checkpoint is a file written by this package",
            met=f"{type(error).__name__}: {error}",
            where=path,
            remedy="Delete it to start the training anew",
        ) from error
    return groups, state
