"""Datasets at URLs: what is read of them, and when."""

import gc
import shutil

import numpy as np
import pytest
from storage_servers import put

from deeplab_gygo.datasets.registry import open_dataset
from deeplab_gygo.errors import InputError, StorageError
from deeplab_gygo.io import storage
from deeplab_gygo.io.local_names import shown
from deeplab_gygo.runs.clip import open_dataset_clip
from deeplab_gygo.runs.plan import plan_dataset


@pytest.fixture
def gygo(build_set):
    return build_set(
        {"shoe": 3, "bags/red": 2, "hat": 2},
        {"480p/train.txt": "shoe\nbags/red\n", "480p/val.txt": "hat\nabsent\n"},
    )


@pytest.mark.parametrize("above", ["", "/gygo"])
def test_a_dataset_is_the_same_from_a_bucket(gygo, bucket, scratch_folder, s3_proxy, above):
    put(gygo, f"{bucket}/data{above}")
    s3_proxy.requests.clear()
    local, remote = open_dataset("gygo", gygo), open_dataset("gygo", f"{bucket}/data")
    assert remote.splits() == local.splits()
    assert remote.names("train") == local.names("train")
    assert not s3_proxy.count("GET", ".jpg")
    for name in remote.names("train"):
        ours, theirs = remote.sequence(name), local.sequence(name)
        assert ours.frame_names == theirs.frame_names
        assert (ours.frame(1).image == theirs.frame(1).image).all()
        assert (remote.annotation(name, 1) == local.annotation(name, 1)).all()
        assert shown(ours.source) == f"{bucket}/data{above}/JPEGImages/480p/{name}"
    assert s3_proxy.count("GET", ".jpg") == 5


@pytest.mark.parametrize("kind", ["davis2016", "davis2017", "youtube-vos"])
def test_other_kinds_are_read_too(build_set, tmp_path, scratch_folder, kind):
    if kind == "youtube-vos":
        root = build_set({"a": 2, "b": 2}, {}, folder="yt/train", resolution=".", palette=True)
        root, split = root.parent, "train"
    else:
        year = kind.removeprefix("davis")
        lists = {f"{year}/val.txt": "a\n", f"{year}/train.txt": "b\n"}
        root, split = build_set({"a": 2, "b": 2}, lists, palette=True, values=(1, 2)), "val"
    url = put(root, f"memory:/{tmp_path}/{kind}")
    local, remote = open_dataset(kind, root), open_dataset(kind, url)
    assert remote.names(split) == local.names(split)
    assert remote.names_on_disk() == local.names_on_disk()
    assert (remote.annotation("a", 0) == local.annotation("a", 0)).all()


def test_a_sequence_is_copied_when_it_is_opened_and_given_up_when_it_is_not_used(
    gygo, tmp_path, scratch_folder
):
    dataset = open_dataset("gygo", put(gygo, f"memory:/{tmp_path}/set"))
    sequence = dataset.sequence("shoe")
    assert dataset.sequence("shoe") is sequence
    size = sum(path.stat().st_size for path in scratch_folder.folder.glob("*/*/*"))
    scratch_folder.max_bytes, scratch_folder.patience = size, 0.0
    storage.write_url(f"memory:/{tmp_path}/full.bin", bytes(size))
    with pytest.raises(StorageError, match="clips in use"):
        scratch_folder.lease(f"memory:/{tmp_path}/full.bin")
    del sequence
    gc.collect()
    other = dataset.sequence("hat")
    assert len(list(other)) == 2
    assert len(list(scratch_folder.folder.glob("*/shoe"))) < 2


def test_a_batch_of_a_remote_split_has_its_clips(gygo, tmp_path, scratch_folder):
    dataset = open_dataset("gygo", put(gygo, f"memory:/{tmp_path}/set"))
    items = plan_dataset(dataset, "train")
    assert [item.name for item in items] == ["shoe", "bags/red"]
    clip = open_dataset_clip(dataset, "bags/red")
    local = open_dataset_clip(open_dataset("gygo", gygo), "bags/red")
    assert clip.hashes() == local.hashes()
    assert (clip.truth(1) == local.truth(1)).all()
    assert np.array_equal(clip.mask, local.mask)


def test_what_is_absent_is_named(gygo, tmp_path, scratch_folder):
    url = put(gygo, f"memory:/{tmp_path}/set")
    dataset = open_dataset("gygo", url)
    with pytest.raises(InputError, match="absent"):
        dataset.names("val")
    with pytest.raises(InputError, match="must hold the sequence"):
        dataset.sequence("absent")
    shutil.rmtree(gygo / "Annotations" / "480p" / "hat")
    other = open_dataset("gygo", put(gygo, f"memory:/{tmp_path}/other"))
    assert not other.sequence("hat").annotations
    with pytest.raises(InputError, match="what exists"):
        open_dataset("gygo", f"memory:/{tmp_path}/nothing")
    with pytest.raises(InputError, match="in the resolution 'original'.*480p"):
        open_dataset("gygo", url, "original")
