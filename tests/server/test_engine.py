"""The engine: clips, sessions, jobs, restarts; its worker has no network."""

import io
import os
import shutil
import signal
import subprocess
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path

import numpy as np
import pytest
import scripted_worker
from PIL import Image

from deeplab_gygo.errors import DeepLabGygoError, InputError, UsageError
from deeplab_gygo.server import engine_base as module
from deeplab_gygo.server.engine import Engine
from deeplab_gygo.server.job_queue import JobQueue
from deeplab_gygo.server.jobs import JobStore
from deeplab_gygo.server.settings import Limits
from deeplab_gygo.server.states import (
    Conflict,
    ExportRequest,
    JobRequest,
    NotFound,
    ObjectInfo,
    Stroke,
    Unavailable,
)
from deeplab_gygo.server.worker_process import WorkerProcess

SIZE, FRAMES, PATIENCE = (16, 24), 6, 20


@pytest.fixture
def make_engine(tmp_path, monkeypatch):
    """Function that opens an engine on the data folder of the test, and waits for its worker."""
    monkeypatch.setattr(
        module, "WorkerProcess", partial(WorkerProcess, target=scripted_worker.main)
    )
    opened = []

    def make(*, start=True, **options):
        made = Engine(tmp_path / "data", **options)
        opened.append(made)
        if start:
            made.start()
            wait_for(lambda: made.ready)
        return made

    yield make
    for each in opened:
        each.close()


@pytest.fixture
def clip_folder(tmp_path):
    """A folder of frames."""
    folder = tmp_path / "frames"
    folder.mkdir()
    for index in range(FRAMES):
        Image.fromarray(np.full((*SIZE, 3), 20 * index, np.uint8)).save(folder / f"{index:05d}.png")
    return folder


def wait_for(condition):
    """Waits until a condition holds."""
    end = time.monotonic() + PATIENCE
    while not condition():
        assert time.monotonic() < end, "it does not come"
        time.sleep(0.005)


def png(*labels, size=SIZE, mode=None):
    """Returns a mask of some objects as PNG."""
    mask = np.zeros(size, np.uint8)
    for label in labels or (1,):
        mask[4:12, 6 * label : 6 * label + 4] = label
    buffer = io.BytesIO()
    picture = Image.fromarray(mask)
    (picture.convert(mode) if mode else picture).save(buffer, "PNG")
    return buffer.getvalue()


def array(content):
    return np.array(Image.open(io.BytesIO(content)))


def open_session(engine, folder, **options):
    return engine.create_session(engine.open_clip(folder, "My clip.mp4").id, **options).id


def run_to_end(engine, session):
    engine.run(session)
    wait_for(lambda: engine.session(session).state != "running")


def test_a_clip_is_described_and_its_frames_are_pictures(make_engine, clip_folder):
    engine = make_engine(start=False)
    info = engine.open_clip(clip_folder, "My <b>clip</b>.mp4")
    assert (info.frames, info.width, info.height, info.pixel_aspect) == (FRAMES, 24, 16, 1.0)
    assert engine.clips() == [info] and engine.clip(info.id) == info
    assert abs(int(array(engine.frame(info.id, 4, 10)).mean()) - 80) < 3
    for index in (-1, FRAMES):
        with pytest.raises(NotFound, match="0 to 5"):
            engine.frame(info.id, index)
    for name in ("absent", "../clips", ""):
        with pytest.raises(NotFound):
            engine.clip(name)


def test_a_session_starts_idle_and_takes_masks(make_engine, clip_folder):
    engine = make_engine(start=False)
    session = open_session(engine, clip_folder, preset="fast", mode="one-shot")
    state = engine.session(session)
    assert (state.state, state.confidence, state.annotated) == ("idle", [None] * FRAMES, [])
    first = engine.annotate(session, 2, png(1, 2))
    state = engine.session(session)
    assert state.annotated == [2] and state.revision == first
    assert [(each.id, each.name) for each in state.objects] == [(1, "Object 1"), (2, "Object 2")]
    content, origin, stamp = engine.mask(session, 2)
    assert origin == "annotation"
    np.testing.assert_array_equal(array(content), array(png(1, 2)))
    assert engine.annotate(session, 2, png(1)) > first
    assert engine.mask(session, 2)[2] != stamp
    engine.annotate(session, 2, None)
    with pytest.raises(NotFound):
        engine.mask(session, 2)
    with pytest.raises(NotFound):
        engine.annotate(session, 2, None)
    with pytest.raises(UsageError, match="Draw"):
        engine.run(session)


@pytest.mark.parametrize(
    ("content", "text"),
    [
        (b"", "another file"),
        (b"<svg></svg>", "another file"),
        (png()[:60], "another file"),
        (png(size=(16, 25)), "25x16, not 24x16"),
        (png(size=(4000, 5000)), "5000x4000, not 24x16"),
        (png(mode="RGBA"), "mode RGBA"),
        (png(mode="RGB"), "mode RGB"),
    ],
    ids=["empty", "svg", "cut", "size", "huge", "rgba", "rgb"],
)
def test_unusable_masks_are_refused_before_they_are_decoded(
    make_engine, clip_folder, content, text
):
    engine = make_engine(start=False)
    session = open_session(engine, clip_folder)
    with pytest.raises(InputError, match=text):
        engine.annotate(session, 0, content)
    assert engine.session(session).annotated == []


def test_what_was_made_is_there_after_the_folder_is_opened_again(make_engine, clip_folder):
    engine = make_engine()
    session = open_session(engine, clip_folder, preset="fast", mode="one-shot")
    engine.annotate(session, 0, png(1))
    engine.set_objects(session, [ObjectInfo(1, "Bag", "#00ff00")])
    run_to_end(engine, session)
    before = engine.session(session)
    assert before.confidence == [0.99, 0.5, 0.99, 0.99, 0.99, 0.99] and before.doubtful == [1]
    engine.close()
    again = make_engine(start=False)
    after = again.session(session)
    assert after.revision > before.revision
    assert (after.objects, after.annotated, after.confidence, after.doubtful, after.state) == (
        before.objects, before.annotated, before.confidence, before.doubtful, "idle",
    )  # fmt: skip
    assert again.mask(session, 3)[1] == "result"
    assert again.clips() == [again.clip(after.clip)]
    assert len(again.frame(after.clip, 3)) > 100


def test_masks_appear_as_they_are_made_and_listeners_are_called(
    make_engine, clip_folder, tmp_path, monkeypatch
):
    monkeypatch.setenv(scripted_worker.WAIT, str(tmp_path / "go"))
    engine = make_engine()
    session = open_session(engine, clip_folder)
    engine.annotate(session, 0, png(1))
    events = []
    end = engine.listen(session, events.append)
    engine.run(session)
    wait_for(lambda: engine.session(session).confidence[2] is not None)
    state = engine.session(session)
    assert state.state == "running" and state.confidence[3:] == [None] * 3
    assert engine.mask(session, 2)[1] == "result"
    with pytest.raises(Conflict):
        engine.run(session)
    with pytest.raises(Conflict):
        engine.delete_clip(state.clip)
    (tmp_path / "go").touch()
    wait_for(lambda: engine.session(session).state == "idle")
    frames = [event.data["index"] for event in events if event.kind == "frame"]
    assert frames == list(range(FRAMES))
    progress = [event.data for event in events if event.kind == "progress"][-1]
    assert (progress["done"], progress["total"], progress["phase"]) == (6, 6, "propagation")
    wait_for(lambda: events[-1].kind == "state" and events[-1].data["state"] == "idle")
    end()
    count = len(events)
    engine.annotate(session, 1, png(1))
    assert len(events) == count


def test_a_stopped_propagation_ends_after_its_frame(
    make_engine, clip_folder, tmp_path, monkeypatch
):
    monkeypatch.setenv(scripted_worker.WAIT, str(tmp_path / "go"))
    engine = make_engine()
    session = open_session(engine, clip_folder)
    engine.annotate(session, 0, png(1))
    engine.run(session)
    wait_for(lambda: engine.session(session).confidence[2] is not None)
    engine.stop(session)
    wait_for(lambda: engine.session(session).state == "idle")
    assert engine.session(session).confidence[3:] == [None] * 3
    engine.stop(session)  # nothing runs


def test_a_task_goes_on_when_the_worker_dies(make_engine, clip_folder, tmp_path, monkeypatch):
    monkeypatch.setenv(scripted_worker.DIE_ONCE, str(tmp_path / "died"))
    engine = make_engine()
    session = open_session(engine, clip_folder)
    engine.annotate(session, 0, png(1))
    run_to_end(engine, session)
    state = engine.session(session)
    assert (tmp_path / "died").exists()
    assert state.error is None and None not in state.confidence


def test_a_propagation_is_taken_up_when_the_folder_is_opened_again(
    make_engine, clip_folder, tmp_path, monkeypatch
):
    monkeypatch.setenv(scripted_worker.WAIT, str(tmp_path / "go"))
    engine = make_engine()
    session = open_session(engine, clip_folder)
    engine.annotate(session, 0, png(1))
    engine.run(session)
    wait_for(lambda: engine.session(session).confidence[2] is not None)
    engine.close()
    (tmp_path / "go").touch()
    again = make_engine()
    wait_for(lambda: again.session(session).state == "idle")
    assert None not in again.session(session).confidence


def test_questions_are_answered_or_refused(make_engine, clip_folder):
    engine = make_engine()
    session = open_session(engine, clip_folder)
    click = [Stroke(True, ((8.0, 8.0),))]
    assert array(engine.strokes(session, 0, 1, click)).max() == 1
    assert array(engine.strokes(session, 0, 1, [], (1, 1, 9, 9))).max() == 1
    assert array(engine.propose(session, 3)).max() == 1
    engine.prefetch(session, 1)
    for label, strokes in ((1, []), (1, [Stroke(False, ((8.0, 8.0),))]), (0, click), (255, click)):
        with pytest.raises(UsageError):
            engine.strokes(session, 0, label, strokes)
    with pytest.raises(NotFound):
        engine.propose(session, FRAMES)
    engine.annotate(session, 0, png(1))
    assert engine.strokes(session, 0, 1, [Stroke(False, ((8.0, 8.0),))])  # its mask is corrected
    with pytest.raises(UsageError):
        engine.strokes(session, 0, 2, [Stroke(False, ((8.0, 8.0),))])


def test_the_frame_in_view_is_encoded_when_the_network_is_loaded(make_engine, clip_folder):
    engine = make_engine(start=False)
    session = open_session(engine, clip_folder)
    for index in (1, 3):
        engine.prefetch(session, index)
    engine.start()
    wait_for(lambda: engine.ready)
    assert array(engine.propose(session, 0)).max() == 1 + 3


def test_errors_of_the_worker_have_neither_path_nor_stack(make_engine):
    engine = make_engine()
    for question, kind in (("refuse", InputError), ("break", DeepLabGygoError)):
        with pytest.raises(kind) as caught:
            engine._worker.ask(question, {})
        assert "secret" not in str(caught.value)


def test_a_question_whose_worker_dies_is_refused_and_the_next_answered(make_engine, clip_folder):
    engine = make_engine()
    session = open_session(engine, clip_folder)
    before = engine._worker.pid
    with pytest.raises(Unavailable):
        engine._worker.ask("die", {})
    wait_for(lambda: engine.ready)
    assert engine._worker.pid != before
    assert engine.propose(session, 0)


def test_a_network_that_cannot_be_loaded_is_a_problem_and_not_a_loop(make_engine, clip_folder):
    for name, text in (("absent", "Weights exist"), ("broken", "The network is loaded")):
        engine = make_engine(start=False, weights=Path(name))
        engine.start()
        wait_for(lambda engine=engine: engine.problem is not None)
        assert engine.problem.rule == text and not engine.ready
        session = open_session(engine, clip_folder)
        with pytest.raises(Unavailable, match=text):
            engine.propose(session, 0)
        engine.close()


def test_jobs_run_in_order_and_are_cancelled(make_engine, clip_folder, tmp_path, monkeypatch):
    monkeypatch.setenv(scripted_worker.WAIT, str(tmp_path / "go"))
    engine = make_engine()
    clip = engine.open_clip(clip_folder, "clip").id
    changes = []
    for name in ("first", "second", "third"):
        engine.start_job(name, JobRequest(clip, mode="zero-shot"), changes.append)
    engine.cancel_job("second")
    wait_for(lambda: any(change.progress and change.progress.done == 3 for change in changes))
    with pytest.raises(Conflict):
        engine.delete_clip(clip)
    engine.cancel_job("first")
    (tmp_path / "go").touch()
    wait_for(lambda: changes[-1].state == "done")
    ends = [(c.job, c.state) for c in changes if c.state != "running"]
    assert ends == [("second", "cancelled"), ("first", "cancelled"), ("third", "done")]
    assert engine.job_folder("third").is_dir()
    count = len(changes)
    engine.start_job("third", JobRequest(clip), changes.append)  # as after a restart
    assert [change.state for change in changes[count:]] == ["done"]
    assert not engine.job_folder("first").exists()
    engine.delete_clip(clip)
    assert engine.clips() == []
    assert len(list(clip_folder.iterdir())) == FRAMES  # it is not in the data folder


def test_a_propagation_goes_before_a_job_that_goes_on_afterwards(
    make_engine, clip_folder, tmp_path, monkeypatch
):
    monkeypatch.setenv(scripted_worker.WAIT, str(tmp_path / "go"))
    engine = make_engine()
    session = open_session(engine, clip_folder)
    engine.annotate(session, 0, png(1))
    changes, order = [], []
    engine.listen(session, lambda event: order.append((event.kind, event.data.get("state"))))
    clip = engine.session(session).clip
    engine.start_job("job", JobRequest(clip, mode="zero-shot"),
                     lambda c: (changes.append(c), order.append(c.state)))  # fmt: skip
    wait_for(lambda: len(changes) == 3)
    engine.run(session)
    wait_for(lambda: engine.session(session).confidence[2] is not None)
    (tmp_path / "go").touch()
    wait_for(lambda: changes[-1].state == "done")
    assert order.index(("state", "idle")) < order.index("done")
    assert engine.session(session).state == "idle"


@pytest.mark.parametrize(
    "change",
    [
        {"outputs": ()}, {"outputs": ("masks", "nothing")}, {"options": {"background": "/etc/x"}},
        {"options": {"turns": 3}}, {"options": {"spin": 0}}, {"preset": "turbo"},
    ],
    ids=str,
)  # fmt: skip
def test_unusable_jobs_are_refused(make_engine, clip_folder, change):
    engine = make_engine(start=False)
    clip = engine.open_clip(clip_folder, "clip").id
    with pytest.raises(DeepLabGygoError):
        engine.start_job("job", JobRequest(clip, **change), lambda _: None)
    with pytest.raises(NotFound):
        engine.start_job("job", ExportRequest("absent"), lambda _: None)


def test_a_data_folder_belongs_to_one_server(make_engine):
    make_engine(start=False)
    with ThreadPoolExecutor(1) as pool, pytest.raises(Conflict, match="another server"):
        pool.submit(make_engine, start=False).result()  # a thread has a lock of its own


_PARENT = """
import sys, time
sys.path.insert(0, {tests!r})
import scripted_worker
from deeplab_gygo.server.worker import WorkerSettings
from deeplab_gygo.server.worker_process import WorkerProcess
if __name__ == "__main__":
    ready = []
    worker = WorkerProcess(WorkerSettings(), print, lambda: ready.append(1), scripted_worker.main)
    worker.start()
    while not ready:
        time.sleep(.01)
    print(worker.pid, flush=True)
    time.sleep(60)
"""


@pytest.mark.skipif(not hasattr(signal, "SIGKILL"), reason="it needs SIGKILL")
def test_the_worker_ends_with_its_parent(tmp_path):
    script = tmp_path / "parent.py"
    script.write_text(_PARENT.format(tests=str(Path(__file__).parent)))
    parent = subprocess.Popen([sys.executable, script], stdout=subprocess.PIPE, text=True)
    try:
        pid = int(parent.stdout.readline())
        parent.kill()
        parent.wait()

        def has_ended():
            try:
                os.kill(pid, 0)
            except ProcessLookupError:
                return True
            stat = Path(f"/proc/{pid}/stat")
            return stat.exists() and stat.read_text().rpartition(")")[2].split()[0] == "Z"

        wait_for(has_ended)
    finally:
        parent.kill()
        parent.stdout.close()


def test_this_process_does_not_import_the_network():
    code = (
        "import sys, deeplab_gygo.server.engine; "
        "assert not {'keras', 'tensorflow', 'jax'} & set(sys.modules)"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


def test_a_listener_that_fails_disturbs_nobody(make_engine, clip_folder):
    engine = make_engine(start=False)
    session = open_session(engine, clip_folder)
    seen = threading.Event()

    def fails(event):
        raise ValueError

    engine.listen(session, fails)
    engine.listen(session, lambda event: seen.set())
    engine.annotate(session, 0, png(1))
    assert seen.is_set()


def _aged(engine, tmp_path, session, days):
    """Makes a session and its clip as old as if they had not been used for so many days."""
    clip = engine.session(session).clip
    moment = time.time() - 86400 * days
    for place in (f"clips/{clip}/clip.json", f"sessions/{session}/session.json"):
        os.utime(tmp_path / "data" / place, (moment, moment))
    return clip


def test_clips_and_sessions_that_nobody_uses_are_removed(make_engine, clip_folder, tmp_path):
    engine = make_engine(start=False)
    names = ("old", "heard", "looked", "edited", "running", "new")
    sessions = {}
    for name in names:
        folder = shutil.copytree(clip_folder, tmp_path / name)
        sessions[name] = open_session(engine, folder)
    clips = {name: _aged(engine, tmp_path, sessions[name], 9) for name in names[:-1]}
    clips["new"] = engine.session(sessions["new"]).clip
    end = engine.listen(sessions["heard"], lambda event: None)
    engine.frame(clips["looked"], 0)
    engine.annotate(sessions["edited"], 0, png(1))
    engine.annotate(sessions["running"], 0, png(1))
    engine.run(sessions["running"])
    _aged(engine, tmp_path, sessions["running"], 9)
    store = JobStore(tmp_path / "jobs.sqlite")

    def expire(**limits):
        JobQueue(engine, store, tmp_path / "data", Limits(**limits)).expire()
        return {name for name, clip in clips.items() if clip in {c.id for c in engine.clips()}}

    assert expire(keep_clip_days=0) == set(names)
    assert expire(keep_clip_days=10) == set(names)
    assert expire(keep_clip_days=5) == set(names) - {"old"}
    with pytest.raises(NotFound):
        engine.session(sessions["old"])
    assert not (tmp_path / "data" / "sessions" / sessions["old"]).exists()
    end()
    assert expire(keep_clip_days=5) == set(names) - {"old", "heard"}
    store.close()


def test_beyond_a_number_of_bytes_what_was_used_longest_ago_is_removed(
    make_engine, clip_folder, tmp_path
):
    engine = make_engine(start=False)
    sessions = [open_session(engine, clip_folder) for _ in range(3)]
    clips = [
        _aged(engine, tmp_path, session, days)
        for session, days in zip(sessions, (1, 2, 0), strict=True)
    ]
    store = JobStore(tmp_path / "jobs.sqlite")
    queue = JobQueue(engine, store, tmp_path / "data", Limits(keep_days=0, keep_bytes=20_000))
    sizes = [engine.clip_bytes(clip) for clip in clips]
    (tmp_path / "data" / "clips" / clips[0] / "clip.mp4").write_bytes(bytes(9_000))
    queue.expire()
    assert [info.id for info in engine.clips()] == clips[::-1]  # sizes are small
    (tmp_path / "data" / "clips" / clips[1] / "clip.mp4").write_bytes(bytes(15_000))
    queue.expire()
    assert {info.id for info in engine.clips()} == {clips[0], clips[2]}
    (tmp_path / "data" / "clips" / clips[2] / "clip.mp4").write_bytes(bytes(30_000))
    queue.expire()
    assert [info.id for info in engine.clips()] == [clips[2]]  # it was used just now
    assert all(size < 3_000 for size in sizes)
    store.close()
