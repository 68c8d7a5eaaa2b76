"""Masks from labelme JSON files."""

from __future__ import annotations

import base64
import io
import json
from pathlib import Path
from unittest import mock

import numpy as np
import pytest
from PIL import Image

from deeplab_gygo.errors import InputError
from deeplab_gygo.io import masks
from deeplab_gygo.io.masks import read_mask

SIZE = (40, 60)


def read_with_notes(path: Path, **options) -> tuple[np.ndarray, list[str]]:
    notes: list[str] = []
    with mock.patch.object(masks.logger, "info", lambda _, path, note: notes.append(note)):
        return read_mask(path, **options), notes


def shape(kind: str, points: list, label: str = "toy", **more) -> dict:
    return {"label": label, "shape_type": kind, "points": points, "group_id": None, **more}


def square(left: int, top: int, side: int, label: str = "toy") -> dict:
    return shape("rectangle", [[left, top], [left + side, top + side]], label)


def save(path: Path, shapes: list, **more) -> Path:
    content = {
        "version": "5.5.0",
        "flags": {},
        "shapes": shapes,
        "imagePath": "00000.jpg",
        "imageData": None,
        "imageHeight": SIZE[0],
        "imageWidth": SIZE[1],
    }
    path.write_text(json.dumps(content | more))
    return path


def expected(rows: slice, columns: slice) -> np.ndarray:
    mask = np.zeros(SIZE, np.uint8)
    mask[rows, columns] = 1
    return mask


@pytest.mark.parametrize("points", [[[10, 5], [30, 25]], [[30, 25], [10, 5]], [[30, 5], [10, 25]]])
def test_a_rectangle_covers_its_pixels(tmp_path, points):
    mask = read_mask(save(tmp_path / "m.json", [shape("rectangle", points)]))
    np.testing.assert_array_equal(mask, expected(slice(5, 25), slice(10, 30)))


def test_a_polygon_covers_the_pixels_whose_center_is_inside(tmp_path):
    points = [[0, 0], [40, 0], [40, 40], [0, 40]]
    mask = read_mask(save(tmp_path / "m.json", [shape("polygon", points)]))
    np.testing.assert_array_equal(mask, expected(slice(0, 40), slice(0, 40)))
    mask = read_mask(save(tmp_path / "m.json", [shape("polygon", [[0, 0], [40, 0], [0, 40]])]))
    y, x = np.mgrid[: SIZE[0], : SIZE[1]]
    off_edge = x + y + 1 != 40
    np.testing.assert_array_equal(mask[off_edge], (x + y + 1 < 40)[off_edge])


def test_a_polygon_is_clipped_to_the_image(tmp_path):
    points = [[-10, -10], [1000, -10], [1000, 10.4], [-10, 10.4]]
    mask = read_mask(save(tmp_path / "m.json", [shape("polygon", points)]))
    np.testing.assert_array_equal(mask, expected(slice(0, 10), slice(None)))


def test_a_circle_has_its_area(tmp_path):
    mask = read_mask(save(tmp_path / "m.json", [shape("circle", [[30, 20], [30, 35]])]))
    assert mask.sum() == pytest.approx(np.pi * 15**2, rel=0.02)
    np.testing.assert_array_equal(mask, mask[::-1])


@pytest.mark.parametrize(("left", "top"), [(7, 9), (50, 35), (-4, -3)])
def test_a_mask_shape_is_pasted_at_its_box(tmp_path, left, top):
    stamp = np.random.default_rng(0).integers(0, 2, (12, 15)).astype(bool)
    buffer = io.BytesIO()
    Image.fromarray(stamp).save(buffer, "PNG")
    box = [[left, top], [left + 14, top + 11]]
    encoded = base64.b64encode(buffer.getvalue()).decode()
    mask = read_mask(save(tmp_path / "m.json", [shape("mask", box, mask=encoded)]))
    wide = np.zeros((SIZE[0] + 40, SIZE[1] + 40), np.uint8)
    wide[top + 20 : top + 32, left + 20 : left + 35] = stamp
    np.testing.assert_array_equal(mask, wide[20:-20, 20:-20])


def test_labels_get_ids_in_order_and_later_shapes_cover_earlier_ones(tmp_path):
    shapes = [square(0, 0, 20, "shoe"), square(10, 10, 20, "box"), square(40, 0, 10, "shoe")]
    mask, notes = read_with_notes(save(tmp_path / "m.json", shapes))
    assert (mask[5, 5], mask[15, 15], mask[5, 45]) == (1, 2, 1)
    assert notes == ["ids: shoe is 1, box is 2"]


def test_labels_that_are_numbers_are_the_ids(tmp_path):
    mask = read_mask(save(tmp_path / "m.json", [square(0, 0, 9, "3"), square(20, 0, 9, "1")]))
    assert (mask[4, 4], mask[4, 24]) == (3, 1)


def test_background_and_ignored_labels(tmp_path):
    shapes = [square(0, 0, 30), square(5, 5, 5, "_background_"), square(20, 20, 5, "__ignore__")]
    path = save(tmp_path / "m.json", shapes)
    mask = read_mask(path, keep_void=True)
    assert (mask[1, 1], mask[7, 7], mask[22, 22]) == (1, 0, 255)
    assert read_mask(path)[22, 22] == 0


def test_lines_and_points_are_ignored_with_a_note(tmp_path):
    shapes = [shape("point", [[3, 3]], "mark"), square(0, 0, 9), shape("line", [[0, 0], [9, 9]])]
    mask, notes = read_with_notes(save(tmp_path / "m.json", shapes))
    np.testing.assert_array_equal(mask, expected(slice(0, 9), slice(0, 9)))
    assert "2 lines or points" in notes[0]


def test_size_comes_from_the_file_and_is_fitted_to_the_frame(tmp_path):
    path = save(tmp_path / "m.json", [square(10, 10, 10)])
    assert read_mask(path).shape == SIZE
    doubled = read_mask(path, size=(80, 120))
    assert doubled.sum() == 400 and doubled[20:40, 20:40].all()
    path = save(tmp_path / "n.json", [square(10, 10, 10)], imageHeight=None)
    assert read_mask(path, size=(30, 50)).shape == (30, 50)
    with pytest.raises(InputError, match="imageHeight"):
        read_mask(path)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("{", "JSON"),
        ("[]", "labelme"),
        ('{"images": [], "annotations": []}', "annotations"),
        ('{"shapes": [1]}', "shapes"),
    ],
)
def test_other_json_is_refused(tmp_path, content, message):
    (tmp_path / "m.json").write_text(content)
    with pytest.raises(InputError, match=message):
        read_mask(tmp_path / "m.json")


@pytest.mark.parametrize(
    "wrong",
    [
        shape("polygon", [[0, 0], [5, 5]]),
        shape("polygon", [[0, 0], [5, float("nan")], [3, 3]]),
        shape("circle", [[0, 0]]),
        shape("mask", [[0, 0], [5, 5]], mask="AAAA"),
        shape("spiral", [[0, 0], [5, 5], [6, 6]]),
        {"label": "toy", "shape_type": "polygon"},
    ],
)
def test_an_invalid_shape_is_named(tmp_path, wrong):
    with pytest.raises(InputError, match=r"shape 1 .*m\.json"):
        read_mask(save(tmp_path / "m.json", [square(0, 0, 5), wrong]))
