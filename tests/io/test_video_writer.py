"""Writing of videos: frames, times, colors, alpha, and aborts."""

from __future__ import annotations

import os
import resource
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest

from deeplab_gygo.errors import InputError, StorageError, UsageError
from deeplab_gygo.io.video import VideoWriter, open_video


def image(index: int, height: int = 48, width: int = 64) -> np.ndarray:
    picture = np.full((height, width, 3), 8 * index, np.uint8)
    picture[: height // 2, : width // 2] = (220, 20, 20)
    return picture


def write(path: Path, count: int, size: tuple[int, int] = (48, 64), **options) -> Path:
    with VideoWriter(path, size, **options) as writer:
        for index in range(count):
            writer.write(image(index, *size))
        assert writer.frames_written == count
    return path


@pytest.mark.parametrize("suffix", [".mp4", ".mov", ".mkv", ".webm"])
def test_frames_survive_the_codec(tmp_path, suffix):
    sequence = open_video(write(tmp_path / f"new/o{suffix}", 14, frame_rate=10))
    assert len(sequence) == 14 and sequence.size == (48, 64) and sequence.frame_rate == 10
    for index, frame in enumerate(sequence):
        np.testing.assert_allclose(frame.image[40, 50], 8 * index, atol=8)
        np.testing.assert_allclose(frame.image[5, 5], (220, 20, 20), atol=12)
        assert frame.time == pytest.approx(index / 10, abs=1e-3)
    assert os.listdir(tmp_path / "new") == [f"o{suffix}"]


def test_codec_pixel_format_and_color_tags(tmp_path):
    with av.open(str(write(tmp_path / "o.mp4", 3))) as container:
        stream = container.streams.video[0]
        frame = next(container.decode(stream))
        assert (stream.codec_context.name, stream.pix_fmt) == ("h264", "yuv420p")
        assert stream.average_rate == 24
    tags = (frame.color_primaries, frame.color_trc, frame.colorspace, frame.color_range)
    assert tags == (1, 1, 1, 1)
    luma = frame.to_ndarray()[5, 5]  # BT.709, limited range: 16 + 219 * Y
    expected = 16 + 219 / 255 * (0.2126 * 220 + 0.7152 * 20 + 0.0722 * 20)
    assert luma == pytest.approx(expected, abs=3)


@pytest.mark.parametrize("suffix", [".mp4", ".webm"])
def test_times_are_kept(tmp_path, suffix):
    times = [0.0, 0.04, 0.1, 0.5, 0.52, 0.9, 1.7]
    path = write(tmp_path / f"o{suffix}", 7, times=times)
    sequence = open_video(path)
    assert sequence.times == pytest.approx(times, abs=1e-3)
    with av.open(str(path)) as container:  # a player stops there
        assert 1.7 < container.duration / av.time_base < 2.1


def test_times_that_do_not_begin_at_zero(tmp_path):
    times = [1.4 + k / 30 for k in range(5)]
    sequence = open_video(write(tmp_path / "o.mp4", 5, times=times))
    assert sequence.times == pytest.approx(times, abs=1e-3)


def test_equal_times_stay_in_order(tmp_path):
    for suffix in (".mp4", ".webm"):
        path = write(tmp_path / f"o{suffix}", 4, times=[0.0, 0.1, 0.1, 0.2])
        sequence = open_video(path)
        assert sequence.times == pytest.approx([0.0, 0.1, 0.1, 0.2], abs=2e-3)
        assert len(list(sequence)) == 4


@pytest.mark.parametrize("rate", [Fraction(30000, 1001), 29.97002997, 5])
def test_frame_rates(tmp_path, rate):
    sequence = open_video(write(tmp_path / "o.mp4", 4, frame_rate=rate))
    assert float(sequence.frame_rate) == pytest.approx(float(rate), rel=1e-6)


@pytest.mark.parametrize("size", [(47, 64), (48, 63), (47, 63), (1, 1)])
def test_odd_sizes_grow_to_even(tmp_path, size):
    sequence = open_video(write(tmp_path / "o.mp4", 3, size))
    even = tuple(length + length % 2 for length in size)
    assert sequence.size == even
    last = sequence.frame(2).image
    np.testing.assert_allclose(last[: size[0], : size[1]][-1, -1], last[-1, -1], atol=6)


def decode_alpha(path: Path) -> list[np.ndarray]:
    """Decodes with libvpx: FFmpeg's own decoder of VP9 drops alpha."""
    decoder = av.CodecContext.create("libvpx-vp9", "r")
    with av.open(str(path)) as container:
        frames = [frame for packet in container.demux(video=0) for frame in decoder.decode(packet)]
        assert container.streams.video[0].metadata["alpha_mode"] == "1"
    return [frame.to_ndarray(format="rgba") for frame in frames]


def soft_cutouts(count: int, size: tuple[int, int]) -> list[np.ndarray]:
    rng = np.random.default_rng(0)
    columns = np.arange(size[1]) * np.ones(size)
    ramps = [np.clip(8 * (columns - 2 * index), 0, 255) for index in range(count)]
    noise = rng.integers(0, 256, (*size, 3), dtype=np.uint8)
    return [np.dstack([noise, ramp.astype(np.uint8)]) for ramp in ramps]


@pytest.mark.parametrize("suffix", [".webm", ".mov"])
@pytest.mark.parametrize("size", [(48, 64), (181, 241)])
def test_soft_alpha_is_coded_without_loss_beside_noise(tmp_path, suffix, size):
    path, cutouts = tmp_path / f"o{suffix}", soft_cutouts(6, size)
    with VideoWriter(path, size, frame_rate=5, alpha=True) as writer:
        for cutout in cutouts:
            writer.write(cutout)
    decoder = av.CodecContext.create("libvpx-vp9" if suffix == ".webm" else "prores", "r")
    with av.open(str(path)) as container:
        stream = container.streams.video[0]
        decoder.extradata = stream.codec_context.extradata
        decoder.width, decoder.height = stream.width, stream.height
        decoder.codec_tag = stream.codec_context.codec_tag
        frames = [f for packet in [*container.demux(stream)] for f in decoder.decode(packet)]
    assert len(frames) == len(cutouts)
    for frame, cutout in zip(frames, cutouts, strict=True):
        plane, bits = frame.planes[3], frame.format.components[3].bits
        kind = np.uint8 if bits == 8 else np.uint16
        alpha = np.frombuffer(plane, kind).reshape(plane.height, -1)[: size[0], : size[1]]
        np.testing.assert_array_equal(alpha >> (bits - 8), cutout[..., 3])


@pytest.mark.parametrize(
    ("suffix", "alpha"),
    [(".mp4", False), (".mov", True), (".mkv", False), (".webm", False), (".webm", True)],
)
def test_the_same_frames_give_the_same_file(tmp_path, suffix, alpha):
    for index in range(2):
        path = tmp_path / f"{index}{suffix}"
        with VideoWriter(path, (48, 64), frame_rate=5, alpha=alpha) as writer:
            for cutout in soft_cutouts(12, (48, 64)):
                writer.write(cutout if alpha else np.ascontiguousarray(cutout[..., :3]))
    assert (tmp_path / f"0{suffix}").read_bytes() == path.read_bytes()


def test_prores_keeps_colors_and_is_the_same_every_time(tmp_path):
    size, contents = (182, 242), []
    cutout = soft_cutouts(1, size)[0]
    cutout[..., :3] = image(9, *size)
    for index in range(8):
        path = tmp_path / f"{index}.mov"
        with VideoWriter(path, size, frame_rate=5, alpha=True) as writer:
            writer.write(cutout)
        contents.append(path.read_bytes())
    assert len(set(contents)) == 1
    with av.open(str(path)) as container:
        frame = next(container.decode(video=0))
    assert (frame.color_primaries, frame.color_trc, frame.colorspace) == (1, 1, 1)
    np.testing.assert_allclose(frame.to_ndarray(format="rgb24"), cutout[..., :3], atol=3)


@pytest.mark.parametrize("suffix", [".mp4", ".mov", ".webm", ".mkv"])
def test_the_shape_of_pixels_is_kept(tmp_path, suffix):
    path = write(tmp_path / f"o{suffix}", 3, pixel_aspect=Fraction(4, 3))
    with av.open(str(path)) as container:
        stream = container.streams.video[0]
        shown = stream.codec_context.width * (stream.sample_aspect_ratio or 1)
        assert float(shown) == pytest.approx(64 * 4 / 3, abs=1)  # WebM has square pixels
        assert stream.codec_context.height == 48


def test_times_of_frames_replace_those_of_the_list(tmp_path):
    with VideoWriter(tmp_path / "o.mp4", (48, 64), times=[0.0, 1.0]) as writer:
        for index, time in enumerate((0.0, 0.25, 0.5)):
            writer.write(image(index), time)
    assert open_video(tmp_path / "o.mp4").times == pytest.approx([0, 0.25, 0.5], abs=1e-4)


def test_a_lower_rate_factor_loses_less(tmp_path):
    noise = np.random.default_rng(0).integers(0, 256, (48, 64, 3), dtype=np.uint8)
    lengths = {}
    for crf in (None, 6):
        path = tmp_path / f"{crf}.mp4"
        with VideoWriter(path, (48, 64), crf=crf) as writer:
            writer.write(noise)
        lengths[crf] = path.stat().st_size
    assert lengths[6] > 1.2 * lengths[None]


@pytest.mark.parametrize("size", [(48, 64), (47, 63)])
def test_alpha_in_webm(tmp_path, size):
    path = tmp_path / "o.webm"
    height, width = size
    with VideoWriter(path, size, frame_rate=5, alpha=True) as writer:
        for index in range(6):
            rgba = np.dstack([image(index, *size), np.zeros(size, np.uint8)])
            rgba[8:32, 8 + index : 40 + index, 3] = 255
            rgba[:, -1, 3] = 255
            writer.write(rgba)
    frames = decode_alpha(path)
    assert len(frames) == 6
    for index, frame in enumerate(frames):
        np.testing.assert_array_equal(frame[12:28, 12 + index : 36 + index, 3], 255)
        np.testing.assert_array_equal(frame[36:, :20, 3], 0)
        np.testing.assert_allclose(frame[12, 14 + index, :3], (220, 20, 20), atol=16)
        assert frame[:, width:, 3].max(initial=0) < 128  # what was added is not seen


def test_an_abort_leaves_no_file_and_keeps_the_old_one(tmp_path):
    path = write(tmp_path / "o.mp4", 3)
    old = path.read_bytes()
    for reason in (RuntimeError, KeyboardInterrupt, FileNotFoundError):
        with pytest.raises(reason), VideoWriter(path, (48, 64)) as writer:
            writer.write(image(0))
            raise reason("elsewhere")
    assert os.listdir(tmp_path) == ["o.mp4"] and path.read_bytes() == old


def test_while_it_is_written_there_is_no_video(tmp_path):
    with VideoWriter(tmp_path / "o.mp4", (48, 64)) as writer:
        writer.write(image(0))
        assert not (tmp_path / "o.mp4").exists()
    assert (tmp_path / "o.mp4").exists()


def test_a_video_without_frames_is_none(tmp_path):
    with (
        pytest.raises(UsageError, match="at least one frame"),
        VideoWriter(tmp_path / "o.mp4", (8, 8)),
    ):
        pass
    assert not os.listdir(tmp_path)


@pytest.mark.parametrize(
    "wrong",
    [
        np.zeros((48, 64, 4), np.uint8),
        np.zeros((64, 48, 3), np.uint8),
        np.zeros((48, 64, 3), np.float32),
    ],
)
def test_a_frame_of_another_form_is_refused(tmp_path, wrong):
    with (
        pytest.raises(UsageError, match="48, 64, 3"),
        VideoWriter(tmp_path / "o.mp4", (48, 64)) as writer,
    ):
        writer.write(wrong)
    assert not os.listdir(tmp_path)


def test_more_frames_than_times_are_refused(tmp_path):
    with pytest.raises(UsageError, match="2 times"):
        write(tmp_path / "o.mp4", 3, times=[0.0, 0.1])
    assert not os.listdir(tmp_path)


@pytest.mark.parametrize(
    ("name", "options", "message"),
    [
        ("o.gif", {}, "suffixes"),
        ("o", {}, "none"),
        ("o.mp4", {"alpha": True}, "webm"),
        ("o.mp4", {"times": [0.0], "frame_rate": 5}, "not both"),
        ("o.mp4", {"times": [0.0, 0.2, 0.1]}, "0.2, then 0.1"),
        ("o.mp4", {"frame_rate": 0}, "positive"),
    ],
)
def test_wrong_options_are_usage_errors(tmp_path, name, options, message):
    with pytest.raises(UsageError, match=message):
        VideoWriter(tmp_path / name, (8, 8), **options)


@pytest.mark.parametrize("suffix", [".mp4", ".webm"])
def test_a_full_disk_is_a_storage_error_and_leaves_nothing(tmp_path, suffix):
    rng = np.random.default_rng(0)
    unlimited = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (20_000, unlimited[1]))  # as a full disk: short write
    try:
        with pytest.raises(StorageError, match=f"o{suffix}"):
            with VideoWriter(tmp_path / f"o{suffix}", (120, 160)) as writer:
                for _ in range(12):
                    writer.write(rng.integers(0, 255, (120, 160, 3), dtype=np.uint8))
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, unlimited)
    assert not os.listdir(tmp_path)


def test_a_video_below_a_file_is_a_storage_error(tmp_path):
    (tmp_path / "out").write_bytes(b"")
    with pytest.raises(StorageError, match="out"):
        write(tmp_path / "out" / "o.mp4", 1)


def test_a_truncated_own_video_is_refused_by_the_reader(tmp_path):
    path = write(tmp_path / "o.webm", 20)
    path.write_bytes(path.read_bytes()[:-200])
    with pytest.raises(InputError):
        list(open_video(path))


@pytest.mark.parametrize(("name", "side"), [("o.mp4", 16386), ("o.mkv", 16386), ("o.webm", 65537)])
def test_frames_too_wide_for_the_codec_are_refused_before_the_work(tmp_path, name, side):
    for size in ((32, side), (side, 32)):
        with pytest.raises(InputError, match="pixels a side") as caught:
            VideoWriter(tmp_path / name, size)
        assert name in str(caught.value)
    assert not list(tmp_path.iterdir())


def test_the_widest_frames_of_h264(tmp_path):
    write(tmp_path / "o.mp4", 1, size=(16, 16384))
