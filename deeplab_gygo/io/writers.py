"""Writing of pictures as PNG files, and of any result by a background thread."""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import AbstractContextManager
from pathlib import Path

import cv2
import numpy as np

from deeplab_gygo.errors import InputError, UsageError
from deeplab_gygo.io.atomic import replacing, storage_error

DEPTH = 8
"""Results that may wait to be written; more would only hide that the disk is slower."""

ABORT_SECONDS = 10.0
"""Wait for the result that is being written when an error or an interrupt ends the others."""

# PNG of photographs: level 1 is within a few percent of level 6, several times faster.
_PNG_LEVEL = 1


class ThreadedWriter(AbstractContextManager):
    """Writes results by tasks that run in a thread, in the order in which they were submitted.

    Leaving the context waits for all tasks. An error, or an interrupt during that wait, cancels
    those that did not begin, and waits for the running one, `ABORT_SECONDS` at most. An error of a
    task is raised by a later call, or when the context is left, and cancels the others.

    Args:
        path: Folder or file that the tasks write, for messages.
        depth: Tasks that may wait; a further one blocks until there is room.
    """

    def __init__(self, path: str | Path, depth: int = DEPTH):
        if depth < 1:
            raise UsageError("At least one result may wait to be written", met=f"depth={depth}")
        self.path = Path(path)
        self._depth = depth
        self._pool = ThreadPoolExecutor(1, thread_name_prefix="writer")
        self._tasks: deque[Future] = deque()
        self._running = threading.Lock()
        self._aborted = False

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        if kind is None:
            self._finish(waiting=0)
            self._pool.shutdown()
        else:
            self._abort()

    def submit(self, task: Callable[..., None], *arguments: object) -> None:
        """Schedules `task(*arguments)`; raises the error of an earlier task.

        Raises:
            StorageError: An earlier result could not be written.
            UsageError: The context was left, or an error was raised before.
        """
        self._finish(waiting=self._depth)
        try:
            self._tasks.append(self._pool.submit(self._run, task, *arguments))
        except RuntimeError as error:
            raise UsageError("A closed writer takes no more results") from error

    def _finish(self, waiting: int) -> None:
        """Waits until at most so many tasks are unfinished; raises the error of a finished one."""
        try:
            while self._tasks and (len(self._tasks) > waiting or self._tasks[0].done()):
                self._tasks[0].result()
                self._tasks.popleft()
        except BaseException as error:
            self._abort()
            if isinstance(error, OSError):
                raise storage_error(error.filename or self.path, error) from error
            raise

    def _run(self, task: Callable[..., None], *arguments: object) -> None:
        with self._running:
            if not self._aborted:
                task(*arguments)

    def _abort(self) -> None:
        """Cancels the tasks that did not begin, and waits for the running one."""
        self._aborted = True
        self._tasks.clear()
        deadline, interrupt = time.monotonic() + ABORT_SECONDS, None
        while True:
            try:
                self._pool.shutdown(wait=False, cancel_futures=True)
                if self._running.acquire(timeout=max(0.0, deadline - time.monotonic())):
                    self._running.release()
                break
            except KeyboardInterrupt as error:  # nothing may be written once this returns
                interrupt = error
        if interrupt is not None:
            raise interrupt


def write_soft_mask(
    folder: Path, name: str, probability: np.ndarray, ids: list[int] | None = None
) -> None:
    """Writes probabilities as gray PNG files, 0 background to 255 object.

    Args:
        folder: Destination of `<name>.png`; of several objects that of `<id>/<name>.png`.
        name: Name of the frame, without suffix.
        probability: float [H, W] of one object or [N, H, W] of several, range 0..1.
        ids: Object id of every plane of [N, H, W].

    Raises:
        InputError: The array has another form, or the name is no file name.
        StorageError: A file cannot be written.
    """
    path = file_of(folder, name, ".png")
    planes = as_bytes(probability, path)
    if planes.ndim == 2:
        write_png(path, planes)
        return
    for label, plane in zip(ids or range(1, len(planes) + 1), planes, strict=True):
        write_png(folder / str(label) / path.name, plane)


def file_of(folder: Path, name: str, suffix: str) -> Path:
    """Returns the path of a frame's file; raises `InputError` if it leads out of the folder."""
    if not name or name in (".", "..") or "/" in name or "\\" in name or "\0" in name:
        raise InputError("The name of a frame is a plain file name", met=repr(name), where=folder)
    return folder / f"{name}{suffix}"


def write_png(path: Path, image: np.ndarray) -> None:
    """Writes an image as PNG, atomically.

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


def as_bytes(probability: np.ndarray, where: Path) -> np.ndarray:
    """Rounds probabilities 0..1 to uint8 0..255 of the same shape; NaN becomes 0.

    Raises:
        InputError: The array is not float [H, W] or [N, H, W].
    """
    probability = np.asarray(probability)
    if probability.ndim not in (2, 3) or not np.issubdtype(probability.dtype, np.floating):
        raise InputError(
            "A probability is float [H, W] or [N, H, W]",
            met=f"{probability.dtype} {list(probability.shape)}",
            where=where,
        )
    scaled = np.nan_to_num(probability.astype(np.float32)) * 255 + 0.5
    return np.clip(scaled, 0, 255).astype(np.uint8)
