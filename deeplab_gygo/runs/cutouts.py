"""Cut-outs among the results of a clip: pictures, transparent videos, animations, packshots."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator
from contextlib import ExitStack, contextmanager
from functools import partial
from pathlib import Path

import cv2
import numpy as np

from deeplab_gygo.inference.prediction import Prediction
from deeplab_gygo.io.alpha_smoothing import AlphaSmoother
from deeplab_gygo.io.animation_writer import AnimationWriter, webp_bytes
from deeplab_gygo.io.atomic import replacing
from deeplab_gygo.io.images import read_image
from deeplab_gygo.io.matte import (
    compose,
    cover,
    edge_alpha,
    estimate_foreground,
    hide_background,
)
from deeplab_gygo.io.sequence import Frame
from deeplab_gygo.io.video_writer import VideoWriter, square_size
from deeplab_gygo.io.writers import ThreadedWriter, as_bytes, file_of, write_png
from deeplab_gygo.runs.clip import Clip
from deeplab_gygo.runs.output_kinds import OutputOptions
from deeplab_gygo.runs.result_files import PICTURE_FILES, SINGLE_FILES
from deeplab_gygo.runs.result_videos import open_video, video_writer
from deeplab_gygo.runs.square_pictures import SquarePictures

_PICTURES = ("cutout", "webp")
_VIDEOS = ("webm", "prores", "background", "matte")
_ANIMATIONS = ("gif", "webp-animation")
_SQUARES = ("crop", "spin")

_DEPTH = 3
"""Cut-outs that may wait for each writer."""

CutoutTask = Callable[[str, np.ndarray, np.ndarray, float | None], None]
"""Writes a cut-out: name of the frame, uint8 [H, W, 4] RGBA, mask, time in seconds."""


class CutoutWriters:
    """The writers of all kinds of cut-outs, which are made once.

    Args:
        outputs: Kinds of results; those that are no cut-outs are left out.
        folder: Folder to write into.
        clip: The clip.
        options: Options of the kinds.

    Attributes:
        kinds: Kinds that are written.

    Raises:
        InputError: The frames are too large for a kind, or the background cannot be read.
    """

    def __init__(self, outputs: Collection[str], folder: Path, clip: Clip, options: OutputOptions):
        known = (*_PICTURES, *_VIDEOS, *_ANIMATIONS, *_SQUARES)
        self.kinds = [kind for kind in known if kind in outputs]
        self._folder, self._clip, self._options = folder, clip, options
        sequence = clip.sequence
        self._shown_size = square_size(sequence.size, sequence.pixel_aspect)
        # Made before the first frame, for the checks of its size.
        self._videos = {
            kind: video_writer(kind, folder, clip) for kind in _VIDEOS if kind in outputs
        }
        self._animations = {
            kind: AnimationWriter(folder / SINGLE_FILES[kind], self._shown_size)
            for kind in _ANIMATIONS
            if kind in outputs
        }
        self._behind = np.array(options.color or (0, 0, 0), np.uint8)
        if "background" in outputs and options.picture is not None:
            shown = cover(read_image(options.picture), self._shown_size)
            self._behind = _resized(shown, sequence.size)
        self._tasks: list[CutoutTask] = []
        self._smoother = AlphaSmoother() if options.smooth else None
        self._held: tuple[Frame, Prediction, float | None] | None = None

    @contextmanager
    def opened(self, first: Frame) -> Iterator[Callable[[Frame, Prediction, float | None], None]]:
        """Opens the writers, each in a thread of its own.

        Args:
            first: The first frame that is written.

        Yields:
            A function that makes the cut-out of a frame and hands it to all writers.
        """
        with ExitStack() as stack:
            for kind in self.kinds:
                if kind in _PICTURES:
                    self._add(stack, partial(self._write_picture, kind))
                elif kind in _VIDEOS:
                    video = stack.enter_context(open_video(self._videos[kind], self._clip, first))
                    self._add(stack, partial(self._write_video, kind, video))
                elif kind in _ANIMATIONS:
                    animation = stack.enter_context(self._animations[kind])
                    self._add(stack, partial(self._write_animation, animation))
            squares = [kind for kind in _SQUARES if kind in self.kinds]
            if squares:
                pictures = stack.enter_context(
                    SquarePictures(self._folder, squares, self._shown_size, self._options.spin)
                )
                self._add(stack, partial(self._write_square, pictures))
            yield self._take
            if self._held is not None and self._smoother is not None:
                self._cut_out(*self._held, self._smoother.last())

    def _add(self, stack: ExitStack, task: CutoutTask) -> None:
        thread = stack.enter_context(ThreadedWriter(self._folder, _DEPTH))
        self._tasks.append(partial(thread.submit, task))

    def _take(self, frame: Frame, prediction: Prediction, time: float | None) -> None:
        """Makes the cut-out of a frame, or of the one before, when its alpha is smoothed."""
        alpha = edge_alpha(as_bytes(prediction.probability, self._folder), prediction.mask)
        if self._smoother is None:
            self._cut_out(frame, prediction, time, alpha)
            return
        before = self._smoother.push(frame.image, alpha)
        if self._held is not None and before is not None:
            self._cut_out(*self._held, before)
        self._held = frame, prediction, time

    def _cut_out(
        self, frame: Frame, prediction: Prediction, time: float | None, alpha: np.ndarray
    ) -> None:
        image = frame.image
        if self._options.foreground:
            image = estimate_foreground(image, alpha)
        cutout = np.dstack([image, alpha])
        for task in self._tasks:
            task(prediction.name, cutout, prediction.mask, time)

    def _write_picture(self, kind: str, name: str, cutout: np.ndarray, *_: object) -> None:
        place, suffix = PICTURE_FILES[kind]
        path = file_of(self._folder / place, name, suffix)
        if kind == "cutout":
            write_png(path, cutout)
            return
        with replacing(path) as side:
            side.write_bytes(webp_bytes(cutout))

    def _write_video(
        self,
        kind: str,
        video: VideoWriter,
        _name: str,
        cutout: np.ndarray,
        _mask: np.ndarray,
        time: float | None,
    ) -> None:
        image, alpha = cutout[..., :3], cutout[..., 3]
        if kind == "matte":
            video.write(np.dstack([alpha] * 3), time)
        elif kind == "background":
            video.write(compose(image, alpha, self._behind), time)
        else:
            video.write(np.dstack([hide_background(image, alpha), alpha]), time)

    def _write_animation(
        self,
        animation: AnimationWriter,
        _name: str,
        cutout: np.ndarray,
        _mask: np.ndarray,
        time: float | None,
    ) -> None:
        animation.write(_resized(cutout, self._shown_size), time)

    def _write_square(
        self, pictures: SquarePictures, name: str, cutout: np.ndarray, mask: np.ndarray, *_: object
    ) -> None:
        shown = _resized(cutout, self._shown_size)
        pictures.add(name, shown, _resized((mask > 0).astype(np.uint8), self._shown_size))


def _resized(image: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """Scales an image to a height and width; most have them already."""
    if image.shape[:2] == size:
        return image
    return cv2.resize(image, size[::-1], interpolation=cv2.INTER_LINEAR)
