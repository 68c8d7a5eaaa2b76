"""What is written in every format, and that it is read again as it was."""

import json
import tracemalloc
import zipfile
from pathlib import Path

import numpy as np
import pytest
import yaml
from PIL import Image

from deeplab_gygo.errors import UsageError
from deeplab_gygo.io.annotations import (
    ANNOTATION_KINDS,
    DATASET_KINDS,
    AnnotationWriter,
    ClipNames,
    DatasetWriter,
    annotation_files,
    read_annotation,
)
from deeplab_gygo.io.masks import read_mask

SIZE = (23, 31)


def _masks():
    """Masks of a clip: parts, holes, pixels that touch at corners, borders, objects that leave."""
    rng = np.random.default_rng(5)
    masks = np.zeros((6, *SIZE), np.uint8)
    masks[0, 2:9, 3:12], masks[0, 4:6, 5:8] = 1, 0  # a hole
    masks[0, 12:20, 20:], masks[0, 15, 15] = 1, 7  # a part, and an object of one pixel
    masks[0, 5, 6] = 9  # in the hole
    masks[1, 0, 0] = masks[1, 1, 1] = masks[1, -1, -1] = 7  # 1 and 9 left
    masks[3] = 9  # nothing else; frame 2 is empty
    masks[4] = rng.choice([0, 1, 7, 9], SIZE)
    masks[5, :, 4:6] = 1  # from border to border
    return masks


NAMES = ["00000", "00001", "00002", "frame 3", "0004.a", "x5"]
IDS = [1, 7, 9]


def _write(kind, folder, masks, names, ids):
    clip = {"clip": "shoe", "size": masks.shape[1:], "frame_names": names, "object_ids": ids}
    with AnnotationWriter(kind, folder, **clip) as writer:
        for name, mask in zip(names, masks, strict=True):
            writer.write(name, mask)
    return writer.files


def _read(kind, folder, name, size):
    """Reads a mask as a user does, from the file that holds the frame."""
    place = {
        "coco": "annotations.json", "cvat": "annotations.xml", "yolo": f"labels/{name}.txt",
        "labelme": f"{name}.json", "label-studio": "tasks.json", "npz": "masks.npz",
        "davis": f"Annotations/480p/shoe/{name}.png", "youtube-vos": f"Annotations/shoe/{name}.png",
        "davis-results": f"shoe/{name}.png",
    }[kind]  # fmt: skip
    if place.endswith(".png"):
        return read_mask(folder / place, mask_format="ids")
    return read_annotation(folder / place, size=size, frame=name)[0]


@pytest.mark.parametrize("kind", ANNOTATION_KINDS)
def test_a_mask_is_read_as_it_was_written(tmp_path, kind):
    masks = _masks()
    files = _write(kind, tmp_path, masks, NAMES, IDS)
    assert files == annotation_files(kind, "shoe", NAMES, IDS)
    written = sorted(p.relative_to(tmp_path).as_posix() for p in tmp_path.rglob("*.*"))
    assert sorted(files) == written
    for name, mask in zip(NAMES, masks, strict=True):
        assert (_read(kind, tmp_path, name, SIZE) == mask).all(), name


@pytest.mark.parametrize("kind", ANNOTATION_KINDS)
def test_all_ids_of_a_mask_are_kept(tmp_path, kind):
    masks = np.zeros((1, 16, 32), np.uint8)
    masks.ravel()[1:509:2] = np.arange(1, 255)
    ids = list(range(1, 255))
    _write(kind, tmp_path, masks, ["00000"], ids)
    assert (_read(kind, tmp_path, "00000", (16, 32)) == masks[0]).all()


@pytest.mark.parametrize("kind", ANNOTATION_KINDS)
def test_void_and_other_ids_are_background(tmp_path, kind):
    masks = np.zeros((1, *SIZE), np.uint8)
    masks[0, 2:5, 2:5], masks[0, 8:12, 2:5], masks[0, 15:18, 2:5] = 2, 3, 255
    _write(kind, tmp_path, masks, ["00000"], [2])
    assert (_read(kind, tmp_path, "00000", SIZE) == np.where(masks[0] == 2, 2, 0)).all()


@pytest.mark.parametrize("kind", ANNOTATION_KINDS)
def test_the_same_masks_give_the_same_files(tmp_path, kind):
    for folder in ("a", "b"):
        files = _write(kind, tmp_path / folder, _masks(), NAMES, IDS)
    for file in files:
        assert (tmp_path / "a" / file).read_bytes() == (tmp_path / "b" / file).read_bytes()


@pytest.mark.parametrize("kind", [kind for kind in ANNOTATION_KINDS if kind != "npz"])
def test_memory_is_flat_in_the_length_of_a_clip(tmp_path, kind):
    mask = np.zeros((90, 120), np.uint8)
    mask[20:60, 30:70] = 1
    peaks = []
    for count in (20, 20, 200):  # the first warms up
        names = [f"{index:05d}" for index in range(count)]
        clip = {"clip": "a", "size": (90, 120), "frame_names": names, "object_ids": [1]}
        tracemalloc.start()
        with AnnotationWriter(kind, tmp_path / str(count), **clip) as writer:
            for name in names:
                writer.write(name, mask)
        peaks.append(tracemalloc.get_traced_memory()[1])
        tracemalloc.stop()
    assert peaks[2] < peaks[1] + 180 * 1000  # a name and its number, less than a mask


def test_coco_is_read_by_pycocotools(tmp_path, capsys):
    coco_tools = pytest.importorskip("pycocotools.coco")
    masks = _masks()
    _write("coco", tmp_path, masks, NAMES, IDS)
    coco = coco_tools.COCO(tmp_path / "annotations.json")
    for image_id, image in coco.imgs.items():
        mask = np.zeros(SIZE, np.uint8)
        for item in coco.imgToAnns[image_id]:
            area = coco.annToMask(item)
            assert item["area"] == area.sum()
            y, x = np.nonzero(area)
            box = [x.min(), y.min(), x.max() - x.min() + 1, y.max() - y.min() + 1]
            assert item["bbox"] == box
            mask[area > 0] = item["track_id"]
        assert (mask == masks[image_id - 1]).all()
        assert image["file_name"] == f"{NAMES[image_id - 1]}.jpg"
    assert [kind["name"] for kind in coco.cats.values()] == ["object"]


@pytest.mark.parametrize("kind", DATASET_KINDS)
def test_a_dataset_holds_clips_of_several_sizes(tmp_path, kind):
    masks = _masks()
    clips = [
        ClipNames("shoe", SIZE, NAMES, IDS),
        ClipNames("bag", SIZE[::-1], NAMES[:2], [1]),
    ]
    with DatasetWriter(kind, tmp_path, clips) as writer:
        for name, mask in zip(NAMES, masks, strict=True):
            writer.write("shoe", name, mask)
        for name in NAMES[:2]:
            writer.write("bag", name, masks[5].T.copy())
    written = sorted(p.relative_to(tmp_path).as_posix() for p in tmp_path.rglob("*.*"))
    assert writer.files == written
    if kind == "coco":
        content = json.loads((tmp_path / "annotations.json").read_text())
        names = [image["file_name"] for image in content["images"]]
        assert names[0] == "shoe/00000.jpg" and names[-1] == "bag/00001.jpg"
        last = content["annotations"][-1]
        assert last["image_id"] == 8 and last["segmentation"]["size"] == [31, 23]
        assert len({item["id"] for item in content["annotations"]}) == len(content["annotations"])
    if kind == "davis":
        assert (tmp_path / "ImageSets/2017/val.txt").read_text() == "shoe\nbag\n"
    if kind == "youtube-vos":
        meta = json.loads((tmp_path / "meta.json").read_text())["videos"]
        assert meta["shoe"]["objects"]["7"]["frames"] == ["00000", "00001", "0004.a"]
        assert meta["bag"]["objects"] == {"1": {"category": "object", "frames": ["00000", "00001"]}}


def test_trees_have_the_palette_of_davis(tmp_path):
    _write("davis-results", tmp_path, _masks(), NAMES, IDS)
    picture = Image.open(tmp_path / "shoe" / "00000.png")
    assert picture.mode == "P" and picture.getpalette()[:6] == [0, 0, 0, 128, 0, 0]


def test_yolo_describes_its_classes(tmp_path):
    _write("yolo", tmp_path, _masks(), NAMES, [1, 3])
    description = yaml.safe_load((tmp_path / "data.yaml").read_text())
    assert description["names"] == {0: "object 1", 1: "object 2", 2: "object 3"}
    assert (tmp_path / "labels" / "00002.txt").read_text() == ""


def test_an_archive_is_one_of_numpy(tmp_path):
    masks = _masks()
    _write("npz", tmp_path, masks, NAMES, IDS)
    with np.load(tmp_path / "masks.npz") as archive:
        assert archive.files == NAMES
        assert all((archive[name] == mask).all() for name, mask in zip(NAMES, masks, strict=True))
    assert zipfile.ZipFile(tmp_path / "masks.npz").testzip() is None


def test_wrong_use_is_refused(tmp_path):
    clip = {"clip": "a", "size": SIZE, "frame_names": ["0"], "object_ids": [1]}
    with pytest.raises(UsageError, match="An annotation format is one of coco, .*; met: voc"):
        AnnotationWriter("voc", tmp_path, **clip)
    with pytest.raises(UsageError, match=r"A mask is uint8 \[23, 31\]; met: uint8 \[3, 3\]"):
        AnnotationWriter("npz", tmp_path, **clip).write("0", np.zeros((3, 3), np.uint8))
    with pytest.raises(UsageError, match="no control characters.*coco"):
        AnnotationWriter("cvat", tmp_path, **clip | {"frame_names": ["a\x01"]})
    two = [ClipNames("a", SIZE, ["0"], [1]), ClipNames("b", SIZE, ["0"], [1])]
    with pytest.raises(UsageError, match="A format of several clips is one of coco, davis"):
        DatasetWriter("cvat", tmp_path, two)


def test_names_are_escaped(tmp_path):
    names = ['a&b"<c>', "ü★"]
    masks = _masks()[:2]
    for kind in ("coco", "cvat", "label-studio"):
        _write(kind, tmp_path / kind, masks, names, IDS)
        for name, mask in zip(names, masks, strict=True):
            assert (_read(kind, tmp_path / kind, name, SIZE) == mask).all()


def test_a_broken_writer_leaves_no_open_file(tmp_path):
    clip = {"clip": "a", "size": SIZE, "frame_names": ["0"], "object_ids": [1]}
    with pytest.raises(RuntimeError), AnnotationWriter("coco", tmp_path, **clip) as writer:
        raise RuntimeError
    assert writer.files == ["annotations.json"]
    assert Path(tmp_path / "annotations.json").read_text().endswith("[")
