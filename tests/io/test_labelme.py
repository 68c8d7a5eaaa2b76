"""Masks from labelme JSON files."""

from __future__ import annotations

import base64
import io
import json
import tracemalloc
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
    assert notes == [
        "ids: shoe is 1, box is 2",
        "2 shapes named shoe are one object; give group_id to tell them apart",
    ]


def grouped(left: int, label: str, group: int | None) -> dict:
    return square(left, 0, 9, label) | {"group_id": group}


def test_groups_of_one_label_are_different_objects(tmp_path):
    shapes = [grouped(0, "car", 1), grouped(10, "car", 2), grouped(20, "car", None)]
    shapes += [grouped(30, "car", 1), grouped(40, "person", 1)]
    mask, notes = read_with_notes(save(tmp_path / "m.json", shapes))
    assert [int(mask[4, left + 4]) for left in range(0, 50, 10)] == [1, 2, 3, 1, 4]
    listed = "car (group 1) is 1, car (group 2) is 2, car is 3, person (group 1) is 4"
    assert notes == [f"ids: {listed}"]


def test_numeric_labels_are_ids_only_if_each_is_one_object(tmp_path):
    shapes = [grouped(0, "7", 1), grouped(10, "3", None)]
    mask = read_mask(save(tmp_path / "m.json", shapes))
    assert (mask[4, 4], mask[4, 14]) == (7, 3)
    mask, notes = read_with_notes(save(tmp_path / "m.json", [*shapes, grouped(20, "7", 2)]))
    assert (mask[4, 4], mask[4, 14], mask[4, 24]) == (1, 2, 3)
    assert notes == ["ids: 7 (group 1) is 1, 3 is 2, 7 (group 2) is 3"]


def test_a_group_is_a_number(tmp_path):
    with pytest.raises(InputError, match="list in shape 0.*m.json"):
        read_mask(save(tmp_path / "m.json", [square(0, 0, 9) | {"group_id": [1]}]))


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
        ('{"keys": [], "others": []}', "others"),
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
        shape("polygon", [[0, 0], [5, 1e300], [3, 3]]),
        shape("polygon", [[0, 0], [5, "a"], [3, 3]]),
        shape("polygon", [[0, 0, 0], [5]]),
        shape("polygon", {"x": 1}),
        shape("mask", [], mask=""),
        shape("mask", [[0, 0], [5, 5]], mask=7),
        shape("circle", [[0, 0]]),
        shape("mask", [[0, 0], [5, 5]], mask="AAAA"),
        shape("spiral", [[0, 0], [5, 5], [6, 6]]),
        {"label": "toy", "shape_type": "polygon"},
    ],
)
def test_an_invalid_shape_is_named(tmp_path, wrong):
    with pytest.raises(InputError, match=r"shape 1 .*m\.json"):
        read_mask(save(tmp_path / "m.json", [square(0, 0, 5), wrong]))


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        (shape("polygon", [[0, 0], [5, float("nan")], [3, 3]]), "NaN is no number"),
        (shape(["polygon"], [[0, 0], [5, 5], [0, 5]]), "are text; met: str and list in shape 0"),
        (shape("polygon", [[0, 0], [5, 5], [0, 5]], label={"a": 1}), "dict and str in shape 0"),
        (shape("polygon", [[0, 0], [5, 5], [0, 5]], label=10**5000), "JSON is well-formed"),
    ],
)
def test_wrong_types_are_named(tmp_path, wrong, message):
    text = json.dumps({"shapes": [wrong | {"label": 0}], "imageHeight": 9, "imageWidth": 9})
    label = "1" + "0" * 5000 if isinstance(wrong["label"], int) else json.dumps(wrong["label"])
    (tmp_path / "m.json").write_text(text.replace('"label": 0', f'"label": {label}'))
    with pytest.raises(InputError, match=message) as caught:
        read_mask(tmp_path / "m.json")
    assert "m.json" in str(caught.value) and caught.value.exit_status == 65


def test_a_label_of_many_digits_is_a_name(tmp_path):
    mask, notes = read_with_notes(save(tmp_path / "m.json", [square(0, 0, 9, "9" * 5000)]))
    assert mask[4, 4] == 1 and len("".join(notes)) < 200


@pytest.mark.parametrize("length", [True, "40", 40.5, 0, -3, [40], 10**30])
def test_a_size_is_a_positive_integer(tmp_path, length):
    path = save(tmp_path / "m.json", [square(0, 0, 9)], imageHeight=length)
    for size in (None, SIZE):
        with pytest.raises(InputError, match=r"positive integers|million pixels|size of the frame"):
            read_mask(path, size=size)


def test_a_size_is_compared_before_the_mask_is_made(tmp_path):
    path = save(tmp_path / "m.json", [square(0, 0, 9)], imageHeight=100_000, imageWidth=100_000)
    tracemalloc.start()
    with pytest.raises(InputError, match="the mask is 100000x100000, the frame is 60x40"):
        read_mask(path, size=SIZE)
    with pytest.raises(InputError, match="at most 40 million pixels"):
        read_mask(path, size=(1000, 1000))
    with pytest.raises(InputError, match="at most 40 million pixels"):
        read_mask(path)
    assert tracemalloc.get_traced_memory()[1] < 5e6
    tracemalloc.stop()


def test_numbers_of_shapes_and_points_are_limited(tmp_path):
    many = [[index % 50, index % 37] for index in range(20_001)]
    with pytest.raises(InputError, match="at most 20000 points; met: 20001"):
        read_mask(save(tmp_path / "m.json", [shape("polygon", many)]))
    with pytest.raises(InputError, match="at most 500 shapes; met: 501"):
        read_mask(save(tmp_path / "m.json", [square(0, 0, 9)] * 501))


def test_deep_nesting_is_refused(tmp_path):
    deep = "[" * 100_000 + "]" * 100_000
    (tmp_path / "m.json").write_text('{"shapes": [{"points": ' + deep + "}]}")
    with pytest.raises(InputError, match="nested deeper"):
        read_mask(tmp_path / "m.json")


def test_names_with_control_characters_and_lone_surrogates_can_be_shown(tmp_path):
    shapes = [square(0, 0, 9, "a\x00\x1b[2J"), square(20, 0, 9, "\ud800")]
    mask, notes = read_with_notes(save(tmp_path / "m.json", shapes))
    assert (mask[4, 4], mask[4, 24]) == (1, 2)
    assert notes[0].isprintable() and notes[0].encode()
    (tmp_path / "n.json").write_text('{"\\ud800": 1}')
    with pytest.raises(InputError, match="labelme") as caught:
        read_mask(tmp_path / "n.json")
    assert str(caught.value).encode()


def test_a_mask_shape_larger_than_the_image_is_refused_before_it_is_decoded(tmp_path):
    buffer = io.BytesIO()
    Image.new("L", (6000, 6000)).save(buffer, "PNG")
    encoded = base64.b64encode(buffer.getvalue()).decode()
    path = save(tmp_path / "m.json", [shape("mask", [[0, 0], [5, 5]], mask=encoded)])
    with pytest.raises(InputError, match="shape 0 .*a mask of 6000x6000 in an image of 60x40"):
        read_mask(path)


def test_a_mask_shape_in_postscript_is_refused(tmp_path):
    encoded = base64.b64encode(b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n").decode()
    path = save(tmp_path / "m.json", [shape("mask", [[0, 0], [5, 5]], mask=encoded)])
    with pytest.raises(InputError, match="shape 0 .*not an image"):
        read_mask(path)


@pytest.mark.parametrize("scanned", [False, True])
def test_labels_mean_the_same_object_in_all_files_of_a_sequence(tmp_path, scanned):
    first = save(tmp_path / "0.json", [square(0, 0, 9, "car"), square(20, 0, 9, "dog")])
    second = save(tmp_path / "1.json", [square(0, 0, 9, "cat"), square(20, 0, 9, "dog")])
    reader = masks.MaskReader()
    if scanned:
        reader.scan([first, second])
        assert [int(reader.read(second)[4, column]) for column in (4, 24)] == [3, 2]
    assert [int(reader.read(first)[4, column]) for column in (4, 24)] == [1, 2]
    assert [int(reader.read(second)[4, column]) for column in (4, 24)] == [3, 2]
