"""Tasks of the worker with a tiny network, in this process."""

import json

import numpy as np
import pytest
from PIL import Image

from deeplab_gygo.inference.config import OnlineConfig
from deeplab_gygo.inference.session_folder import SessionFolder
from deeplab_gygo.io.masks import read_mask
from deeplab_gygo.models.stroke_marks import Stroke
from deeplab_gygo.server.tasks import Tasks
from deeplab_gygo.server.worker import Stopped, Task, WorkerSettings

FRAMES = 5


class _Worker:
    """Notes messages; stops after some frames, and asks between them where it is to."""

    def __init__(self):
        self.messages, self.calls = [], 0
        self.stop_at, self.on_call = None, lambda: None

    def send(self, *message):
        self.messages.append(message)

    def between(self):
        self.calls += 1
        self.on_call()
        if self.calls == self.stop_at:
            raise Stopped

    def frames(self):
        found = [message[1] for message in self.messages if message[0] == "frame"]
        self.messages.clear()
        return found


@pytest.fixture(autouse=True)
def short_tuning(monkeypatch):
    """A preset of a few steps."""
    values = OnlineConfig.PRESETS["fast"] | {"steps": 4, "num_views": 3}
    monkeypatch.setitem(OnlineConfig.PRESETS, "fast", values)


@pytest.fixture(scope="module")
def tasks(tiny_parent):
    return Tasks(_Worker(), WorkerSettings(tiny_parent, "float32"))


@pytest.fixture
def worker(tasks):
    tasks._worker = _Worker()
    for made in tasks._segmenters.values():
        made.between = tasks._worker.between
    return tasks._worker


@pytest.fixture
def clip(tmp_path, squares):
    folder = tmp_path / "clip"
    folder.mkdir()
    for index in range(FRAMES):
        Image.fromarray(squares.frame(index).image).save(folder / f"{index:05d}.png")
    return folder, "clip"


@pytest.fixture
def files(tmp_path, squares):
    files = SessionFolder(tmp_path / "session")
    files.annotate(1, squares.truth(1))
    return files


def _propagate(tasks, clip, files, mode="one-shot"):
    values = {"clip": clip, "folder": files.folder, "preset": "fast", "mode": mode}
    tasks.do(Task("s", "propagate", values))


def _run(tasks, kind, clip, tmp_path, **values):
    given = {
        "clip": clip, "preset": "fast", "mode": "one-shot", "out": tmp_path / "out",
        "outputs": ("masks",), "options": {}, **values,
    }  # fmt: skip
    tasks.do(Task("j", kind, given))
    return tmp_path / "out"


def test_a_session_is_propagated_frame_by_frame(tasks, worker, clip, files):
    _propagate(tasks, clip, files)
    progress = [message[1] for message in worker.messages if message[0] == "progress"]
    assert (progress[-1].done, progress[-1].total) == (7, 7)
    assert worker.frames() == [1, 0, 0, 1, 2, 3, 4]  # backwards first
    assert all(files.results.holds(index) for index in range(FRAMES))
    _propagate(tasks, clip, files)
    assert worker.frames() == []


def test_a_stopped_propagation_goes_on_where_it_was(tasks, worker, clip, files):
    worker.stop_at = 3
    with pytest.raises(Stopped):
        _propagate(tasks, clip, files)
    stopped = [files.results.holds(index) for index in range(FRAMES)]
    assert not all(stopped)
    worker.calls, worker.stop_at = 0, None
    _propagate(tasks, clip, files)
    assert worker.calls < FRAMES - 1
    resumed = [files.results.prediction(index, "").mask for index in range(FRAMES)]
    files.forget()
    _propagate(tasks, clip, files)
    for index, mask in enumerate(resumed):
        np.testing.assert_array_equal(files.results.prediction(index, "").mask, mask)


def test_questions_between_frames_and_steps_do_not_change_the_masks(tasks, worker, clip, files):
    question = {
        "clip": clip,
        "index": 2,
        "strokes": (Stroke(True, ((36.0, 30.0),)),),
        "box": None,
        "start": None,
    }
    alone = tasks.answer("strokes", question)
    _propagate(tasks, clip, files, "fine-tune")
    undisturbed = [files.results.prediction(i, "").probability for i in range(FRAMES)]
    files.forget()
    answers = []

    def ask():
        if worker.calls in (first + 1, first + 3, first + 8):
            answers.append(tasks.answer("strokes", question))

    first, worker.on_call = worker.calls, ask
    _propagate(tasks, clip, files, "fine-tune")
    assert len(answers) == 3 and set(answers) == {alone}
    for index, probability in enumerate(undisturbed):
        found = files.results.prediction(index, "").probability
        np.testing.assert_array_equal(found, probability)


def test_an_export_writes_the_results_of_the_session(tasks, worker, clip, files, squares, tmp_path):
    _propagate(tasks, clip, files)
    out = _run(tasks, "export", clip, tmp_path, folder=files.folder, outputs=("masks", "coco"))
    for index in range(FRAMES):
        written = read_mask(out / "masks" / f"{index:05d}.png", mask_format="ids")
        np.testing.assert_array_equal(written, files.results.prediction(index, "").mask)
    np.testing.assert_array_equal(
        read_mask(out / "masks" / "00001.png", mask_format="ids"), squares.truth(1)
    )
    record = json.loads((out / "run.json").read_text())
    assert record["annotated"] == ["00001"] and record["masks"] == FRAMES
    assert str(tmp_path) not in (out / "run.json").read_text()
    files.annotate(3, squares.truth(3))  # corrected since, and not yet propagated
    out = _run(tasks, "export", clip, tmp_path, folder=files.folder)
    np.testing.assert_array_equal(
        read_mask(out / "masks" / "00003.png", mask_format="ids"), squares.truth(3)
    )


def test_an_export_needs_a_mask_of_every_frame(tasks, worker, clip, files, tmp_path):
    with pytest.raises(Exception, match="Run the session"):
        _run(tasks, "export", clip, tmp_path, folder=files.folder)
    assert not (tmp_path / "out").exists()


def test_a_job_is_a_segmentation_into_a_folder(tasks, worker, clip, squares, tmp_path):
    mask = tmp_path / "mask.png"
    Image.fromarray(squares.truth(0) * 255).save(mask)
    worker.stop_at = 3
    values = {"mask": mask, "frame": 0}
    with pytest.raises(Stopped):
        _run(tasks, "job", clip, tmp_path, **values)
    worker.stop_at = None
    out = _run(tasks, "job", clip, tmp_path, **values)
    assert len(list((out / "masks").iterdir())) == FRAMES
    assert str(tmp_path) not in (out / "run.json").read_text()


def test_the_salient_object_is_proposed(tasks, worker, clip):
    png = tasks.answer("propose", {"clip": clip, "index": 0})
    assert png.startswith(b"\x89PNG")
    assert tasks.answer("prefetch", {"clip": clip, "index": 1}) is None
