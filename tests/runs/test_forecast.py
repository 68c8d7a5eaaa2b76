"""A dry run shows what a batch would do, without doing it."""

import io
import json
from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest
from batch_runner import maker

from deeplab_gygo.cli import main as cli
from deeplab_gygo.datasets.registry import open_dataset
from deeplab_gygo.inference.config import OnlineConfig
from deeplab_gygo.io.storage import write_url
from deeplab_gygo.io.video_writer import VideoWriter
from deeplab_gygo.runs.batch import Batch
from deeplab_gygo.runs.forecast import Pace, forecast, makespan
from deeplab_gygo.runs.plan import plan_dataset, plan_videos
from deeplab_gygo.runs.run_record import RunRecord
from deeplab_gygo.runs.settings import RunSettings


@pytest.fixture
def settings(parent_header):
    def make(**changes):
        values = {"weights": parent_header, "progress": False, "preset": "balanced"} | changes
        return RunSettings(**values)

    return make


@pytest.fixture
def clips(tmp_path, make_clip):
    """A list of a video of 7 frames, a folder of 3, a picture, and rows that are no use."""
    with VideoWriter(tmp_path / "film.mkv", (64, 96), frame_rate=5) as writer:
        for value in range(7):
            writer.write(np.full((64, 96, 3), 20 * value, np.uint8))
    make_clip(tmp_path / "folder", 3)
    (tmp_path / "empty").mkdir()
    (tmp_path / "text.mp4").write_text("no video")
    mask = "folder-masks/00000.png"
    rows = ["film.mkv", "folder", "folder/00001.jpg", "none.mp4", "text.mp4", "empty", ""]
    lines = [f"{video},{mask}" for video in rows] + ["film.mkv,none.png,again"]
    path = tmp_path / "list.csv"
    path.write_text("video,mask,id\n" + "\n".join(lines))
    return path


def test_frames_are_those_of_headers_and_what_is_unusable_is_refused(clips, settings, tmp_path):
    result = forecast(plan_videos(clips), settings(), tmp_path / "out")
    assert [(e.item.name, e.frames) for e in result.only("to do")] == [
        ("film", 7), ("folder", 3), ("00001", 1),
    ]  # fmt: skip
    refused = "\n".join(each.error for each in result.only("refused"))
    for message in (
        "none: An input is a file that can be read", "text: The input must be a video",
        "empty: A folder of frames has some", "row 7: A row of a list of videos has video",
        "again: The mask of a clip exists",
    ):  # fmt: skip
        assert message in refused
    assert not (tmp_path / "out").exists()


@pytest.fixture
def half_done(tmp_path, make_dataset, settings):
    """Items of four sequences, and a folder in which two of them are finished."""
    data = make_dataset(tmp_path / "data", {"a": 3, "b": 5, "c": 9, "d": 4})
    items = plan_dataset(open_dataset("gygo", data), "val")
    make_runner = maker(tmp_path / "journal")
    Batch(items[:2], settings(), tmp_path / "out", make_runner=make_runner).run()
    for name, frames in (("a", 2), ("b", 4)):
        path = tmp_path / "out" / name / "run.json"
        values = json.loads(path.read_text())
        assert values["frames"] == frames
        # 3 s and 6 s of fine-tuning, and half a second a frame.
        values |= {"adaptation_seconds": 1.5 * frames, "total_seconds": 2.0 * frames}
        values["preset"] = "balanced"
        path.write_text(json.dumps(values))
    return items, tmp_path / "out"


def test_the_time_is_that_of_finished_clips(half_done, settings):
    items, out = half_done
    result = forecast(items, settings(), out)
    assert [each.status for each in result.expected] == ["finished"] * 2 + ["to do"] * 2
    assert result.pace == Pace(adaptation=4.5, frame=0.5, frames=3.0, clips=2)
    assert result.seconds == pytest.approx(2 * 4.5 + 0.5 * (9 + 4))
    assert forecast(items, settings(), out, workers=2).seconds == pytest.approx(4.5 + 0.5 * 9)
    text = result.text()
    assert text.startswith("4 sequences: 2 to do, 2 finished, 0 would be refused\n")
    assert "frames to do: 13\ntime: about 16 s with 1 worker, from 2 finished here" in text


def test_other_settings_are_refused_or_replaced(half_done, settings):
    items, out = half_done
    result = forecast(items, settings(seed=4), out)
    assert [each.status for each in result.expected] == ["refused"] * 2 + ["to do"] * 2
    assert "a: finished with other settings; give --overwrite" in result.text()
    assert len(forecast(items, settings(seed=4, overwrite=True), out).only("to do")) == 4


def test_times_of_another_preset_or_mode_tell_nothing(half_done, settings):
    items, out = half_done
    for changes in ({"preset": "fast"}, {"online": OnlineConfig(mode="one-shot")}):
        result = forecast(items, settings(**changes, overwrite=True), out)
        assert (result.pace, result.seconds) == (None, None)
        assert "time: unknown until a clip is finished" in result.text()


def test_damaged_records_are_done_again(half_done, settings):
    items, out = half_done
    (out / "a" / "run.json").write_text("{")
    assert forecast(items, settings(), out).expected[0].status == "to do"


def test_nothing_is_opened_but_headers(half_done, settings, monkeypatch):
    def fail(*args, **options):
        raise AssertionError("opened")

    items, out = half_done
    for module in ("item.open_clip", "item.open_dataset_clip", "clip.Clip.hashes"):
        monkeypatch.setattr(f"deeplab_gygo.runs.{module}", fail)
    assert len(forecast(items, settings(), out).only("to do")) == 2


def test_results_and_inputs_may_be_remote(half_done, settings, tmp_path):
    _, out = half_done
    for name in ("a", "b"):
        write_url(f"memory://forecast/out/{name}/run.json", (out / name / "run.json").read_bytes())
    rows = "".join(f"{name}.mp4,{name}.png\n" for name in "abcd")
    write_url("memory://forecast/list.csv", f"video,mask\n{rows}".encode())
    items = plan_videos("memory://forecast/list.csv")
    result = forecast(items, settings(), "memory://forecast/out")
    assert [each.status for each in result.expected] == ["finished"] * 2 + ["to do"] * 2
    # Their length is unknown: it is taken for the mean of those that are finished.
    assert result.seconds == pytest.approx(2 * (4.5 + 0.5 * 3))
    assert "and those of 2 sequences of unknown length" in result.text()


def test_the_command_prints_it_and_writes_nothing(clips, tmp_path, parent_header, capsys):
    words = ["batch", "--videos", str(clips), "--out", str(tmp_path / "out"), "--dry-run"]
    words += ["--weights", str(parent_header)]
    assert cli.main(words) == 0
    printed = capsys.readouterr().out
    assert printed.startswith("8 sequences: 3 to do, 0 finished, 5 would be refused\n")
    assert str(tmp_path / "film.mkv") in printed
    assert not (tmp_path / "out").exists()


def test_the_command_maps_columns_and_takes_rows_without_masks(tmp_path, parent_header, capsys):
    (tmp_path / "list.csv").write_text("File,Name\nclip.mp4,red\n")
    words = ["batch", "--videos", str(tmp_path / "list.csv"), "--out", "x", "--dry-run"]
    words += ["--columns", "video=file,id=name", "--weights", str(parent_header)]
    assert cli.main(words) == 65
    assert "names file and mask and name once" in capsys.readouterr().err
    assert cli.main([*words, "--mode", "zero-shot"]) == 0
    assert "refused: red: An input is a file" in capsys.readouterr().out
    words = ["batch", "--dataset", "gygo", "--root", str(tmp_path), "--out", "x"]
    assert cli.main([*words, "--columns", "video=a", "--weights", str(parent_header)]) == 2
    assert "Leave --columns out" in capsys.readouterr().err


def test_the_command_reads_a_list_on_standard_input(tmp_path, parent_header, monkeypatch, capsys):
    stdin = SimpleNamespace(buffer=io.BytesIO(b'{"video": "a.mp4", "mask": "a.png"}'))
    monkeypatch.setattr("sys.stdin", stdin)
    monkeypatch.chdir(tmp_path)
    words = ["batch", "--videos", "-", "--out", "x", "--dry-run", "--weights", str(parent_header)]
    assert cli.main(words) == 0
    assert "1 would be refused" in capsys.readouterr().out


def test_the_longest_are_begun_first():
    assert makespan([1, 1, 1, 1, 4], 2) == 4
    assert makespan([], 3, start=2) == 2
    assert makespan([5] * 4, 2, start=1) == 11


def test_long_plans_are_cut_short(settings, tmp_path):
    rows = "".join(f"{number:03d}.mp4,m.png\n" for number in range(50))
    write_url("memory://forecast/long.csv", f"video,mask\n{rows}".encode())
    items = plan_videos("memory://forecast/long.csv")
    text = forecast(items, settings(), tmp_path / "out").text()
    assert "009.mp4" in text and "010.mp4" not in text and "... and 40 more" in text


def test_a_record_tells_its_pace():
    record = RunRecord(config={}, seed=0, hashes=dict.fromkeys(("input", "mask", "weights"), "0"))
    assert Pace.of([record]) is None and Pace.of([]) is None
    # A picture with its mask: nothing but fine-tuning and writing.
    picture = replace(record, masks=1, adaptation_seconds=3.0, total_seconds=4.0)
    assert Pace.of([picture, picture]) == Pace(adaptation=3.0, frame=1.0, frames=0.0, clips=2)


def test_a_finished_batch_has_nothing_to_do(half_done, settings):
    items, out = half_done
    assert forecast(items[:2], settings(), out).text().endswith("\nnothing is to do\n")
