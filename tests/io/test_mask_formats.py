"""Kinds of files and formats of masks that a rule distinguishes: palettes, layers, named ones."""

from __future__ import annotations

import logging
from pathlib import Path

import cv2
import numpy as np
import pytest
from PIL import Image

from deeplab_gygo.errors import InputError
from deeplab_gygo.io.masks import check_first_mask, davis_palette, read_mask

HEIGHT, WIDTH = 60, 80
BLACK, WHITE, RED, GREEN, BLUE = (
    (0, 0, 0), (255, 255, 255), (250, 20, 30), (20, 240, 40), (30, 20, 245),
)  # fmt: skip


def two() -> np.ndarray:
    """Two disks, ids 1 and 2: uint8 [HEIGHT, WIDTH]."""
    mask = np.zeros((HEIGHT, WIDTH), np.uint8)
    cv2.circle(mask, (20, 30), 14, 1, -1)
    cv2.circle(mask, (58, 30), 14, 2, -1)
    return mask


def white() -> np.ndarray:
    return np.where(two() > 0, 255, 0).astype(np.uint8)


def save(path: Path, array: np.ndarray, **options: object) -> Path:
    Image.fromarray(array).save(path, **options)
    return path


def save_palette(path: Path, order: list[int], *colors: tuple[int, int, int], **more) -> Path:
    """Saves the ids of `two` as the indices of `order`, in a palette of colors."""
    picture = Image.fromarray(np.array(order, np.uint8)[two()])
    picture.putpalette(np.array(colors, np.uint8).tobytes())
    picture.save(path, **more)
    return path


def notes_of(caplog: pytest.LogCaptureFixture, path: Path, **options) -> tuple[np.ndarray, str]:
    with caplog.at_level(logging.INFO, "deeplab_gygo.io.masks"):
        return read_mask(path, **options), caplog.text


@pytest.mark.parametrize("background", [BLACK, WHITE])
def test_index_0_of_a_palette_is_the_background_if_black_or_white(tmp_path, background):
    path = save_palette(tmp_path / "m.png", [0, 1, 2], background, RED, GREEN)
    np.testing.assert_array_equal(read_mask(path), two())


def test_black_is_the_background_at_any_index(tmp_path, caplog):
    path = save_palette(tmp_path / "m.png", [2, 0, 1], RED, GREEN, BLACK)
    mask, notes = notes_of(caplog, path)
    np.testing.assert_array_equal(mask, two())
    assert "#fa141e is 1, #14f028 is 2" in notes
    stored = read_mask(path, mask_format="palette")
    np.testing.assert_array_equal(stored, np.array([2, 0, 1])[two()])


@pytest.mark.parametrize(
    ("order", "colors", "formats"),
    [
        ([2, 0, 1], (RED, GREEN, WHITE), "palette .*; rgb"),
        ([2, 0, 1], (RED, GREEN, BLUE), "palette"),
        ([0, 1, 2], (BLUE, RED, GREEN), "palette"),
        ([0, 1, 2], (BLACK, RED, BLACK), "palette .*; rgb"),
    ],
)
def test_a_palette_whose_background_is_unknown_is_refused(tmp_path, order, colors, formats):
    path = save_palette(tmp_path / "m.png", order, *colors)
    with pytest.raises(InputError, match=f"--mask-format.* {formats}"):
        read_mask(path)
    stored = read_mask(path, mask_format="palette")
    np.testing.assert_array_equal(stored, np.array(order)[two()])


def test_soft_edges_in_a_palette_are_no_objects(tmp_path):
    colors = np.array([BLACK, RED, GREEN], np.uint8)[two()]
    soft = cv2.GaussianBlur(colors, (0, 0), 0.7)
    for count in (8, 16, 32):
        Image.fromarray(soft).quantize(count).save(tmp_path / "m.png")
        mask = read_mask(tmp_path / "m.png")
        inner = cv2.erode(two(), np.ones((5, 5), np.uint8))
        assert np.unique(mask).size == 3
        assert {len(np.unique(mask[inner == id_])) for id_ in (1, 2)} == {1}


def test_a_palette_reduced_to_its_colors_keeps_void(tmp_path):
    ids = np.where(two() == 2, 255, two())
    picture = Image.fromarray(ids)
    picture.putpalette(davis_palette().tobytes())
    picture.save(tmp_path / "m.gif")  # Pillow moves index 255 to 2
    np.testing.assert_array_equal(read_mask(tmp_path / "m.gif", keep_void=True), ids)


@pytest.mark.parametrize("scale", [0.7, 1.7, 2, 3])
def test_ids_that_were_interpolated_are_refused(tmp_path, scale):
    large = cv2.resize(np.where(two() == 2, 3, two()), None, fx=scale, fy=scale)
    path = save(tmp_path / "m.png", large)
    with pytest.raises(InputError, match="after resizing.*--mask-format.* ids"):
        read_mask(path)
    np.testing.assert_array_equal(read_mask(path, mask_format="ids"), large)


def layer(*colors: tuple[int, int, int], alpha: int = 255) -> np.ndarray:
    opacity = np.where(two() > 0, alpha, 0)
    return np.dstack([np.array([BLACK, *colors])[two()], opacity]).astype(np.uint8)


@pytest.mark.parametrize("suffix", ["png", "webp"])
def test_flat_colors_on_transparent_are_one_object_or_several(tmp_path, suffix):
    path = tmp_path / f"m.{suffix}"
    save(path, layer(GREEN, RED), **({"lossless": True} if suffix == "webp" else {}))
    with pytest.raises(InputError, match="#fa141e.*--mask-format.* alpha .*; rgb"):
        read_mask(path)
    np.testing.assert_array_equal(read_mask(path, mask_format="alpha"), two() > 0)
    np.testing.assert_array_equal(read_mask(path, mask_format="rgb"), two())
    save(path, layer(RED, RED), **({"lossless": True} if suffix == "webp" else {}))
    np.testing.assert_array_equal(read_mask(path), two() > 0)


@pytest.mark.parametrize("color", [BLACK, WHITE, RED])
def test_one_color_on_transparent_is_the_object(tmp_path, color):
    path = save(tmp_path / "m.png", layer(color, color))
    np.testing.assert_array_equal(read_mask(path), two() > 0)


def test_gray_ids_with_a_transparent_background_stay_ids(tmp_path):
    np.testing.assert_array_equal(read_mask(save(tmp_path / "m.png", two(), transparency=0)), two())
    opacity = np.where(two() > 0, 255, 0).astype(np.uint8)
    path = save(tmp_path / "a.png", np.dstack([two(), opacity]))
    np.testing.assert_array_equal(read_mask(path), two())


def test_alpha_up_to_127_is_background(tmp_path, caplog):
    path = save(tmp_path / "m.png", layer(RED, RED, alpha=110))  # a brush of 43 %
    with pytest.raises(InputError, match="up to 127 of 255 count as background; met: alpha"):
        read_mask(path)
    path = save(tmp_path / "n.png", layer(RED, RED, alpha=153))
    mask, notes = notes_of(caplog, path)
    np.testing.assert_array_equal(mask, two() > 0)
    assert "alpha above 127" in notes
    with pytest.raises(InputError, match="gray and alpha up to 127 of 255 are background"):
        check_first_mask(np.zeros((4, 4), np.uint8), (4, 4), "m.png")


@pytest.mark.parametrize("mask_format", ["matte", "binary", "alpha", "ids", "rgb", "palette"])
def test_a_named_format_is_obeyed(tmp_path, mask_format):
    gray = save(tmp_path / "g.png", np.array([0, 100, 200], np.uint8)[two()])
    if mask_format in ("alpha", "palette"):
        with pytest.raises(InputError, match=f"'{mask_format}'.*--mask-format"):
            read_mask(gray, mask_format=mask_format)
        return
    wanted = {"matte": two() == 2, "binary": two() > 0, "rgb": two(), "ids": two() * 100}
    np.testing.assert_array_equal(read_mask(gray, mask_format=mask_format), wanted[mask_format])


def test_bits_are_ids_0_and_1(tmp_path):
    Image.fromarray(white()).convert("1").save(tmp_path / "m.png")
    np.testing.assert_array_equal(read_mask(tmp_path / "m.png", mask_format="ids"), two() > 0)


def test_a_lossy_file_holds_no_ids(tmp_path):
    files = {"m.jpg": {}, "m.webp": {"quality": 80}, "m.jp2": {"irreversible": True}}
    for name, options in (files | {"m.avif": {"quality": 80}}).items():
        with pytest.raises(InputError, match="with loss.*PNG"):
            read_mask(save(tmp_path / name, two(), **options))
        with pytest.raises(InputError, match="with loss.*--mask-format matte"):
            levels = np.array([0, 128, 255], np.uint8)[two()]
            read_mask(save(tmp_path / name, levels, **options))
    for name, options in {"l.webp": {"lossless": True}, "l.jp2": {"irreversible": False}}.items():
        np.testing.assert_array_equal(read_mask(save(tmp_path / name, two(), **options)), two())
    path = save(tmp_path / "l.tif", white(), compression="jpeg")
    assert np.mean(read_mask(path) != (two() > 0)) < 0.01


def test_colors_of_16_bits_that_8_bits_do_not_tell_are_refused(tmp_path):
    cv2.imwrite(str(tmp_path / "m.png"), np.dstack([two().astype(np.uint16)] * 3))
    with pytest.raises(InputError, match="8 bits per channel"):
        read_mask(tmp_path / "m.png")
    wide = davis_palette()[two()][..., ::-1].astype(np.uint16) * 257
    cv2.imwrite(str(tmp_path / "n.png"), wide)
    np.testing.assert_array_equal(read_mask(tmp_path / "n.png"), two())


def test_further_pictures_of_a_file_are_named(tmp_path, caplog):
    pages = [Image.fromarray(white()), Image.fromarray(white() * 0)]
    pages[0].save(tmp_path / "m.tif", save_all=True, append_images=pages[1:])
    mask, notes = notes_of(caplog, tmp_path / "m.tif")
    assert mask.any() and "2 pictures; the first" in notes


@pytest.mark.parametrize("name", ["m.mp4", "m.png", "m.psd"])
def test_an_intact_file_of_another_kind_is_told_what_is_read(tmp_path, name):
    (tmp_path / name).write_bytes(b"8BPS and more")
    with pytest.raises(InputError, match="PNG.*labelme.*npz") as caught:
        read_mask(tmp_path / name)
    assert str(caught.value).endswith("Convert it to PNG.")


def test_a_mask_that_covers_most_of_the_frame_may_be_inverted(tmp_path, caplog):
    inverted = np.full((HEIGHT, WIDTH), 255, np.uint8)
    cv2.circle(inverted, (40, 30), 12, 0, -1)
    assert read_mask(save(tmp_path / "m.png", inverted)).any()
    assert "invert it if the object is the dark" in caplog.text
    caplog.clear()
    inverted[:, 0] = 0  # one border is background
    read_mask(save(tmp_path / "m.png", inverted))
    read_mask(save(tmp_path / "n.png", white()))
    assert not caplog.text


def test_values_with_fractions_are_no_ids(tmp_path):
    one = save(tmp_path / "1.tif", np.where(two() > 0, 0.2, 0).astype(np.float32))
    np.testing.assert_array_equal(read_mask(one), two() > 0)
    several = save(tmp_path / "2.tif", (two() / 3).astype(np.float32))
    with pytest.raises(InputError, match="--mask-format.*: matte .*; binary"):
        read_mask(several)
    np.testing.assert_array_equal(read_mask(several, mask_format="matte"), two() == 2)
    np.testing.assert_array_equal(read_mask(several, mask_format="binary"), two() > 0)


@pytest.mark.parametrize("level", [130, 200])
@pytest.mark.parametrize("suffix", ["png", "jpg"])
def test_one_object_in_soft_gray_is_cut_at_half_of_its_level(tmp_path, level, suffix):
    soft = cv2.GaussianBlur(np.where(two() == 1, level, 0).astype(np.float32), (0, 0), 1.5)
    mask = read_mask(save(tmp_path / f"m.{suffix}", np.rint(soft).astype(np.uint8)))
    assert np.mean(mask != (two() == 1)) < 0.01
