"""Animated GIF and WebP: pictures, transparency, times, and aborts."""

import tracemalloc

import cv2
import numpy as np
import pytest
from PIL import Image

from deeplab_gygo.errors import InputError, UsageError
from deeplab_gygo.io.animation_writer import AnimationWriter

SIZE = (47, 63)
TIMES = [0.0, 0.05, 0.09, 0.2, 0.3, 0.31]


def cutout(index, size=SIZE):
    rows, columns = np.mgrid[: size[0], : size[1]]
    image = np.stack([rows * 2, columns * 2, np.full(size, 30 * index)], -1).astype(np.uint8)
    alpha = np.zeros(size, np.float32)
    cv2.circle(alpha, (12 + 6 * index, size[0] // 2), 10, 255, -1)
    return np.dstack([image, cv2.GaussianBlur(alpha, (0, 0), 1.5).astype(np.uint8)])


def frames_of(path):
    with Image.open(path) as picture:
        for index in range(picture.n_frames):
            picture.seek(index)
            yield np.array(picture.convert("RGBA")), picture.info["duration"]


@pytest.mark.parametrize("suffix", [".gif", ".webp"])
def test_frames_are_shown_alone_at_their_times(tmp_path, suffix):
    path = tmp_path / f"a{suffix}"
    with AnimationWriter(path, SIZE) as writer:
        for index, time in enumerate(TIMES):
            writer.write(cutout(index), time)
    found = list(frames_of(path))
    assert len(found) == len(TIMES)
    for index, (image, _) in enumerate(found):
        truth = cutout(index)
        opaque = truth[..., 3] == 255
        error = np.abs(image[opaque][:, :3].astype(int) - truth[opaque][:, :3])
        assert error.mean() < 4
        if suffix == ".webp":
            np.testing.assert_array_equal(image[..., 3], truth[..., 3])
        else:
            np.testing.assert_array_equal(image[..., 3] > 0, truth[..., 3] >= 128)
    assert [duration for _, duration in found] == [50, 40, 110, 100, 10, 10]
    with Image.open(path) as picture:
        assert picture.info["loop"] == 0


@pytest.mark.parametrize("suffix", [".gif", ".webp"])
def test_without_times_24_frames_are_shown_a_second(tmp_path, suffix):
    path = tmp_path / f"a{suffix}"
    with AnimationWriter(path, SIZE) as writer:
        for index in range(5):
            writer.write(cutout(index))
    assert np.mean([duration for _, duration in frames_of(path)]) == pytest.approx(41.7, abs=3)


@pytest.mark.parametrize("suffix", [".gif", ".webp"])
def test_one_frame_is_an_animation_and_none_is_an_error(tmp_path, suffix):
    with AnimationWriter(tmp_path / f"a{suffix}", SIZE) as writer:
        writer.write(cutout(0))
    assert Image.open(tmp_path / f"a{suffix}").size == SIZE[::-1]
    with (
        pytest.raises(UsageError, match="at least one"),
        AnimationWriter(tmp_path / f"b{suffix}", SIZE),
    ):
        pass
    with pytest.raises(KeyError), AnimationWriter(tmp_path / f"b{suffix}", SIZE) as writer:
        writer.write(cutout(0))
        raise KeyError
    assert [path.name for path in tmp_path.iterdir()] == [f"a{suffix}"]


def test_what_cannot_be_written_is_refused(tmp_path):
    with pytest.raises(UsageError, match="suffix"):
        AnimationWriter(tmp_path / "a.png", SIZE)
    with pytest.raises(InputError, match="16383"):
        AnimationWriter(tmp_path / "a.webp", (20, 16384))
    with AnimationWriter(tmp_path / "a.gif", SIZE) as writer:
        writer.write(cutout(0))
        with pytest.raises(UsageError, match="uint8"):
            writer.write(cutout(0)[..., :3])


@pytest.mark.parametrize("suffix", [".gif", ".webp"])
def test_frames_are_not_kept(tmp_path, suffix):
    size, peaks = (240, 320), []
    noise = np.random.default_rng(0).integers(0, 256, (*size, 4), dtype=np.uint8)
    with AnimationWriter(tmp_path / f"a{suffix}", size) as writer:
        for count in (3, 12):
            tracemalloc.start()
            for shift in range(count):
                writer.write(np.roll(noise, shift, axis=1))
            peaks.append(tracemalloc.get_traced_memory()[1])
            tracemalloc.stop()
    assert peaks[1] < 1.5 * peaks[0]
