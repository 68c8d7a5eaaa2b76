"""Random access to frames: the same as in order, bounded, quick."""

import io
import threading
import time

import av
import numpy as np
import pytest
from PIL import Image

from deeplab_gygo.io.array_sequence import ArraySequence
from deeplab_gygo.io.video import open_input, open_video
from deeplab_gygo.server import frame_readers, frames, video_cursor
from deeplab_gygo.server.frame_readers import FrameReader, ReaderPool
from deeplab_gygo.server.frames import ClipFrames, PictureCache, width_for
from deeplab_gygo.server.states import GivenUp, Unavailable

SIZE, COUNT = (64, 96), 40


def _image(index):
    image = np.full((*SIZE, 3), 30 + index, np.uint8)
    image[:, 2 * index : 2 * index + 12] = (200, 40, 5 * index)
    return image


def _write(path, rotation=0):
    with av.open(str(path), "w") as container:
        stream = container.add_stream("libx264", rate=25)
        if rotation:
            stream.set_display_rotation(rotation)
        stream.height, stream.width, stream.pix_fmt = *SIZE, "yuv420p"
        stream.options = {
            "g": "16", "bf": "3", "x264-params": "open-gop=1:scenecut=0:keyint=16:min-keyint=1"
        }  # fmt: skip
        for index in range(COUNT):
            frame = av.VideoFrame.from_ndarray(_image(index), format="rgb24")
            container.mux(stream.encode(frame))
        container.mux(stream.encode())
    return path


@pytest.fixture(scope="module")
def video(tmp_path_factory):
    """A video with B-frames and groups of 16 frames, each open to the one before."""
    return _write(tmp_path_factory.mktemp("video") / "clip.mp4")


def test_any_frame_of_a_video_is_that_of_its_index(video):
    expected = [frame.image for frame in open_video(video)]
    assert len(expected) == COUNT
    reader = FrameReader(open_video(video))
    order = [0, 39, 1, 16, 15, 17, 14, 31, 32, 33, *np.random.default_rng(0).permutation(COUNT)]
    for index in map(int, order):
        np.testing.assert_array_equal(reader.read(index), expected[index], err_msg=str(index))
    reader.close()


def test_a_video_without_usable_times_is_read_from_its_beginning(video, monkeypatch):
    sequence = open_video(video)
    expected = [frame.image for frame in open_video(video)]
    sequence.times = [time + 0.013 for time in sequence.times]
    reader = FrameReader(sequence)
    for index in (30, 12, 39, 0):
        np.testing.assert_array_equal(reader.read(index), expected[index])
    reader.close()


def test_frames_after_one_another_are_decoded_without_a_seek(video, monkeypatch):
    reader = FrameReader(open_video(video))
    reader.read(5)
    monkeypatch.setattr(video_cursor.VideoCursor, "_seek", None)  # it would fail
    for index in (6, 7, 20, 39):
        reader.read(index)
    reader.close()


def test_a_frame_that_is_given_up_is_not_decoded_to_its_end(video):
    expected = [frame.image for frame in open_video(video)]
    reader, asked = FrameReader(open_video(video)), []
    with pytest.raises(GivenUp):
        reader.read(14, None, lambda: asked.append(len(asked)) or len(asked) > 4)
    assert len(asked) == 5
    for index in (14, 3):  # from where it stopped, and before it
        np.testing.assert_array_equal(reader.read(index), expected[index])
    reader.close()


def test_a_smaller_picture_is_the_frame_shrunk(video):
    reader = FrameReader(open_video(video))
    small, full = reader.read(20, 48), reader.read(20)
    assert small.shape == (32, 48, 3)
    assert np.abs(small.astype(int) - full[::2, ::2]).mean() < 6
    reader.close()


@pytest.mark.parametrize("rotation", [90, 180, 270])
def test_rotated_videos_are_upright_at_every_size(tmp_path, rotation):
    path = _write(tmp_path / "clip.mp4", rotation)
    expected = [frame.image for frame in open_video(path)]
    reader = FrameReader(open_video(path))
    np.testing.assert_array_equal(reader.read(33), expected[33])
    small = reader.read(20, expected[0].shape[1] // 2)
    assert small.shape == (expected[0].shape[0] // 2, expected[0].shape[1] // 2, 3)
    assert np.abs(small.astype(int) - expected[20][::2, ::2]).mean() < 6
    reader.close()


def test_widths_are_of_a_few_sizes_and_not_above_that_of_the_clip():
    assert [width_for(w, 1920) for w in (None, 1, 160, 161, 1000, 1920, 9999)] == [
        None, 160, 160, 320, 1280, None, None,
    ]  # fmt: skip


@pytest.fixture
def wide():
    """Frames of 1200 pixels in memory."""
    images = [np.full((60, 1200, 3), 20 * k, np.uint8) for k in range(5)]
    return ArraySequence(images)


def _level(jpeg):
    image = np.array(Image.open(io.BytesIO(jpeg)))
    return image.shape, round(float(image.mean()))


def test_pictures_of_slow_clips_are_made_in_advance_and_used(wide, tmp_path, monkeypatch):
    clip = ClipFrames(wide, tmp_path, PictureCache())
    monkeypatch.setattr(frames, "SLOW_SECONDS", -1.0)
    assert _level(clip.jpeg(2, 900)) == ((48, 960, 3), 40)
    clip.wait(10)
    assert len(list(tmp_path.rglob("*.jpg"))) == 5
    monkeypatch.setattr(FrameReader, "read", None)  # nothing is decoded any more
    for index in (0, 4):
        assert _level(clip.jpeg(index, 960)) == ((48, 960, 3), 20 * index)
        assert _level(clip.jpeg(index, 200)) == ((16, 320, 3), 20 * index)
    clip.close()


def test_the_pictures_in_memory_are_bounded():
    cache = PictureCache(most=1000)
    for index in range(50):
        cache.put((index,), b"x" * 100)
    assert sum(cache.get((index,)) is not None for index in range(50)) == 10
    assert cache.get((49,)) is not None
    cache.put((49,), b"y" * 5000)
    assert cache.get((49,)) == b"y" * 5000


def test_frames_of_a_folder_are_read_in_any_order(tmp_path):
    for index in range(4):
        Image.fromarray(_image(index)).save(tmp_path / f"{index}.png")
    reader = FrameReader(open_input(tmp_path))
    for index in (3, 0, 2):
        np.testing.assert_array_equal(reader.read(index), _image(index))


class _Slow:
    """A reader that reads when it is let; it keeps the order of the frames."""

    def __init__(self):
        self.order, self.may_read, self.begun = [], threading.Semaphore(0), threading.Semaphore(0)

    def read(self, index, width=None, is_given_up=None):
        self.order.append(index)
        self.begun.release()
        self.may_read.acquire(timeout=5)
        return np.zeros((1, 1, 3), np.uint8)

    def close(self):
        self.order.append("closed")


@pytest.fixture
def slow(monkeypatch):
    """All readers of clips as one that waits."""
    reader = _Slow()
    monkeypatch.setattr(frame_readers.FrameReader, "read", lambda _, *given: reader.read(*given))
    return reader


def _ask(pool, waiting, index, width=960, is_given_up=frame_readers.never):
    """Asks for a frame in a thread, until it waits or is read."""
    failed = []

    def read():
        try:
            pool.read(index, width, is_given_up)
        except (GivenUp, Unavailable) as error:
            failed.append(error)

    thread = threading.Thread(target=read, daemon=True)
    thread.start()
    end = time.monotonic() + 5
    while len(pool._waiting) != waiting and time.monotonic() < end:
        time.sleep(0.002)
    assert len(pool._waiting) == waiting
    return thread, failed


def test_the_newest_frame_comes_first_and_large_ones_before_thumbnails(wide, slow):
    pool = ReaderPool(wide)
    threads = [_ask(pool, 0, index)[0] for index in range(frame_readers.READERS)]
    for waiting, (index, width) in enumerate([(10, 960), (11, 960), (12, 160), (13, 160)], 1):
        threads.append(_ask(pool, waiting, index, width)[0])
    for _ in threads:
        slow.may_read.release()
        time.sleep(0.01)
    for thread in threads:
        thread.join(5)
    assert slow.order[frame_readers.READERS :] == [11, 10, 13, 12]


def test_thumbnails_leave_a_reader_to_the_frame_in_view(wide, slow):
    pool = ReaderPool(wide)
    threads = [_ask(pool, 0, index, 160)[0] for index in range(frame_readers.READERS - 1)]
    threads.append(_ask(pool, 1, 20, 160)[0])
    threads.append(_ask(pool, 1, 21, 960)[0])
    assert slow.order[-1] == 21
    for _ in threads:
        slow.may_read.release()
    for thread in threads:
        thread.join(5)


def test_the_oldest_of_many_requests_is_given_up(wide, slow, monkeypatch):
    monkeypatch.setattr(frame_readers, "MAX_WAITING", 2)
    pool = ReaderPool(wide)
    threads = [_ask(pool, 0, index) for index in range(frame_readers.READERS)]
    threads += [_ask(pool, 1, 10), _ask(pool, 2, 11), _ask(pool, 2, 12)]
    threads[frame_readers.READERS][0].join(5)
    for _ in threads:
        slow.may_read.release()
    for thread, _ in threads:
        thread.join(5)
    assert [bool(failed) for _, failed in threads] == [False] * 3 + [True, False, False]


def test_a_request_that_is_given_up_leaves_its_place(wide, slow):
    pool, given_up = ReaderPool(wide), threading.Event()
    threads = [_ask(pool, 0, index)[0] for index in range(frame_readers.READERS)]
    threads.append(_ask(pool, 1, 10, is_given_up=given_up.is_set)[0])
    threads.append(_ask(pool, 2, 9)[0])
    given_up.set()
    threads[-2].join(5)
    assert not threads[-2].is_alive() and len(pool._waiting) == 1
    for _ in threads:
        slow.may_read.release()
    for thread in threads:
        thread.join(5)
    assert slow.order[-1] == 9 and 10 not in slow.order


def test_pictures_are_made_while_no_frame_is_asked_for(wide, tmp_path, monkeypatch, slow):
    monkeypatch.setattr(frames, "QUIET_SECONDS", 0.02)
    clip = ClipFrames(wide, tmp_path, PictureCache())
    asking = threading.Thread(target=clip.jpeg, args=(3, 900), daemon=True)
    asking.start()
    assert slow.begun.acquire(timeout=5)
    clip.make_proxy()
    clip.wait(0.1)
    assert slow.order == [3]  # none was begun
    for _ in range(6):
        slow.may_read.release()
    clip.wait(5)
    asking.join(5)
    assert slow.order == [3, 0, 1, 2, 3, 4] and len(list(tmp_path.rglob("*.jpg"))) == 5
    clip.close()
