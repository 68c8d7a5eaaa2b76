"""Pictures of the frames of a clip, with the indices that segmentation gives them."""

from __future__ import annotations

import logging
import os
import threading
import time
from collections import OrderedDict
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

import cv2
import numpy as np

from deeplab_gygo.io.atomic import replacing
from deeplab_gygo.io.sequence import Sequence
from deeplab_gygo.server.frame_readers import FrameReader, ReaderPool, never, resized

logger = logging.getLogger(__name__)

WIDTHS = (160, 320, 640, 960, 1280, 1920, 2560)
"""Widths of pictures, beside that of the clip; pixels."""

PROXY_WIDTH = 960
"""Width of the pictures that are kept of slow clips."""

SLOW_SECONDS = 0.08
"""Time of a frame above which the pictures of a clip are made in advance."""

QUIET_SECONDS = 0.7
"""Time without a request for a frame after which they are made: decoding takes all cores."""

MEMORY_BYTES = 96 << 20
"""Encoded pictures of all clips that are kept in memory."""

PROXY_BYTES = 2 << 30
"""Most bytes of the pictures of a clip on disk."""

_QUALITY = 80


def width_for(width: int | None, full: int) -> int | None:
    """Returns the width of the picture that serves a width; None is that of the frames.

    Example:
        >>> width_for(700, 1920), width_for(1919, 1920), width_for(None, 640)
        (960, None, None)
    """
    if width is None:
        return None
    fitting = next((each for each in WIDTHS if each >= width), full)
    return fitting if fitting < full else None


class PictureCache:
    """Encoded pictures of the least recent use are dropped; shared by all clips.

    Args:
        most: Bytes that are kept.
    """

    def __init__(self, most: int = MEMORY_BYTES):
        self._most, self._bytes = most, 0
        self._pictures: OrderedDict[tuple, bytes] = OrderedDict()
        self._lock = threading.Lock()

    def get(self, key: tuple) -> bytes | None:
        """Returns a picture; None where it is not kept."""
        with self._lock:
            picture = self._pictures.get(key)
            if picture is not None:
                self._pictures.move_to_end(key)
            return picture

    def put(self, key: tuple, picture: bytes) -> None:
        """Keeps a picture."""
        with self._lock:
            self._bytes += len(picture) - len(self._pictures.pop(key, b""))
            self._pictures[key] = picture
            while self._bytes > self._most and len(self._pictures) > 1:
                self._bytes -= len(self._pictures.popitem(last=False)[1])


class ClipFrames:
    """Pictures of the frames of a clip at the sizes of a page.

    Of a clip whose frames take long, pictures of `PROXY_WIDTH` are made by a thread, while nobody
    asks for frames, and kept on disk; smaller ones follow from them.

    Args:
        sequence: The frames.
        folder: Where these pictures are kept.
        cache: Pictures in memory.
    """

    def __init__(self, sequence: Sequence, folder: Path, cache: PictureCache):
        self.sequence, self._folder, self._cache = sequence, folder, cache
        self._readers = ReaderPool(sequence)
        self._thread: threading.Thread | None = None
        self._closed = threading.Event()
        self._guard = threading.Lock()

    def jpeg(
        self, index: int, width: int | None = None, is_given_up: Callable[[], bool] = never
    ) -> bytes:
        """Returns a frame as JPEG, at least as wide as asked for; see `FrameReader.read`."""
        width = width_for(width, self.sequence.size[1])
        key = (str(self._folder), index, width)
        picture = self._cache.get(key)
        if picture is None:
            picture = self._of_proxy(index, width) or self._decoded(index, width, is_given_up)
            self._cache.put(key, picture)
        return picture

    def _decoded(self, index: int, width: int | None, is_given_up: Callable[[], bool]) -> bytes:
        started = time.monotonic()
        image = self._readers.read(index, width, is_given_up)
        if time.monotonic() - started > SLOW_SECONDS and len(self.sequence) > 1:
            self.make_proxy()
        return encoded_jpeg(image)

    def _of_proxy(self, index: int, width: int | None) -> bytes | None:
        if width is None or width > PROXY_WIDTH:
            return None
        try:
            content = self._proxy(index).read_bytes()
        except OSError:
            return None
        if width == PROXY_WIDTH:
            return content
        flag = cv2.IMREAD_REDUCED_COLOR_2 if 2 * width <= PROXY_WIDTH else cv2.IMREAD_COLOR
        image = cv2.imdecode(np.frombuffer(content, np.uint8), flag)
        return None if image is None else encoded_jpeg(resized(image, width), bgr=True)

    def _proxy(self, index: int) -> Path:
        return self._folder / f"{index // 1000:03d}" / f"{index:06d}.jpg"

    def make_proxy(self) -> None:
        """Begins to make the pictures that are kept on disk, unless that was done."""
        with self._guard:
            if self._thread is not None or self.sequence.size[1] <= WIDTHS[0]:
                return
            self._thread = threading.Thread(target=self._fill, name="proxy", daemon=True)
            self._thread.start()

    def wait(self, timeout: float | None = None) -> None:
        """Waits until the pictures on disk are made."""
        if self._thread is not None:
            self._thread.join(timeout)

    def _fill(self) -> None:
        with suppress(AttributeError, OSError):  # Linux: the priority of this thread alone
            os.setpriority(os.PRIO_PROCESS, threading.get_native_id(), 10)
        width = PROXY_WIDTH if self.sequence.size[1] > PROXY_WIDTH else None
        reader, total = FrameReader(self.sequence), 0
        try:
            for index in range(len(self.sequence)):
                self._readers.wait_until_idle(QUIET_SECONDS, self._closed)
                path = self._proxy(index)
                if not path.exists():
                    content = encoded_jpeg(reader.read(index, width))
                    with replacing(path) as side:
                        side.write_bytes(content)
                    total += len(content)
                if self._closed.is_set() or total > PROXY_BYTES:
                    return
        except Exception as error:  # frames are decoded when they are asked for
            logger.warning("pictures are not made in advance: %s", error)
        finally:
            reader.close()

    def close(self) -> None:
        """Ends the thread and closes the files."""
        self._closed.set()
        self.wait(5)
        self._readers.close()


def encoded_jpeg(image: np.ndarray, *, bgr: bool = False) -> bytes:
    """Encodes an image, uint8 [H, W, 3] RGB, as JPEG."""
    picture = image if bgr else cv2.cvtColor(image, cv2.COLOR_RGB2BGR)
    _, content = cv2.imencode(".jpg", picture, [cv2.IMWRITE_JPEG_QUALITY, _QUALITY])
    return content.tobytes()
