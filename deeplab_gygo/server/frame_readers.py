"""Readers of the frames of a clip, in any order, and who gets them first."""

from __future__ import annotations

import itertools
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import cv2
import numpy as np

from deeplab_gygo.io.sequence import Sequence
from deeplab_gygo.io.video import VideoSequence
from deeplab_gygo.server.states import GivenUp, Unavailable
from deeplab_gygo.server.video_cursor import VideoCursor

READERS = 3
"""Readers of a clip."""

THUMBNAIL = 160
"""Width of pictures that leave a reader to larger ones; pixels."""

MAX_WAITING = 24
"""Requests for frames of a clip that wait; beyond it the oldest is refused."""

_ASK_AGAIN = 0.05  # seconds between two looks whether a request that waits was given up


def never() -> bool:
    """Returns False."""
    return False


class FrameReader:
    """Reads any frame of a sequence; of a video from the key frame before it.

    Not to be used by two threads at once.

    Args:
        sequence: The frames.
    """

    def __init__(self, sequence: Sequence):
        self._sequence = sequence
        self._video = None
        if isinstance(sequence, VideoSequence) and not sequence.warnings:
            self._video = VideoCursor(sequence)

    def read(
        self,
        index: int,
        width: int | None = None,
        is_given_up: Callable[[], bool] = never,
    ) -> np.ndarray:
        """Reads a frame.

        Args:
            index: Its index, from 0.
            width: Pixels, less than that of the frames; None is that.
            is_given_up: Returns whether nobody waits for the frame any more; asked between the
                frames of a video that are decoded before it.

        Returns:
            uint8 [H, W, 3] RGB, upright, in the pixels of the file.

        Raises:
            InputError: The frame is damaged.
            GivenUp: Nobody waits for it any more.
        """
        if self._video is not None:
            return self._video.read(index, width, is_given_up)
        return resized(self._sequence.frame(index).image, width)

    def close(self) -> None:
        """Closes the file."""
        if self._video is not None:
            self._video.close()


def resized(image: np.ndarray, width: int | None) -> np.ndarray:
    """Shrinks an image, uint8 [H, W, 3], to a width in pixels; None leaves it."""
    if width is None or width >= image.shape[1]:
        return image
    height = max(1, round(image.shape[0] * width / image.shape[1]))
    return cv2.resize(image, (width, height), interpolation=cv2.INTER_AREA)


class ReaderPool:
    """Readers of a clip. The newest request is served first, and thumbnails after large pictures.

    Args:
        sequence: The frames.
    """

    def __init__(self, sequence: Sequence):
        self._free = [FrameReader(sequence) for _ in range(READERS)]
        self._reached = dict.fromkeys(self._free, 0)
        self._numbers = itertools.count()
        self._waiting: list[tuple[bool, int]] = []
        self._large = 0  # large pictures that are being read
        self._changed = threading.Condition()
        self._asked = -float("inf")

    def read(
        self, index: int, width: int | None, is_given_up: Callable[[], bool] = never
    ) -> np.ndarray:
        """Reads a frame, see `FrameReader.read`.

        Raises:
            Unavailable: Many newer requests wait.
        """
        is_large = width is None or width > THUMBNAIL
        with self._taken(index, is_given_up, is_large=is_large) as reader:
            return reader.read(index, width, is_given_up)

    @contextmanager
    def _taken(
        self, index: int, is_given_up: Callable[[], bool], *, is_large: bool
    ) -> Iterator[FrameReader]:
        with self._changed:
            place = is_large, next(self._numbers)
            self._waiting.append(place)
            self._changed.notify_all()
            # One reader is kept for large pictures, and the decoder takes all cores for them.
            while (
                max(self._waiting) != place
                or len(self._free) <= (not is_large)
                or (self._large and not is_large)
            ):
                if len(self._waiting) > MAX_WAITING and min(self._waiting) == place:
                    self._waiting.remove(place)
                    raise Unavailable(
                        "A clip is asked for few frames at a time",
                        met=f"more than {MAX_WAITING}",
                        remedy="Ask again",
                    )
                if is_given_up():
                    self._waiting.remove(place)
                    self._changed.notify_all()
                    raise GivenUp
                self._changed.wait(_ASK_AGAIN)
            self._waiting.remove(place)
            reader = min(self._free, key=lambda each: self._distance(each, index))
            self._free.remove(reader)
            self._large += is_large
            self._changed.notify_all()
        try:
            yield reader
        finally:
            with self._changed:
                self._reached[reader], self._asked = index, time.monotonic()
                self._free.append(reader)
                self._large -= is_large
                self._changed.notify_all()

    def _distance(self, reader: FrameReader, index: int) -> tuple[bool, int]:
        reached = self._reached[reader]
        return reached > index, abs(index - reached)

    def wait_until_idle(self, seconds: float, closed: threading.Event) -> None:
        """Waits until no frame was asked for during some seconds, or an event is set."""
        while not closed.is_set():
            with self._changed:
                busy = self._waiting or len(self._free) < READERS
                left = seconds if busy else self._asked + seconds - time.monotonic()
            if left <= 0:
                return
            closed.wait(left)

    def close(self) -> None:
        """Closes the files when they are no longer read."""
        with self._changed:
            self._changed.wait_for(lambda: len(self._free) == READERS)
            for reader in self._free:
                reader.close()
