"""Masks of one frame or several: which frame each belongs to, and what they show."""

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from deeplab_gygo.datasets.registry import open_dataset
from deeplab_gygo.errors import InputError, UsageError
from deeplab_gygo.io.masks import write_mask
from deeplab_gygo.runs.clip import open_clip, open_dataset_clip

SIZE = (64, 96)


def _mask(left=20, value=255):
    mask = np.zeros(SIZE, np.uint8)
    mask[18:46, left : left + 24] = value
    return mask


def _write(path, mask):
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(mask).save(path)
    return str(path)


@pytest.fixture
def frames(tmp_path, make_clip):
    make_clip(tmp_path / "clip", 6)
    return tmp_path / "clip"


def test_a_mask_is_of_the_first_frame_or_of_the_named_one(tmp_path, frames):
    path = _write(tmp_path / "mask.png", _mask())
    assert list(open_clip(frames, path).annotations) == [0]
    assert list(open_clip(frames, [path], frame="00002").annotations) == [2]
    clip = open_clip(frames, [f"3={path}"])
    assert (list(clip.annotations), clip.start, clip.first_annotated) == ([3], 0, 3)
    assert str(clip.mask_source) == path


def test_several_masks_name_their_frames(tmp_path, frames):
    first, later = _write(tmp_path / "a.png", _mask()), _write(tmp_path / "b.png", _mask(30))
    clip = open_clip(frames, [first, f"00004={later}", f"2={later}"])
    assert list(clip.annotations) == [0, 2, 4]
    assert (clip.annotations[4].mask == (_mask(30) > 0)).all()
    clip = open_clip(frames, {0: _mask() > 0, "00003": later})
    assert list(clip.annotations) == [0, 3]


def test_masks_that_are_named_as_frames_belong_to_these(tmp_path, frames):
    paths = [_write(tmp_path / "fix" / f"0000{k}.png", _mask(20 + k)) for k in (1, 4)]
    assert list(open_clip(frames, paths).annotations) == [1, 4]
    assert list(open_clip(frames, tmp_path / "fix").annotations) == [1, 4]
    assert list(open_clip(frames, [str(tmp_path / "fix"), f"0={paths[0]}"]).annotations) == [
        0,
        1,
        4,
    ]
    other = _write(tmp_path / "other.png", _mask())
    with pytest.raises(UsageError, match="--mask FRAME=FILE"):
        open_clip(frames, [paths[0], other])


def test_a_single_mask_that_is_named_as_another_frame_is_warned_about(tmp_path, frames, caplog):
    path = _write(tmp_path / "00004.png", _mask())
    assert list(open_clip(frames, path).annotations) == [0]
    assert f"--mask 00004={path}" in caplog.text


def test_several_masks_of_one_frame_are_one_object_each(tmp_path, frames, caplog):
    car, person = _write(tmp_path / "car.png", _mask(10)), _write(tmp_path / "p.png", _mask(50))
    mask = open_clip(frames, [car, person]).mask
    assert (mask == np.where(_mask(10) > 0, 1, np.where(_mask(50) > 0, 2, 0))).all()
    mask = open_clip(frames, [f"2={car}", f"2={person}"]).annotations[2].mask
    assert set(np.unique(mask)) == {0, 1, 2}
    two = str(tmp_path / "two.png")
    write_mask(Path(two), _mask(10, 1) + _mask(50, 2))
    with pytest.raises(InputError, match="Of several masks.*shows one object"):
        open_clip(frames, [car, two])
    overlapping = _write(tmp_path / "o.png", _mask(20))
    open_clip(frames, [car, overlapping])
    assert "hides" in caplog.text


def test_a_name_with_an_equals_sign_is_a_file_where_it_exists(tmp_path, frames, monkeypatch):
    monkeypatch.chdir(tmp_path)
    _write(tmp_path / "3=x.png", _mask())
    assert list(open_clip(frames, ["3=x.png"]).annotations) == [0]


@pytest.mark.parametrize("given", [["9=mask.png"], ["name=mask.png"]])
def test_an_unknown_frame_is_refused(tmp_path, frames, monkeypatch, given):
    monkeypatch.chdir(tmp_path)
    _write(tmp_path / "mask.png", _mask())
    with pytest.raises(UsageError, match="A frame is a name from 00000 to 00005"):
        open_clip(frames, given)


def test_an_empty_mask_is_one_of_an_absent_object_beside_others(tmp_path, frames):
    empty = np.zeros(SIZE, np.uint8)
    clip = open_clip(frames, {0: empty, 2: _mask() > 0})
    assert list(clip.annotations) == [0, 2] and clip.object_ids == [1]
    with pytest.raises(InputError):
        open_clip(frames, {0: empty})


def test_a_mask_among_the_frames_is_no_frame(tmp_path, frames):
    clip = open_clip(frames, _write(frames / "first.png", _mask()))
    assert len(clip.sequence) == 6 and clip.mask.any()
    hashes = clip.hashes()
    elsewhere = open_clip(frames, {0: clip.mask}) if not (frames / "first.png").unlink() else None
    assert elsewhere.hashes() == hashes


def test_objects_that_join_later_are_taken_from_the_dataset(tmp_path, make_dataset):
    root = make_dataset(tmp_path / "data", {"bag": 6})
    (root / "ImageSets" / "2017").mkdir()
    (root / "ImageSets" / "2017" / "val.txt").write_text("bag\n")
    folder = root / "Annotations" / "480p" / "bag"
    for index, path in enumerate(sorted(folder.iterdir())):
        Image.fromarray(_mask(10, 1) + (_mask(60, 2) if index >= 3 else 0)).save(path)
    clip = open_dataset_clip(open_dataset("davis2017", root), "bag")
    assert list(clip.annotations) == [0, 3] and clip.object_ids == [1, 2]
    assert set(np.unique(clip.annotations[3].mask)) == {0, 2}
    assert (clip.start, clip.both_ways) == (0, False) and clip.truth is not None
