"""Prefetching of frames: order, errors, bounded memory, end of the thread."""

import threading
import time

import numpy as np
import pytest

from deeplab_gygo.errors import InputError
from deeplab_gygo.io.prefetch import prefetched
from deeplab_gygo.io.sequence import Frame


def _frames(count, decoded, broken=None):
    def decode(index):
        if index == broken:
            raise InputError("A frame is whole", where=f"frame {index}")
        decoded.append((index, threading.current_thread().name))
        return np.full((2, 2, 3), index, np.uint8)

    for index in range(count):
        yield Frame(index, f"{index:05d}", decode=lambda index=index: decode(index))


def _ended(threads_before):
    deadline = time.monotonic() + 5
    while threading.active_count() > threads_before and time.monotonic() < deadline:
        time.sleep(0.01)
    return threading.active_count() <= threads_before


def test_frames_are_in_order_and_decoded_by_the_thread():
    decoded = []
    for index, frame in enumerate(prefetched(_frames(20, decoded), depth=3)):
        assert frame.index == index
        assert (frame.image == index).all()
    assert [index for index, _ in decoded] == list(range(20))
    assert {name for _, name in decoded} == {"decode_0"}


def test_no_more_than_depth_frames_wait():
    decoded = []
    frames = prefetched(_frames(50, decoded), depth=3)
    for taken in range(1, 20):
        next(frames)
        # Those that were taken, and three that wait or are being decoded.
        assert len(decoded) <= taken + 3
    frames.close()


def test_frames_before_the_first_are_not_decoded():
    decoded = []
    names = [frame.name for frame in prefetched(_frames(6, decoded), first=4)]
    assert len(names) == 6
    assert [index for index, _ in decoded] == [4, 5]


def test_an_error_is_raised_in_place_of_the_frame():
    frames = prefetched(_frames(6, [], broken=3), depth=2)
    assert [next(frames).index for _ in range(3)] == [0, 1, 2]
    with pytest.raises(InputError, match="frame 3"):
        next(frames)


def test_closing_early_ends_the_thread_and_closes_the_source():
    before = threading.active_count()
    closed = threading.Event()

    def source():
        try:
            yield from _frames(1000, [])
        finally:
            closed.set()

    frames = prefetched(source(), depth=2)
    next(frames)
    frames.close()
    assert closed.wait(5)
    assert _ended(before)
