"""Folders of results that appear whole or not at all."""

import errno
import os
import time
from pathlib import Path

import pytest

from deeplab_gygo.errors import StorageError, UsageError
from deeplab_gygo.runs.output_directory import output_directory


def names_in(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


class TestOutputDirectory:
    def test_appears_only_at_the_end(self, tmp_path):
        target = tmp_path / "deep" / "result"
        with output_directory(target) as folder:
            (folder / "run.json").write_text("{}")
            assert not target.exists()
            assert folder.parent == target.parent and folder.name.startswith(".result.partial-")
        assert names_in(target) == ["run.json"]
        assert names_in(target.parent) == ["result"]

    @pytest.mark.parametrize("error", [ValueError("bad"), KeyboardInterrupt(), SystemExit(3)])
    def test_an_error_leaves_nothing(self, tmp_path, error):
        with pytest.raises(type(error)):
            with output_directory(tmp_path / "result") as folder:
                (folder / "half.png").write_bytes(b"x")
                raise error
        assert names_in(tmp_path) == []

    def test_an_error_leaves_the_former_result(self, tmp_path):
        target = tmp_path / "result"
        with output_directory(target) as folder:
            (folder / "run.json").write_text("1")
        with pytest.raises(ValueError), output_directory(target) as folder:
            (folder / "run.json").write_text("2")
            raise ValueError
        assert (target / "run.json").read_text() == "1"
        assert names_in(tmp_path) == ["result"]

    def test_own_result_is_replaced_whole(self, tmp_path):
        target = tmp_path / "result"
        for content in ("old", "new"):
            with output_directory(target) as folder:
                (folder / "run.json").write_text(content)
                (folder / content).touch()
        assert names_in(target) == ["new", "run.json"]
        assert names_in(tmp_path) == ["result"]

    def test_foreign_folder_is_refused(self, tmp_path):
        target = tmp_path / "photos"
        target.mkdir()
        (target / "holiday.jpg").touch()
        with pytest.raises(UsageError, match="photos"), output_directory(target):
            pass
        assert names_in(target) == ["holiday.jpg"]

    def test_empty_folder_is_taken(self, tmp_path):
        (tmp_path / "result").mkdir()
        with output_directory(tmp_path / "result") as folder:
            (folder / "a").touch()
        assert names_in(tmp_path / "result") == ["a"]

    def test_file_and_working_directory_are_refused(self, tmp_path, monkeypatch):
        (tmp_path / "file").touch()
        with pytest.raises(UsageError), output_directory(tmp_path / "file"):
            pass
        (tmp_path / "work").mkdir()
        monkeypatch.chdir(tmp_path / "work")
        for place in (".", "..", "/"):
            with pytest.raises(UsageError), output_directory(place):
                pass
        assert (tmp_path / "work").is_dir()

    def test_full_disk_names_file_and_remedy(self, tmp_path):
        with pytest.raises(StorageError, match="No space left.*result.*Free space"):
            with output_directory(tmp_path / "result") as folder:
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(folder / "a.png"))
        assert names_in(tmp_path) == []

    def test_unreadable_input_is_not_called_a_storage_error(self, tmp_path):
        with pytest.raises(PermissionError), output_directory(tmp_path / "result"):
            raise PermissionError(errno.EACCES, "Permission denied", "/elsewhere/input.mp4")

    def test_parent_that_is_a_file(self, tmp_path):
        (tmp_path / "file").touch()
        with pytest.raises(StorageError), output_directory(tmp_path / "file" / "result"):
            pass

    def test_two_runs_of_one_process_do_not_share(self, tmp_path):
        with output_directory(tmp_path / "result") as folder:
            with pytest.raises(UsageError), output_directory(tmp_path / "result"):
                pass
            (folder / "kept").touch()
        assert names_in(tmp_path / "result") == ["kept"]

    def test_leftovers_of_killed_runs_go(self, tmp_path):
        same_number = tmp_path / f".result.partial-{os.getpid()}"
        long_dead, fresh = (tmp_path / f".result.partial-{n}" for n in (4999999, 4999998))
        for folder in (same_number, long_dead, fresh):
            folder.mkdir()
            (folder / "half").touch()
        os.utime(long_dead, (time.time() - 9999,) * 2)
        with output_directory(tmp_path / "result"):
            pass
        assert names_in(tmp_path) == [fresh.name, "result"]
        assert names_in(tmp_path / "result") == []
