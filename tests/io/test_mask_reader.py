"""Masks of one sequence: values and colors mean the same object in all of its files."""

from __future__ import annotations

import logging
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from deeplab_gygo.errors import InputError, UsageError
from deeplab_gygo.io.masks import MaskReader, davis_palette, read_mask, write_mask

ROWS, COLUMNS = 24, 40
RED, GREEN, BLUE = (255, 0, 0), (0, 255, 0), (0, 0, 255)


def parts(*values: int, dtype: type = np.uint8) -> np.ndarray:
    """One square per value, 0 none: [ROWS, COLUMNS]."""
    mask = np.zeros((ROWS, COLUMNS), dtype)
    for position, value in enumerate(values):
        mask[8:16, 2 + 10 * position : 9 + 10 * position] = value
    return mask


def save(path: Path, array: np.ndarray) -> Path:
    Image.fromarray(array).save(path)
    return path


def save_colors(path: Path, *colors: tuple[int, int, int]) -> Path:
    return save(path, np.array([(0, 0, 0), *colors], np.uint8)[parts(*range(1, 1 + len(colors)))])


def at(mask: np.ndarray) -> list[int]:
    return [int(mask[12, column]) for column in (5, 15, 25)]


def test_colors_are_numbered_once_for_a_sequence(tmp_path):
    both = save_colors(tmp_path / "0.png", BLUE, RED)
    left = save_colors(tmp_path / "1.png", (0, 0, 0), RED)
    assert at(read_mask(left)) == [0, 1, 0]  # alone, red is the first color
    for order in ([both, left], [left, both]):
        reader = MaskReader()
        reader.scan(order)
        assert at(reader.read(left)) == [0, 2, 0]
        assert at(reader.read(both)) == [1, 2, 0]


def test_ids_of_files_that_were_read_do_not_change(tmp_path):
    reader = MaskReader()
    assert at(reader.read(save_colors(tmp_path / "0.png", RED))) == [1, 0, 0]
    assert at(reader.read(save_colors(tmp_path / "1.png", BLUE, RED))) == [2, 1, 0]
    reader = MaskReader()
    assert at(reader.read(save_colors(tmp_path / "2.png", tuple(davis_palette()[3])))) == [3, 0, 0]
    assert at(reader.read(save_colors(tmp_path / "3.png", BLUE, tuple(davis_palette()[3])))) == [
        4,
        3,
        0,
    ]


def test_instance_ids_are_numbered_once_for_a_sequence(tmp_path):
    first = save(tmp_path / "0.png", parts(1005, 2001, dtype=np.uint16))
    second = save(tmp_path / "1.png", parts(1005, 1006, 2001, dtype=np.uint16))
    reader = MaskReader()
    reader.scan([first, second])
    assert at(reader.read(first)) == [1, 3, 0]
    assert at(reader.read(second)) == [1, 2, 3]
    low = save(tmp_path / "2.png", parts(3, dtype=np.uint16))
    reader = MaskReader()
    reader.scan([low, second])
    assert at(reader.read(low)) == [1, 0, 0] and at(reader.read(second)) == [2, 3, 4]


def test_255_is_void_where_another_file_has_it_beside_ids(tmp_path):
    alone = save(tmp_path / "0.png", parts(255))
    beside = save(tmp_path / "1.png", parts(1, 255))
    assert at(read_mask(alone)) == [1, 0, 0]
    reader = MaskReader()
    reader.scan([alone, beside])
    assert at(reader.read(alone)) == [0, 0, 0]
    assert at(reader.read(alone, keep_void=True)) == [255, 0, 0]


def test_a_palette_with_void_only_is_no_object_beside_ids(tmp_path):
    write_mask(tmp_path / "0.png", parts(255))
    write_mask(tmp_path / "1.png", parts(2, 255))
    reader = MaskReader()
    reader.scan([tmp_path / "0.png", tmp_path / "1.png"])
    assert at(reader.read(tmp_path / "0.png")) == [0, 0, 0]


def test_files_of_two_encodings_contradict_each_other(tmp_path):
    white = save(tmp_path / "0.png", parts(255))
    ids = save(tmp_path / "1.png", parts(1))
    reader = MaskReader()
    reader.scan([white, ids])
    with pytest.raises(InputError, match="one encoding.*--mask-format ids"):
        reader.read(ids)


def test_a_faint_soft_mask_is_empty_beside_others(tmp_path):
    ramp = np.linspace(0, 1, ROWS)[:, None] * np.ones(COLUMNS)
    soft = save(tmp_path / "0.png", np.rint(255 * np.clip(8 * ramp - 4, 0, 1)).astype(np.uint8))
    faint = save(tmp_path / "1.png", np.rint(100 * np.clip(8 * ramp - 4, 0, 1)).astype(np.uint8))
    reader = MaskReader()
    reader.scan([soft, faint])
    assert reader.read(soft).any() and not reader.read(faint).any()


def test_a_note_is_logged_once_for_a_sequence(tmp_path, caplog):
    files = [save_colors(tmp_path / f"{index}.png", RED, BLUE) for index in range(3)]
    reader = MaskReader()
    reader.scan(files)
    with caplog.at_level(logging.INFO, "deeplab_gygo.io.masks"):
        for path in files:
            reader.read(path)
    assert caplog.text.count("#ff0000 is") == 1


def test_an_unknown_format_is_refused_at_once():
    with pytest.raises(UsageError, match="matte"):
        MaskReader("coco")
