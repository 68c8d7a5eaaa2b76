"""Writers of masks, probabilities and cut-outs: PNG files, written by a background thread."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import AbstractContextManager
from pathlib import Path

import cv2
import numpy as np

from deeplab_gygo.errors import InputError, UsageError
from deeplab_gygo.io.atomic import replacing, storage_error
from deeplab_gygo.io.palette import write_mask

DEPTH = 8
"""Results that may wait to be written; more would only hide that the disk is slower."""

# PNG of photographs: level 1 is within a few percent of level 6, several times faster.
_PNG_LEVEL = 1


class ThreadedWriter(AbstractContextManager):
    """Base of writers: runs tasks in a thread, in the order in which they were submitted.

    Leaving the context waits for all tasks; leaving it with an error cancels those that wait. An
    error of a task is raised by a later call, or when the context is left, and cancels the others.

    Args:
        path: Folder or file to write; its folder is made where it is absent.
        depth: Tasks that may wait; a further one blocks until there is room.
    """

    def __init__(self, path: str | Path, depth: int = DEPTH):
        if depth < 1:
            raise UsageError("At least one result may wait to be written", met=f"depth={depth}")
        self.path = Path(path)
        self._depth = depth
        self._pool = ThreadPoolExecutor(1, thread_name_prefix="writer")
        self._tasks: deque[Future] = deque()

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        if kind is None:
            self._finish(waiting=0)
        self._pool.shutdown(cancel_futures=True)

    def submit(self, task: Callable[..., None], *arguments: object) -> None:
        """Schedules `task(*arguments)`; raises the error of an earlier task.

        Raises:
            StorageError: An earlier result could not be written.
            UsageError: The context was left, or an error was raised before.
        """
        self._finish(waiting=self._depth)
        try:
            self._tasks.append(self._pool.submit(task, *arguments))
        except RuntimeError as error:
            raise UsageError("A closed writer takes no more results") from error

    def _finish(self, waiting: int) -> None:
        """Waits until at most so many tasks are unfinished; raises the error of a finished one."""
        try:
            while self._tasks and (len(self._tasks) > waiting or self._tasks[0].done()):
                self._tasks.popleft().result()
        except BaseException as error:
            self._tasks.clear()
            self._pool.shutdown(cancel_futures=True)
            if isinstance(error, OSError):
                raise storage_error(error.filename or self.path, error) from error
            raise


class MaskWriter(ThreadedWriter):
    """Writes masks as palette PNG files with the DAVIS palette, named as the frames."""

    def write(self, name: str, mask: np.ndarray) -> None:
        """Submits a mask; it must not be changed afterwards.

        Args:
            name: Name of the frame, without suffix.
            mask: uint8 or bool [H, W] of object ids, 0 background.

        Raises:
            InputError: The name is no file name, or an earlier array was no mask.
            StorageError: An earlier mask could not be written.
        """
        self.submit(write_mask, file_of(self.path, name, ".png"), mask)


class SoftMaskWriter(ThreadedWriter):
    """Writes probabilities as gray PNG files, 0 background to 255 object, named as the frames.

    Several objects go to one folder each: `<folder>/<id>/<name>.png`.
    """

    def write(self, name: str, probability: np.ndarray, ids: list[int] | None = None) -> None:
        """Submits the probability of a frame; it must not be changed afterwards.

        Args:
            name: Name of the frame, without suffix.
            probability: float [H, W] of one object or [N, H, W] of several, range 0..1.
            ids: Object id of every plane of [N, H, W]; by default 1..N.

        Raises:
            InputError: The array has another form, or the name is no file name.
            StorageError: An earlier picture could not be written.
        """
        probability = _checked(probability, self.path / name)
        if probability.ndim == 2:
            self.submit(_write_gray, file_of(self.path, name, ".png"), probability)
            return
        ids = list(range(1, len(probability) + 1)) if ids is None else ids
        if len(ids) != len(probability):
            raise InputError(
                "Every object's probability has an id",
                met=f"{len(probability)} objects, {len(ids)} ids",
                where=self.path / name,
            )
        for label, plane in zip(ids, probability, strict=True):
            self.submit(_write_gray, file_of(self.path / str(label), name, ".png"), plane)


class CutoutWriter(ThreadedWriter):
    """Writes every frame as RGBA PNG with the probability as straight alpha."""

    def write(self, name: str, image: np.ndarray, probability: np.ndarray) -> None:
        """Submits a frame; the arrays must not be changed afterwards.

        Args:
            name: Name of the frame, without suffix.
            image: uint8 [H, W, 3] RGB.
            probability: float [H, W], or [N, H, W] of several objects, of which the maximum is
                taken; range 0..1.

        Raises:
            InputError: The arrays do not fit each other, or the name is no file name.
            StorageError: An earlier picture could not be written.
        """
        path = file_of(self.path, name, ".png")
        probability = _checked(probability, path)
        if image.dtype != np.uint8 or image.shape != (*probability.shape[-2:], 3):
            raise InputError(
                "The image of a cut-out is uint8 [H, W, 3] of the probability's size",
                met=f"{image.dtype} {list(image.shape)} and {list(probability.shape)}",
                where=path,
            )
        self.submit(_write_cutout, path, image, probability)


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


def as_bytes(probability: np.ndarray) -> np.ndarray:
    """Rounds probabilities 0..1 to uint8 0..255 of the same shape; NaN becomes 0."""
    scaled = np.nan_to_num(np.asarray(probability, np.float32)) * 255 + 0.5
    return np.clip(scaled, 0, 255).astype(np.uint8)


def _checked(probability: np.ndarray, where: Path) -> np.ndarray:
    """Returns the probability; raises `InputError` where it has another form."""
    probability = np.asarray(probability)
    if probability.ndim not in (2, 3) or not np.issubdtype(probability.dtype, np.floating):
        raise InputError(
            "A probability is float [H, W] or [N, H, W]",
            met=f"{probability.dtype} {list(probability.shape)}",
            where=where,
        )
    return probability


def _write_gray(path: Path, probability: np.ndarray) -> None:
    write_png(path, as_bytes(probability))


def _write_cutout(path: Path, image: np.ndarray, probability: np.ndarray) -> None:
    if probability.ndim == 3:
        probability = probability.max(axis=0)
    write_png(path, np.dstack([image, as_bytes(probability)]))
