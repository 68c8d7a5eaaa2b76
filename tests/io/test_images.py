"""Images from data that nobody vouches for: formats, sizes, damage, messages of libraries."""

from __future__ import annotations

import io
import os
import random
import struct
import subprocess
import sys
import tracemalloc
import warnings
import zlib
from pathlib import Path

import cv2
import numpy as np
import pytest
from PIL import Image

from deeplab_gygo.errors import InputError
from deeplab_gygo.io import images
from deeplab_gygo.io.frame_folder import sequence_from_folder
from deeplab_gygo.io.images import image_size, open_picture, read_image
from deeplab_gygo.io.masks import read_mask
from deeplab_gygo.io.native_messages import captured_stderr

READERS = [read_image, open_picture, image_size, read_mask]
EPS = b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 8 8\n%%EndComments\nshowpage\n"


def texture(height: int = 120, width: int = 160) -> np.ndarray:
    noise = np.random.default_rng(0).integers(0, 255, (height, width, 3), np.uint8)
    return cv2.GaussianBlur(noise, (0, 0), 1.5)


def jpeg(image: np.ndarray, **options) -> bytes:
    buffer = io.BytesIO()
    Image.fromarray(image).save(buffer, "JPEG", quality=90, **options)
    return buffer.getvalue()


def png_of(width: int, height: int) -> bytes:
    """Returns a PNG file whose header declares a size, with the data of 8x8 pixels."""

    def chunk(kind: bytes, content: bytes) -> bytes:
        check = zlib.crc32(kind + content)
        return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", check)

    header = chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, 8, 6, 0, 0, 0))
    data = chunk(b"IDAT", zlib.compress(bytes(8 * (1 + 8 * 4))))
    return b"\x89PNG\r\n\x1a\n" + header + data + chunk(b"IEND", b"")


@pytest.fixture(autouse=True)
def no_warnings():
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        yield


@pytest.mark.parametrize("reader", READERS)
@pytest.mark.parametrize("name", ["mask.png", "00000.jpg", "mask.eps"])
def test_postscript_starts_no_program(tmp_path, monkeypatch, reader, name):
    marker = tmp_path / "called"
    program = tmp_path / "bin" / "gs"
    program.parent.mkdir()
    program.write_text(f"#!/bin/sh\ntouch {marker}\n")
    program.chmod(0o755)
    monkeypatch.setenv("PATH", f"{program.parent}{os.pathsep}{os.environ['PATH']}")
    (tmp_path / name).write_bytes(EPS)
    with pytest.raises(InputError, match="not an image of the kinds JPEG, PNG"):
        reader(tmp_path / name)
    assert not marker.exists()


@pytest.mark.parametrize("kind", ["PPM", "TGA", "ICO", "PCX", "SGI", "ICNS", "DDS"])
def test_other_formats_are_refused(tmp_path, kind):
    buffer = io.BytesIO()
    Image.new("RGB", (16, 16)).save(buffer, kind)
    (tmp_path / "a.png").write_bytes(buffer.getvalue())
    for reader in READERS:
        with pytest.raises(InputError, match="not an image of the kinds"):
            reader(tmp_path / "a.png")


@pytest.mark.parametrize("kind", images.FORMATS)
def test_documented_formats_are_read_whatever_the_name(tmp_path, kind):
    mask = np.zeros((20, 30), np.uint8)
    mask[5:15, 5:25] = 255
    Image.fromarray(mask).save(tmp_path / "a.png", kind)
    assert (read_mask(tmp_path / "a.png") == mask // 255).mean() > 0.98
    assert read_image(tmp_path / "a.png").shape == (20, 30, 3)


@pytest.mark.parametrize("reader", READERS)
def test_pipes_and_devices_are_refused_at_once(tmp_path, reader):
    os.mkfifo(tmp_path / "pipe.png")
    (tmp_path / "zero.png").symlink_to("/dev/zero")
    (tmp_path / "folder.png").mkdir()
    for name in ("pipe.png", "zero.png", "folder.png"):
        with pytest.raises(InputError, match="regular file|can be read"):
            reader(tmp_path / name)


@pytest.mark.parametrize("target", ["/dev/zero", None, "absent"])
def test_a_frame_that_is_no_regular_file_is_refused_with_its_folder(tmp_path, target):
    for index in (0, 2):
        Image.new("RGB", (8, 8)).save(tmp_path / f"{index}.png")
    if target is None:
        os.mkfifo(tmp_path / "1.png")
    else:
        (tmp_path / "1.png").symlink_to(target)
    with pytest.raises(InputError, match=r"1\.png"):
        sequence_from_folder(tmp_path)


def test_sizes_are_limited_before_a_pixel_is_decoded(tmp_path):
    for width, height in ((20_000, 20_000), (100_000, 100_000), (12_500, 12_500)):
        (tmp_path / "a.png").write_bytes(png_of(width, height))
        tracemalloc.start()
        for reader in READERS:
            with pytest.raises(InputError, match="at most (150|40) million pixels"):
                reader(tmp_path / "a.png")
        assert tracemalloc.get_traced_memory()[1] < 5e6
        tracemalloc.stop()


def test_photos_of_12000_pixels_are_within_the_limit(tmp_path):
    (tmp_path / "a.png").write_bytes(png_of(12_000, 9_000))
    assert image_size(tmp_path / "a.png") == (9_000, 12_000)
    assert images.MAX_PIXELS >= 12_000 * 12_000 and images.MAX_BYTES >= 3 * images.MAX_PIXELS


def test_a_mask_is_compared_with_its_frame_before_it_is_decoded(tmp_path):
    (tmp_path / "m.png").write_bytes(png_of(6000, 6000))
    tracemalloc.start()
    with pytest.raises(InputError, match="the mask is 6000x6000, the frame is 854x480"):
        read_mask(tmp_path / "m.png", size=(480, 854))
    (tmp_path / "m.png").write_bytes(png_of(13_000, 13_000))
    tracemalloc.reset_peak()
    for size in ((480, 854), (480, 480), None):
        with pytest.raises(InputError, match="13000x13000"):
            read_mask(tmp_path / "m.png", size=size)
    assert tracemalloc.get_traced_memory()[1] < 10e6
    tracemalloc.stop()


@pytest.mark.parametrize("kind", [b"zTXt", b"iCCP"])
def test_compressed_texts_and_profiles_are_limited(tmp_path, kind):
    content = b"name\0\0" + zlib.compress(bytes(200 << 20), 9)
    check = zlib.crc32(kind + content)
    whole = png_of(8, 8)
    at = 33  # after the header
    chunk = struct.pack(">I", len(content)) + kind + content + struct.pack(">I", check)
    (tmp_path / "a.png").write_bytes(whole[:at] + chunk + whole[at:])
    for reader in READERS:
        with pytest.raises(InputError, match="a.png"):
            reader(tmp_path / "a.png")


def test_damaged_exif_data_gives_no_warning(tmp_path):
    exif = b"Exif\0\0MM\0*\0\0\0\x08" + b"\xff\xff" + bytes(random.Random(0).randbytes(60))
    data = jpeg(texture())
    (tmp_path / "a.jpg").write_bytes(
        data[:2] + b"\xff\xe1" + struct.pack(">H", len(exif) + 2) + exif + data[2:]
    )
    assert read_image(tmp_path / "a.jpg").shape == (120, 160, 3)


def test_noise_in_a_jpeg_is_named(tmp_path, capfd, caplog):
    data = jpeg(texture())
    intact, silent = read_bytes_of(tmp_path, data), 0
    for seed in range(40):
        rng = random.Random(seed)
        damaged = bytearray(data)
        start = int(len(data) * rng.uniform(0.3, 0.9))
        damaged[start : start + 200] = rng.randbytes(200)
        damaged[-2:] = data[-2:]
        caplog.clear()
        try:
            image = read_bytes_of(tmp_path, bytes(damaged))
        except InputError as error:
            assert "frame.jpg" in str(error)
            continue
        if (image != intact).any():
            named = [record for record in caplog.records if "frame.jpg" in record.getMessage()]
            silent += not named
    assert silent <= 2  # some noise is valid code
    assert capfd.readouterr().err == ""


def read_bytes_of(folder: Path, data: bytes) -> np.ndarray:
    (folder / "frame.jpg").write_bytes(data)
    return read_image(folder / "frame.jpg")


@pytest.mark.parametrize("options", [{}, {"progressive": True}, {"restart_marker_blocks": 3}])
def test_intact_jpegs_of_every_layout_are_read_alike(tmp_path, options, caplog):
    data = jpeg(texture(), **options)
    image = read_bytes_of(tmp_path, data)
    with Image.open(io.BytesIO(data)) as picture:
        assert np.abs(image.astype(int) - np.asarray(picture)).max() <= 4
    np.testing.assert_array_equal(np.asarray(open_picture(tmp_path / "frame.jpg")), picture)
    assert not caplog.records
    filled = data[:2] + b"\xff\xff" + data[2:-2] + b"\xff\xff\xff\xd9"
    np.testing.assert_array_equal(read_bytes_of(tmp_path, filled), image)


def test_captured_lines_are_those_of_the_library_only(capfd):
    with captured_stderr("Corrupt") as lines:
        os.write(2, b"another thread\nCorrupt JPEG data: x\n")
        subprocess.run([sys.executable, "-c", "import os; os.write(2, b'child\\n')"], check=True)
    assert lines == ["Corrupt JPEG data: x"]
    assert capfd.readouterr().err == "another thread\nchild\n"
    with pytest.raises(KeyError), captured_stderr("Corrupt"):
        os.write(2, b"before the error\n")
        raise KeyError
    os.write(2, b"after\n")
    assert capfd.readouterr().err == "before the error\nafter\n"
