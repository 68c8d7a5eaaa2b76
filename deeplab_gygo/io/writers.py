"""Writers of masks, probabilities and cut-outs: PNG files, written by a background thread."""

from __future__ import annotations

import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Self

import cv2
import numpy as np

from deeplab_gygo.errors import InputError, UsageError
from deeplab_gygo.io.atomic import replacing, storage_error
from deeplab_gygo.io.palette import write_mask

DEPTH = 8
"""Results that may wait to be written; more would only hide that the disk is slower."""

# PNG of photographs: level 1 is within a few percent of level 6, several times faster.
_PNG_LEVEL = 1


class ThreadedWriter:
    """Base of writers: runs tasks in a thread, in the order in which they were submitted.

    A context manager: leaving it waits for all tasks; leaving it with an error cancels those that
    wait. An error of a task is raised by the next call, or by `close`, and cancels the others.

    Args:
        depth: Tasks that may wait; a further one blocks until there is room.
    """

    def __init__(self, depth: int = DEPTH):
        if depth < 1:
            raise UsageError("At least one result may wait to be written", met=f"depth={depth}")
        self._slots = threading.Semaphore(depth + 1)  # tasks that wait, and the one that runs
        self._pool = ThreadPoolExecutor(1, thread_name_prefix="writer")
        self._error: BaseException | None = None
        self._closed = False

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        if kind is None:
            self.close()
        else:
            self.abort()

    def close(self) -> None:
        """Waits until everything is written; raises `StorageError` if something could not be."""
        self._closed = True
        self._pool.shutdown()
        self._raise_error()

    def abort(self) -> None:
        """Cancels the tasks that wait and waits for the one that runs. Raises nothing."""
        self._closed = True
        self._pool.shutdown(cancel_futures=True)

    def _submit(self, task: Callable[..., None], *arguments: object) -> None:
        """Schedules `task(*arguments)`; raises the error of an earlier task."""
        self._raise_error()
        if self._closed:
            raise UsageError("A closed writer takes no more results")
        self._slots.acquire()
        self._pool.submit(self._run, task, arguments)
        self._raise_error()

    def _run(self, task: Callable[..., None], arguments: tuple) -> None:
        try:
            if self._error is None:
                task(*arguments)
        except BaseException as error:  # raised in the thread that submits
            self._error = error
        finally:
            self._slots.release()

    def _raise_error(self) -> None:
        if self._error is None:
            return
        self.abort()
        error, self._error = self._error, None
        if isinstance(error, OSError):
            raise storage_error(error.filename or "results", error) from error
        raise error


class _FolderWriter(ThreadedWriter):
    """Base of writers of one file per frame into a folder, which is made where it is absent."""

    def __init__(self, folder: str | Path, depth: int = DEPTH):
        super().__init__(depth)
        self.folder = Path(folder)


class MaskWriter(_FolderWriter):
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
        self._submit(write_mask, file_of(self.folder, name, ".png"), mask)


class SoftMaskWriter(_FolderWriter):
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
        probability = _checked(probability, self.folder / name)
        if probability.ndim == 2:
            self._submit(_write_gray, file_of(self.folder, name, ".png"), probability)
            return
        ids = list(range(1, len(probability) + 1)) if ids is None else ids
        if len(ids) != len(probability):
            raise InputError(
                "Every object's probability has an id",
                met=f"{len(probability)} objects, {len(ids)} ids",
                where=self.folder / name,
            )
        for label, plane in zip(ids, probability, strict=True):
            self._submit(_write_gray, file_of(self.folder / str(label), name, ".png"), plane)


class CutoutWriter(_FolderWriter):
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
        path = file_of(self.folder, name, ".png")
        probability = _checked(probability, path)
        if image.dtype != np.uint8 or image.shape != (*probability.shape[-2:], 3):
            raise InputError(
                "The image of a cut-out is uint8 [H, W, 3] of the probability's size",
                met=f"{image.dtype} {list(image.shape)} and {list(probability.shape)}",
                where=path,
            )
        self._submit(_write_cutout, path, image, probability)


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
