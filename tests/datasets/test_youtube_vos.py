"""YouTube-VOS and MOSE: splits are folders, objects join at later frames."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from material import write_frame, write_square

from deeplab_gygo.datasets.registry import open_dataset
from deeplab_gygo.datasets.verify import verify_dataset
from deeplab_gygo.errors import InputError
from deeplab_gygo.runs.plan import plan_dataset

ROWS = {"train": {"0a1b": (0, 5, 10)}, "valid": {"1c2d": (0, 10), "3e4f": (5,)}}


@pytest.fixture
def root(tmp_path) -> Path:
    """A set of frames 00000, 00005 and 00010; object 2 joins where the second mask is."""
    for split, sequences in ROWS.items():
        for name, annotated in sequences.items():
            place = tmp_path / "vos" / split
            for index in (0, 5, 10):
                write_frame(place / "JPEGImages" / name / f"{index:05d}.jpg", int(name, 16) + index)
            for position, index in enumerate(annotated):
                values = (0, 2) if split == "valid" and position else (1,)
                path = place / "Annotations" / name / f"{index:05d}.png"
                write_square(path, values, palette=True)
        (place / "meta.json").write_text(json.dumps({"videos": {}}))
    return tmp_path / "vos"


@pytest.mark.parametrize("kind", ["youtube-vos", "YouTubeVOS", "mose"])
def test_splits_are_folders_and_every_mask_is_an_annotation(root, kind):
    dataset = open_dataset(kind, root)
    assert dataset.multi_object and dataset.joining_objects and dataset.resolution == ""
    assert dataset.splits() == ["train", "valid"]
    assert dataset.names("valid") == dataset.names("val") == ["1c2d", "3e4f"]
    assert dataset.names_on_disk() == ["0a1b", "1c2d", "3e4f"]
    sequence = dataset.sequence("1c2d")
    assert sequence.frame_names == ["00000", "00005", "00010"]
    assert list(sequence.annotations) == [0, 2] and sequence.first_annotated == 0
    assert dataset.sequence("3e4f").first_annotated == 1
    assert set(np.unique(dataset.annotation("1c2d", 0))) == {0, 1}
    assert set(np.unique(dataset.annotation("1c2d", 2))) == {0, 2}


def test_the_root_may_be_one_split_or_above_all(root):
    assert open_dataset("youtube-vos", root / "valid").names("valid") == ["1c2d", "3e4f"]
    assert open_dataset("youtube-vos", root.parent).splits() == ["train", "valid"]


def test_a_list_is_a_split_too(root, tmp_path):
    (tmp_path / "mine.txt").write_text("3e4f\n0a1b\n")
    dataset = open_dataset("mose", root)
    assert dataset.names(tmp_path / "mine.txt") == ["3e4f", "0a1b"]
    (tmp_path / "other.txt").write_text("ghost\n")
    with pytest.raises(InputError, match="1 absent: ghost"):
        dataset.names(tmp_path / "other.txt")
    with pytest.raises(InputError, match="lists of mose there: train, valid"):
        dataset.names("test")


def test_a_split_is_planned_and_starts_at_its_first_mask(root):
    items = plan_dataset(open_dataset("youtube-vos", root), "valid")
    clips = [item.open() for item in items]
    assert [(clip.sequence.name, clip.start) for clip in clips] == [("1c2d", 0), ("3e4f", 1)]


def test_sequences_of_all_frames_are_no_second_split(root):
    for split in ("valid_all_frames", "extra"):
        write_frame(root / split / "JPEGImages" / "1c2d" / "00000.jpg", 0)
        if split == "extra":
            with pytest.raises(InputError, match=r"in one split; met: 1c2d in \w+ and in"):
                open_dataset("mose", root).sequence("1c2d")
        else:
            assert open_dataset("mose", root).splits() == ["train", "valid"]
            assert open_dataset("mose", root / split).names(split) == ["1c2d"]


@pytest.mark.parametrize("kind", ["gygo", "davis2016", "davis2017"])
@pytest.mark.parametrize(("place", "resolution"), [("", "480p"), ("valid", "480p"), ("valid", ".")])
def test_other_readers_say_what_to_open_it_as(root, kind, place, resolution):
    with pytest.raises(InputError, match="Open it as youtube-vos or mose"):
        open_dataset(kind, root / place, resolution).list_file("val")


def test_a_set_of_another_layout_is_refused(build_set):
    root = build_set({"bear": 2}, {"2017/val.txt": "bear\n"})
    with pytest.raises(InputError, match="Open it as davis2016, davis2017 or gygo"):
        open_dataset("youtube-vos", root)
    for place in ("absent", "JPEGImages/480p/bear/00000.jpg", "ImageSets"):
        with pytest.raises(InputError, match="youtube-vos"):
            open_dataset("youtube-vos", root / place)


def test_masks_of_some_frames_are_no_problem_but_none_is(root):
    report = verify_dataset(open_dataset("youtube-vos", root))
    assert report.ok and (report.sequences, report.frames, report.masks) == (3, 9, 6)
    assert "youtube-vos in" in report.summary()
    (root / "valid/Annotations/3e4f/00005.png").unlink()
    (root / "train/Annotations/0a1b/00010.png").unlink()
    report = verify_dataset(open_dataset("youtube-vos", root))
    rules = {(p.sequence, p.rule) for p in report.problems if p.severity == "error"}
    assert rules == {
        ("3e4f", "The first frame has a mask"),
        ("0a1b", "Every frame has a mask of its name"),
    }
