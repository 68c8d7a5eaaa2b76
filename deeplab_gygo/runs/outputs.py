"""Writers of all kinds of results of a clip."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator
from contextlib import ExitStack, contextmanager
from functools import partial
from pathlib import Path

from deeplab_gygo.inference.prediction import Prediction
from deeplab_gygo.io.overlay import overlay
from deeplab_gygo.io.palette import write_mask
from deeplab_gygo.io.sequence import Frame
from deeplab_gygo.io.writers import ThreadedWriter, file_of, write_soft_mask
from deeplab_gygo.runs.clip import Clip
from deeplab_gygo.runs.cutouts import CutoutWriters
from deeplab_gygo.runs.output_kinds import ANNOTATIONS, DEFAULT_OPTIONS, OutputOptions
from deeplab_gygo.runs.result_files import PICTURE_FILES
from deeplab_gygo.runs.result_videos import open_video, video_writer

FrameTask = Callable[[Frame, Prediction, float | None], None]
"""Writes a result of a frame; the time is in seconds from the first frame."""


@contextmanager
def result_writers(
    outputs: Collection[str], folder: Path, clip: Clip, options: OutputOptions = DEFAULT_OPTIONS
) -> Iterator[Callable[[Frame, Prediction], None]]:
    """Opens a writer for every kind of result, each in a thread of its own.

    What is written follows from the probabilities rounded to 8 bits. Memory is independent of the
    number of frames.

    Args:
        outputs: Kinds to write, of `OUTPUTS`.
        folder: Folder to write into.
        clip: The clip, for size, times, sound and ids.
        options: Options of the kinds.

    Yields:
        A function that writes the results of one frame, to be called in the order of the frames.
        It raises `StorageError` where an earlier frame could not be written. Leaving the context
        waits until everything is written.

    Raises:
        InputError: The frames are too large for a kind, or the background cannot be read.
    """
    with ExitStack() as stack:
        yield _ResultWriters(outputs, folder, clip, options, stack).write


class _ResultWriters:
    """The writers of a run. They are opened at its first frame, from which times count."""

    def __init__(
        self,
        outputs: Collection[str],
        folder: Path,
        clip: Clip,
        options: OutputOptions,
        stack: ExitStack,
    ):
        self._folder, self._clip, self._stack = folder, clip, stack
        self._kinds = [kind for kind in ("masks", "soft", *ANNOTATIONS) if kind in outputs]
        # Made before the first frame, for the check of its size.
        self._overlay = video_writer("overlay", folder, clip) if "overlay" in outputs else None
        self._cutouts = CutoutWriters(outputs, folder, clip, options)
        self._first: Frame | None = None
        self._tasks: list[FrameTask] = []

    def write(self, frame: Frame, prediction: Prediction) -> None:
        """Writes the results of a frame."""
        if self._first is None:
            self._first = frame
            for kind in self._kinds:
                self._add(self._task(kind, frame))
            if self._overlay is not None:
                self._add(self._overlay_task(frame))
            if self._cutouts.kinds:
                self._add(self._stack.enter_context(self._cutouts.opened(frame)))
        time = None
        if frame.time is not None and self._first.time is not None:
            time = frame.time - self._first.time
        for task in self._tasks:
            task(frame, prediction, time)

    def _add(self, task: FrameTask) -> None:
        thread = self._stack.enter_context(ThreadedWriter(self._folder))
        self._tasks.append(partial(thread.submit, task))

    def _task(self, kind: str, first: Frame) -> FrameTask:
        """Returns the task of masks, probabilities, or annotations."""
        if kind in ANNOTATIONS:
            from deeplab_gygo.io.annotations.writers import AnnotationWriter

            sequence = self._clip.sequence
            writer = self._stack.enter_context(
                AnnotationWriter(
                    kind,
                    self._folder / kind,
                    clip=sequence.name,
                    size=sequence.size,
                    frame_names=sequence.frame_names[first.index :],
                    object_ids=self._clip.object_ids,
                )
            )
            return lambda _frame, p, _time: writer.write(p.name, p.mask)
        place, suffix = PICTURE_FILES[kind]
        folder, ids = self._folder / place, self._clip.object_ids
        if kind == "masks":
            return lambda _frame, p, _time: write_mask(file_of(folder, p.name, suffix), p.mask)
        return lambda _frame, p, _time: write_soft_mask(folder, p.name, p.probability, ids)

    def _overlay_task(self, first: Frame) -> FrameTask:
        assert self._overlay is not None
        video = self._stack.enter_context(open_video(self._overlay, self._clip, first))
        several = len(self._clip.object_ids) > 1

        def write(frame: Frame, p: Prediction, time: float | None) -> None:
            video.write(overlay(frame.image, p.mask, several=several), time)

        return write
