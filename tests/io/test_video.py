"""Videos as sequences: rotation, times, delayed frames, damage, colors, memory."""

from __future__ import annotations

import gc
import logging
import tracemalloc
from collections.abc import Sequence
from dataclasses import replace
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest
from av.video.reformatter import ColorRange, Colorspace

from deeplab_gygo.errors import InputError
from deeplab_gygo.io import video as video_module
from deeplab_gygo.io.masks import write_mask
from deeplab_gygo.io.tone_mapping import HLG, PQ, tone_map
from deeplab_gygo.io.video import open_input, open_video

CODECS = {".mp4": "libx264", ".mov": "libx264", ".mkv": "libx264", ".webm": "libvpx-vp9"}
CODECS |= {".ts": "libx264", ".avi": "mpeg4"}


def numbered(index: int, height: int, width: int) -> np.ndarray:
    """Returns a frame with a gray level of 8 times its index, red in the upper left quarter."""
    image = np.full((height, width, 3), 8 * (index % 30), np.uint8)
    image[: height // 2, : width // 2] = (220, 20, 20)
    return image


def number_of(image: np.ndarray) -> int:
    return round(float(image[-4:, -4:].mean()) / 8)


def make_clip(
    path: Path,
    count: int = 12,
    *,
    size: tuple[int, int] = (48, 64),
    times: Sequence[float] | None = None,
    rotation: int | None = None,
    mirror: bool = False,
    tags: tuple[int, int, int] | None = None,
    pix_fmt: str = "yuv420p",
    noise: bool = False,
    movflags: str = "faststart",
    pixel_aspect: Fraction | None = None,
) -> Path:
    """Writes a clip of `numbered` frames at 25 frames per second, with B-frames where they exist.

    `tags` are primaries, transfer and matrix; `rotation` is counterclockwise, in degrees.
    """
    codec = CODECS[path.suffix]
    options = {"libx264": {"crf": "4", "bf": "3", "preset": "fast"}}.get(
        codec, {"crf": "4", "deadline": "realtime", "cpu-used": "8"}
    )
    is_mp4 = path.suffix in (".mp4", ".mov")
    container_options = {"movflags": movflags} if is_mp4 and movflags else {}
    rng = np.random.default_rng(0)
    with av.open(str(path), "w", options=container_options) as container:
        stream = container.add_stream(codec, rate=25, options=options)
        stream.height, stream.width = size
        stream.pix_fmt = pix_fmt
        if pixel_aspect is not None:
            stream.codec_context.sample_aspect_ratio = pixel_aspect
        unit = Fraction(1, 25 if times is None else 1000)
        stream.codec_context.time_base = unit
        if tags:
            context = stream.codec_context
            context.color_primaries, context.color_trc, context.colorspace = tags
        if rotation is not None or mirror:
            stream.set_display_rotation(rotation or 0, hflip=mirror)
        for index in range(count):
            image = numbered(index, *size)
            if noise:
                image[: size[0] // 2] = rng.integers(0, 255, (size[0] // 2, size[1], 3))
            frame = av.VideoFrame.from_ndarray(image, "rgb24").reformat(
                format=pix_fmt,
                src_color_range=ColorRange.JPEG,
                dst_color_range=ColorRange.MPEG,
                dst_colorspace={1: Colorspace.ITU709, 9: Colorspace.BT2020}.get(
                    tags[2] if tags else 6, Colorspace.ITU601
                ),
            )
            frame.pts = index if times is None else round(times[index] * 1000)
            frame.time_base = unit
            container.mux(stream.encode(frame))
        container.mux(stream.encode())
    return path


def truncate(path: Path, share: float) -> Path:
    data = path.read_bytes()
    path.write_bytes(data[: int(len(data) * share)])
    return path


@pytest.mark.parametrize("suffix", CODECS)
def test_all_frames_come_in_order_the_delayed_ones_included(tmp_path, suffix):
    path = make_clip(tmp_path / f"clip{suffix}", 23)
    sequence = open_video(path)
    assert (len(sequence), sequence.size, sequence.name) == (23, (48, 64), "clip")
    assert sequence.frame_names == [f"{k:05d}" for k in range(23)]
    frames = [(frame.index, frame.name, number_of(frame.image)) for frame in sequence]
    assert frames == [(k, f"{k:05d}", k) for k in range(23)]
    assert sequence.frame_rate == 25


def test_the_clips_of_these_tests_have_b_frames(tmp_path):
    with av.open(str(make_clip(tmp_path / "clip.mp4"))) as container:
        stamps = [packet.pts for packet in container.demux(video=0) if packet.size]
    assert stamps != sorted(stamps)


def test_an_image_is_rgb_uint8_with_the_right_colors(tmp_path):
    image = open_video(make_clip(tmp_path / "clip.mp4")).frame(0).image
    assert image.dtype == np.uint8 and image.flags.c_contiguous
    np.testing.assert_allclose(image[5, 5], (220, 20, 20), atol=4)
    np.testing.assert_allclose(image[40, 50], 0, atol=4)


@pytest.mark.parametrize("tags", [(1, 1, 1), (6, 6, 6)])
def test_the_matrix_of_the_tags_is_used(tmp_path, tags):
    image = open_video(make_clip(tmp_path / "clip.mp4", tags=tags)).frame(0).image
    np.testing.assert_allclose(image[5, 5], (220, 20, 20), atol=4)


@pytest.mark.parametrize("rotation", [0, 90, 180, 270])
@pytest.mark.parametrize("mirror", [False, True])
@pytest.mark.parametrize("suffix", [".mp4", ".mov"])
def test_rotation_is_applied(tmp_path, rotation, mirror, suffix):
    path = make_clip(tmp_path / f"clip{suffix}", 6, rotation=rotation, mirror=mirror)
    with av.open(str(path)) as container:
        stored = next(container.decode(video=0))
        assert mirror or stored.rotation % 360 == rotation
        stored = stored.to_ndarray(format="rgb24")
    assert stored[5, 5, 0] > 200  # as stored, red is at the upper left
    sequence = open_video(path)
    assert sequence.size == ((48, 64) if rotation % 180 == 0 else (64, 48))
    expected = np.rot90(stored, rotation // 90)
    expected = expected[:, ::-1] if mirror else expected  # after the rotation, as FFmpeg does
    first = next(iter(sequence)).image
    np.testing.assert_array_equal(first, expected)
    assert first.shape[:2] == sequence.size and first.flags.c_contiguous


@pytest.mark.parametrize("suffix", [".mp4", ".mkv"])
def test_the_aspect_of_the_pixels_is_that_of_the_stream(tmp_path, suffix):
    path = make_clip(tmp_path / f"clip{suffix}", 3, pixel_aspect=Fraction(16, 11))
    sequence = open_video(path)
    assert sequence.pixel_aspect == Fraction(16, 11) and sequence.size == (48, 64)
    assert sequence.with_annotations(None).pixel_aspect == Fraction(16, 11)
    assert open_video(make_clip(tmp_path / f"square{suffix}", 3)).pixel_aspect == 1


def test_the_aspect_of_the_pixels_is_turned_with_the_frame(tmp_path):
    for rotation, expected in ((90, Fraction(11, 16)), (180, Fraction(16, 11))):
        path = make_clip(
            tmp_path / f"{rotation}.mov", 3, rotation=rotation, pixel_aspect=Fraction(16, 11)
        )
        assert open_video(path).pixel_aspect == expected


def test_times_of_a_varying_frame_rate_are_kept(tmp_path):
    times = [0.0, 0.04, 0.1, 0.5, 0.52, 0.9, 1.7]
    for suffix in (".mp4", ".mkv"):
        sequence = open_video(make_clip(tmp_path / f"clip{suffix}", 7, times=times))
        assert sequence.times == pytest.approx(times, abs=1e-3)
        assert [frame.time for frame in sequence] == pytest.approx(times, abs=1e-3)


@pytest.mark.parametrize("size", [(47, 64), (48, 63), (47, 63)])
def test_odd_sizes(tmp_path, size):
    path = make_clip(tmp_path / "clip.webm", 3, size=size)
    sequence = open_video(path)
    assert sequence.size == size
    assert [frame.image.shape for frame in sequence] == [(*size, 3)] * 3


def test_a_single_frame_is_a_video(tmp_path):
    sequence = open_video(make_clip(tmp_path / "clip.mp4", 1))
    assert len(sequence) == 1 and sequence.frame(0).image.shape == (48, 64, 3)


def test_random_access(tmp_path):
    sequence = open_video(make_clip(tmp_path / "clip.mp4"))
    for index in (11, 0, 5):
        frame = sequence.frame(index)
        assert (frame.index, number_of(frame.image)) == (index, index)
    for index in (-1, 12):
        with pytest.raises(IndexError):
            sequence.frame(index)


def test_iterations_are_independent(tmp_path):
    sequence = open_video(make_clip(tmp_path / "clip.mp4"))
    pairs = [(number_of(a.image), number_of(b.image)) for a, b in zip(sequence, sequence)]  # noqa: B905
    assert pairs == [(k, k) for k in range(12)]


def test_masks_belong_to_numbered_frames(tmp_path):
    path = make_clip(tmp_path / "clip.mp4")
    write_mask(tmp_path / "masks" / "00003.png", np.eye(48, 64, dtype=np.uint8))
    sequence = open_input(path, annotations=tmp_path / "masks")
    assert sequence.first_annotated == 3
    np.testing.assert_array_equal(sequence.annotation(3), np.eye(48, 64))


def test_frames_are_decoded_as_they_are_taken(tmp_path, monkeypatch):
    path = make_clip(tmp_path / "clip.mp4", 90)
    sequence = open_video(path)
    decoded = []

    def counting(*arguments):
        for frame in original(*arguments):
            decoded.append(frame.pts)
            yield frame

    original = video_module.decode_frames
    monkeypatch.setattr(video_module, "decode_frames", counting)
    frames = iter(sequence)
    next(frames)
    assert len(decoded) == 1
    next(frames)
    assert len(decoded) == 2
    frames.close()


def test_a_frame_is_freed_with_its_last_reference(tmp_path):
    def living() -> int:
        return sum(isinstance(each, av.VideoFrame) for each in gc.get_objects())

    sequence = open_video(make_clip(tmp_path / "clip.mp4", 20, rotation=90))
    gc.collect()
    before = living()
    gc.disable()  # what only the garbage collector frees piles up meanwhile
    try:
        for frame in sequence:
            assert frame.image is not None
        del frame
        assert living() - before <= 1
    finally:
        gc.enable()


def test_leaving_the_context_closes_unfinished_iterations(tmp_path):
    with open_video(make_clip(tmp_path / "clip.mp4", 20)) as video:
        unfinished = iter(video)
        next(unfinished)
        assert len(list(video)) == 20
    assert list(unfinished) == []


def test_memory_does_not_grow_with_the_length(tmp_path):
    def peak(count: int) -> int:
        sequence = open_video(make_clip(tmp_path / f"{count}.mp4", count, size=(120, 160)))
        tracemalloc.start()
        for frame in sequence:
            assert frame.image.shape == (120, 160, 3)
        highest = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        return highest

    image = 120 * 160 * 3
    short, long = peak(6), peak(40)
    assert long - short < image and long < 4 * image


@pytest.mark.parametrize("suffix", CODECS)
@pytest.mark.parametrize("share", [0.4, 0.8])
def test_the_error_of_a_truncated_video_counts_the_frames(tmp_path, suffix, share):
    path = truncate(make_clip(tmp_path / f"clip{suffix}", 40, noise=True), share)
    counts = r"4[01] frames expected, \d+ decoded"
    if suffix == ".ts":  # states no number of frames
        counts = r"\d+ frames found: the end is missing"
    with pytest.raises(InputError, match=counts) as caught:
        for frame in open_video(path):
            assert frame.image is not None
    assert str(path) in str(caught.value) and caught.value.exit_status == 65


@pytest.mark.parametrize("movflags", ["", "frag_keyframe+empty_moov+default_base_moof"])
def test_other_layouts_of_mp4(tmp_path, movflags):
    path = make_clip(tmp_path / "clip.mp4", 30, noise=True, movflags=movflags)
    assert len(list(open_video(path))) == 30
    truncate(path, 0.6)
    with pytest.raises(InputError, match="truncated"):
        for frame in open_video(path):
            assert frame.image is not None


def test_damage_in_the_middle_names_the_frames(tmp_path):
    path = make_clip(tmp_path / "clip.mp4", 40, noise=True)
    sequence = open_video(path)
    data = bytearray(path.read_bytes())
    data[len(data) // 2 : len(data) // 2 + 6000] = bytes(6000)
    path.write_bytes(data)
    with pytest.raises(InputError, match=r"40 frames expected, \d+ decoded.*clip.mp4"):
        for frame in sequence:
            assert frame.image is not None


def test_a_video_that_shrinks_after_it_was_opened(tmp_path):
    path = make_clip(tmp_path / "clip.mkv", 40, noise=True)
    sequence = open_video(path)
    truncate(path, 0.5)
    with pytest.raises(InputError, match=r"40 frames expected, \d+ decoded"):
        for frame in sequence:
            assert frame.image is not None


def test_a_wrong_count_without_damage_is_corrected(tmp_path, caplog, monkeypatch):
    scan = video_module.scan_video(make_clip(tmp_path / "clip.mp4"))
    scan = replace(scan, times=sorted([*scan.times, 0.01]), expected=13)
    monkeypatch.setattr(video_module, "scan_video", lambda path: scan)
    sequence = open_video(tmp_path / "clip.mp4")
    assert len(sequence) == 13
    with caplog.at_level(logging.WARNING):
        assert len(list(sequence)) == 12
    assert len(sequence) == len(sequence.times) == 12 and sequence.warnings == ()
    assert "has 12 frames, not 13" in caplog.text
    caplog.clear()
    assert len(list(sequence)) == 12 and not caplog.text


@pytest.mark.parametrize("content", [b"", b"no video\n" * 100, bytes(2000)])
@pytest.mark.parametrize("name", ["clip.mp4", "notes.txt"])
def test_other_files_are_refused(tmp_path, content, name):
    path = tmp_path / name
    path.write_bytes(content)
    with pytest.raises(InputError, match="must be a video") as caught:
        open_video(path)
    assert name in str(caught.value)


def test_audio_only_and_absent_files_are_refused(tmp_path):
    path = tmp_path / "sound.mka"
    with av.open(str(path), "w") as container:
        stream = container.add_stream("pcm_s16le", rate=8000, layout="mono")
        frame = av.AudioFrame.from_ndarray(np.zeros((1, 800), np.int16), "s16", "mono")
        frame.sample_rate = 8000
        container.mux(stream.encode(frame))
        container.mux(stream.encode())
    with pytest.raises(InputError, match="without video"):
        open_video(path)
    with pytest.raises(InputError, match="no such file"):
        open_video(tmp_path / "absent.mp4")


@pytest.mark.parametrize("transfer", [HLG, PQ])
def test_hdr_is_tone_mapped_with_one_warning(tmp_path, transfer, caplog):
    tags = (9, transfer, 9)
    path = make_clip(tmp_path / "clip.mp4", 5, tags=tags, pix_fmt="yuv420p10le")
    with caplog.at_level(logging.WARNING):
        images = [frame.image for frame in open_video(path)]
    assert sum("HDR" in record.message for record in caplog.records) == 1
    expected = tone_map(np.stack([numbered(4, 48, 64)[:1, :1]]).reshape(1, 1, 3), transfer)[0, 0]
    np.testing.assert_allclose(images[4][5, 5], expected, atol=8)
