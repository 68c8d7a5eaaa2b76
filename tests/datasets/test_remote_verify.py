"""Datasets at URLs, as a whole: the report of `data verify` is that of a local copy, with URLs."""

import json
import subprocess
import sys

import pytest
from storage_servers import put

from deeplab_gygo.cli.main import main
from deeplab_gygo.datasets.registry import open_dataset
from deeplab_gygo.datasets.verify import verify_dataset
from deeplab_gygo.errors import StorageError

pytest.importorskip("fsspec", reason="fsspec is not installed")


@pytest.fixture
def damaged(build_set):
    """A dataset with a sequence that no list names, a missing mask, and a damaged frame."""
    names = ("a/toy", "a/cup", "b/shoe", "b/extra")
    root = build_set(
        dict.fromkeys(names, 4), {"Train.txt": "a/toy\na/cup\n", "val.txt": "b/shoe\nb/absent\n"}
    )
    (root / "Annotations" / "480p" / "a/toy" / "00002.png").unlink()
    (root / "JPEGImages" / "480p" / "b/shoe" / "00001.jpg").write_bytes(b"\xff\xd8no picture")
    return root


def test_a_dataset_in_a_bucket_has_the_problems_of_a_local_one(damaged, bucket, scratch_folder):
    url = put(damaged, f"{bucket}/data")
    local = verify_dataset(open_dataset("gygo", damaged))
    remote = verify_dataset(open_dataset("gygo", url))
    assert json.loads(remote.to_json().replace(url, str(damaged))) == json.loads(local.to_json())
    assert (remote.root, remote.sequences, remote.frames, remote.masks) == (url, 4, 16, 15)
    assert f"({url}/JPEGImages/480p/b/shoe/00001.jpg)" in remote.summary()


def test_the_command_verifies_a_url(damaged, tmp_path, scratch_folder, capsys):
    url = put(damaged, f"memory:/{tmp_path}/data")
    words = ["data", "verify", "--dataset", "gygo", "--root", url, "--scratch", tmp_path / "here"]
    assert main([str(word) for word in words]) == 65
    assert f"gygo 480p in {url}" in capsys.readouterr().out
    words += ["--scratch-gb", "1e-9"]
    assert main([str(word) for word in words]) == StorageError.exit_status
    assert "--scratch-gb" in capsys.readouterr().err


def test_a_command_leaves_no_temporary_folder(build_set, tmp_path, command_environment):
    root = build_set({"a": 2, "b": 2}, {"Train.txt": "a\n", "val.txt": "b\n"})
    (tmp_path / "temporary").mkdir()
    words = ["-m", "deeplab_gygo", "data", "verify", "--dataset", "gygo", "--root", root.as_uri()]
    environment = {**command_environment, "TMPDIR": str(tmp_path / "temporary")}
    words += ["--scratch", str(tmp_path / "scratch")]
    subprocess.run([sys.executable, *words], env=environment, check=True, timeout=300)
    assert not list((tmp_path / "temporary").iterdir())


def test_a_dataset_on_the_web_is_read(build_set, served, scratch_folder):
    root = build_set({"a/toy": 2, "b": 2}, {"Train.txt": "a/toy\n", "val.txt": "b\n"})
    url = f"{served(root.parent)}/{root.name}"
    local, remote = open_dataset("gygo", root), open_dataset("gygo", url)
    for name in ("a/toy", "b"):
        ours, theirs = remote.sequence(name), local.sequence(name)
        assert ours.frame_names == theirs.frame_names
        assert (ours.frame(1).image == theirs.frame(1).image).all()
        assert (remote.annotation(name, 1) == local.annotation(name, 1)).all()
    assert remote.names_on_disk() == local.names_on_disk()
