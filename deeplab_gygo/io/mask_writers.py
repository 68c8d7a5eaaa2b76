"""Writing behind the network: a thread with a bounded line, and masks written through it."""

from __future__ import annotations

import queue
import threading
from collections.abc import Callable
from pathlib import Path
from types import TracebackType
from typing import Self

import cv2
import numpy as np

from deeplab_gygo.errors import InputError, UsageError
from deeplab_gygo.io.atomic import replacing, storage_error
from deeplab_gygo.io.masks import write_mask

DEPTH = 8
"""Results that may wait to be written; more would only hide that the disk is slower."""

_POLL_SECONDS = 0.1
_PNG_LEVEL = (
    1  # PNG of photographs: level 1 is within a few percent of level 6, several times faster
)


class ThreadedWriter:
    """Runs tasks one after another in a thread of its own, in the order they were given.

    A context manager: leaving it waits for all tasks; leaving it with an error gives up those that
    still wait. An error of a task is raised by the next call, or by `close`, and ends the work.

    Args:
        depth: Tasks that may wait; a further one blocks until there is room.
    """

    def __init__(self, depth: int = DEPTH):
        if depth < 1:
            raise UsageError("At least one result may wait to be written", met=f"depth={depth}")
        self._line: queue.Queue[tuple[Callable[..., None], tuple] | None] = queue.Queue(depth)
        self._error: BaseException | None = None
        self._given_up = threading.Event()
        self._closed = False
        self._thread: threading.Thread | None = None

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        if kind is None:
            self.close()
        else:
            self.abort()

    def close(self) -> None:
        """Waits until everything is written; a second call does nothing.

        Raises:
            StorageError: A file could not be written.
        """
        self._end()
        self._raise_error()

    def abort(self) -> None:
        """Ends without writing what still waits. Raises nothing."""
        self._given_up.set()
        self._end()

    def _submit(self, task: Callable[..., None], *arguments: object) -> None:
        """Lets the thread call `task(*arguments)`.

        Raises:
            UsageError: The writer is closed.
            StorageError: An earlier task could not write its file.
        """
        self._raise_error()
        if self._closed:
            raise UsageError("A closed writer takes no more results")
        if self._thread is None:
            # A daemon: a process that ends by an error does not wait for a slow disk.
            self._thread = threading.Thread(target=self._work, name="writer", daemon=True)
            self._thread.start()
        self._append((task, arguments))
        self._raise_error()

    def _append(self, item: tuple[Callable[..., None], tuple] | None) -> None:
        while self._thread is not None and self._thread.is_alive():
            try:
                return self._line.put(item, timeout=_POLL_SECONDS)
            except queue.Full:
                continue  # The thread may have ended by an error meanwhile.

    def _work(self) -> None:
        try:
            while (item := self._line.get()) is not None:
                if not self._given_up.is_set():
                    task, arguments = item
                    task(*arguments)
        except BaseException as error:  # raised in the thread that hands over results
            self._error = error

    def _end(self) -> None:
        self._closed = True
        if self._thread is not None:
            self._append(None)
            self._thread.join()
            self._thread = None

    def _raise_error(self) -> None:
        if self._error is None:
            return
        error, self._error, self._closed = self._error, None, True
        if isinstance(error, OSError):
            raise storage_error(error.filename or "results", error) from error
        raise error


class MaskWriter(ThreadedWriter):
    """Writes masks as palette PNG files with the DAVIS palette, named as the frames.

    Args:
        folder: Where to write; made where it is absent.
        depth: Masks that may wait.
    """

    def __init__(self, folder: str | Path, depth: int = DEPTH):
        super().__init__(depth)
        self.folder = Path(folder)

    def write(self, name: str, mask: np.ndarray) -> None:
        """Hands over a mask; it must not be changed afterwards.

        Args:
            name: Name of the frame, without suffix.
            mask: uint8 or bool [H, W] of object ids, 0 background.

        Raises:
            InputError: The name is no file name, or an earlier array was no mask.
            StorageError: An earlier mask could not be written.
        """
        self._submit(write_mask, file_of(self.folder, name, ".png"), mask)


def file_of(folder: Path, name: str, suffix: str) -> Path:
    """Names the file of a frame and makes sure that it lies in the folder.

    Args:
        folder: The folder of results.
        name: Name of the frame, without suffix.
        suffix: Suffix with its dot.

    Returns:
        The path.

    Raises:
        InputError: The name is empty or leads out of the folder.
    """
    if not name or name in (".", "..") or "/" in name or "\\" in name or "\0" in name:
        raise InputError("The name of a frame is a plain file name", met=repr(name), where=folder)
    return folder / f"{name}{suffix}"


def write_png(path: Path, image: np.ndarray) -> None:
    """Writes a picture as PNG; it appears whole or not at all.

    Args:
        path: Destination.
        image: uint8 [H, W] gray, [H, W, 3] RGB or [H, W, 4] RGBA with straight alpha.

    Raises:
        StorageError: The file cannot be written.
    """
    if image.ndim == 3:
        code = cv2.COLOR_RGBA2BGRA if image.shape[2] == 4 else cv2.COLOR_RGB2BGR
        image = cv2.cvtColor(image, code)
    _, encoded = cv2.imencode(".png", image, [cv2.IMWRITE_PNG_COMPRESSION, _PNG_LEVEL])
    with replacing(path) as side:
        side.write_bytes(encoded.tobytes())
