from __future__ import annotations

import json
import threading

import pytest
from fake_engine import no_path, png_of
from numpy import ones, zeros
from served_app import SIZE

PNG = {"Content-Type": "image/png"}


@pytest.fixture
def session(client, clip_id) -> str:
    """The address of a session."""
    made = client.post("/api/sessions", json={"clip": clip_id, "preset": "fast"})
    assert made.status_code == 201, made.text
    return f"/api/sessions/{made.json()['id']}"


def test_a_session_is_made_and_found(client, clip_id, session):
    state = client.get(session).json()
    assert (state["clip"], state["preset"], state["state"]) == (clip_id, "fast", "idle")
    assert state["confidence"] == [None] * 4 and state["revision"] == 0
    assert client.get(f"/api/sessions?clip={clip_id}").json() == [state]
    assert client.get("/api/sessions?clip=other").json() == []
    assert client.delete(session).status_code == 204
    assert client.get(session).status_code == 404


def test_a_mask_is_set_read_and_removed(client, session, mask):
    assert client.get(f"{session}/masks/0").status_code == 404
    saved = client.put(f"{session}/masks/0", content=mask, headers=PNG)
    assert saved.json() == {"revision": 1}
    found = client.get(f"{session}/masks/0")
    assert found.content == mask and found.headers["x-source"] == "annotation"
    known = {"If-None-Match": found.headers["etag"]}
    assert client.get(f"{session}/masks/0", headers=known).status_code == 304
    client.put(f"{session}/masks/0", content=png_of(ones(SIZE)), headers=PNG)
    assert client.get(f"{session}/masks/0", headers=known).status_code == 200
    assert client.get(session).json()["annotated"] == [0]
    assert client.delete(f"{session}/masks/0").status_code == 200
    assert client.delete(f"{session}/masks/0").status_code == 404


@pytest.mark.parametrize(
    "content, kind, status",
    [
        (b"no png", "image/png", 422), (b"", "image/png", 422), (b"x", "text/html", 415),
        (png_of(zeros((3, 5))), "image/png", 422), (bytes(70 << 20), "image/png", 413),
    ],
    ids=["text", "empty", "type", "size", "bytes"],
)  # fmt: skip
def test_what_is_no_mask_is_refused(client, session, content, kind, status):
    answer = client.put(f"{session}/masks/0", content=content, headers={"Content-Type": kind})
    assert answer.status_code == status and no_path(answer.text)


def test_strokes_and_proposals_are_answered_with_masks(client, session):
    body = {"frame": 0, "strokes": [{"inside": True, "points": [[3, 4], [5, 6.5]], "width": 2}]}
    for path, values in (("strokes", body), ("proposal", {"frame": 1})):
        answer = client.post(f"{session}/{path}", json=values)
        assert answer.status_code == 200 and answer.headers["content-type"] == "image/png"
    assert client.post(f"{session}/prefetch", json={"frame": 1}).status_code == 202
    client.engine.ready = False
    assert client.post(f"{session}/proposal", json={"frame": 1}).status_code == 503


@pytest.mark.parametrize(
    "change",
    [
        {"frame": -1}, {"frame": 1e9}, {"object": 0}, {"object": 255}, {"box": [1, 2, 3]},
        {"strokes": [{"inside": True, "points": []}]}, {"more": 1}, {"strokes": None},
        {"strokes": [{"inside": True, "points": [[1e9, 0]]}]},
        {"strokes": [{"inside": True, "points": [[0, 0]], "width": 0}]},
        {"strokes": [{"inside": True, "points": [[0, 0]] * 10_001}]},
    ],
)  # fmt: skip
def test_strokes_out_of_range_are_refused(client, session, change):
    body = {"frame": 0, "strokes": [{"inside": True, "points": [[0, 0]]}]} | change
    assert client.post(f"{session}/strokes", json=body).status_code == 422


def test_numbers_that_json_does_not_have_are_refused(client, session):
    text = '{"frame": 0, "strokes": [{"inside": true, "points": [[NaN, Infinity]]}]}'
    json_body = {"Content-Type": "application/json"}
    assert client.post(f"{session}/strokes", content=text, headers=json_body).status_code == 422


def test_objects_have_names_and_colors(client, session):
    objects = [{"id": 1, "name": "<b>shoe</b>", "color": "#ff0000"}]
    assert client.put(f"{session}/objects", json=objects).status_code == 200
    assert client.get(session).json()["objects"] == objects
    for wrong in ({"id": 0}, {"color": "red"}, {"name": "x" * 101}):
        assert client.put(f"{session}/objects", json=[objects[0] | wrong]).status_code == 422
    assert client.put(f"{session}/objects", json=objects * 2).status_code == 422


def test_a_session_runs_and_stops(client, session, mask):
    assert client.post(f"{session}/run").status_code == 400  # nothing is annotated
    client.put(f"{session}/masks/0", content=mask, headers=PNG)
    assert client.post(f"{session}/run").status_code == 202
    assert client.post(f"{session}/run").status_code == 409
    assert client.engine.anew is False
    assert client.post(f"{session}/stop").json() == {"state": "idle"}
    assert client.post(f"{session}/run?anew=true").status_code == 202
    assert client.engine.anew is True


def test_events_of_a_session_begin_with_its_state(client, session, mask):
    def act():
        try:
            client.engine.annotate(session.rpartition("/")[2], 0, mask)
            client.engine.run(session.rpartition("/")[2])
        finally:
            client.portal.call(client.app.state.streams.close)

    threading.Timer(0.1, act).start()
    answer = client.get(f"{session}/events")
    assert answer.headers["content-type"].startswith("text/event-stream")
    blocks = [block.split("\n") for block in answer.text.strip().split("\n\n")]
    events = [(block[0][7:], json.loads(block[1][6:])) for block in blocks]
    assert events[0] == ("state", client.get(session).json() | events[0][1])
    assert ("frame", {"index": 0, "confidence": 0.9}) in events
    assert not any(client.engine._listeners.values())
    assert client.get("/api/sessions/unknown/events").status_code == 404


def test_an_export_is_a_job(client, session):
    answer = client.post(f"{session}/export", json={"outputs": ["masks"]})
    assert answer.status_code == 202
    job = client.get(f"/api/jobs/{answer.json()['job']}").json()
    assert job["kind"] == "export" and job["session"] == session.rpartition("/")[2]
    assert client.post(f"{session}/export", json={"outputs": []}).status_code == 422
    assert client.post(f"{session}/export", json={"outputs": ["x"]}).status_code == 400
    assert client.post("/api/sessions/unknown/export", json={}).status_code == 404


@pytest.mark.parametrize(
    "body, status",
    [({"clip": "unknown"}, 404), ({"clip": "CLIP", "preset": "x"}, 400), ({}, 422)],
)
def test_a_session_that_cannot_be_is_refused(client, clip_id, body, status):
    body = {key: clip_id if value == "CLIP" else value for key, value in body.items()}
    assert client.post("/api/sessions", json=body).status_code == status
