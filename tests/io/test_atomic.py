"""Atomic writing of files and folders."""

from __future__ import annotations

import pytest

from deeplab_gygo.errors import StorageError
from deeplab_gygo.io.atomic import replacing, replacing_folder


def test_a_file_appears_when_the_body_succeeds(tmp_path):
    path = tmp_path / "new" / "file.txt"
    with replacing(path) as side:
        side.write_text("whole")
        assert not path.exists() and side.parent == path.parent
    assert path.read_text() == "whole"
    assert [each.name for each in path.parent.iterdir()] == ["file.txt"]


def test_an_error_leaves_the_former_file(tmp_path):
    path = tmp_path / "file.txt"
    path.write_text("former")
    with pytest.raises(KeyError), replacing(path) as side:
        side.write_text("half")
        raise KeyError
    assert path.read_text() == "former" and len(list(tmp_path.iterdir())) == 1


def test_a_refused_write_is_a_storage_error(tmp_path):
    (tmp_path / "file").write_text("no folder")
    with pytest.raises(StorageError, match="writable"), replacing(tmp_path / "file" / "a"):
        pass
    with pytest.raises(StorageError, match="No space left"), replacing(tmp_path / "b") as side:
        side.write_text("half")
        raise OSError(28, "No space left on device")
    with pytest.raises(StorageError), replacing_folder(tmp_path / "file" / "a"):
        pass
    assert [each.name for each in tmp_path.iterdir()] == ["file"]


def test_a_folder_replaces_the_former_one(tmp_path):
    path = tmp_path / "out"
    for text in ("one", "two"):
        with replacing_folder(path) as side:
            (side / text).write_text(text)
        assert [each.name for each in path.iterdir()] == [text]
    assert [each.name for each in tmp_path.iterdir()] == ["out"]


def test_an_error_leaves_the_former_folder(tmp_path):
    path = tmp_path / "out"
    with replacing_folder(path) as side:
        (side / "former").touch()
    with pytest.raises(KeyboardInterrupt), replacing_folder(path) as side:
        (side / "half").touch()
        raise KeyboardInterrupt
    assert [each.name for each in path.iterdir()] == ["former"]
    assert [each.name for each in tmp_path.iterdir()] == ["out"]


def test_a_cache_keeps_the_folder_that_was_first(tmp_path):
    path = tmp_path / "cache"
    with replacing_folder(path, keep_existing=True) as side:
        (side / "second").touch()
        path.mkdir()
        (path / "first").touch()
    assert [each.name for each in path.iterdir()] == ["first"]
    assert [each.name for each in tmp_path.iterdir()] == ["cache"]
