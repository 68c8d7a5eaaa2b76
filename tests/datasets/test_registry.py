"""Readers of GyGO, DAVIS-2016 and DAVIS-2017, in every published layout."""

from __future__ import annotations

import errno
import os
import time

import numpy as np
import pytest
from PIL import Image

from deeplab_gygo.datasets.layout import read_split_list
from deeplab_gygo.datasets.registry import Davis2016, Davis2017, Gygo, open_dataset
from deeplab_gygo.errors import InputError, UsageError

GYGO = {"batch-00001/toy": 3, "batch-00001/shoe": 2, "batch-00002/toy": 2}
PAIRS = "".join(
    f"/JPEGImages/480p/{name}/{index:05d}.jpg /Annotations/480p/{name}/{index:05d}.png\n"
    for name in ("bear", "camel")
    for index in range(2)
)


def forbid(monkeypatch, folder):
    """Refuses the listing of a folder; the tests may run as root, who may read everything."""
    for module, name in ((os, "listdir"), (os, "scandir")):
        listing = getattr(module, name)

        def refuse(path=".", listing=listing):
            if str(path) == str(folder):
                raise PermissionError(errno.EACCES, os.strerror(errno.EACCES), str(path))
            return listing(path)

        monkeypatch.setattr(module, name, refuse)


@pytest.fixture
def gygo(build_set):
    lists = {
        "Train.txt": "batch-00001/toy\nbatch-00001/shoe\n",
        "val.txt": "batch-00002/toy\n",
        "trainval.txt": "batch-00001/toy\nbatch-00001/shoe\nbatch-00002/toy\n",
    }
    return build_set(GYGO, lists)


def test_gygo_reads_names_with_slashes_and_masks_of_one_object(gygo):
    dataset = open_dataset("gygo", gygo)
    assert isinstance(dataset, Gygo)
    assert (dataset.kind, dataset.root, dataset.resolution) == ("gygo", gygo, "480p")
    assert (dataset.multi_object, dataset.void_label) == (False, None)
    assert dataset.splits() == ["train", "trainval", "val"]
    assert dataset.names("train") == ["batch-00001/toy", "batch-00001/shoe"]
    sequence = dataset.sequence("batch-00001/toy")
    assert (sequence.name, len(sequence), sequence.size) == ("batch-00001/toy", 3, (12, 16))
    assert sequence.frame_names == ["00000", "00001", "00002"]
    assert sorted(sequence.annotations) == [0, 1, 2]
    mask = dataset.annotation("batch-00001/toy", 2)
    assert mask.dtype == np.uint8 and mask.shape == (12, 16)
    assert mask.sum() == 32 and set(np.unique(mask)) == {0, 1}
    np.testing.assert_array_equal(sequence.annotation(2), mask)


@pytest.mark.parametrize("split", ["train", "Train", "TRAIN", "Train.txt", "train.TXT"])
def test_split_names_are_matched_in_any_case(gygo, split):
    assert len(open_dataset("gygo", gygo).names(split)) == 2


def test_a_path_to_a_list_is_a_split_too(gygo, tmp_path):
    (tmp_path / "mine.lst").write_text("batch-00002/toy\n")
    dataset = open_dataset("gygo", gygo)
    assert dataset.names(tmp_path / "mine.lst") == ["batch-00002/toy"]
    assert dataset.names(str(tmp_path / "mine.lst")) == ["batch-00002/toy"]


def test_extra_lists_are_splits(gygo):
    (gygo / "ImageSets" / "val_dev.txt").write_text("batch-00001/shoe\n")
    dataset = open_dataset("gygo", gygo)
    assert "val_dev" in dataset.splits()
    assert dataset.names("val_dev") == ["batch-00001/shoe"]


def test_original_resolution_with_other_suffixes(build_set):
    root = build_set({"batch-00001/toy": 2}, {"val.txt": "batch-00001/toy\n"})
    build_set({"batch-00001/toy": 2}, {}, resolution="original", suffixes=(".jpeg", ".png"))
    build_set({"batch-00002/cup": 2}, {}, resolution="original", suffixes=(".png", ".jpg"))
    dataset = open_dataset("gygo", root, resolution="original")
    assert dataset.names_on_disk() == ["batch-00001/toy", "batch-00002/cup"]
    for name in dataset.names_on_disk():
        assert len(dataset.sequence(name)) == 2
        assert set(np.unique(dataset.annotation(name, 1))) == {0, 1}


def test_stray_files_of_operating_systems_are_ignored(gygo):
    for folder in ("", "ImageSets", "JPEGImages/480p", "JPEGImages/480p/batch-00001/toy"):
        for name in (".DS_Store", "._00000.jpg", "._Train.txt", "Thumbs.db"):
            (gygo / folder / name).write_bytes(b"\0\0\0\1Bud1")
    (gygo / "__MACOSX").mkdir()
    dataset = open_dataset("gygo", gygo)
    assert dataset.splits() == ["train", "trainval", "val"]
    assert dataset.names_on_disk() == ["batch-00001/shoe", "batch-00001/toy", "batch-00002/toy"]
    assert len(dataset.sequence("batch-00001/toy")) == 3


def test_unpacked_archive_is_opened_from_outside(gygo):
    (gygo.parent / "__MACOSX" / "JPEGImages").mkdir(parents=True)
    assert open_dataset("gygo", gygo.parent).root == gygo
    (gygo.parent / "another" / "JPEGImages").mkdir(parents=True)
    with pytest.raises(InputError, match="another, set"):
        open_dataset("gygo", gygo.parent)


@pytest.mark.parametrize(
    "text",
    [
        "a/x\nb\n",
        "\ufeffa/x\r\n\r\n  b  \r\n",
        "# a comment\na/x # another\n\nb\na/x\n",
        "./a/x/\n/b",
        "a\\x\nb\n",
        "JPEGImages/480p/a/x\nJPEGImages/480p/b\n",
        "JPEGImages/480p/a/x/00000.jpg Annotations/480p/a/x/00000.png\n"
        "JPEGImages/480p/a/x/00001.jpg Annotations/480p/a/x/00001.png\n"
        "JPEGImages/480p/b/00000.jpg Annotations/480p/b/00000.png\n",
        "/JPEGImages/480p/a/x/00000.jpg\n/JPEGImages/480p/b/00000.JPEG\n",
        "Frames/a/x/00000.jpg Annotations/a/x/00000.png\nFrames/b/00000.jpg c\n",
        "gygo/JPEGImages/original/a/x/0.png\tgygo/Annotations/original/a/x/0.png\nb\n",
    ],
)
def test_every_format_of_a_list_gives_the_same_names(tmp_path, text):
    (tmp_path / "list.txt").write_bytes(text.encode())
    assert list(read_split_list(tmp_path / "list.txt")) == ["a/x", "b"]


def test_pairs_keep_the_names_of_the_frames(tmp_path):
    (tmp_path / "list.txt").write_text(PAIRS)
    expected = {"bear": ["00000", "00001"], "camel": ["00000", "00001"]}
    assert read_split_list(tmp_path / "list.txt") == expected


def test_names_with_spaces_and_hash_signs_are_names(tmp_path):
    (tmp_path / "list.txt").write_text("red car\nitem#3\n")
    assert list(read_split_list(tmp_path / "list.txt")) == ["red car", "item#3"]


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "empty"),
        (b"# nothing\n\n", "empty"),
        (b"a\n../../etc\n", "line 2"),
        (b"\x89PNG\r\n\x1a\n", "text file"),
        (b"a\0b", "text file"),
        (b"a\n" + b"n" * 300, "line 2"),
        (b"a\nb\x1b[2J", r"b\\x1b\[2J' has a character that is not printable.*line 2"),
    ],
)
def test_bad_lists(tmp_path, content, message):
    (tmp_path / "list.txt").write_bytes(content)
    with pytest.raises(InputError, match=message) as caught:
        read_split_list(tmp_path / "list.txt")
    assert "list.txt" in str(caught.value)


@pytest.mark.parametrize("place", ["480p/val.txt", "2016/val.txt", "val.txt"])
@pytest.mark.parametrize("text", [PAIRS, "bear\ncamel\n"])
def test_davis_2016_lists_in_every_published_folder(build_set, place, text):
    dataset = open_dataset("davis2016", build_set({"bear": 2, "camel": 2}, {place: text}))
    assert isinstance(dataset, Davis2016)
    assert dataset.splits() == ["val"]
    assert dataset.names("val") == ["bear", "camel"]
    assert (dataset.multi_object, dataset.void_label) == (False, None)


def test_davis_2016_makes_one_object_of_all(build_set):
    root = build_set({"bear": 2}, {"2016/val.txt": "bear"}, values=(1, 2), palette=True)
    dataset = open_dataset("davis2016", root)
    assert set(np.unique(dataset.annotation("bear", 0))) == {0, 1}
    assert dataset.annotation("bear", 0).sum() == 64


def test_davis_2017_keeps_ids_and_void(build_set):
    root = build_set({"bear": 2}, {"2017/val.txt": "bear"}, values=(1, 2, 255), palette=True)
    dataset = open_dataset("davis2017", root)
    assert isinstance(dataset, Davis2017)
    assert (dataset.multi_object, dataset.void_label) == (True, 255)
    values, counts = np.unique(dataset.annotation("bear", 0), return_counts=True)
    assert values.tolist() == [0, 1, 2, 255] and counts.tolist()[1:] == [32, 32, 32]


@pytest.mark.parametrize(("kind", "ids"), [("davis2016", {0, 1}), ("davis2017", {0, 1, 2})])
def test_sequences_read_masks_in_the_encoding_of_the_dataset(build_set, kind, ids):
    lists = {"2016/val.txt": "bear", "2017/val.txt": "bear"}
    values = (1, 2) if kind == "davis2016" else (1, 2, 255)
    root = build_set({"bear": 2}, lists, values=values, palette=True)
    sequence = open_dataset(kind, root).sequence("bear")
    assert set(np.unique(sequence.annotation(1))) == ids
    # Masks from elsewhere may have any encoding, as those of any other sequence.
    drawn = np.where(np.arange(16) > 8, 255, 0).astype(np.uint8)[None].repeat(12, 0)
    Image.fromarray(drawn).save(root / "drawn.png")
    replaced = sequence.with_annotations({0: root / "drawn.png"})
    assert replaced.annotation(0).sum() == 7 * 12
    assert list(sequence.annotations) == [0, 1]


def test_noisy_gray_masks_are_thresholded_at_half(gygo):
    levels = np.tile(np.linspace(0, 255, 16).astype(np.uint8), (12, 1))
    Image.fromarray(levels).save(gygo / "Annotations/480p/batch-00001/toy/00001.png")
    mask = open_dataset("gygo", gygo).annotation("batch-00001/toy", 1)
    np.testing.assert_array_equal(mask, levels >= 128)


def test_mask_of_another_shape_is_refused(gygo):
    path = gygo / "Annotations/480p/batch-00001/toy/00001.png"
    Image.new("L", (16, 16)).save(path)
    with pytest.raises(InputError, match="16x16") as caught:
        open_dataset("gygo", gygo).annotation("batch-00001/toy", 1)
    assert str(path) in str(caught.value)


def test_gap_in_the_numbers_is_no_reason_to_refuse_a_published_sequence(gygo):
    for kind, suffix in (("JPEGImages", "jpg"), ("Annotations", "png")):
        (gygo / f"{kind}/480p/batch-00001/toy/00001.{suffix}").unlink()
    sequence = open_dataset("gygo", gygo).sequence("batch-00001/toy")
    assert sequence.frame_names == ["00000", "00002"]
    assert [path.stem for path in sequence.annotations.values()] == ["00000", "00002"]


def test_two_files_for_one_frame(gygo):
    (gygo / "JPEGImages/480p/batch-00001/toy/00001.png").touch()
    with pytest.raises(InputError, match="00001"):
        open_dataset("gygo", gygo).sequence("batch-00001/toy")


def test_years_are_never_mixed(build_set):
    lists = {"2016/val.txt": "bear", "2017/val.txt": "bear\ncamel", "2017/train.txt": "camel"}
    root = build_set({"bear": 1, "camel": 1}, lists)
    assert open_dataset("davis2016", root).splits() == ["val"]
    assert open_dataset("davis2016", root).names("val") == ["bear"]
    assert open_dataset("davis2017", root).names("val") == ["bear", "camel"]
    # A list of no year may add a split, but not redefine the published ones.
    (root / "ImageSets" / "train.txt").write_text("bear")
    (root / "ImageSets" / "val_dev.txt").write_text("bear")
    assert open_dataset("davis2016", root).splits() == ["val", "val_dev"]
    assert open_dataset("davis2017", root).names("train") == ["camel"]
    with pytest.raises(InputError, match="val, val_dev"):
        open_dataset("davis2016", root).names("train")


def test_dataset_of_the_other_year_is_refused(build_set):
    of_2017 = build_set({"bear": 1}, {"2017/val.txt": "bear"}, folder="new")
    with pytest.raises(InputError, match="another year") as caught:
        open_dataset("davis2016", of_2017)
    assert "davis2017" in caught.value.remedy
    for place in ("480p/val.txt", "2016/val.txt", "val.txt"):
        of_2016 = build_set({"bear": 1}, {place: "bear"}, folder=place.replace("/", "-"))
        with pytest.raises(InputError, match="ImageSets/2017"):
            open_dataset("davis2017", of_2016)


def test_kinds(gygo):
    for kind in ("GyGO", "davis-2016", "DAVIS16"):
        assert open_dataset(kind, gygo).kind in ("gygo", "davis2016")
    with pytest.raises(UsageError, match="gygo, davis2016, davis2017, youtube-vos, mose"):
        open_dataset("kitti", gygo)


def test_missing_root(tmp_path):
    with pytest.raises(InputError, match="no such folder"):
        open_dataset("gygo", tmp_path / "absent")
    (tmp_path / "file").touch()
    with pytest.raises(InputError, match="a file"):
        open_dataset("gygo", tmp_path / "file")
    (tmp_path / "photos").mkdir()
    with pytest.raises(InputError, match="JPEGImages.*photos"):
        open_dataset("gygo", tmp_path)


def test_wrong_resolution_lists_the_existing_ones(gygo):
    with pytest.raises(InputError, match="met: 480p"):
        open_dataset("gygo", gygo, resolution="original")
    (gygo / "JPEGImages" / "original").mkdir()
    with pytest.raises(InputError, match="Annotations in the resolution 'original'"):
        open_dataset("gygo", gygo, resolution="original")


def test_missing_list_lists_the_existing_ones(gygo):
    with pytest.raises(InputError, match="train, trainval, val"):
        open_dataset("gygo", gygo).names("test")


def test_absent_sequences_are_all_named(gygo):
    (gygo / "ImageSets" / "val.txt").write_text("batch-9/gone\nbatch-00002/toy\nbatch-9/lost\n")
    with pytest.raises(InputError, match="2 absent: batch-9/gone, batch-9/lost") as caught:
        open_dataset("gygo", gygo).names("val")
    assert "val.txt" in str(caught.value)
    with pytest.raises(InputError, match="batch-00001/shoe"):
        open_dataset("gygo", gygo).sequence("batch-9/gone")


def test_two_lists_that_differ_in_case_only(gygo):
    (gygo / "ImageSets" / "train.txt").write_text("batch-00001/toy\nbatch-00001/shoe\n")
    if len(list((gygo / "ImageSets").glob("*rain.txt"))) < 2:
        pytest.skip("this file system does not tell case apart")
    assert len(open_dataset("gygo", gygo).names("train")) == 2
    (gygo / "ImageSets" / "train.txt").write_text("batch-00001/toy\n")
    with pytest.raises(InputError, match="upper and lower case"):
        open_dataset("gygo", gygo)


def test_links_in_a_circle_end(gygo):
    images = gygo / "JPEGImages" / "480p"
    expected = open_dataset("gygo", gygo).names_on_disk()
    for folder in (images / "batch-00001", images / "batch-00001/toy", images / "batch-00002"):
        for name, target in (("up", ".."), ("here", "."), ("again", "../.."), ("me", "me")):
            (folder / name).symlink_to(target)
    dataset = open_dataset("gygo", gygo)
    start = time.process_time()
    assert dataset.names_on_disk() == expected
    with pytest.raises(InputError, match="no such folder.*batch-00001/shoe, batch-00001/toy"):
        dataset.sequence("nosuch")
    assert len(dataset.sequence("batch-00001/toy")) == 3
    assert time.process_time() - start < 1


def test_folders_of_many_names_are_listed_once(tmp_path):
    """Each of 40 folders has two links to the next one: 2**40 paths."""
    images = tmp_path / "JPEGImages" / "480p"
    for number in range(40):
        (images / f"d{number}").mkdir(parents=True)
        (images / f"d{number}" / "0.jpg").touch()
        for name in "ab" if number < 39 else "":
            (images / f"d{number}" / name).symlink_to(f"../d{number + 1}")
    (tmp_path / "Annotations" / "480p").mkdir(parents=True)
    names = open_dataset("gygo", tmp_path).names_on_disk()
    assert {f"d{number}" for number in range(40)} <= set(names) and len(names) < 200


def test_links_to_sequences_are_sequences(gygo, tmp_path):
    images = gygo / "JPEGImages" / "480p"
    (tmp_path / "elsewhere").mkdir()
    (images / "batch-00002" / "toy").rename(tmp_path / "elsewhere" / "toy")
    (images / "batch-00002" / "toy").symlink_to(tmp_path / "elsewhere" / "toy")
    (images / "alias").symlink_to("batch-00001/shoe")
    assert open_dataset("gygo", gygo).names_on_disk() == [
        "alias", "batch-00001/shoe", "batch-00001/toy", "batch-00002/toy",
    ]  # fmt: skip


@pytest.mark.parametrize("name", ["../Annotations", "/etc", "a\0b", "n" * 300, "\udcff", "", "."])
def test_a_name_that_leaves_the_folder_of_the_images_is_refused(gygo, name):
    with pytest.raises(InputError, match="named by its folder"):
        open_dataset("gygo", gygo).sequence(name)


def test_a_folder_that_may_not_be_read_is_an_input_error(gygo, monkeypatch):
    dataset = open_dataset("gygo", gygo)
    forbidden = gygo / "JPEGImages" / "480p" / "batch-00001" / "toy"
    forbid(monkeypatch, forbidden)
    with pytest.raises(InputError, match="ermission denied.*toy.*right to read"):
        dataset.sequence("batch-00001/toy")
    assert "batch-00001/toy" in dataset.names_on_disk()
    forbid(monkeypatch, gygo / "ImageSets")
    with pytest.raises(InputError, match="ermission denied.*ImageSets"):
        open_dataset("gygo", gygo)


def test_what_is_no_file_is_no_list_and_no_frame(gygo):
    folder = gygo / "JPEGImages" / "480p" / "batch-00001" / "toy"
    os.mkfifo(folder / "00007.jpg")
    (folder / "00008.jpg").symlink_to("/dev/zero")
    os.mkfifo(gygo / "ImageSets" / "pipe.txt")
    dataset = open_dataset("gygo", gygo)
    assert dataset.splits() == ["train", "trainval", "val"]
    sequence = dataset.sequence("batch-00001/toy")
    for index, kind in ((3, "named pipe"), (4, "device")):
        with pytest.raises(InputError, match=kind):
            _ = sequence.frame(index).image
    with pytest.raises(InputError, match="needs a list"):
        dataset.names(gygo / "ImageSets" / "pipe.txt")
    with pytest.raises(InputError, match="named pipe"):
        read_split_list(gygo / "ImageSets" / "pipe.txt")


def test_frame_without_mask(gygo):
    (gygo / "Annotations/480p/batch-00001/toy/00001.png").unlink()
    with pytest.raises(InputError, match="Frame 1 must have a mask; met: .* 0, 2 "):
        open_dataset("gygo", gygo).annotation("batch-00001/toy", 1)


def test_opening_reads_one_header_a_sequence(build_set):
    """131 sequences, as GyGO has, in which the first file only is an image."""
    names = [f"batch-{index // 20:05d}/item-{index:03d}" for index in range(131)]
    root = build_set(dict.fromkeys(names, 1), {"Train.txt": "\n".join(names)})
    for kind, suffix in (("JPEGImages", ".jpg"), ("Annotations", ".png")):
        for name in names:
            for index in range(1, 6):
                (root / kind / "480p" / name / f"{index:05d}{suffix}").touch()
    start = time.process_time()
    dataset = open_dataset("gygo", root)
    assert len(dataset.names("train")) == 131
    assert sum(len(dataset.sequence(name)) for name in names) == 131 * 6
    assert time.process_time() - start < 1.0
    assert dataset.sequence(names[5]) is dataset.sequence(names[5])


def test_published_davis_2016(shared_data):
    dataset = open_dataset("davis2016", shared_data / "davis16")
    assert len(dataset.names("train")) == 30
    assert len(dataset.names("val_dev")) == 10
    sequence = dataset.sequence("bmx-trees")
    assert (len(sequence), sequence.size, sequence.first_annotated) == (80, (480, 854), 0)
    assert len(sequence.annotations) == 80
    assert sequence.frame(79).image.shape == (480, 854, 3)
    stored = np.asarray(Image.open(sequence.annotations[79])) != 0
    np.testing.assert_array_equal(dataset.annotation("bmx-trees", 79), stored)


def test_gygo_like_material(shared_data):
    dataset = open_dataset("gygo", shared_data / "gygo_like")
    assert [len(dataset.names(split)) for split in ("train", "val")] == [112, 9]
    assert sum(len(dataset.sequence(name)) for name in dataset.names("train")) == 1120
    for name in dataset.names("val"):
        assert len(dataset.sequence(name).annotations) == 20
        assert set(np.unique(dataset.annotation(name, 0))) == {0, 1}
