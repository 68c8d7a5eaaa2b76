"""Prefetching of frames: decoding in a thread, in parallel with the network."""

from __future__ import annotations

import queue
import threading
from collections.abc import Iterable, Iterator

from deeplab_gygo.io.sequence import Frame

_POLL = 0.05  # seconds between checks whether the decoding thread has ended


def prefetched(frames: Iterable[Frame], *, depth: int = 8, first: int = 0) -> Iterator[Frame]:
    """Streams frames that a thread decodes ahead; closing the iterator ends the thread.

    Args:
        frames: The frames; iterated in the thread only.
        depth: Number of decoded frames that may wait.
        first: Frames of a smaller index are passed on without decoding them.

    Yields:
        The same frames in order, decoded.

    Raises:
        InputError: The source is damaged; raised in place of the damaged frame.
    """
    line: queue.Queue[Frame | BaseException | None] = queue.Queue(max(1, depth))
    abandoned = threading.Event()

    def decode() -> None:
        source = iter(frames)
        end: BaseException | None = None
        try:
            for frame in source:
                if abandoned.is_set():
                    break
                if frame.index >= first:
                    _ = frame.image  # decoded now, kept with the frame
                line.put(frame)
        except BaseException as error:  # raised in the thread of the reader
            end = error
        finally:
            close = getattr(source, "close", None)
            if close is not None:
                close()
        line.put(end)

    thread = threading.Thread(target=decode, name="decode", daemon=True)
    thread.start()
    try:
        while isinstance(item := line.get(), Frame):
            yield item
        if item is not None:
            raise item
    finally:
        abandoned.set()
        _drain(line, thread)


def _drain(line: queue.Queue, thread: threading.Thread) -> None:
    """Empties the queue until the thread has put its last item and ended."""
    while thread.is_alive():
        try:
            line.get(timeout=_POLL)
        except queue.Empty:
            continue
    thread.join()
