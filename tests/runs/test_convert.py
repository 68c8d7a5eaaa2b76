"""Results in the formats of annotation tools and benchmarks."""

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from deeplab_gygo.cli.main import main
from deeplab_gygo.errors import InputError, UsageError
from deeplab_gygo.io.annotations import ANNOTATION_KINDS, DATASET_KINDS, read_annotation
from deeplab_gygo.io.masks import read_mask, write_mask
from deeplab_gygo.runs.convert import LIST_NAME, convert
from deeplab_gygo.runs.progress_displays import NoProgress
from deeplab_gygo.runs.run_record import RunRecord

SIZE = (24, 32)
HASHES = dict.fromkeys(("input", "mask", "weights"), "0" * 64)


def _masks(count=3):
    masks = np.zeros((count, *SIZE), np.uint8)
    for index, mask in enumerate(masks):
        mask[4:10, 2 + index : 9 + index] = 1
        mask[15:20, 20:25] = 3 * (index > 0)  # joins later
    return masks


def _result(folder, masks=None, names=None, **values):
    """Makes the folder of a result."""
    masks = _masks() if masks is None else masks
    names = names or [f"{index:05d}" for index in range(len(masks))]
    for name, mask in zip(names, masks, strict=True):
        write_mask(folder / "masks" / f"{name}.png", mask)
    (folder / "overlay.mp4").write_bytes(b"a video")
    RunRecord(
        {}, 0, HASHES, name="shoe", masks=len(masks), outputs=["masks", "overlay"], **values
    ).write(folder)
    return masks


def _files(folder):
    return sorted(p.relative_to(folder).as_posix() for p in folder.rglob("*") if p.is_file())


@pytest.mark.parametrize("kind", ANNOTATION_KINDS)
def test_a_clip_is_converted(tmp_path, kind):
    _result(tmp_path / "res")
    files = convert(tmp_path / "res", kind, tmp_path / "out")
    assert sorted([LIST_NAME, *(p.relative_to(tmp_path / "out").as_posix() for p in files)]) == (
        _files(tmp_path / "out")
    )
    assert _files(tmp_path) == sorted(
        [f"out/{name}" for name in _files(tmp_path / "out")]
        + [f"res/{name}" for name in _files(tmp_path / "res")]
    )


def test_masks_are_those_of_the_result(tmp_path):
    masks = _result(tmp_path / "res")
    convert(tmp_path / "res", "coco", tmp_path / "coco")
    convert(tmp_path / "res", "davis-results", tmp_path / "davis")
    for index, mask in enumerate(masks):
        path, name = tmp_path / "coco" / "annotations.json", f"{index:05d}"
        assert (read_annotation(path, frame=name)[0] == mask).all()
        picture = Image.open(tmp_path / "davis" / "shoe" / f"{name}.png")
        assert (np.array(picture) == mask).all()  # as evaluation tools read it


def test_frames_are_in_natural_order(tmp_path):
    names = ["f2", "f10", "f1"]
    _result(tmp_path / "res", names=names)
    convert(tmp_path / "res", "coco", tmp_path / "out")
    images = json.loads((tmp_path / "out" / "annotations.json").read_text())["images"]
    assert [image["file_name"] for image in images] == ["f1.jpg", "f2.jpg", "f10.jpg"]


def test_pictures_have_the_suffix_of_the_frames(tmp_path):
    (tmp_path / "frames").mkdir()
    (tmp_path / "frames" / "00000.PNG").write_bytes(b"")
    _result(tmp_path / "res", source=str(tmp_path / "frames"))
    convert(tmp_path / "res", "labelme", tmp_path / "out")
    assert json.loads((tmp_path / "out" / "00002.json").read_text())["imagePath"] == "00002.PNG"


@pytest.mark.parametrize("kind", ANNOTATION_KINDS)
def test_a_batch_is_a_dataset_or_a_folder_per_clip(tmp_path, kind):
    clips = {"bag": _masks(2), "shoes/red": _masks(3).transpose(0, 2, 1).copy()}
    for name, masks in clips.items():
        _result(tmp_path / "batch" / name, masks)
    (tmp_path / "batch" / "summary.json").write_text("{}")
    _result(tmp_path / "batch" / "hat.partial")
    convert(tmp_path / "batch", kind, tmp_path / "out")
    files = _files(tmp_path / "out")
    if kind in DATASET_KINDS:
        place = {"davis": "Annotations/480p/", "youtube-vos": "Annotations/"}.get(kind, "")
        if kind != "coco":
            for clip, masks in clips.items():
                for index, mask in enumerate(masks):
                    path = tmp_path / "out" / f"{place}{clip}" / f"{index:05d}.png"
                    assert (read_mask(path, mask_format="ids") == mask).all()
            return
        content = json.loads((tmp_path / "out" / "annotations.json").read_text())
        assert [image["file_name"] for image in content["images"]] == [
            f"{clip}/{index:05d}.jpg"
            for clip, masks in clips.items()
            for index in range(len(masks))
        ]
    else:
        assert {name.rpartition("/")[0].removesuffix("/labels") for name in files} == {"", *clips}


def test_a_mask_corrected_by_hand_is_taken(tmp_path, caplog):
    masks = _result(tmp_path / "res")
    mended = np.where(masks[1] == 1, 255, 0).astype(np.uint8)
    Image.fromarray(mended).save(tmp_path / "res" / "masks" / "00001.png")
    with caplog.at_level("INFO", "deeplab_gygo"):
        convert(tmp_path / "res", "coco", tmp_path / "out")
    assert "1 masks were corrected by hand" in caplog.text
    mask, _ = read_annotation(tmp_path / "out" / "annotations.json", frame="00001")
    assert (mask == (masks[1] == 1)).all()


def test_what_is_no_result_is_refused(tmp_path):
    for place in ("absent", "empty"):
        with pytest.raises(InputError, match="A result is a folder with run.json and masks"):
            convert(tmp_path / place, "coco", tmp_path / "out")
        (tmp_path / "empty").mkdir(exist_ok=True)
    _result(tmp_path / "res")
    (tmp_path / "res" / "masks" / "00001.png").write_bytes(b"damaged")
    with pytest.raises(InputError, match="masks/00001.png.*Segment the clip again"):
        convert(tmp_path / "res", "coco", tmp_path / "out")
    shutil.rmtree(tmp_path / "res" / "masks")
    RunRecord({}, 0, HASHES, outputs=["overlay"]).write(tmp_path / "res")
    with pytest.raises(InputError, match="has masks; met: the outputs overlay.*--outputs"):
        convert(tmp_path / "res", "coco", tmp_path / "out")
    with pytest.raises(UsageError, match="A format is one of coco.*met: voc"):
        convert(tmp_path / "res", "voc", tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_only_an_earlier_conversion_is_replaced(tmp_path):
    _result(tmp_path / "res")
    out = tmp_path / "out"
    convert(tmp_path / "res", "labelme", out)
    with pytest.raises(UsageError, match="--overwrite"):
        convert(tmp_path / "res", "coco", out)
    convert(tmp_path / "res", "coco", out, overwrite=True)
    assert _files(out) == [LIST_NAME, "annotations.json"]
    (out / "notes.txt").write_text("mine")
    with pytest.raises(UsageError, match="notes.txt"):
        convert(tmp_path / "res", "coco", out, overwrite=True)
    (out / "notes.txt").unlink()
    (out / "annotations.json").write_text("corrected in a tool")
    with pytest.raises(UsageError, match="annotations.json"):
        convert(tmp_path / "res", "coco", out, overwrite=True)
    other = tmp_path / "other"
    other.mkdir()
    (other / "frame.jpg").write_bytes(b"")
    with pytest.raises(UsageError, match="is not replaced"):
        convert(tmp_path / "res", "coco", other, overwrite=True)


def test_an_error_leaves_nothing_behind(tmp_path):
    _result(tmp_path / "res")

    class Stop(NoProgress):
        def __init__(self, total):
            assert total == 3

        def update(self, done):
            if done == 2:
                raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        convert(tmp_path / "res", "yolo", tmp_path / "out", progress=Stop)
    assert [p.name for p in tmp_path.iterdir() if not p.name.startswith(".")] == ["res"]


def test_the_command(tmp_path, capsys, monkeypatch):
    monkeypatch.chdir(tmp_path)
    _result(Path("res"))
    assert main(["convert", "res", "--to", "npz", "--out", "out", "-q"]) == 0
    assert capsys.readouterr().out == "out: npz, 1 file\n"
    assert main(["convert", "res", "--to", "npz", "--out", "out", "-q"]) == 2
    assert main(["convert", "res", "--to", "npz", "--out", "out", "-q", "--overwrite"]) == 0
    assert main(["convert", "out", "--to", "npz", "--out", "out2", "-q"]) == 65
    assert main(["convert", "res", "--to", "voc", "--out", "out2", "-q"]) == 2
    assert "voc" in capsys.readouterr().err
