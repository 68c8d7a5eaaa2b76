"""Runs that write a report, and that show their progress to programs."""

import json

import pytest

from deeplab_gygo.errors import DependencyError, UsageError
from deeplab_gygo.runs import settings as settings_module
from deeplab_gygo.runs.batch import Batch
from deeplab_gygo.runs.clip import open_clip
from deeplab_gygo.runs.plan import plan_videos
from deeplab_gygo.runs.run_record import finished_record
from deeplab_gygo.runs.settings import make_settings


def _settings(**changes):
    return make_settings(
        method="copy", **{"outputs": ("masks", "report"), "progress": False, **changes}
    )


@pytest.fixture(scope="module")
def runner():
    from deeplab_gygo.runs.runner import SequenceRunner

    return SequenceRunner(_settings())


@pytest.fixture
def clip(tmp_path, make_clip):
    make_clip(tmp_path / "clip", 5)
    return open_clip(tmp_path / "clip", tmp_path / "clip-masks" / "00000.png")


def test_the_report_is_a_file_of_the_result(tmp_path, clip, runner):
    for _ in range(2):  # the second replaces the first
        runner.run(clip, tmp_path / "out")
        record = finished_record(tmp_path / "out")
        assert record.files.keys() == {"report.html", *(f"masks/0000{k}.png" for k in range(5))}
    assert (tmp_path / "out" / "report.html").read_text().count("<img ") >= 5


def test_a_report_needs_the_masks_and_its_package(monkeypatch):
    with pytest.raises(UsageError, match="Add masks to --outputs"):
        _settings(outputs=("overlay", "report"))
    monkeypatch.setattr(settings_module, "find_spec", lambda name: None)
    with pytest.raises(DependencyError, match=r"deeplab-gygo\[report\]"):
        _settings()


def test_a_batch_has_a_report_and_an_event_for_every_clip(
    tmp_path, clip, make_clip, runner, monkeypatch, capsys
):
    make_clip(tmp_path / "other", 3, 1)
    lines = [
        {"video": name, "mask": f"{mask}-masks/00000.png", "id": name}
        for name, mask in (("clip", "clip"), ("other", "other"), ("missing", "clip"))
    ]
    (tmp_path / "list.jsonl").write_text("\n".join(map(json.dumps, lines)))
    monkeypatch.chdir(tmp_path)
    shown = _settings(json_progress=True)
    monkeypatch.setattr(runner, "settings", shown)
    items = plan_videos(tmp_path / "list.jsonl")
    Batch(items, shown, tmp_path / "out", make_runner=lambda _: runner).run()
    page = (tmp_path / "out" / "report.html").read_text()
    assert page.index("missing") < page.index('href="clip/report.html"')
    events = [json.loads(line) for line in capsys.readouterr().err.splitlines() if line[0] == "{"]
    clips = [item for item in events if item["event"] == "batch"]
    assert [(item["clip"], item["number"], item["clips"]) for item in clips] == [
        ("clip", 1, 3), ("other", 2, 3), ("missing", 3, 3),
    ]  # fmt: skip
    assert [item["status"] for item in clips] == ["done", "done", "failed"]
    assert [item["clip"] for item in events if item["event"] == "done"] == ["clip", "other"]
    segmented = [item for item in events if item["event"] == "segment" and item["clip"] == "clip"]
    assert (segmented[0]["frame"], segmented[-1]["frame"]) == (1, 5)


def test_an_error_in_a_clip_is_an_event(tmp_path, clip, runner, monkeypatch, capsys):
    monkeypatch.setattr(runner, "settings", _settings(json_progress=True))
    frame = tmp_path / "clip" / "00003.jpg"
    frame.write_bytes(frame.read_bytes()[:-300])
    with pytest.raises(Exception, match="00003"):
        runner.run(clip, tmp_path / "out")
    last = json.loads(capsys.readouterr().err.splitlines()[-1])
    assert (last["event"], last["frames"]) == ("stopped", 5) and last["frame"] < 5


def test_without_a_terminal_lines_say_how_far_it_is(tmp_path, clip, runner, monkeypatch, capsys):
    monkeypatch.setattr(runner, "settings", _settings(progress=True))
    runner.run(clip, tmp_path / "out")
    assert "segment clip: 5 frames in " in capsys.readouterr().err
    monkeypatch.setattr(runner, "settings", _settings())
    runner.run(clip, tmp_path / "quiet")
    assert not capsys.readouterr().err


def test_a_batch_keeps_a_page_of_somebody_else_and_says_so_before_the_work(tmp_path, runner):
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "report.html").write_text("mine")
    with pytest.raises(UsageError, match="Rename that file"):
        Batch([], _settings(), tmp_path / "out", make_runner=lambda _: runner).run()
    assert [path.name for path in (tmp_path / "out").iterdir()] == ["report.html"]
