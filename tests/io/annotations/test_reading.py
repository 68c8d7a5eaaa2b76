"""Files as annotation tools export them, and files that are refused."""

import json
import os

import numpy as np
import pytest

from deeplab_gygo.errors import InputError
from deeplab_gygo.io.annotations import common, cvat, label_studio, read_annotation
from deeplab_gygo.io.annotations.run_lengths import (
    BrushDecoder,
    decode_runs,
    decode_string,
    encode_brush,
    encode_string,
    object_runs,
)

SIZE = (6, 8)
# A square of 2x3 pixels at x 1, y 2, and one of 3x2 at x 5, y 0.
FIRST, SECOND = [1, 2, 3, 2, 3, 5, 1, 5], [5, 0, 8, 0, 8, 2, 5, 2]


def _boxes(first=1, second=2):
    mask = np.zeros(SIZE, np.uint8)
    mask[2:5, 1:3], mask[0:2, 5:8] = first, second
    return mask


def _read(tmp_path, content, name="mask.json", **options):
    path = tmp_path / name
    if isinstance(content, bytes):
        path.write_bytes(content)
    elif isinstance(content, str):
        path.write_text(content, encoding="utf-8")
    else:
        path.write_text(json.dumps(content), encoding="utf-8")
    return read_annotation(path, **options)


def _refused(tmp_path, content, *parts, name="mask.json", **options):
    with pytest.raises(InputError) as caught:
        _read(tmp_path, content, name, **options)
    for part in parts:
        assert part in str(caught.value)
    return str(caught.value)


# COCO.


def _coco(*items, images=("00000.jpg",)):
    return {
        "info": {"description": "export"},
        "licenses": [],
        "images": [
            {"id": number, "file_name": name, "height": 6, "width": 8}
            for number, name in enumerate(images, 10)
        ],
        "categories": [{"id": 3, "name": "car"}, {"id": 4, "name": "person"}],
        "annotations": [
            {"id": number, "image_id": 10, "category_id": 3, "iscrowd": 0, **item}
            for number, item in enumerate(items, 70)
        ],
    }


def test_polygons_of_coco(tmp_path):
    content = _coco({"segmentation": [FIRST]}, {"segmentation": [SECOND], "category_id": 4})
    mask, notes = _read(tmp_path, content)
    assert (mask == _boxes()).all() and mask.dtype == np.uint8
    assert notes == ["ids: car is 1, person is 2"]


def test_two_of_one_class_are_two_objects(tmp_path):
    content = _coco({"segmentation": [FIRST]}, {"segmentation": [SECOND]})
    mask, notes = _read(tmp_path, content)
    assert (mask == _boxes()).all()
    assert notes == ["ids: car (annotation 70) is 1, car (annotation 71) is 2"]


def test_polygons_of_one_annotation_are_parts(tmp_path):
    mask, notes = _read(tmp_path, _coco({"segmentation": [FIRST, SECOND]}))
    assert (mask == _boxes(1, 1)).all() and not notes
    overlapping = _coco({"segmentation": [FIRST, FIRST]})  # no hole: parts are added
    assert (_read(tmp_path, overlapping)[0] == _boxes(1, 0)).all()


def test_run_lengths_of_coco(tmp_path):
    runs = {number: counts for number, counts in object_runs(_boxes(), by_column=True)}
    plain = {"size": [6, 8], "counts": runs[1].tolist()}
    packed = {"size": [6, 8], "counts": encode_string(runs[2])}
    mask, _ = _read(tmp_path, _coco({"segmentation": plain}, {"segmentation": packed}))
    assert (mask == _boxes()).all()


def test_labels_are_the_same_objects_in_all_frames(tmp_path):
    images = ("00000.jpg", "00001.jpg", "00002.jpg")
    person = {"segmentation": [SECOND], "category_id": 4}
    content = _coco({"segmentation": [FIRST]}, person | {"image_id": 11}, images=images)
    mask, notes = _read(tmp_path, content, frame="00001")
    assert (mask == _boxes(0, 2)).all() and notes == ["ids: person is 2"]
    points = (f'points="{_FIRST_POINTS}"', f'points="{_SECOND_POINTS}"')
    shapes = [f'<polygon label="{label}" {at}/>' for label, at in zip("ab", points, strict=True)]
    content = _images(*shapes)
    assert (_read(tmp_path, content, "a.xml", frame="00001")[0] == _boxes(0, 2)).all()
    regions = [
        _region({"points": _percent(at), "polygonlabels": [label]})
        for label, at in (("a", FIRST), ("b", SECOND))
    ]
    tasks = [_task(region, image=f"0000{i}.jpg") for i, region in enumerate(regions)]
    assert (_read(tmp_path, tasks, frame="00001")[0] == _boxes(0, 2)).all()


@pytest.mark.parametrize("place", ["track_id", "instance_id", "attributes"])
def test_tracks_of_coco_are_ids(tmp_path, place):
    def track(number):
        return {"attributes": {"track_id": number}} if place == "attributes" else {place: number}

    content = _coco({"segmentation": [FIRST], **track(5)}, {"segmentation": [SECOND], **track(2)})
    mask, notes = _read(tmp_path, content)
    assert (mask == _boxes(5, 2)).all()
    assert notes == ["ids: car (annotation 70) is 5, car (annotation 71) is 2"]
    content = _coco({"segmentation": [FIRST], **track(9)}, {"segmentation": [SECOND], **track(9)})
    assert (_read(tmp_path, content)[0] == _boxes(9, 9)).all()
    content = _coco({"segmentation": [FIRST], **track(999)}, {"segmentation": [SECOND], **track(7)})
    assert (_read(tmp_path, content)[0] == _boxes(1, 2)).all()


def test_the_image_of_the_frame_is_taken(tmp_path):
    content = _coco(
        {"segmentation": [FIRST]}, {"segmentation": [SECOND], "image_id": 11},
        images=("a/00000.jpg", "a/00004.jpg", "a/00008.jpg"),
    )  # fmt: skip
    assert (_read(tmp_path, content, frame="00004")[0] == _boxes(0, 1)).all()
    assert not _read(tmp_path, content, frame="00008")[0].any()
    _refused(tmp_path, content, "2 images: a/00000.jpg, a/00004.jpg", "--frame")
    _refused(tmp_path, content, "annotated frame, 00007", frame="00007")
    content["images"][1]["file_name"] = "frame_000007.PNG"
    mask, notes = _read(tmp_path, content, frame="00007")
    assert (mask == _boxes(0, 1)).all()
    assert notes == ["frame_000007.PNG is taken for the frame 00007"]
    only = _coco({"segmentation": [FIRST]}, images=("a.jpg", "b.jpg"))
    assert (_read(tmp_path, only)[0] == _boxes(1, 0)).all()
    for name, noted in (("a", False), ("c", True), (None, False)):
        mask, notes = _read(tmp_path, only, frame=name)
        assert (mask == _boxes(1, 0)).all()
        assert notes == ["its only frame, a.jpg, is taken for the frame c"] * noted


def test_results_and_masks_of_segment_anything(tmp_path):
    first, second = (
        {"size": [6, 8], "counts": encode_string(counts)}
        for _, counts in object_runs(_boxes(), by_column=True)
    )
    expected = _boxes(1, 0)
    for content in (
        {"segmentation": first, "predicted_iou": 0.9},
        {"masks": [first]},
        first,
        [{"image_id": 3, "category_id": 1, "segmentation": first, "score": 0.9}],
        {"image": {"image_id": 7, "width": 8, "height": 6, "file_name": "sa_7.jpg"},
         "annotations": [{"id": 1, "segmentation": first}]},
    ):  # fmt: skip
        assert (_read(tmp_path, content)[0] == expected).all()
    both = [{"segmentation": first, "area": 6}, {"segmentation": second, "area": 6}]
    assert (_read(tmp_path, both)[0] == _boxes()).all()


def test_wrong_files_of_coco_are_refused(tmp_path):
    box = {"bbox": [1, 1, 2, 2], "segmentation": []}
    _refused(tmp_path, _coco(box), "boxes alone", "Export polygons or masks")
    mask, notes = _read(tmp_path, _coco(box, {"segmentation": [FIRST]}))
    assert (mask == _boxes(1, 0)).all() and "1 annotations are boxes" in notes[0]
    for segmentation, problem in (
        ({"size": [6, 8], "counts": "abc"}, "annotation 70: its"),
        ({"size": [6, 8], "counts": [3, 4]}, "do not sum up to 48 pixels"),
        ({"size": [6, 8], "counts": [50, -2]}, "integers from 0"),
        ({"size": [6, 8], "counts": [48.0]}, "integers from 0"),
        ({"size": [6, 9], "counts": [54]}, "the sizes [6, 9] and [6, 8] of one image"),
        ({"counts": [48]}, "KeyError: 'size'"),
        ([[1, 2, 3, 4]], "2 points enclose no area"),
        ([[1, 2, 3, 4, 5]], "annotation 70"),
        ([[1, 2, 3, 4, 5, None]], "no number"),
        ([[1, 2, 3, 4, 5, 1e300]], "no number up to"),
        ("polygon", "annotation 70"),
        (7, "annotation 70"),
    ):
        _refused(tmp_path, _coco({"segmentation": segmentation}), problem)
    _refused(tmp_path, _coco({"segmentation": [FIRST], "track_id": [1]}), "TypeError")
    _refused(tmp_path, {"images": {}, "annotations": []}, "A file of COCO has annotations")
    huge = {"size": [100_000, 100_000], "counts": [10**10]}
    _refused(tmp_path, {"segmentation": huge}, "million pixels")


# CVAT.

_CVAT = """<?xml version="1.0" encoding="utf-8"?>
<annotations>
  <version>1.1</version>
  <meta><task><name>shoes</name><original_size><width>8</width><height>6</height></original_size>
  </task></meta>
  {}
</annotations>
"""
_FIRST_POINTS = "1.00,2.00;3.00,2.00;3.00,5.00;1.00,5.00"
_SECOND_POINTS = "5,0;8,0;8,2;5,2"


def _images(*images):
    return _CVAT.format(
        "".join(
            f'<image id="{number}" name="{number:05d}.jpg" width="8" height="6">{shapes}</image>'
            for number, shapes in enumerate(images)
        )
    )


def _polygon(points=_FIRST_POINTS, more=""):
    return f'<polygon label="car" source="manual" occluded="0" points="{points}" {more}></polygon>'


def test_images_of_cvat(tmp_path):
    shapes = _polygon() + (
        '<mask label="person" source="manual" occluded="0" rle="1, 2, 1, 2" left="5" top="0" '
        'width="3" height="2" z_order="0"></mask>'
    )
    expected = _boxes(1, 0)
    expected[0, 6:8] = expected[1, 6:8] = 2
    mask, notes = _read(tmp_path, _images(shapes), "mask.xml")
    assert (mask == expected).all()
    assert notes == ["ids: car is 1, person is 2"]


def test_groups_and_order_of_cvat(tmp_path):
    grouped = _polygon(more='group_id="4"') + _polygon(_SECOND_POINTS, 'group_id="4"')
    assert (_read(tmp_path, _images(grouped), "mask.xml")[0] == _boxes(4, 4)).all()
    whole = "0,0;8,0;8,6;0,6"
    above = _polygon(more='z_order="1"') + _polygon(whole, 'z_order="0"')
    mask, _ = _read(tmp_path, _images(above), "mask.xml")
    assert mask[3, 1] != mask[0, 0] and mask.all()


def test_frames_of_cvat(tmp_path):
    content = _images("", _polygon(), _polygon(_SECOND_POINTS))
    mask, notes = _read(tmp_path, content, "mask.xml")
    assert (mask == _boxes(1, 0)).all()
    assert notes == ["of 2 annotated frames the first, 00001.jpg, is taken"]
    assert (_read(tmp_path, content, "mask.xml", frame="00002")[0] == _boxes(0, 1)).all()
    assert not _read(tmp_path, content, "mask.xml", frame="00000")[0].any()
    _refused(tmp_path, content, "00001.jpg, 00002.jpg", name="mask.xml", frame="shoe")


def test_tracks_of_cvat(tmp_path):
    def track(number, *shapes):
        return f'<track id="{number}" label="car" source="manual">{"".join(shapes)}</track>'

    def at(frame, points, outside=0):
        return _polygon(points, f'keyframe="1" outside="{outside}" frame="{frame}" z_order="0"')

    content = _CVAT.format(
        track(0, at(0, _FIRST_POINTS), at(1, _FIRST_POINTS), at(2, _FIRST_POINTS, 1))
        + track(1, at(1, _SECOND_POINTS), at(2, _SECOND_POINTS))
    )
    for frame, expected in (("00000", _boxes(1, 0)), ("1", _boxes()), ("00002", _boxes(0, 2))):
        mask, notes = _read(tmp_path, content, "mask.xml", frame=frame)
        assert (mask == expected).all()
        assert notes[0] == f"the frame {int(frame)} of the tracks is taken, counted from 0"
    numbered = content.replace('track id="0"', 'track id="8"')
    assert (_read(tmp_path, numbered, "mask.xml", frame="1")[0] == _boxes(8, 1)).all()


def test_ellipses_of_cvat(tmp_path):
    shape = '<ellipse label="car" cx="40" cy="30" rx="20" ry="10" rotation="90" />'
    content = _images(shape).replace('"8"', '"80"').replace('"6"', '"60"')
    mask, _ = _read(tmp_path, content, "mask.xml")
    y, x = np.mgrid[:60, :80] + 0.5
    assert (mask == (((x - 40) / 10) ** 2 + ((y - 30) / 20) ** 2 <= 1)).mean() > 0.995


def test_wrong_files_of_cvat_are_refused(tmp_path):
    box = '<box label="car" xtl="1" ytl="1" xbr="3" ybr="4"></box>'
    _refused(tmp_path, _images(box), "only box", "as a polygon or a mask", name="mask.xml")
    mask, notes = _read(tmp_path, _images(box + _polygon()), "mask.xml")
    assert (mask == _boxes(1, 0)).all() and "1 boxes, lines or points" in notes[0]
    for content, problem in (
        (_images(_polygon("1,2;3,2")), "polygon 1: 2 points"),
        (_images(_polygon("1,2;3")), "polygon 1"),
        (_images(_polygon("a,b;c,d;e,f")), "could not convert"),
        (_images('<mask rle="1,2" left="0" top="0" width="9" height="1"/>'), "not in the image"),
        (_images('<mask rle="1,2" left="0" top="0" width="2" height="2"/>'), "sum up to 4"),
        (_images(_polygon()).replace('width="8"', 'width="x"'), "whole and as its tool writes it"),
        (_images(_polygon()).replace('width="8"', 'width="0"'), "positive integers"),
        (_images(_polygon())[:-20], "XML is well-formed"),
        ("<annotation><object/></annotation>", "XML of <annotation>"),
        ('<!DOCTYPE a [<!ENTITY b "c">]><annotations>&b;</annotations>', "a document type"),
        ("<annotations>" + "<a>" * 100, "more than 64 levels"),
        ("<annotations/>", "no shapes"),
    ):
        _refused(tmp_path, content, problem, name="mask.xml")


def test_elements_of_xml_are_limited(tmp_path, monkeypatch):
    monkeypatch.setattr(cvat, "MAX_ELEMENTS", 10)
    text = "<annotations>" + "<a/>" * 10 + "</annotations>"
    _refused(tmp_path, text, "more than 10 elements", name="mask.xml")


# YOLO.


def test_labels_of_yolo(tmp_path):
    def line(kind, points):
        values = [f"{value / (8, 6)[index % 2]:.6f}" for index, value in enumerate(points)]
        return f"{kind} {' '.join(values)}\n"

    text = line(0, FIRST) + line(3, SECOND)
    mask, notes = _read(tmp_path, text, "00000.txt", size=SIZE)
    assert (mask == _boxes(1, 4)).all() and notes == ["ids: class 0 is 1, class 3 is 4"]
    mask, notes = _read(tmp_path, line(5, FIRST) + line(5, SECOND), "00000.txt", size=SIZE)
    assert (mask == _boxes()).all()
    assert notes == ["ids: class 5 (line 1) is 1, class 5 (line 2) is 2"]
    assert not _read(tmp_path, "", "00000.txt", size=SIZE)[0].any()
    _refused(tmp_path, text, "Give the frame with it", name="00000.txt")


def test_wrong_files_of_yolo_are_refused(tmp_path):
    for text, problem in (
        ("0 .1 .2 .3 .4", "line 1 is a box"),
        ("0 .1 .2 .3 .4 .5 .6 .7", "line 1 has 8 values"),
        ("0 10 20 30 40 50 60", "not from 0 to 1"),
        ("0 nan 0 1 0 1 1", "not from 0 to 1"),
        ("0 .1 .2 .3 .4 .5 x", "could not convert"),
        ("hello", "A mask is read from a picture, JSON of labelme, COCO"),
    ):
        _refused(tmp_path, text, problem, name="00000.txt", size=SIZE)


# Label Studio.


def _task(*regions, image="/data/upload/1/a1b2c3d4-00000.jpg"):
    return {"id": 1, "data": {"image": image}, "annotations": [{"id": 2, "result": list(regions)}]}


def _region(value, number=1, **more):
    return {
        "id": f"r{number}", "type": "polygonlabels", "from_name": "label", "to_name": "image",
        "original_width": 8, "original_height": 6, "image_rotation": 0, "value": value, **more,
    }  # fmt: skip


def _percent(points):
    return [[x / 8 * 100, y / 6 * 100] for x, y in zip(points[::2], points[1::2], strict=True)]


def test_polygons_and_brushes_of_label_studio(tmp_path):
    (_, runs), (_, second) = object_runs(_boxes(), by_column=False)
    polygon = _region({"points": _percent(FIRST), "closed": True, "polygonlabels": ["car"]})
    brush = _region({"format": "rle", "rle": encode_brush(second), "brushlabels": ["person"]}, 2)
    mask, notes = _read(tmp_path, [_task(polygon, brush)])
    assert (mask == _boxes()).all() and notes == ["ids: car is 1, person is 2"]
    for value in (polygon["value"], {"format": "rle", "rle": encode_brush(runs)}):
        assert (_read(tmp_path, _task(_region(value)))[0] == _boxes(1, 0)).all()
    box = {"x": 12.5, "y": 100 / 3, "width": 25, "height": 50, "rotation": 0}
    assert (_read(tmp_path, [_task(_region(box))])[0] == _boxes(1, 0)).all()
    numbered = _region({"points": _percent(FIRST), "polygonlabels": ["6"]})
    assert (_read(tmp_path, [_task(numbered)])[0] == _boxes(6, 0)).all()


def test_labels_apart_from_shapes_of_label_studio(tmp_path):
    points = {"points": _percent(FIRST)}
    shape, label = _region(points), _region({**points, "labels": ["car"]})
    mask, notes = _read(tmp_path, [_task(shape, label)])
    assert (mask == _boxes(1, 0)).all() and not notes


def test_other_forms_of_label_studio(tmp_path):
    region = {"points": _percent(FIRST), "polygonlabels": ["car"], "original_width": 8,
              "original_height": 6}  # fmt: skip
    short = [{"image": "/data/a/00000.jpg", "id": 1, "label": [region], "annotation_id": 3}]
    assert (_read(tmp_path, short)[0] == _boxes(1, 0)).all()
    alone = {"result": [_region({"points": _percent(FIRST)})]}
    assert (_read(tmp_path, alone)[0] == _boxes(1, 0)).all()


def test_the_task_of_the_frame_is_taken(tmp_path):
    first, second = (_region({"points": _percent(points)}) for points in (FIRST, SECOND))
    tasks = [
        _task(first, image="https://host/a/b1b2c3d4-00000.jpg?d=1"), _task(image="00004.jpg"),
        _task(second, image="s3://b/00008.jpg"),
    ]  # fmt: skip
    assert (_read(tmp_path, tasks, frame="00000")[0] == _boxes(1, 0)).all()
    assert (_read(tmp_path, tasks, frame="00008")[0] == _boxes(0, 1)).all()
    assert not _read(tmp_path, tasks, frame="00004", size=SIZE)[0].any()
    _refused(tmp_path, tasks, "2 tasks: 00000, 00008")


def test_wrong_files_of_label_studio_are_refused(tmp_path):
    points = {"points": _percent(FIRST)}
    _refused(tmp_path, [_task(_region(points, image_rotation=90))], "rotated by 90 degrees")
    two = _task(_region(points))
    two["annotations"] *= 2
    _refused(tmp_path, [two], "has one annotation; met: 2")
    two["annotations"][1] = two["annotations"][1] | {"was_cancelled": True}
    assert (_read(tmp_path, [two])[0] == _boxes(1, 0)).all()
    _refused(tmp_path, [_task(_region({"choices": ["good"]}))], "regions of other kinds")
    rle = encode_brush(np.array([0, 48]))
    for value, problem in (
        (rle[:-1], "too few bytes"),
        (rle[:4] + [0] + rle[5:], "RGBA"),
        ([255] * 20, "RGBA"),
        ([0.5], "region r1"),
        ([300], "region r1"),
        ([], "region r1"),
        (None, "region r1"),
        ("abc", "region r1"),
    ):
        _refused(tmp_path, [_task(_region({"format": "rle", "rle": value}))], problem)


# NumPy.


def _save(tmp_path, array, name="mask.npy", **arrays):
    path = tmp_path / name
    if name.endswith(".npz"):
        np.savez_compressed(path, **arrays)
    else:
        np.save(path, array)
    return path


def _areas(*values, dtype):
    """Makes an array with an area of 8x8 pixels of every value."""
    return np.kron(np.array([values]), np.ones((8, 8))).astype(dtype)


@pytest.mark.parametrize(
    ("values", "expected", "note"),
    [
        (_areas(0, 1, dtype=bool), [0, 1], None),
        (_areas(0, 1, dtype=np.uint8), [0, 1], None),
        (_areas(0, 255, dtype=np.uint8), [0, 1], None),
        (_areas(0, 1, 2, 255, dtype=np.uint8), [0, 1, 2, 255], "255 beside the ids 1, 2 is void"),
        (_areas(0, 255, dtype=np.int64), [0, 1], None),
        (_areas(0, 3, 200, 255, dtype=np.int64), [0, 3, 200, 255], None),
        (_areas(0, 3, 200, dtype=np.int16), [0, 3, 200], None),
        (_areas(0, 256, 257, dtype=np.uint16), [0, 1, 2], "256 is 1, 257 is 2"),
        (_areas(0, 26000, 26001, dtype=np.int32), [0, 1, 2], "26000 is 1, 26001 is 2"),
        (_areas(0, 1, dtype=np.float32), [0, 1], None),
        (_areas(0, 1, 2, dtype=np.float64), [0, 1, 2], None),
        (_areas(0, 0.2, 0.5, 0.9, 1, dtype=np.float32), [0, 0, 0, 1, 1], "above .5 are taken"),
        (_areas(0, 1, dtype=np.uint8)[None], [0, 1], None),
        (_areas(0, 1, dtype=np.uint8)[..., None], [0, 1], None),
        (np.asfortranarray(_areas(0, 1, dtype=np.uint8)), [0, 1], None),
    ],
)
def test_arrays_of_every_kind(tmp_path, values, expected, note):
    mask, notes = read_annotation(_save(tmp_path, values))
    assert (mask == _areas(*expected, dtype=np.uint8)).all() and mask.dtype == np.uint8
    assert notes == [] if note is None else note in notes[0]


def test_levels_of_8_bits_may_be_brightness(tmp_path):
    path = _save(tmp_path, _areas(0, 85, 170, dtype=np.uint8))
    with pytest.raises(InputError, match="unambiguous.*85, 170.*--mask-format"):
        read_annotation(path)
    mask, _ = read_annotation(path, mask_format="ids")
    assert (mask == _areas(0, 85, 170, dtype=np.uint8)).all()
    y, x = np.mgrid[:64, :64] - 31.5
    soft = (255 * np.clip(20.5 - np.hypot(y, x), 0, 1)).astype(np.uint8)
    mask, notes = read_annotation(_save(tmp_path, soft))
    assert (mask == (soft > 127)).all() and "above one half" in notes[0]


@pytest.mark.parametrize(
    ("values", "problem"),
    [
        (np.zeros((3, 4, 5)), "the shape [3, 4, 5]"),
        (np.zeros(4), "the shape [4]"),
        (np.zeros((0, 4)), "the shape [0, 4]"),
        (np.array([[-1, 1]]), "values from -1 to 1"),
        (np.array([[np.nan, 1]]), "values from nan"),
        (np.array([[1, np.inf]]), "values from 1 to inf"),
        (np.array([[0, 2**40]]), "values from 0 to 1.09951e+12"),
        (np.array([[0.5, 2]]), "fractions up to 2"),
        (np.arange(400).reshape(20, 20), "at most 254 objects; met: 399"),
        (np.array([[1j]]), "dtype complex128"),
        (np.array([["a"]]), "dtype <U1"),
        (np.array([[{}]]), "dtype object"),
    ],
)
def test_wrong_arrays_are_refused(tmp_path, values, problem):
    with pytest.raises(InputError) as caught:
        read_annotation(_save(tmp_path, values))
    assert problem in str(caught.value)


def test_an_archive_has_an_array_or_that_of_the_frame(tmp_path):
    one = _save(tmp_path, None, "a.npz", arr_0=_boxes())
    assert (read_annotation(one, frame="00007")[0] == _boxes()).all()
    arrays = {"00000": _boxes(), "00001": _boxes(0, 2)}
    two = _save(tmp_path, None, "b.npz", **arrays)
    assert (read_annotation(two, frame="00001")[0] == _boxes(0, 2)).all()
    with pytest.raises(InputError, match="2 arrays: 00000, 00001"):
        read_annotation(two)


# All formats.


def test_a_file_of_no_format_names_those_that_are(tmp_path):
    for content, name in (
        (b"\x00\x01\x02", "mask.bin"), ({"_via_img_metadata": {}}, "via.json"), ([1, 2], "a.json"),
    ):  # fmt: skip
        text = _refused(tmp_path, content, name=name)
        assert "a picture, JSON of labelme, COCO or Label Studio, XML of CVAT" in text


def test_labelme_is_read_too(tmp_path):
    points = np.array(FIRST).reshape(-1, 2).tolist()
    content = {"imageHeight": 6, "imageWidth": 8,
               "shapes": [{"label": "car", "shape_type": "polygon", "points": points}]}  # fmt: skip
    assert (_read(tmp_path, content)[0] == _boxes(1, 0)).all()


def test_the_size_is_checked_before_the_mask_is_made(tmp_path):
    def check(size):
        seen.append(size)

    (_, runs), _ = object_runs(_boxes(), by_column=True)
    for content, name in (
        (_coco({"segmentation": [FIRST]}), "a.json"),
        ({"size": [6, 8], "counts": runs.tolist()}, "b.json"),
        (_images(_polygon()), "c.xml"),
        (_task(_region({"points": _percent(FIRST)})), "d.json"),
        (_save(tmp_path, _boxes()).read_bytes(), "e.npy"),
        (_save(tmp_path, None, "x.npz", a=_boxes()).read_bytes(), "f.npz"),
    ):
        seen = []
        _read(tmp_path, content, name, check_size=check)
        assert seen == [SIZE], name


def test_limits_of_shapes(tmp_path, monkeypatch):
    monkeypatch.setattr(common, "MAX_SHAPES", 1)
    content = _coco({"segmentation": [FIRST]}, {"segmentation": [SECOND]})
    _refused(tmp_path, content, "at most 1 shapes")
    monkeypatch.setattr(common, "MAX_SHAPES", 10)
    monkeypatch.setattr(common, "MAX_AREA", 10)
    _refused(tmp_path, content, "annotation 71: more than 10 pixels")
    many = _coco(*[{"segmentation": [FIRST]}] * 255)
    monkeypatch.setattr(common, "MAX_SHAPES", 300)
    _refused(tmp_path, many, "at most 254 objects")
    monkeypatch.setattr(label_studio, "BrushDecoder", lambda: BrushDecoder(1))
    (_, runs), _ = object_runs(_boxes(), by_column=False)
    brush = _region({"format": "rle", "rle": encode_brush(runs)})
    _refused(tmp_path, [_task(brush)], "more than 1 packets")


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="no named pipes")
def test_a_pipe_is_not_waited_for(tmp_path):
    os.mkfifo(tmp_path / "mask.xml")
    with pytest.raises(InputError, match="regular file"):
        read_annotation(tmp_path / "mask.xml")
    with pytest.raises(InputError, match="no such file"):
        read_annotation(tmp_path / "absent.json")


def test_strings_are_those_of_pycocotools():
    tools = pytest.importorskip("pycocotools.mask")
    rng = np.random.default_rng(2)
    for density in (0.001, 0.1, 0.5, 0.9, 1.0):
        area = rng.random((37, 53)) < density
        area[3, 4] = True
        ((_, counts),) = object_runs(area.astype(np.uint8), by_column=True)
        packed = tools.encode(np.asfortranarray(area, np.uint8))["counts"].decode()
        assert encode_string(counts.tolist()) == packed
        assert decode_string(packed).tolist() == counts.tolist()
        rows, columns, part = decode_runs(decode_string(packed), area.shape)
        again = np.zeros_like(area)
        again[rows, columns] = part
        assert (again == area).all()


def test_brushes_have_repeated_values_and_others():
    image = np.zeros((4, 5, 4), np.uint8)
    image[1:3, 2:4] = (10, 200, 30, 255)
    bits = [f"{image.size:032b}", f"{7:05b}", *(f"{width - 1:04b}" for width in (3, 4, 8, 16))]
    for start in range(0, image.size, 16):  # literal packets, then repeated ones of the rest
        values = image.ravel()[start : start + 16]
        repeated = len(set(values.tolist())) == 1
        bits.append(f"{repeated:b}01{len(values) - 1:04b}")
        bits += [f"{value:08b}" for value in (values[:1] if repeated else values)]
    text = "".join(bits)
    text += "0" * (-len(text) % 8)
    data = [int(text[index : index + 8], 2) for index in range(0, len(text), 8)]
    _, _, area = BrushDecoder().decode(data, (4, 5))
    assert (area == (image[..., 3] > 0)).all()
