"""Reading of masks in every encoding, and refusal of other images."""

from __future__ import annotations

import logging
from pathlib import Path
from unittest import mock

import cv2
import numpy as np
import pytest
from PIL import Image

from deeplab_gygo.errors import InputError, UsageError
from deeplab_gygo.io import masks
from deeplab_gygo.io.masks import (
    check_first_mask,
    davis_palette,
    fit_mask,
    read_mask,
    write_mask,
)

HEIGHT, WIDTH = 90, 121


def read_with_notes(path: Path, **options) -> tuple[np.ndarray, list[str]]:
    notes: list[str] = []
    with mock.patch.object(masks.logger, "info", lambda _, path, note: notes.append(note)):
        return read_mask(path, **options), notes


def disk(value: int = 1, center: tuple[int, int] = (45, 60), radius: int = 30) -> np.ndarray:
    """A round object: uint8 [HEIGHT, WIDTH]."""
    y, x = np.ogrid[:HEIGHT, :WIDTH]
    inside = (y - center[0]) ** 2 + (x - center[1]) ** 2 <= radius**2
    return (inside * value).astype(np.uint8)


def two_objects() -> np.ndarray:
    return np.maximum(disk(1, (45, 30), 20), disk(2, (45, 90), 20))


def photo(height: int = HEIGHT, width: int = WIDTH) -> np.ndarray:
    """Textured surfaces with gradients: uint8 [height, width, 3]."""
    rng = np.random.default_rng(5)
    coarse = rng.integers(0, 255, (6, 8, 3), dtype=np.uint8)
    return cv2.resize(coarse, (width, height), interpolation=cv2.INTER_CUBIC)


def save(path: Path, array: np.ndarray, mode: str | None = None, **options) -> Path:
    picture = Image.fromarray(array)
    (picture.convert(mode) if mode else picture).save(path, **options)
    return path


def save_palette(path: Path, indices: np.ndarray, colors: np.ndarray, **options) -> Path:
    picture = Image.fromarray(indices)
    picture.putpalette(colors.astype(np.uint8).tobytes())
    picture.save(path, **options)
    return path


@pytest.mark.parametrize("value", [1, 255])
@pytest.mark.parametrize("mode", ["L", "1", "RGB", "RGBA", "LA", "P", "I;16"])
def test_binary_masks_of_every_mode(tmp_path, value, mode):
    if mode == "1":
        path = save(tmp_path / "m.png", disk() * 255, "1")
    elif mode == "I;16":
        path = save(tmp_path / "m.png", disk(value).astype(np.uint16) * (257 if value > 1 else 1))
    else:
        path = save(tmp_path / "m.png", disk(value), mode)
    mask, notes = read_with_notes(path)
    assert mask.dtype == np.uint8 and not notes
    np.testing.assert_array_equal(mask, disk())


@pytest.mark.parametrize("mask_format", ["auto", "binary", "ids"])
def test_an_empty_mask_stays_empty(tmp_path, mask_format):
    path = save(tmp_path / "m.png", np.zeros((8, 9), np.uint8))
    assert not read_mask(path, mask_format=mask_format).any()
    write_mask(tmp_path / "p.png", np.zeros((8, 9), np.uint8))
    assert not read_mask(tmp_path / "p.png", mask_format=mask_format).any()


@pytest.mark.parametrize("mode", [None, "RGB"])
def test_ids_in_gray_stay_ids(tmp_path, mode):
    mask = read_mask(save(tmp_path / "m.png", two_objects(), mode))
    np.testing.assert_array_equal(mask, two_objects())


def test_a_single_id_that_is_not_one_stays(tmp_path):
    np.testing.assert_array_equal(read_mask(save(tmp_path / "m.png", disk(3))), disk(3))


def test_a_single_gray_value_is_the_object(tmp_path):
    mask, notes = read_with_notes(save(tmp_path / "m.png", disk(100)))
    np.testing.assert_array_equal(mask, disk())
    assert "100" in notes[0]


@pytest.mark.parametrize("keep_void", [None, False, True])
def test_void_of_a_palette(tmp_path, keep_void):
    ids = two_objects()
    ids[:4] = 255
    write_mask(tmp_path / "m.png", ids)
    mask = read_mask(tmp_path / "m.png", keep_void=keep_void)
    np.testing.assert_array_equal(mask, ids if keep_void else ids * (ids != 255))


def test_format_ids_keeps_stored_values_and_void(tmp_path):
    ids = two_objects()
    ids[:4] = 255
    write_mask(tmp_path / "m.png", ids)
    np.testing.assert_array_equal(read_mask(tmp_path / "m.png", mask_format="ids"), ids)
    binary = save(tmp_path / "b.png", disk(255))
    np.testing.assert_array_equal(read_mask(binary, mask_format="ids"), disk(255))
    np.testing.assert_array_equal(read_mask(tmp_path / "m.png", mask_format="binary"), ids != 0)


@pytest.mark.parametrize("rows", [1, 2, 60])
@pytest.mark.parametrize("radius", [2, 20])
def test_255_beside_gray_ids_is_void_however_large_it_is(tmp_path, rows, radius):
    ids = np.maximum(disk(1, (75, 30), radius), disk(2, (75, 90), radius))
    ids[:rows] = 255
    mask, notes = read_with_notes(save(tmp_path / "m.png", ids), keep_void=True)
    np.testing.assert_array_equal(mask, ids)
    assert notes == ["255 beside the ids 1, 2 is void, neither object nor background"]
    np.testing.assert_array_equal(read_mask(tmp_path / "m.png"), ids * (ids < 255))


@pytest.mark.parametrize(
    "values",
    [(1, 256, 257), (1, 2, 300), (1005, 1006, 2001), (26000, 26001, 24000), (1, 2, 3)],
)
@pytest.mark.parametrize("kind", ["png", "tif", "int32", "float"])
@pytest.mark.parametrize("mask_format", ["auto", "ids"])
def test_wide_instance_ids_are_numbered_in_ascending_order(tmp_path, values, kind, mask_format):
    truth = np.maximum(two_objects(), disk(3, (8, 60), 5))
    dtype = {"int32": np.int32, "float": np.float32}.get(kind, np.uint16)
    stored = np.array([0, *values])[truth].astype(dtype)
    suffix = "png" if kind == "png" else "tif"
    path = save(tmp_path / f"m.{suffix}", stored)
    mask, notes = read_with_notes(path, mask_format=mask_format)
    np.testing.assert_array_equal(mask, np.argsort(np.argsort([0, *values]))[truth])
    assert bool(notes) == (max(values) > 255)
    if notes:
        assert all(f"{value} is" in notes[0] for value in values)


@pytest.mark.parametrize("dtype", [np.uint16, np.float32])
def test_a_soft_mask_of_16_bits_or_floats_is_cut_at_half(tmp_path, dtype):
    smooth = cv2.GaussianBlur(disk(255).astype(np.float32), (0, 0), 2) / 255
    levels = np.rint(smooth * 65535).astype(dtype) if dtype == np.uint16 else smooth
    path = save(tmp_path / "m.tif", levels)
    mask, notes = read_with_notes(path)
    assert notes and np.mean(mask != (smooth > 0.5)) < 0.001
    flat = disk(255).astype(dtype) * (257 if dtype == np.uint16 else 1 / 255)
    np.testing.assert_array_equal(read_mask(save(tmp_path / "f.tif", flat.astype(dtype))), disk())


def test_negative_and_fractional_ids_are_refused(tmp_path):
    with pytest.raises(InputError, match="0 and above; met: values down to -1"):
        read_mask(save(tmp_path / "m.tif", disk().astype(np.int32) * 2 - 1))
    with pytest.raises(InputError, match="fractions"):
        read_mask(save(tmp_path / "m.tif", disk().astype(np.float32) * 1.5))
    with pytest.raises(InputError, match="finite"):
        read_mask(save(tmp_path / "m.tif", np.where(disk(), np.nan, 0).astype(np.float32)))


def test_palette_of_an_editor_that_put_white_first(tmp_path):
    colors = np.zeros((256, 3))
    colors[0] = 255
    path = save_palette(tmp_path / "m.png", 1 - disk(), colors)  # index 0, white, is the object
    np.testing.assert_array_equal(read_mask(path), disk())


def test_gray_picture_saved_with_a_palette(tmp_path):
    ramp = np.repeat(np.arange(256)[:, None], 3, axis=1)
    smooth = cv2.GaussianBlur(disk(255), (5, 5), 0)
    mask, notes = read_with_notes(save_palette(tmp_path / "m.png", smooth, ramp))
    assert notes and np.mean(mask != disk()) < 0.01
    gif = save(tmp_path / "m.gif", disk(255))
    np.testing.assert_array_equal(read_mask(gif), disk())


@pytest.mark.parametrize("quality", [30, 75, 95])
@pytest.mark.parametrize("mode", ["L", "RGB"])
def test_jpeg_noise_is_thresholded_at_half_with_a_note(tmp_path, quality, mode):
    path = save(tmp_path / "m.jpg", disk(255), mode, quality=quality)
    assert len(np.unique(np.asarray(Image.open(path)))) > 2
    mask, notes = read_with_notes(path)
    assert set(np.unique(mask)) == {0, 1} and np.mean(mask != disk()) < 0.005
    assert "gray levels" in notes[0]


def test_jpeg_noise_in_a_png_is_not_taken_for_ids(tmp_path):
    save(tmp_path / "m.jpg", disk(255), quality=90)
    with Image.open(tmp_path / "m.jpg") as picture:
        picture.save(tmp_path / "m.png")
    mask = read_mask(tmp_path / "m.png")
    assert set(np.unique(mask)) == {0, 1}
    # Single pixels of 1, 2 and 3 beside 255: noise, or ids beside void.
    noisy = disk(255)
    noisy[0, :3] = [1, 2, 3]
    with pytest.raises(InputError, match="--mask-format.*: ids .*; matte"):
        read_mask(save(tmp_path / "n.png", noisy))
    np.testing.assert_array_equal(read_mask(tmp_path / "n.png", mask_format="matte"), disk())


def test_smooth_edges_are_thresholded_at_half(tmp_path):
    smooth = cv2.GaussianBlur(disk(255), (0, 0), 2)
    mask, notes = read_with_notes(save(tmp_path / "m.png", smooth))
    np.testing.assert_array_equal(mask, smooth > 127)
    assert notes


def test_notes_of_read_mask_are_logged(tmp_path, caplog):
    path = save(tmp_path / "m.jpg", disk(255))
    with caplog.at_level(logging.INFO, "deeplab_gygo.io.masks"):
        read_mask(path)
    assert str(path) in caplog.text


@pytest.mark.parametrize("mode", ["RGBA", "LA"])
def test_alpha_is_the_mask_of_a_cutout(tmp_path, mode):
    alpha = cv2.GaussianBlur(disk(255), (5, 5), 0)
    color = photo() if mode == "RGBA" else photo()[..., :1]
    path = save(tmp_path / "m.png", np.dstack([color, alpha]))
    np.testing.assert_array_equal(read_mask(path), alpha > 127)
    np.testing.assert_array_equal(read_mask(path, mask_format="alpha"), alpha > 127)


def test_alpha_of_a_cutout_with_a_palette(tmp_path):
    picture = Image.fromarray(np.dstack([photo(), disk(255)])).quantize(200)
    picture.save(tmp_path / "m.png")
    assert np.mean(read_mask(tmp_path / "m.png") != disk()) < 0.01


def test_white_on_transparent_is_a_mask(tmp_path):
    layer = np.full((HEIGHT, WIDTH, 4), 255, np.uint8)
    layer[..., 3] = disk(255)
    np.testing.assert_array_equal(read_mask(save(tmp_path / "m.png", layer)), disk())


def test_davis_colors_on_transparent_are_ids(tmp_path):
    layer = np.dstack([davis_palette()[two_objects()], (two_objects() > 0) * np.uint8(255)])
    np.testing.assert_array_equal(read_mask(save(tmp_path / "m.png", layer)), two_objects())


def test_format_alpha_needs_transparency(tmp_path):
    with pytest.raises(InputError, match="transparen"):
        read_mask(save(tmp_path / "m.png", disk(255)), mask_format="alpha")


def test_colors_of_davis_are_their_ids(tmp_path):
    ids = two_objects()
    ids[:3] = 255
    path = save(tmp_path / "m.png", davis_palette()[ids])
    mask, notes = read_with_notes(path, keep_void=True)
    np.testing.assert_array_equal(mask, ids)
    assert not notes


def test_colors_of_davis_survive_jpeg(tmp_path):
    path = save(tmp_path / "m.jpg", davis_palette()[two_objects()], quality=90)
    mask, notes = read_with_notes(path)
    assert set(np.unique(mask)) == {0, 1, 2} and np.mean(mask != two_objects()) < 0.02
    assert "colors" in notes[0]


@pytest.mark.parametrize("background", [0, 255])
def test_any_colors_on_black_or_white_get_ids(tmp_path, background):
    colors = np.array([[background] * 3, [10, 220, 40], [30, 60, 240]], np.uint8)
    mask, notes = read_with_notes(save(tmp_path / "m.png", colors[two_objects()]))
    np.testing.assert_array_equal(mask, two_objects())
    assert "#0adc28 is 1" in notes[0]


def test_a_colored_object_with_smooth_edges(tmp_path):
    red = np.zeros((HEIGHT, WIDTH, 3), np.uint8)
    red[..., 0] = cv2.GaussianBlur(disk(255), (0, 0), 1.5)
    mask, notes = read_with_notes(save(tmp_path / "m.png", red))
    assert set(np.unique(mask)) == {0, 1} and np.mean(mask != disk()) < 0.02 and notes


def test_colors_without_a_clear_background_are_refused(tmp_path):
    colors = np.array([[200, 30, 30], [30, 200, 30]], np.uint8)
    with pytest.raises(InputError, match="black or white background"):
        read_mask(save(tmp_path / "m.png", colors[disk()]))


def on_white() -> np.ndarray:
    picture = np.full((HEIGHT, WIDTH, 3), 255, np.uint8)
    inside = disk() > 0
    picture[inside] = photo()[inside] // 2
    return picture


@pytest.mark.parametrize("suffix", ["png", "jpg"])
@pytest.mark.parametrize("mode", ["RGB", "L"])
@pytest.mark.parametrize("make", [photo, on_white])
def test_a_photo_is_no_mask(tmp_path, suffix, mode, make):
    path = save(tmp_path / f"photo.{suffix}", make(), mode)
    with pytest.raises(InputError, match="as in a photo") as caught:
        read_mask(path)
    assert str(path) in str(caught.value) and caught.value.exit_status == 65


@pytest.mark.parametrize(
    "levels", [(128, 255), (206, 210), (85, 170), (100, 255), (255, 240), (70, 2), (38, 75)]
)
def test_grays_of_several_objects_are_refused_with_their_readings(tmp_path, levels):
    path = save(tmp_path / "m.png", np.array([0, *levels], np.uint8)[two_objects()])
    with pytest.raises(InputError, match="--mask-format.* ids .* rgb .* matte .* binary") as caught:
        read_mask(path)
    assert "photo" not in str(caught.value)
    ids = read_mask(path, mask_format="ids")
    np.testing.assert_array_equal(np.unique(ids), [0, *sorted(levels)])
    by_gray = read_mask(path, mask_format="rgb")
    np.testing.assert_array_equal(by_gray, np.argsort(np.argsort([0, *levels]))[two_objects()])
    above = np.array([0, *levels])[two_objects()] > 127
    np.testing.assert_array_equal(read_mask(path, mask_format="matte"), above)
    np.testing.assert_array_equal(read_mask(path, mask_format="binary"), two_objects() > 0)


def test_unknown_format_is_a_usage_error(tmp_path):
    with pytest.raises(UsageError, match="labelme"):
        read_mask(save(tmp_path / "m.png", disk()), mask_format="coco")


@pytest.mark.parametrize("content", [None, b"", b"text", b"\x89PNG\r\n\x1a\n"])
def test_unreadable_masks_are_named(tmp_path, content):
    path = tmp_path / "m.png"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(InputError, match="m.png"):
        read_mask(path)


def test_a_truncated_mask_is_named(tmp_path):
    path = save(tmp_path / "m.png", np.random.default_rng(0).integers(0, 2, (64, 64), np.uint8))
    path.write_bytes(path.read_bytes()[:-40])
    with pytest.raises(InputError, match="m.png"):
        read_mask(path)


def test_exif_orientation_of_masks(tmp_path):
    exif = Image.Exif()
    exif[0x0112] = 6  # shown turned clockwise
    path = save(tmp_path / "m.png", disk(255, (20, 30), 10), exif=exif)
    np.testing.assert_array_equal(read_mask(path), np.rot90(disk(1, (20, 30), 10), -1))
    picture = Image.fromarray(two_objects())
    picture.putpalette(davis_palette().tobytes())
    picture.save(tmp_path / "p.png", exif=exif)
    np.testing.assert_array_equal(read_mask(tmp_path / "p.png"), np.rot90(two_objects(), -1))


def test_the_same_aspect_is_resized_by_nearest(tmp_path):
    path = save(tmp_path / "m.png", two_objects())
    mask, notes = read_with_notes(path, size=(2 * HEIGHT, 2 * WIDTH))
    np.testing.assert_array_equal(mask, np.kron(two_objects(), np.ones((2, 2), np.uint8)))
    assert "121x90; resized to the frame, 242x180" in notes[0]
    assert read_mask(path, size=(HEIGHT, WIDTH)).shape == (HEIGHT, WIDTH)


def test_480p_and_1080p_are_one_aspect():
    mask, notes = fit_mask(np.ones((1080, 1920), np.uint8), (480, 854), "m.png")
    assert mask.shape == (480, 854) and mask.all() and notes


def test_a_rotated_mask_has_its_own_message():
    with pytest.raises(InputError, match="for the unrotated frame"):
        fit_mask(np.ones((1080, 1920), np.uint8), (1920, 1080), "m.png")
    with pytest.raises(InputError, match="mask is 640x480, the frame is 854x480"):
        fit_mask(np.ones((480, 640), np.uint8), (480, 854), "m.png")


def test_check_first_mask():
    size = (100, 100)
    good = np.zeros(size, np.uint8)
    good[10:20, 10:20] = 1
    check_first_mask(good, size, "m.png")
    almost = np.ones(size, np.uint8)
    almost[0] = 0
    check_first_mask(almost, size, "m.png")
    with pytest.raises(InputError, match="background only.*m.png"):
        check_first_mask(np.zeros(size, np.uint8), size, "m.png")
    with pytest.raises(InputError, match="100.0% of the frame is object"):
        check_first_mask(np.ones(size, np.uint8), size, "m.png")
    with pytest.raises(InputError, match="void"):
        check_first_mask(np.full(size, 255, np.uint8), size, "m.png")
    with pytest.raises(InputError, match="size of the frame"):
        check_first_mask(good, (100, 101), "m.png")
    with pytest.raises(InputError, match="float32"):
        check_first_mask(good.astype(np.float32), size, "m.png")


@pytest.mark.parametrize(("top", "notes"), [(255, 0), (200, 1)])
def test_a_matte_without_gray_levels_is_read_without_a_note(tmp_path, caplog, top, notes):
    path = tmp_path / "mask.png"
    Image.fromarray((disk() * top).astype(np.uint8)).save(path)
    with caplog.at_level("INFO"):
        np.testing.assert_array_equal(read_mask(path, mask_format="matte"), disk())
    assert len(caplog.records) == notes
