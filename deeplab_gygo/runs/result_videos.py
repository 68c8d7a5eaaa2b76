"""Videos among the results of a clip: shape of pixels, times and sound of its source."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from deeplab_gygo.io.sequence import Frame
from deeplab_gygo.io.sound import Sound
from deeplab_gygo.io.video_writer import VideoWriter
from deeplab_gygo.runs.clip import Clip
from deeplab_gygo.runs.result_files import SINGLE_FILES

_TRANSPARENT = ("webm", "prores")

_CRF = {"webm": 24, "background": 16, "matte": 6}
"""Constant rate factors of the videos that are worked on further, better than usual."""


def video_writer(kind: str, folder: Path, clip: Clip) -> VideoWriter:
    """Makes the writer of a kind of video, not opened yet.

    Args:
        kind: A kind of `SINGLE_FILES` that is a video.
        folder: Folder of the results.
        clip: The clip.

    Raises:
        InputError: The frames are too large for the codec.
    """
    sequence = clip.sequence
    return VideoWriter(
        folder / SINGLE_FILES[kind],
        sequence.size,
        times=sequence.times,
        alpha=kind in _TRANSPARENT,
        crf=_CRF.get(kind),
        pixel_aspect=sequence.pixel_aspect,
    )


@contextmanager
def open_video(writer: VideoWriter, clip: Clip, first: Frame) -> Iterator[VideoWriter]:
    """Opens a writer, with the sound of the clip from its first frame on.

    Args:
        writer: The writer.
        clip: The clip.
        first: The first frame that is written.
    """
    if first.time is None:
        with writer:
            yield writer
        return
    with Sound(clip.sequence.source, first.time) as sound:
        writer.sound = sound
        with writer:
            yield writer
