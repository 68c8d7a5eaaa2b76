"""Every value of an annotation file is replaced by odd ones: it is read, or refused with words."""

import copy
import json

import numpy as np
import pytest

from deeplab_gygo.errors import InputError
from deeplab_gygo.io.annotations import AnnotationWriter, read_annotation

SIZE = (6, 8)
ODD = [None, True, -1, 0, 2**70, 1.5, "", "x", "\ud800", [], {}, [[]], [None], {"a": 1}, "9" * 5000]
POINTS = [[20, 20], [60, 20], [40, 80]]


def _written(kind, folder):
    mask = np.zeros(SIZE, np.uint8)
    mask[1:3, 1:4], mask[4, 4:7] = 1, 2
    clip = {"clip": "a", "size": SIZE, "frame_names": ["00000"], "object_ids": [1, 2]}
    with AnnotationWriter(kind, folder, **clip) as writer:
        writer.write("00000", mask)
    return json.loads((folder / writer.files[-1]).read_text())


def _contents(folder):
    region = {"original_width": 8, "original_height": 6, "image_rotation": 0, "id": "r"}
    polygon = {"points": POINTS, "polygonlabels": ["a"]}
    box = {"x": 10, "y": 10, "width": 50, "height": 50, "rotation": 0}
    image = {"id": 1, "file_name": "00000.jpg", "height": 6, "width": 8}
    part = [1.5, 1, 7, 1, 4, 5]
    return {
        "coco": _written("coco", folder / "coco"),
        "polygons": {
            "images": [image, image | {"id": 2, "file_name": "00001.jpg"}],
            "categories": [{"id": 1, "name": "a"}],
            "annotations": [{"id": 1, "image_id": 1, "category_id": 1, "segmentation": [part]}],
        },
        "results": [{"image_id": 1, "attributes": {"track_id": 3}, "segmentation": [part, part]}],
        "label-studio": _written("label-studio", folder / "label-studio"),
        "regions": [
            {
                "data": {"image": "00000.jpg"},
                "annotations": [
                    {"result": [region | {"value": polygon}, region | {"id": "s", "value": box}]}
                ],
            }
        ],
        "minimal": [{"image": "00000.jpg", "label": [region | polygon]}],
    }


def _places(content, place=()):
    """Yields the keys of every value below a value; of a long list the first ones."""
    if isinstance(content, (dict, list)):
        pairs = content.items() if isinstance(content, dict) else enumerate(content[:8])
        for key, value in list(pairs):
            yield (*place, key)
            yield from _places(value, (*place, key))


@pytest.mark.parametrize(
    "name", ["coco", "polygons", "results", "label-studio", "regions", "minimal"]
)
@pytest.mark.parametrize("frame", [None, "00000"])
def test_odd_values_are_read_or_refused(tmp_path, name, frame):
    content, path = _contents(tmp_path)[name], tmp_path / "a.json"
    path.write_text(json.dumps(content))
    assert read_annotation(path, size=SIZE, frame="00000")[0].any()
    for place in _places(content):
        for odd in ODD:
            changed = copy.deepcopy(content)
            *above, last = place
            parent = changed
            for key in above:
                parent = parent[key]
            parent[last] = odd
            path.write_text(json.dumps(changed))
            try:
                mask, notes = read_annotation(path, size=SIZE, frame=frame)
            except InputError as error:
                assert str(path) in str(error)
                continue
            assert mask.ndim == 2 and mask.dtype == np.uint8, place
            assert all(isinstance(note, str) for note in notes)
