"""Atomic writing of files and folders."""

from __future__ import annotations

import os
import stat
import threading

import pytest

from deeplab_gygo.errors import StorageError
from deeplab_gygo.io import atomic
from deeplab_gygo.io.atomic import CACHE_VARIABLE, cache_folder, replacing, replacing_folder


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


def test_the_side_file_of_a_killed_process_is_taken_over(tmp_path):
    (tmp_path / ".file.txt.part").write_text("half of something longer")
    with replacing(tmp_path / "file.txt") as side:
        assert side.name == ".file.txt.part"
        with open(side, "a") as file:  # it begins empty
            file.write("whole")
    assert (tmp_path / "file.txt").read_text() == "whole"
    assert [each.name for each in tmp_path.iterdir()] == ["file.txt"]


def test_two_writers_of_one_file_do_not_share_a_side_file(tmp_path):
    path, begun, ends = tmp_path / "file.txt", threading.Event(), threading.Event()

    def first():
        with replacing(path) as side:
            side.write_text("first")
            begun.set()
            ends.wait(10)

    thread = threading.Thread(target=first)
    thread.start()
    assert begun.wait(10)
    with replacing(path) as side:
        side.write_text("second")
    assert path.read_text() == "second"
    ends.set()
    thread.join(10)
    assert path.read_text() == "first"
    assert [each.name for each in tmp_path.iterdir()] == ["file.txt"]


def test_the_side_file_of_the_next_writer_is_not_removed(tmp_path, monkeypatch):
    """Another process begins to write right after the side file was renamed."""
    replace = os.replace

    def then_another(source, destination):
        replace(source, destination)
        source.write_text("of another process")

    monkeypatch.setattr(atomic.os, "replace", then_another)
    with replacing(tmp_path / "file.txt") as side:
        side.write_text("whole")
    assert (tmp_path / ".file.txt.part").read_text() == "of another process"


def test_a_name_as_long_as_names_may_be_is_written(tmp_path):
    with replacing(tmp_path / ("x" * 255)) as side:
        side.write_text("whole")
    assert [each.name for each in tmp_path.iterdir()] == ["x" * 255]


def test_an_interrupt_while_a_side_folder_is_removed_leaves_nothing(tmp_path, monkeypatch):
    rmtree, calls = atomic.shutil.rmtree, []

    def interrupted(*args, **options):
        calls.append(args)
        if len(calls) == 1:
            raise KeyboardInterrupt
        rmtree(*args, **options)

    monkeypatch.setattr(atomic.shutil, "rmtree", interrupted)
    with pytest.raises(KeyboardInterrupt), replacing_folder(tmp_path / "out") as side:
        (side / "half").touch()
        raise ValueError
    assert not list(tmp_path.iterdir())


def test_two_processes_may_fill_a_cache(tmp_path):
    """The second waits for the first, and its own folder is discarded."""
    path, begun = tmp_path / "cache", threading.Event()

    def first():
        with replacing_folder(path, keep_existing=True) as side:
            begun.set()
            (side / "first").touch()
            threading.Event().wait(0.1)

    thread = threading.Thread(target=first)
    thread.start()
    assert begun.wait(10)
    with replacing_folder(path, keep_existing=True) as side:
        (side / "second").touch()
    thread.join(10)
    assert [each.name for each in path.iterdir()] == ["first"]
    assert [each.name for each in tmp_path.iterdir()] == ["cache"]


@pytest.mark.parametrize("variable", [CACHE_VARIABLE, "XDG_CACHE_HOME"])
def test_the_cache_is_its_owner_s_whatever_the_mask_of_the_process(tmp_path, monkeypatch, variable):
    monkeypatch.delenv(CACHE_VARIABLE, raising=False)
    monkeypatch.setenv(variable, str(tmp_path / "new" / "cache"))
    before = os.umask(0)
    try:
        folder = cache_folder()
    finally:
        os.umask(before)
    assert folder.is_relative_to(tmp_path / "new" / "cache")
    while folder != tmp_path:
        assert stat.S_IMODE(folder.stat().st_mode) == 0o700
        folder = folder.parent


def test_a_cache_that_cannot_be_made_is_named_all_the_same(tmp_path, monkeypatch):
    (tmp_path / "file").touch()
    monkeypatch.setenv(CACHE_VARIABLE, str(tmp_path / "file" / "cache"))
    assert cache_folder() == tmp_path / "file" / "cache"
