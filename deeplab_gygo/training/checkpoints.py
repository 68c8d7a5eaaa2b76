"""Checkpoints that make a resumed training equal to an uninterrupted one."""

from __future__ import annotations

import json
import signal
import threading
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np

from deeplab_gygo.errors import InputError
from deeplab_gygo.io.atomic import replacing

CHECKPOINT_NAME = "checkpoint.npz"

_SIGNALS = (signal.SIGINT, signal.SIGTERM)


def save_checkpoint(
    folder: Path, groups: dict[str, dict[str, np.ndarray]], state: dict[str, Any]
) -> None:
    """Replaces the checkpoint of a training.

    Args:
        folder: Folder of the training.
        groups: Arrays by group (network, average, optimizer, random) and name.
        state: JSON values: step, seconds, best score, hash of the configuration.

    Raises:
        StorageError: The checkpoint cannot be written; the previous one is unchanged.
    """
    arrays = {f"{group}|{name}": a for group, part in groups.items() for name, a in part.items()}
    arrays["state"] = np.frombuffer(json.dumps(state).encode(), np.uint8)
    with replacing(folder / CHECKPOINT_NAME) as side, open(side, "wb") as stream:
        np.savez(stream, **arrays)


def load_checkpoint(folder: Path) -> tuple[dict[str, dict[str, np.ndarray]], dict[str, Any]] | None:
    """Reads the checkpoint of a training.

    Args:
        folder: Folder of the training.

    Returns:
        Groups of arrays and state as given to `save_checkpoint`; None if there is no checkpoint.

    Raises:
        InputError: The file is damaged.
    """
    path = folder / CHECKPOINT_NAME
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
            remedy="Delete it to restart the training",
        ) from error
    return groups, state


@contextmanager
def deferred_interrupts() -> Iterator[None]:
    """Defers SIGINT and SIGTERM to the end of a block.

    A step interrupted in the middle would leave some weights new, some old and some lost, and so
    would the checkpoint that an interrupted training writes.
    """
    if threading.current_thread() is not threading.main_thread():
        yield  # only the main thread handles signals
        return
    received: list[int] = []
    handlers = {number: signal.getsignal(number) for number in _SIGNALS}
    # A handler that was not set from Python cannot be restored, and is not replaced.
    handlers = {number: handler for number, handler in handlers.items() if handler is not None}
    for number in handlers:
        signal.signal(number, lambda number, _: received.append(number))
    try:
        yield
    finally:
        for number, handler in handlers.items():
            signal.signal(number, handler)
        for number in received[:1]:
            signal.raise_signal(number)
