from __future__ import annotations

import io
import json
import sqlite3
import threading
import time
import zipfile

import numpy as np
import pytest
from fake_engine import FakeEngine, no_path
from pycocotools import mask as coco
from served_app import FRAMES

from deeplab_gygo.errors import StorageError
from deeplab_gygo.server.job_queue import MAX_ATTEMPTS, JobQueue
from deeplab_gygo.server.jobs import Job, JobStore, QueueFull
from deeplab_gygo.server.settings import Limits
from deeplab_gygo.server.states import Problem


def submit(client, video, mask=None, headers=None, **data):
    files = {"clip": ("clip.mp4", video)}
    if mask is not None:
        files["mask"] = ("mask.png", mask)
    return client.post("/api/jobs", files=files, data=data, headers=headers)


def wait(client, job_id, *states):
    states = states or ("done", "failed", "cancelled")
    until = time.monotonic() + 20
    while (job := client.get(f"/api/jobs/{job_id}").json())["state"] not in states:
        assert time.monotonic() < until, job
        time.sleep(0.01)
    return job


def test_a_job_is_done_and_its_result_served(client, video, mask):
    answer = submit(client, video, mask, outputs="masks,overlay", preset="fast")
    assert answer.status_code == 202, answer.text
    job = wait(client, answer.json()["id"])
    assert job["state"] == "done" and job["attempts"] == 1 and job["error"] is None
    assert job["outputs"] == ["masks", "overlay"] and job["finished"] >= job["started"]
    result = client.get(f"/api/jobs/{job['id']}/result")
    with zipfile.ZipFile(io.BytesIO(result.content)) as archive:
        assert archive.testzip() is None
        names = set(archive.namelist())
        assert {"run.json", "overlay.mp4", "masks/00000.png"} <= names
        record = json.loads(archive.read("run.json"))
    assert record == {"source": "clip.mp4", "masks": FRAMES}
    video_answer = client.get(f"/api/jobs/{job['id']}/result?format=video")
    assert video_answer.headers["content-type"] == "video/mp4"
    part = client.get(f"/api/jobs/{job['id']}/result?format=video", headers={"Range": "bytes=0-4"})
    assert (part.status_code, part.content) == (206, b"video")
    assert job in client.get("/api/jobs").json()


def test_run_lengths_are_those_of_coco(client, video, mask):
    job = wait(client, submit(client, video, mask).json()["id"])
    found = client.get(f"/api/jobs/{job['id']}/result?format=rle").json()["frames"]
    assert [frame["index"] for frame in found] == list(range(FRAMES))
    wanted = np.zeros((16, 24), np.uint8)
    wanted[2:9, 3:11] = 1
    decoded = coco.decode(found[1]["objects"][0]["segmentation"])
    assert np.array_equal(decoded, wanted) and found[1]["name"] == "00001"


def test_the_result_of_an_unfinished_job_is_not_served(start, video, mask, tmp_path):
    client = start(FakeEngine(tmp_path / "data", held=True))
    job_id = submit(client, video, mask).json()["id"]
    wait(client, job_id, "running")
    for kind in ("zip", "video", "rle"):
        assert client.get(f"/api/jobs/{job_id}/result?format={kind}").status_code == 409
    assert client.get("/api/jobs/unknown/result").status_code == 404
    assert client.get(f"/api/jobs/{job_id}/result?format=exe").status_code == 422
    client.engine.go.set()
    wait(client, job_id)


def test_a_job_waits_for_a_clip_that_is_there(client, clip_id, mask):
    answer = client.post("/api/jobs", files={"mask": ("m.png", mask)}, data={"clip_id": clip_id})
    job = wait(client, answer.json()["id"])
    assert job["clip"] == clip_id
    # The clip is not of the job: it stays.
    assert client.delete(f"/api/jobs/{job['id']}").status_code == 200
    assert client.get(f"/api/clips/{clip_id}").status_code == 200


@pytest.mark.parametrize(
    "data, status",
    [
        ({}, 422), ({"clip_id": "a", "url": "http://b/"}, 422), ({"clip_id": "unknown"}, 404),
        ({"clip_id": "CLIP", "outputs": "nothing"}, 400), ({"clip_id": "CLIP", "frame": "x"}, 422),
        ({"clip_id": "CLIP", "frame": "99"}, 404), ({"clip_id": "CLIP", "outputs": "../x"}, 422),
        ({"clip_id": "CLIP", "options": "{"}, 422), ({"clip_id": "CLIP", "options": "[]"}, 422),
        ({"clip_id": "CLIP", "options": '{"background": "/etc/passwd"}'}, 422),
        ({"clip_id": "CLIP", "options": '{"spin": 0}'}, 422),
        ({"clip_id": "CLIP", "more": "1"}, 422), ({"clip_id": "CLIP", "clip": "text"}, 422),
        ({"url": "http://evil.example/a.mp4"}, 403),
    ],
)  # fmt: skip
def test_a_job_that_cannot_be_is_not_accepted(client, clip_id, mask, data, status):
    data = {key: clip_id if value == "CLIP" else value for key, value in data.items()}
    answer = client.post("/api/jobs", files={"mask": ("m.png", mask)}, data=data)
    assert answer.status_code == status, answer.text
    assert no_path(answer.text) and client.get("/api/jobs").json() == []
    assert not list(client.settings.data.glob("inputs/*"))
    assert [clip["id"] for clip in client.get("/api/clips").json()] == [clip_id]


def test_a_repeated_request_makes_no_second_job(client, video, mask):
    key = {"Idempotency-Key": "one"}
    first = submit(client, video, mask, headers=key).json()
    again = submit(client, video, mask, headers=key)
    assert again.status_code == 202 and again.json()["id"] == first["id"]
    other = submit(client, video, mask, headers={"Idempotency-Key": "two"}).json()
    wait(client, other["id"])
    assert client.engine.started_jobs == [first["id"], other["id"]]
    assert len(client.get("/api/clips").json()) == 2


def test_a_client_has_a_limited_number_of_jobs(start, video, mask, tmp_path):
    client = start(FakeEngine(tmp_path / "data", held=True), limits=Limits(queued_jobs=2))
    first, second = (submit(client, video, mask).json()["id"] for _ in range(2))
    refused = submit(client, video, mask)
    assert refused.status_code == 429 and refused.headers["retry-after"]
    assert len(client.get("/api/clips").json()) == 2  # its clip was not kept
    client.delete(f"/api/jobs/{second}")
    third = submit(client, video, mask)
    assert third.status_code == 202
    client.engine.go.set()
    assert wait(client, first)["state"] == "done"
    assert wait(client, third.json()["id"])["state"] == "done"
    assert client.engine.started_jobs[0] == first


def test_cancellation_of_a_running_and_of_a_waiting_job(start, video, mask, tmp_path):
    client = start(FakeEngine(tmp_path / "data", held=True))
    running, waiting = (submit(client, video, mask).json()["id"] for _ in range(2))
    wait(client, running, "running")
    for job_id in (running, waiting):
        assert client.delete(f"/api/jobs/{job_id}").json()["state"] == "cancelled"
    client.engine.go.set()
    last = submit(client, video, mask).json()["id"]
    assert wait(client, last)["state"] == "done"
    assert client.get(f"/api/jobs/{running}").json()["state"] == "cancelled"
    assert client.get(f"/api/jobs/{running}/result").status_code == 409


def test_a_finished_job_is_removed_with_its_files(client, video, mask):
    job = wait(client, submit(client, video, mask).json()["id"])
    client.get(f"/api/jobs/{job['id']}/result")
    assert client.delete(f"/api/jobs/{job['id']}").status_code == 200
    assert client.get(f"/api/jobs/{job['id']}").status_code == 404
    assert client.get("/api/clips").json() == []  # it came with the job
    left = [path for path in client.settings.data.rglob("*") if path.is_file()]
    assert all(path.name.startswith(("jobs.sqlite", "page_token")) for path in left), left


def test_a_job_that_runs_too_long_is_ended(start, video, mask, tmp_path):
    client = start(FakeEngine(tmp_path / "data", held=True), limits=Limits(job_seconds=0.05))
    job_id = submit(client, video, mask).json()["id"]
    job = wait(client, job_id)
    assert job["state"] == "failed" and "at most 0.05 s" in job["error"]["rule"]
    client.engine.go.set()


def test_a_job_that_fails_says_why_without_a_path(client, video, mask):
    client.engine.problem = Problem(
        "A clip is whole", "/srv/data/clips/a.mp4 ends", "Send it again"
    )
    job = wait(client, submit(client, video, mask).json()["id"])
    assert job["state"] == "failed"
    assert job["error"] == {
        "rule": "A clip is whole", "met": "a.mp4 ends", "remedy": "Send it again",
    }  # fmt: skip
    assert client.get(f"/api/jobs/{job['id']}/result").status_code == 409


def test_events_of_a_job_end_with_it(start, video, mask, tmp_path):
    client = start(FakeEngine(tmp_path / "data", held=True))
    job_id = submit(client, video, mask).json()["id"]
    timer = threading.Timer(0.1, client.engine.go.set)
    timer.start()
    answer = client.get(f"/api/jobs/{job_id}/events")
    assert answer.headers["content-type"].startswith("text/event-stream")
    events = [json.loads(line[6:]) for line in answer.text.splitlines() if line[:6] == "data: "]
    assert events[-1]["state"] == "done" and all(event["id"] == job_id for event in events)
    assert client.get("/api/jobs/unknown/events").status_code == 404


def test_a_restart_takes_up_what_was_accepted(start, video, mask, tmp_path):
    first = start(FakeEngine(tmp_path / "data", held=True))
    ids = [submit(first, video, mask).json()["id"] for _ in range(3)]
    wait(first, ids[0], "running")
    # As a process that was killed: nothing is written any more.
    first.engine.closed = True
    first.engine.go.set()
    second = start(FakeEngine(tmp_path / "data"))
    for job_id in ids:
        assert wait(second, job_id)["state"] == "done"
    assert second.engine.started_jobs == ids
    assert second.get(f"/api/jobs/{ids[0]}").json()["attempts"] == 2


def test_a_result_that_was_complete_before_the_restart_is_not_made_again(
    start, video, mask, tmp_path
):
    first = start()
    job = wait(first, submit(first, video, mask).json()["id"])
    database = tmp_path / "data" / "jobs.sqlite"
    connection = sqlite3.connect(database)
    with connection:  # killed between the result and its mark
        connection.execute("UPDATE jobs SET state = 'running', finished = NULL")
    connection.close()
    second = start(FakeEngine(tmp_path / "data"))
    assert wait(second, job["id"])["state"] == "done"
    assert second.engine.started_jobs == []


def test_a_job_that_ends_the_server_every_time_is_given_up(tmp_path):
    store = JobStore(tmp_path / "jobs.sqlite")
    spec = {"clip": "c", "outputs": ["masks"]}
    store.add(Job("a1", "c", "segment", spec), limit=5)
    for _ in range(MAX_ATTEMPTS):
        assert store.begin("a1")
        store.requeue()
    JobQueue(FakeEngine(tmp_path), store, tmp_path, Limits()).restart()
    assert store.get("a1").state == "failed"
    store.close()


def test_old_and_large_results_are_removed_oldest_first(tmp_path):
    store, engine = JobStore(tmp_path / "jobs.sqlite"), FakeEngine(tmp_path)
    spec = {"clip": "c", "outputs": ["masks"]}
    for name in ("old", "large", "new"):
        store.add(Job(name, "c", "segment", spec), limit=5)
        store.finish(name, "done")
        engine.job_folder(name).mkdir(parents=True)
        (engine.job_folder(name) / "file").write_bytes(bytes(1000))
        time.sleep(0.002)
    store._connection.execute("UPDATE jobs SET finished = finished - 90000 WHERE id = 'old'")
    JobQueue(engine, store, tmp_path, Limits(keep_days=1)).expire()
    assert [job.id for job in store.finished()] == ["large", "new"]
    JobQueue(engine, store, tmp_path, Limits(keep_days=0, keep_bytes=1500)).expire()
    assert [job.id for job in store.finished()] == ["new"]
    assert [path.name for path in (tmp_path / "jobs").iterdir()] == ["new"]
    JobQueue(engine, store, tmp_path, Limits(keep_days=0)).expire()
    assert [job.id for job in store.finished()] == ["new"]
    store.close()


def test_the_last_state_of_a_job_is_set_once(tmp_path):
    store = JobStore(tmp_path / "jobs.sqlite")
    store.add(Job("a1", "c", "segment", {}), limit=1)
    with pytest.raises(QueueFull):
        store.add(Job("a2", "c", "segment", {}), limit=1)
    store.add(Job("b1", "d", "segment", {}), limit=1)
    results = []
    threads = [
        threading.Thread(target=lambda: results.append(store.finish("a1", "done")))
        for _ in range(8)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(results) == [False] * 7 + [True]
    assert not store.begin("a1") and store.counts()["queued"] == 1
    store.close()


def test_a_file_that_is_no_database_is_refused(tmp_path):
    (tmp_path / "jobs.sqlite").write_bytes(b"no database" * 100)
    with pytest.raises(StorageError, match="--data"):
        JobStore(tmp_path / "jobs.sqlite")


def test_what_a_killed_process_left_is_removed(start, video, mask, tmp_path):
    data = tmp_path / "data"
    for name in ("clips/half/clip.mp4", "inputs/lost.png", "downloads/lost.zip"):
        (data / name).parent.mkdir(parents=True)
        (data / name).write_bytes(b"half")
    first = start(FakeEngine(data))
    assert not list((data / "clips").iterdir())
    assert not list((data / "inputs").iterdir()) and not list((data / "downloads").iterdir())
    job = wait(first, submit(first, video, mask).json()["id"])
    first.get(f"/api/jobs/{job['id']}/result")
    JobQueue(FakeEngine(data), JobStore(data / "jobs.sqlite"), data, Limits()).restart()
    kept = [path.name for path in data.rglob("*") if path.name.startswith(job["id"])]
    assert sorted(kept) == sorted([job["id"], f"{job['id']}.png", f"{job['id']}.zip"])


def test_the_state_of_a_job_is_answered_as_its_route_answers_and_never_late(
    start, video, mask, tmp_path, monkeypatch
):
    client = start(FakeEngine(tmp_path / "data", held=True))
    job_id = submit(client, video, mask).json()["id"]
    wait(client, job_id, "running")
    time.sleep(0.1)  # until all is said of its start
    running = client.get(f"/api/jobs/{job_id}").json()
    assert running == client.get("/api/jobs").json()[0]
    with monkeypatch.context() as patch:  # nothing changed: it is not read again
        patch.setattr(JobStore, "get", None)
        answer = client.get(f"/api/jobs/{job_id}")
    assert answer.json() == running
    assert answer.headers["content-type"] == "application/json"
    assert answer.headers["cache-control"] == "no-store"
    client.engine.go.set()
    done = wait(client, job_id)
    assert done["state"] == "done" and done["progress"] is None
    counted = 'deeplab_gygo_requests_total{method="GET",route="/api/jobs/{job_id}",status="200"}'
    assert counted in client.get("/metrics").text
    client.delete(f"/api/jobs/{job_id}")
    assert client.get(f"/api/jobs/{job_id}").status_code == 404


def test_a_state_that_changes_while_it_is_read_is_not_kept(tmp_path):
    store = JobStore(tmp_path / "jobs.sqlite")
    queue = JobQueue(FakeEngine(tmp_path), store, tmp_path, Limits())
    store.add(Job("a", "c", "segment", {"clip": "x", "outputs": []}), limit=5)
    read = store.get

    def changed_meanwhile(job_id):
        job = read(job_id)
        store.get = read
        queue.cancel("a")
        return job

    store.get = changed_meanwhile
    assert json.loads(queue.status("a"))["state"] == "queued"
    assert json.loads(queue.status("a"))["state"] == "cancelled"
    assert queue.status("b") is None
    store.close()


def test_an_old_job_leaves_the_clip_that_a_session_has(start, video, mask, tmp_path):
    client = start()
    job_ids = [submit(client, video, mask).json()["id"] for _ in range(2)]
    clips = [wait(client, job_id)["clip"] for job_id in job_ids]
    client.engine.create_session(clips[0])
    store = JobStore(tmp_path / "data" / "jobs.sqlite")
    store._connection.execute("UPDATE jobs SET finished = finished - 90000")
    queue = JobQueue(client.engine, store, tmp_path / "data", Limits(keep_days=1))
    queue.expire()
    assert not store.finished() and [clip.id for clip in client.engine.clips()] == [clips[0]]
    store.close()
