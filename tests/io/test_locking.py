"""Locks on destinations: one holder, whatever ends it, and nothing left."""

from __future__ import annotations

import errno
import os
import subprocess
import sys
import threading
import time

import pytest

from deeplab_gygo.io import locking
from deeplab_gygo.io.locking import InUse, locked, make_folder, side_path

HOLDER = """
import sys, time
from pathlib import Path
from deeplab_gygo.io.locking import locked
with locked(Path(sys.argv[1])):
    print("held", flush=True)
    time.sleep(60)
"""


@pytest.fixture
def holder(tmp_path, command_environment):
    """A process that holds the lock of `out`."""
    process = subprocess.Popen(
        [sys.executable, "-c", HOLDER, str(tmp_path / "out")],
        stdout=subprocess.PIPE, text=True, env=command_environment,
    )  # fmt: skip
    assert process.stdout.readline() == "held\n"
    yield process
    process.kill()
    process.communicate()


def _in_thread(task):
    result = []

    def run():
        try:
            result.append(task())
        except InUse as error:
            result.append(error)

    thread = threading.Thread(target=run)
    thread.start()
    thread.join(10)
    return result[0]


def _take(target):
    with locked(target) as lock:
        return lock


def test_a_lock_has_one_holder_and_leaves_nothing(tmp_path):
    with locked(tmp_path / "new" / "out") as lock:
        assert lock.exclusive
        assert isinstance(_in_thread(lambda: _take(tmp_path / "new" / "out")), InUse)
        with locked(tmp_path / "new" / "out") as again:  # the same thread
            assert again is lock
        assert _in_thread(lambda: _take(tmp_path / "other")).exclusive
    assert not list(tmp_path.iterdir())


def test_the_lock_of_a_killed_process_is_free_and_its_file_is_no_obstacle(tmp_path, holder):
    with pytest.raises(InUse, match="another run writes to it.*out"):
        _take(tmp_path / "out")
    holder.kill()
    holder.wait()
    assert [path.name for path in tmp_path.iterdir()] == [".out.lock"]
    assert _take(tmp_path / "out").exclusive
    assert not list(tmp_path.iterdir())


def test_a_wait_has_a_limit(tmp_path, holder, caplog):
    caplog.set_level("INFO")
    started = time.monotonic()
    with pytest.raises(InUse), locked(tmp_path / "out", wait=0.2):
        pass
    assert time.monotonic() - started >= 0.2
    assert "waiting for another process" in caplog.text
    threading.Timer(0.1, holder.kill).start()
    with locked(tmp_path / "out", wait=30) as lock:
        assert lock.exclusive


def test_a_file_that_its_holder_removed_is_no_lock(tmp_path, monkeypatch):
    """Between opening and locking the file, its holder ends."""
    flock, calls = locking.fcntl.flock, []

    def late(descriptor, how):
        if not calls:
            os.unlink(tmp_path / ".out.lock")
        calls.append(descriptor)
        return flock(descriptor, how)

    monkeypatch.setattr(locking.fcntl, "flock", late)
    with locked(tmp_path / "out") as lock:
        assert lock.exclusive and len(calls) == 2
        assert (tmp_path / ".out.lock").exists()


def test_many_threads_never_hold_it_together(tmp_path):
    inside, most, taken = [], [], []

    def work():
        while len(taken) < 60:
            try:
                with locked(tmp_path / "out"):
                    inside.append(1)
                    most.append(len(inside))
                    inside.pop()
                    taken.append(1)
            except InUse:
                pass

    threads = [threading.Thread(target=work) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(30)
    assert max(most) == 1
    assert not list(tmp_path.iterdir())


def test_a_file_system_without_locks_is_said_once(tmp_path, monkeypatch, caplog):
    def refuse(descriptor, how):
        raise OSError(errno.ENOLCK, "No locks available")

    monkeypatch.setattr(locking.fcntl, "flock", refuse)
    monkeypatch.setattr(locking, "_warned", threading.Event())
    for _ in range(2):
        with locked(tmp_path / "out") as lock:
            assert not lock.exclusive
            # Threads are kept apart in any case.
            assert isinstance(_in_thread(lambda: _take(tmp_path / "out")), InUse)
    assert caplog.text.count("has no locks") == 1
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("name", ["a" * 255, "ä" * 127, "x" * 245, "short"])
def test_side_names_are_no_longer_than_names_may_be(tmp_path, name):
    paths = {side_path(tmp_path / f"{name[:-1]}{end}", "partial-0123456789abcdef") for end in "bc"}
    assert len(paths) == 2
    for path in paths:
        path.touch()
        assert path.name.startswith(".")


def test_a_side_folder_is_never_made_anew(tmp_path):
    for kind in ("partial", "former"):
        with pytest.raises(FileNotFoundError, match="removed by another program"):
            make_folder(tmp_path / f".out.{kind}-0123456789abcdef" / "masks")
    assert make_folder(tmp_path / "a" / "b") == [tmp_path / "a", tmp_path / "a" / "b"]
    assert make_folder(tmp_path / "a" / "b") == []
