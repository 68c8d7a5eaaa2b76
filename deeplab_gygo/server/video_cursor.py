"""Random access to the frames of a video, by their indices in the order of time."""

from __future__ import annotations

import bisect
import math
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path

import av
import numpy as np

from deeplab_gygo.errors import InputError
from deeplab_gygo.io.tone_mapping import HLG, PQ, tone_map
from deeplab_gygo.io.video import VideoSequence
from deeplab_gygo.io.video_reading import (
    DecodingReport,
    decode_frames,
    open_container,
    orientation,
    upright,
)
from deeplab_gygo.server.states import GivenUp

_TOLERANCE = 1e-4  # seconds, as in io.video
_MAX_STEP = 120  # frames that are decoded to reach the next one rather than seeking


class VideoCursor:
    """An open video whose decoder has reached a frame.

    A frame is found by its time after a seek; where the times of the decoded frames are not those
    that were counted, by decoding from the beginning.

    Args:
        sequence: The video.
    """

    def __init__(self, sequence: VideoSequence):
        self._sequence, self._times = sequence, sequence.times
        self._stack, self._frames = ExitStack(), iter(())
        self._file: tuple[av.container.InputContainer, av.video.stream.VideoStream] | None = None
        self._next: int | None = None  # index of the next frame of the decoder
        self._rotation: tuple[bool, bool, bool] | None = None
        self._seeks = True
        self._pending: av.VideoFrame | None = None

    def read(self, index: int, width: int | None, is_given_up: Callable[[], bool]) -> np.ndarray:
        """Reads a frame, see `frame_readers.FrameReader.read`."""
        try:
            return self._image(self._reach(index, is_given_up), width)
        except (av.FFmpegError, OSError, ValueError) as error:
            self.close()
            raise self._damaged(index, str(error)) from error

    def _reach(self, index: int, is_given_up: Callable[[], bool]) -> av.VideoFrame:
        ahead = None if self._next is None else index - self._next
        if ahead is None or ahead < 0 or ahead > _MAX_STEP:
            self._open(index)
        frame = self._decoded(index, is_given_up)
        if frame is None and self._seeks:  # lost after a seek
            self._seeks = False
            self._open(0)
            frame = self._decoded(index, is_given_up)
        if frame is None:
            raise self._damaged(index, "it is not decoded")
        return frame

    def _decoded(self, index: int, is_given_up: Callable[[], bool]) -> av.VideoFrame | None:
        """Decodes up to a frame; None where it does not come."""
        while self._next is not None and self._next <= index:
            if is_given_up():
                raise GivenUp
            frame, self._pending = self._pending or next(self._frames, None), None
            if frame is None:
                self._next = None
                return None
            reached, self._next = self._next, self._next + 1
            if reached == index:
                return frame
        return None

    def _open(self, index: int) -> None:
        """Opens the file at the key frame before a frame, or at its beginning."""
        wanted = self._times[index]
        back = 0.0
        while self._seeks and index:
            start = self._seek(wanted - back)
            if start is not None and start <= index:
                return
            if wanted - back <= self._times[0]:
                break
            back = max(1.0, 4 * back)
        self.close()
        self._decode()
        self._next = 0

    def _decode(self) -> tuple[av.container.InputContainer, av.video.stream.VideoStream]:
        """Begins to decode at the position of the file, which it opens if it is closed."""
        if self._file is None:
            path = Path(self._sequence.source)
            self._file = self._stack.enter_context(open_container(path))
        self._frames = decode_frames(*self._file, DecodingReport())
        self._next = self._pending = None
        return self._file

    def _seek(self, seconds: float) -> int | None:
        """Goes to the key frame before a time; returns the index of the first frame from there."""
        container, stream = self._decode()
        try:
            container.seek(math.floor(seconds / stream.time_base), stream=stream)
        except av.FFmpegError:
            return None
        for frame in self._frames:
            if not frame.key_frame or frame.pts is None:
                if frame.pts is None:
                    return None
                continue  # of the group before, which was not decoded
            found = bisect.bisect_left(self._times, float(frame.time) - _TOLERANCE)
            if found == len(self._times) or self._times[found] - frame.time > _TOLERANCE:
                return None
            self._pending, self._next = frame, found
            return found
        return None

    def _image(self, frame: av.VideoFrame, width: int | None) -> np.ndarray:
        if self._rotation is None:
            self._rotation = orientation(frame)
        height = None
        if width is not None:
            sides = (
                (frame.height, frame.width) if self._rotation[0] else (frame.width, frame.height)
            )
            scale = width / sides[0]
            size = width, max(1, round(sides[1] * scale))
            width, height = size[::-1] if self._rotation[0] else size
        picture = frame.to_ndarray(format="rgb24", width=width, height=height)
        picture = upright(picture, self._rotation)
        if frame.color_trc in (PQ, HLG):
            picture = tone_map(picture, frame.color_trc)
        return picture

    def _damaged(self, index: int, met: str) -> InputError:
        return InputError(
            "Every frame of a video can be decoded",
            met=f"frame {index}: {met}",
            where=self._sequence.source,
            remedy="Re-encode it with ffmpeg",
        )

    def close(self) -> None:
        """Closes the file."""
        self._stack.close()
        self._frames, self._file, self._next, self._pending = iter(()), None, None, None
