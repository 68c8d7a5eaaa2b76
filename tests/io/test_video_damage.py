"""Damaged videos are named; odd ones that are healthy are not."""

from __future__ import annotations

import os
import random
import threading
from collections.abc import Callable
from fractions import Fraction
from pathlib import Path

import av
import cv2
import numpy as np
import pytest

from deeplab_gygo.errors import InputError
from deeplab_gygo.io import video_reading
from deeplab_gygo.io.container_checks import find_damage
from deeplab_gygo.io.video import open_input, open_video

COUNT = 30
FRAGMENTS = {"movflags": "frag_keyframe+empty_moov+default_base_moof"}
CONTAINERS: dict[str, tuple[str, dict[str, str]]] = {
    "clip.mp4": ("libx264", {}),
    "fragments.mp4": ("libx264", FRAGMENTS),
    "clip.mov": ("mjpeg", {}),
    "clip.mkv": ("libx264", {}),
    "clip.webm": ("libvpx-vp9", {}),
    "clip.avi": ("mpeg4", {}),
    "jpeg.avi": ("mjpeg", {}),
    "clip.flv": ("libx264", {}),
    "clip.ts": ("libx264", {}),
    "clip.mpg": ("mpeg2video", {}),
    "clip.h264": ("libx264", {}),
    "clip.gif": ("gif", {}),
}


def picture(index: int, height: int, width: int) -> np.ndarray:
    """Returns a frame of a texture that moves."""
    texture = np.random.default_rng(1).integers(0, 255, (height + 60, width + 60, 3), np.uint8)
    texture = cv2.GaussianBlur(texture, (0, 0), 1.5)
    return np.ascontiguousarray(texture[index : index + height, 2 * (index % 30) :][:, :width])


def write(
    path: Path,
    codec: str,
    options: dict[str, str],
    *,
    count: int = COUNT,
    size: tuple[int, int] = (144, 192),
    coding: dict[str, str] | None = None,
    audio_seconds: float = 0,
    stamps: list[int] | None = None,
) -> Path:
    """Writes a clip of 25 frames per second with key frames every 12 frames."""
    presets = {
        "libx264": {"crf": "18", "bf": "2", "preset": "fast"},
        "libvpx-vp9": {"crf": "10", "b": "0", "deadline": "realtime", "cpu-used": "8"},
    }
    with av.open(str(path), "w", options=options) as container:
        coded = {**presets.get(codec, {"b": "4000000"}), "g": "12", **(coding or {})}
        stream = container.add_stream(codec, rate=25, options=coded)
        stream.height, stream.width = size
        stream.pix_fmt = {"mjpeg": "yuvj420p", "gif": "rgb8"}.get(codec, "yuv420p")
        if codec == "mjpeg":
            stream.codec_context.qmin = stream.codec_context.qmax = 3
        if stamps:
            stream.codec_context.time_base = Fraction(1, 1000)
        audio = container.add_stream("aac", rate=48000, layout="mono") if audio_seconds else None
        for index in range(count):
            frame = av.VideoFrame.from_ndarray(picture(index, *size), "rgb24")
            frame = frame.reformat(format=stream.pix_fmt)
            frame.pts = stamps[index] if stamps else index
            frame.time_base = Fraction(1, 1000 if stamps else 25)
            container.mux(stream.encode(frame))
        container.mux(stream.encode())
        if audio is not None:
            for start in range(0, round(audio_seconds * 48000), 1024):
                sound = av.AudioFrame.from_ndarray(np.zeros((1, 1024), np.float32), "fltp", "mono")
                sound.sample_rate, sound.pts, sound.time_base = 48000, start, Fraction(1, 48000)
                container.mux(audio.encode(sound))
            container.mux(audio.encode())
    return path


@pytest.fixture(scope="module")
def clips(tmp_path_factory) -> dict[str, bytes]:
    folder = tmp_path_factory.mktemp("clips")
    return {
        name: write(folder / name, codec, options).read_bytes()
        for name, (codec, options) in CONTAINERS.items()
    }


def half(data: bytearray) -> None:
    del data[len(data) // 2 :]


def zeros(data: bytearray) -> None:
    start, end = int(0.4 * len(data)), int(0.8 * len(data))
    data[start:end] = bytes(end - start)


def zeros_to_the_end(data: bytearray) -> None:
    start = int(0.4 * len(data))
    data[start:] = bytes(len(data) - start)


def noise(data: bytearray, seed: int = 0) -> None:
    start = int((0.6 - 0.1 * seed) * len(data))
    data[start : start + 400] = random.Random(seed).randbytes(400)


def hole(data: bytearray) -> None:
    del data[len(data) // 2 : int(0.6 * len(data))]


def last_bytes(data: bytearray) -> None:
    del data[int(0.97 * len(data)) :]


DAMAGES = [half, zeros, zeros_to_the_end, hole, last_bytes]


def test_intact_clips_have_no_warning(tmp_path, clips):
    for name, data in clips.items():
        (tmp_path / name).write_bytes(data)
        video = open_video(tmp_path / name)
        assert len([frame.image for frame in video]) == len(video) == COUNT, name
        assert video.warnings == (), name


def is_named(path: Path) -> bool:
    """Checks that opening and reading a video raise an error or give a warning."""
    try:
        video = open_video(path)
        assert [frame.image for frame in video]
    except InputError as error:
        assert path.name in str(error) and error.exit_status == 65
        return True
    return bool(video.warnings) and path.name in video.warnings[0]


@pytest.mark.parametrize("damage", DAMAGES)
@pytest.mark.parametrize("name", CONTAINERS)
def test_missing_parts_are_named(tmp_path, clips, name, damage):
    if (name, damage) == ("clip.gif", hole):
        pytest.skip("what is left may be a valid GIF")
    data = bytearray(clips[name])
    damage(data)
    (tmp_path / name).write_bytes(data)
    assert is_named(tmp_path / name)


@pytest.mark.parametrize("name", CONTAINERS)
def test_noise_is_named(tmp_path, clips, name):
    named = 0
    for seed in range(4):
        data = bytearray(clips[name])
        noise(data, seed)
        (tmp_path / name).write_bytes(data)
        named += is_named(tmp_path / name)
    assert named >= 3  # some noise is valid code


@pytest.mark.parametrize("name", ["clip.mkv", "clip.flv", "clip.ts", "clip.avi", "clip.gif"])
def test_keep_going_yields_what_can_be_decoded(tmp_path, clips, name):
    data = bytearray(clips[name])
    zeros_to_the_end(data)
    (tmp_path / name).write_bytes(data)
    with pytest.raises(InputError, match="--keep-going"):
        assert [frame.image for frame in open_video(tmp_path / name)]
    video = open_input(tmp_path / name, keep_going=True)
    frames = [frame.image for frame in video]
    assert 5 < len(frames) < 20 and len(video) == len(video.frame_names) == len(frames)
    assert len(video.times) == len(frames)
    assert name in video.warnings[0]
    assert [frame.index for frame in video] == list(range(len(frames)))


def test_a_few_lost_frames_are_a_warning_with_their_number(tmp_path):
    path = write(tmp_path / "clip.mov", "mjpeg", {}, count=60)
    with av.open(str(path)) as container:
        packet = [packet for packet in container.demux(video=0) if packet.size][30]
    data = bytearray(path.read_bytes())
    data[packet.pos : packet.pos + packet.size] = bytes(packet.size)
    path.write_bytes(data)
    video = open_video(path)
    assert video.warnings == ()
    for _ in range(2):
        times = [frame.time for frame in video]
        assert len(video) == 59 and video.times == pytest.approx(times)
        assert np.diff(times).max() == pytest.approx(2 / 25, abs=1e-3)
        (warning,) = video.warnings
        assert "60 frames expected, 59 decoded" in warning and str(path) in warning


def test_frames_predicted_from_a_damaged_one_are_counted(tmp_path):
    intact = write(tmp_path / "intact.avi", "mpeg4", {})
    with av.open(str(intact)) as container:
        packet = [packet for packet in container.demux(video=0) if packet.size][15]
    data = bytearray(intact.read_bytes())
    data[packet.pos + packet.size // 2 : packet.pos + packet.size] = b"\xff" * (packet.size // 2)
    (tmp_path / "clip.avi").write_bytes(data)
    video = open_video(tmp_path / "clip.avi", keep_going=True)
    pairs = zip(open_video(intact), video, strict=True)
    wrong = sum(bool((a.image != b.image).any()) for a, b in pairs)
    assert wrong > 5 and f"{wrong} of them with errors" in video.warnings[0]


# Clips that are not damaged.


def test_a_varying_frame_rate_has_no_warning(tmp_path):
    stamps = [0, 40, 80, 120, 160, 1900, 1940, 1980, 2020, 5000, 5040, 5080]
    for name in ("clip.mp4", "clip.mkv", "clip.flv", "clip.ts"):
        path = write(tmp_path / name, "libx264", {}, count=12, stamps=stamps)
        video = open_video(path)
        assert len(list(video)) == 12 and video.warnings == (), name


@pytest.mark.parametrize("name", ["clip.mp4", "clip.mkv", "clip.ts", "clip.flv"])
def test_sound_longer_than_the_video_has_no_warning(tmp_path, name):
    video = open_video(write(tmp_path / name, "libx264", {}, audio_seconds=3))
    assert len(list(video)) == COUNT and video.warnings == ()


@pytest.mark.parametrize("name", ["clip.mp4", "clip.mkv", "clip.ts", "clip.mpg", "clip.h264"])
def test_a_single_frame_has_no_warning(tmp_path, name):
    codec = "mpeg2video" if name.endswith("mpg") else "libx264"
    video = open_video(write(tmp_path / name, codec, {}, count=1))
    assert len(list(video)) == 1 and video.warnings == ()


@pytest.mark.parametrize("name", ["clip.mp4", "clip.ts", "clip.h264", "clip.mkv"])
@pytest.mark.parametrize("coding", ["open-gop=1:bframes=3:b-pyramid=normal", "intra-refresh=1"])
def test_open_groups_and_intra_refresh_have_no_warning(tmp_path, name, coding):
    coding = {"x264-params": coding, "bf": "3"}
    video = open_video(write(tmp_path / name, "libx264", {}, coding=coding, count=41))
    assert len(list(video)) == 41 and video.warnings == ()


def test_a_recording_that_begins_between_key_frames_has_no_warning(tmp_path):
    path = write(tmp_path / "clip.ts", "libx264", {}, count=60)
    data = path.read_bytes()
    packets = len(data) // 188
    # The tables at the begin, then the packets from the middle of a group of pictures on.
    path.write_bytes(data[: 188 * 3] + data[188 * (packets * 3 // 10) :])
    video = open_video(path)
    frames = [frame.image for frame in video]
    assert 30 <= len(frames) == len(video) < 60 and video.warnings == ()


def test_an_edit_list_has_no_warning(tmp_path):
    source = write(tmp_path / "clip.mp4", "libx264", {})
    path = tmp_path / "cut.mp4"
    with av.open(str(source)) as old, av.open(str(path), "w") as new:
        copied = new.add_stream_from_template(old.streams.video[0])
        for packet in old.demux(video=0):
            if packet.dts is None:
                continue
            packet.pts -= 5 * 512
            packet.dts -= 5 * 512
            packet.stream = copied
            new.mux(packet)
    video = open_video(path)
    assert len(list(video)) == len(video) and video.warnings == ()


def test_references_that_are_not_shown_are_no_missing_frames(tmp_path):
    coding = {"auto-alt-ref": "1", "lag-in-frames": "16", "b": "300k", "deadline": "good"}
    for codec in ("libvpx", "libvpx-vp9"):
        path = write(tmp_path / f"{codec}.webm", codec, {}, count=50, coding=coding | {"g": "99"})
        video = open_video(path)
        assert len(video) == len(video.times) == 50 and video.frame_names[-1] == "00049"
        counted = list(video.times)
        times = [frame.time for frame in video]
        assert times == pytest.approx(counted, abs=1e-6)
        assert times == pytest.approx(np.arange(50) / 25, abs=0.0011)
        assert len(video) == 50 and video.warnings == ()
        with pytest.raises(IndexError):
            video.frame(52)


def test_live_matroska_without_sizes_has_no_warning(tmp_path):
    path = write(tmp_path / "live.mkv", "libx264", {"live": "1"})
    video = open_video(path)
    assert len(list(video)) == COUNT and video.warnings == ()
    data = path.read_bytes()
    path.write_bytes(data[: len(data) * 2 // 3])
    with pytest.raises(InputError, match="the end is missing"):
        open_video(path)


# What is read, and how much of it.


PLAYLISTS = {
    "m3u8": "#EXTM3U\n#EXT-X-TARGETDURATION:2\n#EXTINF:1.2,\nplanted.ts\n#EXT-X-ENDLIST\n",
    "ffconcat": "ffconcat version 1.0\nfile planted.ts\n",
    "sdp": "v=0\no=- 0 0 IN IP4 127.0.0.1\ns=x\nc=IN IP4 127.0.0.1\nt=0 0\n"
    "m=video 5004 RTP/AVP 96\na=rtpmap:96 H264/90000\n",
    "mpd": '<?xml version="1.0"?><MPD xmlns="urn:mpeg:dash:schema:mpd:2011" type="static" '
    'mediaPresentationDuration="PT1S"><Period><AdaptationSet mimeType="video/mp4">'
    '<Representation id="1" bandwidth="1"><BaseURL>planted.ts</BaseURL>'
    '<SegmentBase indexRange="0-10"/></Representation></AdaptationSet></Period></MPD>',
}


@pytest.mark.parametrize("kind", PLAYLISTS)
@pytest.mark.parametrize("suffix", [None, "mp4"])
def test_playlists_open_no_other_file(tmp_path, kind, suffix):
    planted = tmp_path / "planted.ts"
    os.mkfifo(planted)  # who opens it waits
    path = tmp_path / f"list.{suffix or kind}"
    path.write_text(PLAYLISTS[kind])
    errors: list[InputError] = []

    def read() -> None:
        try:
            open_video(path)
        except InputError as error:
            errors.append(error)

    thread = threading.Thread(target=read, daemon=True)
    thread.start()
    thread.join(10)
    try:
        assert not thread.is_alive() and "must be a video" in str(errors[0])
    finally:
        os.close(os.open(planted, os.O_RDWR | os.O_NONBLOCK))  # ends the waiting


@pytest.mark.parametrize("make", ["pipe", "device"])
def test_pipes_and_devices_are_refused(tmp_path, make):
    path = tmp_path / "clip.mp4"
    if make == "pipe":
        os.mkfifo(path)
    else:
        path.symlink_to("/dev/zero")
    with pytest.raises(InputError, match="regular file"):
        open_video(path)


def test_frames_that_are_too_large_are_refused_before_one_is_decoded(tmp_path, monkeypatch, clips):
    monkeypatch.setattr(video_reading, "MAX_FRAME_PIXELS", 144 * 192 - 1)
    for name, data in clips.items():
        (tmp_path / name).write_bytes(data)
        with pytest.raises(InputError, match="million pixels|must be a video|complete"):
            open_video(tmp_path / name)


def test_structure_checks_take_any_bytes(tmp_path):
    rng = random.Random(0)
    checks: list[Callable[[], object]] = []
    for name in ("matroska", "flv", "mpegts", "gif", "mov"):
        for length in (0, 1, 5, 13, 200, 3000):
            path = tmp_path / f"{name}{length}"
            path.write_bytes(rng.randbytes(length))
            checks.append(lambda path=path, name=name: find_damage(path, {name}))
    for check in checks:
        check()
