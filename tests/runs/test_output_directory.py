"""Folders of results that appear whole or not at all, over nothing but what was there."""

import errno
import os
import shutil
import threading
from pathlib import Path

import pytest

from deeplab_gygo.errors import StorageError, UsageError
from deeplab_gygo.io import atomic
from deeplab_gygo.io.atomic import replacing
from deeplab_gygo.io.locking import InUse, locked
from deeplab_gygo.runs.output_directory import claim, output_directory
from deeplab_gygo.runs.run_record import RunRecord

HASHES = {"input": "aa", "mask": "bb", "weights": "cc"}


def names_in(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def write_result(target: Path, content: str = "mask", names=("masks/00000.png",)) -> None:
    """Writes a result with a record of its files."""
    with output_directory(target) as folder:
        for name in names:
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            (folder / name).write_text(content)
        RunRecord({}, 0, HASHES, masks=1).write(folder)


class TestOutputDirectory:
    def test_appears_only_at_the_end(self, tmp_path):
        target = tmp_path / "deep" / "result"
        with output_directory(target) as folder:
            (folder / "run.json").write_text("{}")
            assert not target.exists()
            assert folder == target.parent / "result.partial"
        assert names_in(target) == ["run.json"]
        assert names_in(target.parent) == ["result"]

    @pytest.mark.parametrize("error", [ValueError("bad"), KeyboardInterrupt(), SystemExit(3)])
    def test_an_error_leaves_what_was_written_beside_the_result(self, tmp_path, error):
        for names in ([], ["half.png"]):
            with pytest.raises(type(error)):
                with output_directory(tmp_path / "result") as folder:
                    for name in names:
                        (folder / name).write_bytes(b"x")
                    raise error
            assert names_in(tmp_path) == (["result.partial"] if names else [])
        with output_directory(tmp_path / "result") as folder:
            assert names_in(folder) == ["half.png"]
        assert names_in(tmp_path) == ["result"]

    def test_an_error_leaves_the_former_result(self, tmp_path):
        target = tmp_path / "result"
        write_result(target, "1")
        with pytest.raises(ValueError), output_directory(target) as folder:
            (folder / "run.json").write_text("2")
            raise ValueError
        assert (target / "masks" / "00000.png").read_text() == "1"
        assert names_in(tmp_path) == ["result", "result.partial"]

    def test_own_result_is_replaced_whole(self, tmp_path):
        target = tmp_path / "result"
        for name in ("masks/a.png", "cutouts/b.png"):
            write_result(target, names=(name,))
        assert names_in(target) == ["cutouts", "run.json"]
        assert names_in(tmp_path) == ["result"]

    def test_foreign_folder_is_refused(self, tmp_path):
        target = tmp_path / "photos"
        target.mkdir()
        (target / "holiday.jpg").touch()
        with pytest.raises(UsageError, match="photos"), output_directory(target):
            pass
        assert names_in(target) == ["holiday.jpg"]
        assert names_in(tmp_path) == ["photos"]

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

    def test_a_name_that_cannot_be_is_a_usage_error(self, tmp_path):
        (tmp_path / "a").symlink_to("b")
        (tmp_path / "b").symlink_to("a")
        for name in ("x" * 256, "a", "zero\0byte", "\ud800"):
            with pytest.raises(UsageError, match="Choose another name"):
                with claim(tmp_path / name, overwrite=False):
                    pass
        assert names_in(tmp_path) == ["a", "b"]

    def test_a_name_as_long_as_names_may_be_is_taken(self, tmp_path):
        write_result(tmp_path / ("x" * 255))
        assert names_in(tmp_path) == ["x" * 255]

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

    def test_a_second_run_is_refused_before_its_work(self, tmp_path):
        refused = []

        def second():
            try:
                with claim(tmp_path / "result", overwrite=True):
                    pass
            except InUse as error:
                refused.append(error)

        with claim(tmp_path / "result", overwrite=False) as target:
            thread = threading.Thread(target=second)
            thread.start()
            thread.join(10)
            write_result(target)  # the run that has the claim writes under the same lock
        assert "another run writes to it" in str(refused[0])
        assert refused[0].exit_status == 2
        assert names_in(tmp_path) == ["result"]


class TestWhatIsReplaced:
    def test_a_folder_made_meanwhile_is_kept(self, tmp_path):
        target = tmp_path / "X"
        with pytest.raises(StorageError, match=r"thesis\.tex.*X\).*X\.new"):
            with output_directory(target) as folder:
                (folder / "run.json").write_text("new")
                target.mkdir()
                (target / "thesis.tex").write_text("years")
        assert (target / "thesis.tex").read_text() == "years"
        assert names_in(target) == ["thesis.tex"]
        assert (tmp_path / "X.new" / "run.json").read_text() == "new"
        assert names_in(tmp_path) == ["X", "X.new"]

    @pytest.mark.parametrize("change", ["added", "edited", "removed", "replaced", "gone", "file"])
    def test_an_earlier_result_that_changed_meanwhile_is_kept(self, tmp_path, change):
        target, mask = tmp_path / "X", tmp_path / "X" / "masks" / "00000.png"
        write_result(target, "old")
        with pytest.raises(StorageError, match=r"X\.new"):
            with output_directory(target) as folder:
                (folder / "run.json").write_text("new")
                if change == "added":
                    (target / "masks" / "note.txt").write_text("mine")
                elif change == "edited":
                    mask.write_text("better")
                elif change == "removed":
                    mask.unlink()
                elif change == "replaced":
                    shutil.move(target, tmp_path / "moved")
                    shutil.copytree(tmp_path / "moved", target)
                else:
                    shutil.rmtree(target)
                    if change == "file":
                        target.write_text("mine")
        assert (tmp_path / "X.new" / "run.json").read_text() == "new"
        assert not list(tmp_path.glob(".*"))
        if change == "added":
            assert (target / "masks" / "note.txt").read_text() == "mine"
            assert mask.read_text() == "old"
        elif change == "edited":
            assert mask.read_text() == "better"

    def test_a_change_at_the_last_moment_is_kept(self, tmp_path, monkeypatch):
        target, rename = tmp_path / "X", os.rename
        write_result(target, "old")

        def late(source, destination):
            if ".former-" in str(destination):
                (Path(source) / "note.txt").write_text("mine")
            rename(source, destination)

        monkeypatch.setattr(atomic.os, "rename", late)
        with pytest.raises(StorageError, match="note.txt"), output_directory(target):
            pass
        assert names_in(target) == ["masks", "note.txt", "run.json"]
        assert names_in(tmp_path) == ["X", "X.new"]

    def test_what_comes_between_the_renames_is_kept_and_so_is_the_earlier_result(
        self, tmp_path, monkeypatch
    ):
        target, rename = tmp_path / "X", os.rename
        write_result(target, "old")

        def late(source, destination):
            rename(source, destination)
            if ".former-" in str(destination):
                target.mkdir()
                (target / "thesis.tex").write_text("years")

        monkeypatch.setattr(atomic.os, "rename", late)
        with pytest.raises(StorageError, match=r"X\.new"), output_directory(target):
            pass
        assert (target / "thesis.tex").read_text() == "years"
        assert (tmp_path / "X.former" / "masks" / "00000.png").read_text() == "old"
        assert names_in(tmp_path) == ["X", "X.former", "X.new"]

    def test_a_second_new_result_has_a_name_of_its_own(self, tmp_path):
        for _ in range(2):
            with pytest.raises(StorageError), output_directory(tmp_path / "X"):
                (tmp_path / "X").mkdir()
            (tmp_path / "X").rmdir()
        assert names_in(tmp_path) == ["X.new", "X.new-2"]

    @pytest.mark.parametrize("name", ["notes.txt", "masks/reference.png", "input.mp4"])
    def test_files_that_the_record_does_not_list_are_never_removed(self, tmp_path, name):
        target = tmp_path / "X"
        write_result(target)
        (target / name).write_text("mine")
        with pytest.raises(UsageError, match=f"{name}.*Move these files"):
            with output_directory(target):
                raise AssertionError("the work began")
        assert (target / name).read_text() == "mine"
        (target / name).unlink()
        (target / ".DS_Store").touch()  # of the system, not of a person
        write_result(target)

    @pytest.mark.parametrize("record", ["{oops", '{"schema": 2}'])
    def test_without_a_list_the_places_of_results_count(self, tmp_path, record):
        target = tmp_path / "X"
        write_result(target, names=("masks/0.png", "soft/2/0.png", "overlay.mp4"))
        (target / "run.json").write_text(record)
        (target / "notes.txt").write_text("mine")
        with pytest.raises(UsageError, match="changed since: notes.txt"), output_directory(target):
            pass
        (target / "notes.txt").unlink()
        write_result(target)
        assert names_in(target) == ["masks", "run.json"]


class TestSideFolder:
    def test_that_vanished_ends_the_run(self, tmp_path):
        with pytest.raises(StorageError, match="removed"):
            with output_directory(tmp_path / "X") as folder:
                shutil.rmtree(folder)
        assert names_in(tmp_path) == []

    def test_is_not_made_anew_by_a_writer(self, tmp_path):
        with pytest.raises(StorageError, match="removed by another program"):
            with output_directory(tmp_path / "X") as folder:
                shutil.rmtree(folder)
                with replacing(folder / "masks" / "00001.png") as side:
                    side.write_text("mask")
        assert names_in(tmp_path) == []

    def test_that_another_made_anew_ends_the_run(self, tmp_path):
        with pytest.raises(StorageError, match="replaced by another program"):
            with output_directory(tmp_path / "X") as folder:
                shutil.rmtree(folder)
                folder.mkdir()
        assert names_in(tmp_path) == []

    def test_of_killed_runs_is_removed_by_the_next_run(self, tmp_path):
        for token in ("0123456789abcdef", "4999999"):
            (tmp_path / f".result.partial-{token}").mkdir()
            (tmp_path / f".result.partial-{token}" / "half").touch()
        for other in (".result.partial-mine", ".result2.partial-0123456789abcdef"):
            (tmp_path / other).mkdir()
        with claim(tmp_path / "result", overwrite=False):
            assert names_in(tmp_path) == [
                ".result.lock", ".result.partial-mine", ".result2.partial-0123456789abcdef"
            ]  # fmt: skip

    def test_is_left_to_a_run_that_is_alive(self, tmp_path):
        (tmp_path / ".result.partial-0123456789abcdef").mkdir()
        with locked(tmp_path / "result"):
            thread = threading.Thread(target=_try_to_write, args=(tmp_path / "result",))
            thread.start()
            thread.join(10)
            assert (tmp_path / ".result.partial-0123456789abcdef").is_dir()

    def test_an_earlier_result_that_a_killed_run_put_aside_is_put_back(self, tmp_path):
        write_result(tmp_path / "X", "old")
        os.rename(tmp_path / "X", tmp_path / ".X.former-0123456789abcdef")
        with pytest.raises(UsageError, match="an earlier result"):
            with claim(tmp_path / "X", overwrite=False):
                pass
        assert (tmp_path / "X" / "masks" / "00000.png").read_text() == "old"
        assert names_in(tmp_path) == ["X"]

    def test_an_earlier_result_whose_place_is_taken_becomes_visible(self, tmp_path):
        write_result(tmp_path / "X", "old")
        os.rename(tmp_path / "X", tmp_path / ".X.former-77")
        write_result(tmp_path / "X", "new")
        assert names_in(tmp_path) == ["X"]  # that result was put back, and replaced
        os.rename(tmp_path / "X", tmp_path / ".X.former-77")
        (tmp_path / "X").mkdir()
        (tmp_path / "X" / "thesis.tex").touch()
        with pytest.raises(UsageError), claim(tmp_path / "X", overwrite=True):
            pass
        assert names_in(tmp_path) == ["X", "X.former"]


def _try_to_write(target: Path) -> None:
    with pytest.raises(InUse), output_directory(target):
        pass
