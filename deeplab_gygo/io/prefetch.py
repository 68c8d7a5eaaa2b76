"""Prefetching of frames: decoding in a thread, in parallel with the network."""

from __future__ import annotations

from collections import deque
from collections.abc import Generator, Iterable
from concurrent.futures import ThreadPoolExecutor

from deeplab_gygo.io.sequence import Frame


def prefetched(frames: Iterable[Frame], *, depth: int = 8, first: int = 0) -> Generator[Frame]:
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
    source = iter(frames)

    def decode_next() -> Frame | None:
        frame = next(source, None)
        if frame is not None and frame.index >= first:
            _ = frame.image  # decoded now, kept with the frame
        return frame

    pool = ThreadPoolExecutor(1, thread_name_prefix="decode")
    try:
        waiting = deque(pool.submit(decode_next) for _ in range(max(1, depth)))
        while (frame := waiting.popleft().result()) is not None:
            waiting.append(pool.submit(decode_next))
            yield frame
    finally:
        pool.shutdown(cancel_futures=True)
        close = getattr(source, "close", None)
        if close is not None:
            close()
