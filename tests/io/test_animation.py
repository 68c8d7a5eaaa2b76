"""Animations and TIFF pages: told by content, frames and times exact, damage refused."""

from __future__ import annotations

import logging
import struct
import zlib
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from deeplab_gygo.errors import InputError
from deeplab_gygo.io import animation, images
from deeplab_gygo.io.frame_folder import sequence_from_folder
from deeplab_gygo.io.video import open_input

DURATIONS = [40, 40, 80, 40, 120]  # ms
TIMES = [0.0, 0.04, 0.08, 0.16, 0.2]
KINDS = ["webp", "png", "apng", "tif", "gif", "avif"]


def pictures(count: int = 5) -> list[np.ndarray]:
    y, x = np.mgrid[:24, :36]
    return [
        np.stack([(x * 5 + 40 * k) % 200, (y * 7) % 200, x * 0 + 30 * k], axis=2).astype(np.uint8)
        for k in range(count)
    ]


def save(path: Path, images: list[np.ndarray], **options) -> Path:
    frames = [Image.fromarray(image) for image in images]
    kind = {".apng": "PNG"}.get(path.suffix)
    if path.suffix == ".webp":
        options["lossless"] = True
    if path.suffix != ".tif":
        options.setdefault("duration", DURATIONS[: len(images)])
    path.parent.mkdir(parents=True, exist_ok=True)
    frames[0].save(path, kind, save_all=True, append_images=frames[1:], **options)
    return path


@pytest.mark.parametrize("suffix", KINDS)
def test_every_frame_comes_with_its_time(tmp_path, suffix):
    sequence = open_input(save(tmp_path / f"a.{suffix}", pictures()))
    assert (sequence.name, sequence.size, len(sequence)) == ("a", (24, 36), 5)
    times = [None] * 5 if suffix == "tif" else pytest.approx(TIMES)
    tolerance = 40 if suffix in ("gif", "avif") else 0
    for _ in range(2):
        frames = list(sequence)
        assert [frame.name for frame in frames] == [f"{index:05d}" for index in range(5)]
        assert [frame.time for frame in frames] == times
        for frame, expected in zip(frames, pictures(), strict=True):
            assert np.abs(frame.image.astype(int) - expected).mean() <= tolerance
    frame = sequence.frame(3)
    assert (frame.index, frame.name) == (3, "00003") and frame.time == times_of(suffix, 3)
    np.testing.assert_array_equal(frame.image, frames[3].image)
    assert sequence.files == [tmp_path / f"a.{suffix}"]


def times_of(suffix: str, index: int):
    return None if suffix == "tif" else pytest.approx(TIMES[index])


@pytest.mark.parametrize("suffix", ["webp", "png", "tif"])
def test_the_name_of_the_file_says_nothing(tmp_path, suffix):
    path = save(tmp_path / f"a.{suffix}", pictures())
    assert len(open_input(path.rename(tmp_path / "clip.jpg"))) == 5
    Image.fromarray(pictures()[0]).save(path)
    assert open_input(path).frame_names == ["a"]


@pytest.mark.parametrize("suffix", KINDS)
def test_a_folder_of_one_animation_is_that_animation(tmp_path, caplog, suffix):
    save(tmp_path / "spin" / f"a.{suffix}", pictures())
    Image.new("L", (36, 24)).save(tmp_path / "spin" / "first.png")
    with caplog.at_level(logging.INFO):
        sequence = open_input(tmp_path / "spin", exclude=[tmp_path / "spin" / "first.png"])
    assert (sequence.name, len(sequence)) == ("spin", 5)
    assert f"a.{suffix}, is opened as an animation" in caplog.text


@pytest.mark.parametrize("suffix", ["webp", "png", "tif", "gif", "avif"])
def test_an_animation_among_stills_is_refused(tmp_path, suffix):
    for index in range(2):
        Image.fromarray(pictures()[index]).save(tmp_path / f"{index}.{suffix}")
    save(tmp_path / f"2.{suffix}", pictures())
    with pytest.raises(InputError, match=rf"still image.*2\.{suffix}"):
        open_input(tmp_path)


@pytest.mark.parametrize("suffix", ["tif", "tiff", "gif", "jp2", "avif"])
def test_stills_of_other_kinds_are_frames(tmp_path, suffix):
    for index, image in enumerate(pictures()):
        Image.fromarray(image).save(tmp_path / f"{index}.{suffix}")
    sequence = sequence_from_folder(tmp_path)
    difference = sequence.frame(4).image.astype(int) - pictures()[4]
    assert len(sequence) == 5 and np.abs(difference).mean() < 40


def test_smaller_copies_in_a_tiff_are_no_pages(tmp_path):
    first, second = (Image.fromarray(image) for image in pictures(2))
    small = second.resize((18, 12))
    small.encoderinfo = {"tiffinfo": {254: 1}}
    first.save(tmp_path / "a.tif", save_all=True, append_images=[small])
    assert len(open_input(tmp_path / "a.tif")) == 1
    assert len(sequence_from_folder(tmp_path)) == 1
    first.save(tmp_path / "a.tif", save_all=True, append_images=[small, second])
    assert len(open_input(tmp_path / "a.tif")) == 2


def test_pages_in_a_circle_are_read_once(tmp_path):
    Image.new("L", (64, 48)).save(tmp_path / "a.tif")
    data = bytearray((tmp_path / "a.tif").read_bytes())
    first = int.from_bytes(data[4:8], "little")
    following = first + 2 + 12 * int.from_bytes(data[first : first + 2], "little")
    data[following : following + 4] = first.to_bytes(4, "little")
    (tmp_path / "a.tif").write_bytes(data)
    assert len(open_input(tmp_path / "a.tif")) == 1


def test_pages_of_several_sizes_are_refused(tmp_path):
    images = [*pictures(2), pictures(1)[0][:12]]
    with pytest.raises(InputError, match="one size; met: 36x12.*frame 2"):
        list(open_input(save(tmp_path / "a.tif", images)))


def test_deep_colors_of_tiff_pages_are_kept(tmp_path):
    import cv2

    deep = [image.astype(np.uint16) * 16 + 15 for image in pictures()]  # 12 bits
    deep[0][0, 0] = 4095
    assert cv2.imwritemulti(str(tmp_path / "a.tif"), [image[..., ::-1] for image in deep])
    for frame, image in zip(open_input(tmp_path / "a.tif"), deep, strict=True):
        np.testing.assert_allclose(frame.image, image * (255 / 4095), atol=0.51)


def test_a_default_image_is_no_frame_of_a_png(tmp_path):
    save(tmp_path / "a.png", pictures(), default_image=True, duration=DURATIONS[1:])
    sequence = open_input(tmp_path / "a.png")
    frames = list(sequence)
    assert len(frames) == len(sequence) == 4
    np.testing.assert_array_equal(frames[0].image, pictures()[1])
    assert [frame.time for frame in frames] == pytest.approx([0, 0.04, 0.12, 0.16])


def test_frames_without_a_duration_take_a_tenth_of_a_second(tmp_path):
    sequence = open_input(save(tmp_path / "a.webp", pictures(3), duration=0))
    assert sequence.times == pytest.approx([0, 0.1, 0.2])


@pytest.mark.parametrize("suffix", ["webp", "png", "tif"])
@pytest.mark.parametrize("share", [0.3, 0.7, 0.98])
def test_a_truncated_animation_is_refused(tmp_path, suffix, share):
    noise = np.random.default_rng(0).integers(0, 255, (5, 60, 90, 3), np.uint8)
    path = save(tmp_path / f"a.{suffix}", list(noise))
    content = path.read_bytes()
    path.write_bytes(content[: int(share * len(content))])
    with pytest.raises(InputError, match=rf"a\.{suffix}"):
        for frame in open_input(path):
            assert frame.image is not None


@pytest.mark.parametrize("suffix", ["webp", "png", "tif"])
def test_damaged_animations_are_errors_of_input(tmp_path, suffix):
    content = save(tmp_path / f"a.{suffix}", pictures()).read_bytes()
    noise = np.random.default_rng(1)
    for case in range(60):
        damaged = bytearray(content)
        for position in noise.integers(0, len(content), 8):
            damaged[position] = noise.integers(256)
        (tmp_path / "b").write_bytes(damaged)
        try:
            for frame in open_input(tmp_path / "b"):
                assert frame.image.shape == (24, 36, 3), case
        except InputError:
            continue


def test_the_number_of_frames_is_limited(tmp_path, monkeypatch):
    monkeypatch.setattr(animation, "MAX_FRAMES", 3)
    for suffix in ("webp", "png", "tif"):
        with pytest.raises(InputError, match="at most 3 frames"):
            open_input(save(tmp_path / f"a.{suffix}", pictures()))


@pytest.mark.parametrize("suffix", ["webp", "png"])
def test_the_size_of_frames_is_limited(tmp_path, monkeypatch, suffix):
    monkeypatch.setattr(animation, "MAX_ANIMATION_PIXELS", 36 * 24 - 1)
    with pytest.raises(InputError, match="million pixels a frame; met: 36x24"):
        open_input(save(tmp_path / f"a.{suffix}", pictures()))


@pytest.mark.parametrize("suffix", ["webp", "png", "tif"])
def test_files_that_are_decoded_whole_are_limited(tmp_path, monkeypatch, suffix):
    path = save(tmp_path / f"a.{suffix}", pictures())
    monkeypatch.setattr(images, "MAX_BYTES", 100)
    if suffix == "tif":
        assert len(list(open_input(path))) == 5
    else:
        with pytest.raises(InputError, match="An image has at most 0 MB"):
            open_input(path)


def test_a_png_that_states_more_frames_than_it_has_is_refused(tmp_path):
    content = save(tmp_path / "a.png", pictures()).read_bytes()
    position = content.index(b"acTL")
    chunk = b"acTL" + struct.pack(">II", 2**31 - 1, 0)
    crc = struct.pack(">I", zlib.crc32(chunk))
    (tmp_path / "a.png").write_bytes(content[:position] + chunk + crc + content[position + 16 :])
    with pytest.raises(InputError, match="5 of 2147483647 frames"):
        open_input(tmp_path / "a.png")
