"""Frames of more than 8 bits: one scale for the whole clip, decided by the bits in use."""

from __future__ import annotations

import logging
from pathlib import Path

import cv2
import numpy as np
import pytest
from PIL import Image

from deeplab_gygo.errors import InputError
from deeplab_gygo.io import still_frames
from deeplab_gygo.io.bit_depth import white_level
from deeplab_gygo.io.frame_folder import sequence_from_folder
from deeplab_gygo.io.images import read_image


def ramp() -> np.ndarray:
    """Fractions 0 to 1, [12, 40]."""
    return np.tile(np.linspace(0, 1, 40), (12, 1))


def write(folder: Path, frames: list[np.ndarray], suffix: str = "png") -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    for index, frame in enumerate(frames):
        path = folder / f"{index:05d}.{suffix}"
        if frame.ndim == 3:
            assert cv2.imwrite(str(path), frame[..., ::-1])
        else:
            Image.fromarray(frame).save(path)
    return folder


def levels(folder: Path) -> np.ndarray:
    return np.stack([frame.image for frame in sequence_from_folder(folder)])


@pytest.mark.parametrize("suffix", ["png", "tif"])
@pytest.mark.parametrize("is_color", [False, True])
@pytest.mark.parametrize("bits", [8, 10, 12, 14, 16])
def test_the_bits_in_use_fill_the_range(tmp_path, caplog, suffix, is_color, bits):
    values = (ramp() * (2**bits - 1)).round().astype(np.uint16)
    if is_color:
        values = np.stack([values, values // 2, values[:, ::-1]], axis=2)
    folder = write(tmp_path / "clip", [values] * 2, suffix)
    with caplog.at_level(logging.INFO):
        images = levels(folder)
    expected = values * (255 / (2**bits - 1))
    expected = expected if is_color else np.repeat(expected[..., None], 3, axis=2)
    assert images.dtype == np.uint8 and np.abs(images[1] - expected).max() <= 0.51
    assert f"taken as {bits} bits" in caplog.text and "2 of 2 frames" in caplog.text
    assert len(caplog.records) == 1
    np.testing.assert_array_equal(read_image(folder / f"00000.{suffix}"), images[0])


def test_a_fade_gets_darker_from_frame_to_frame(tmp_path):
    fades = np.linspace(1, 0.02, 12)
    frames = [(ramp() * 4095 * fade).astype(np.uint16) for fade in fades]
    means = levels(write(tmp_path / "fade", frames)).mean(axis=(1, 2, 3))
    np.testing.assert_allclose(means, means[0] * fades, atol=1)


def test_one_scale_is_given_for_a_single_image(tmp_path):
    write(tmp_path, [(ramp() * 200).astype(np.uint16)])
    assert read_image(tmp_path / "00000.png").max() == 200
    assert read_image(tmp_path / "00000.png", white=1023).max() == 50
    Image.fromarray(np.full((4, 4), 77, np.uint8)).save(tmp_path / "8.png")
    assert read_image(tmp_path / "8.png", white=1023).max() == 77


def test_few_frames_are_decoded_for_the_scale(tmp_path, monkeypatch):
    decoded = []
    read = still_frames.StillFrames._range
    monkeypatch.setattr(
        still_frames.StillFrames, "_range",
        lambda self, index: decoded.append(index) or read(self, index),
    )  # fmt: skip
    folder = write(tmp_path / "long", [(ramp() * 1023).astype(np.uint16)] * 61)
    for frame in sequence_from_folder(folder):
        assert frame.image.max() == 255
    assert decoded == list(range(0, 61, 4))


def test_values_above_the_sampled_ones_are_named_once(tmp_path, caplog):
    frames = [(ramp() * 1023).astype(np.uint16) for _ in range(40)]
    frames[4] = frames[6] = (ramp() * 5000).astype(np.uint16)
    sequence = sequence_from_folder(write(tmp_path / "flash", frames))
    with caplog.at_level(logging.WARNING):
        assert [frame.image.max() for frame in sequence] == [255] * 40
    assert len(caplog.records) == len(sequence.warnings) == 1
    assert "frame 00004 has values up to 5000, those above 1023" in sequence.warnings[0]


@pytest.mark.parametrize("bits", [12, 16])
def test_a_small_range_is_a_warning_with_the_stretch_for_ffmpeg(tmp_path, caplog, bits):
    low, high = 0.45 * 2**bits, 0.5 * 2**bits
    values = np.repeat((low + ramp() * (high - low)).astype(np.uint16), 10, axis=0)
    values[0, 0] = 2**bits - 1  # a broken pixel of the sensor
    sequence = sequence_from_folder(write(tmp_path / "narrow", [values] * 3))
    with caplog.at_level(logging.WARNING):
        assert len(list(frame.image for frame in sequence)) == 3
    assert len(sequence.warnings) == 1
    stretch = sequence.warnings[0].partition("colorlevels=")[2]
    given = dict(each.split("=") for each in stretch.split(":"))
    assert sorted(given) == ["bimax", "bimin", "gimax", "gimin", "rimax", "rimin"]
    assert float(given["rimin"]) == pytest.approx(low / 65535, abs=0.001)
    assert float(given["bimax"]) == pytest.approx(high / 65535, abs=0.001)


def test_frames_of_8_bits_are_neither_scaled_nor_decoded_twice(tmp_path, monkeypatch):
    monkeypatch.setattr(still_frames.StillFrames, "_white", property(lambda self: 1 / 0))
    dark = (ramp() * 20).astype(np.uint8)
    assert levels(write(tmp_path / "dark", [dark])).max() == 20


def test_fractions_are_scaled_by_one(tmp_path):
    folder = write(tmp_path / "float", [ramp().astype(np.float32) * k for k in (0, 1)], "tif")
    images = levels(folder)
    assert images[0].max() == 0
    assert np.abs(images[1][..., 0] - ramp() * 255).max() <= 0.51


@pytest.mark.parametrize("value", [-1.0, np.nan, np.inf])
def test_values_that_are_no_brightness_are_refused(tmp_path, value):
    frame = ramp().astype(np.float32)
    frame[3, 3] = value
    with pytest.raises(InputError, match=r"negative or no numbers.*00000\.tif"):
        levels(write(tmp_path / "float", [frame], "tif"))


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("is_color", [False, True])
def test_deep_images_are_turned_as_others_are(tmp_path, orientation, is_color):
    values = (np.arange(12 * 20).reshape(12, 20) % 251).astype(np.uint8)
    if is_color:
        values = np.stack([values, values // 2, values // 3], axis=2)
    exif = Image.Exif()
    exif[0x0112] = orientation
    Image.fromarray(values).save(tmp_path / "8.png", exif=exif)
    content = (tmp_path / "8.png").read_bytes()
    chunk = content[content.index(b"eXIf") - 4 :]
    chunk = chunk[: 12 + int.from_bytes(chunk[:4], "big")]
    deep = values.astype(np.uint16) * 257
    encoded = cv2.imencode(".png", deep[..., ::-1] if is_color else deep)[1].tobytes()
    (tmp_path / "16.png").write_bytes(encoded[:33] + chunk + encoded[33:])
    np.testing.assert_array_equal(read_image(tmp_path / "16.png"), read_image(tmp_path / "8.png"))


def test_a_truncated_deep_image_is_refused(tmp_path):
    noise = np.random.default_rng(0).integers(0, 65535, (40, 60, 3), np.uint16)
    for suffix in ("png", "tif"):
        path = write(tmp_path, [noise], suffix) / f"00000.{suffix}"
        content = path.read_bytes()
        path.write_bytes(content[: int(0.6 * len(content))])
        with pytest.raises(InputError, match=f"00000.{suffix}"):
            read_image(path)


def test_levels_of_white():
    assert [white_level(np.uint16(n)) for n in (0, 1, 255, 256, 1023, 1024, 16383, 16384)] == [
        255, 255, 255, 1023, 1023, 4095, 16383, 65535,
    ]  # fmt: skip
    assert [white_level(np.float32(value)) for value in (0, 1, 1.5, 255)] == [1, 1, 255, 255]
