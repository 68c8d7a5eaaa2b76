from __future__ import annotations

import json
import subprocess
import sys

from prometheus_client.parser import text_string_to_metric_families

import deeplab_gygo
from deeplab_gygo.server.events import EventStreams


def test_health_and_readiness(client):
    assert client.get("/healthz").json() == {"status": "ok"}
    assert client.get("/readyz").status_code == 200
    client.engine.ready = False
    answer = client.get("/readyz")
    assert answer.status_code == 503 and answer.json() == {"status": "loading"}
    assert client.get("/healthz").status_code == 200
    client.engine.problem = "weights"
    assert client.get("/readyz").json() == {"status": "failed"}


def test_information_names_what_requests_may_name(client):
    info = client.get("/api/info").json()
    assert info["version"] == deeplab_gygo.__version__
    assert "balanced" in info["presets"] and "one-shot" in info["modes"]
    assert "masks" in info["outputs"] and info["limits"]["frames"] == 20_000


def test_metrics_count_requests_by_route_and_jobs_by_state(client, clip_id):
    client.get("/api/clips/unknown")
    client.get("/nowhere/at/all")
    families = {
        family.name: family.samples
        for family in text_string_to_metric_families(client.get("/metrics").text)
    }
    requests = {
        (sample.labels["route"], sample.labels["status"]): sample.value
        for sample in families["deeplab_gygo_requests"]
        if sample.name.endswith("_total")
    }
    assert requests["/api/clips", "201"] == 1
    assert requests["/api/clips/{clip_id}", "404"] == 1
    assert not [route for route, _ in requests if "unknown" in route or "nowhere" in route]
    states = {sample.labels["state"]: sample.value for sample in families["deeplab_gygo_jobs"]}
    assert states == dict.fromkeys(("queued", "running", "done", "failed", "cancelled"), 0)
    assert families["deeplab_gygo_ready"][0].value == 1
    uploaded = [s.value for s in families["deeplab_gygo_uploaded_bytes"] if "total" in s.name]
    assert uploaded[0] > 100
    assert "process_resident_memory_bytes" in families


def test_every_route_documents_the_answers_of_the_guard(client):
    schema = client.get("/openapi.json").json()
    for path, methods in schema["paths"].items():
        for method, operation in methods.items():
            missing = {"400", "401", "403", "422", "500"} - set(operation["responses"])
            assert not missing, (method, path, missing)
            assert operation["summary"] and operation["description"]
    assert "/" not in schema["paths"]


def test_addresses_and_methods_that_do_not_exist_are_answered_as_json(client):
    for answer, status in (
        (client.get("/nothing"), 404),
        (client.post("/healthz"), 405),
        (client.get("/docs"), 404),
        (client.request("TRACE", "/healthz"), 405),
    ):
        assert answer.status_code == status and set(answer.json()) == {"error"}


def test_a_stream_of_a_slow_client_ends(client):
    async def run():
        streams, pushes = EventStreams(), []

        def listen(push):
            pushes.append(push)
            return lambda: None

        answer = streams.open(listen, lambda: [("state", 1)])
        for index in range(5000):
            pushes[0](("frame", index))
        texts = [text async for text in answer.body_iterator]
        return texts

    assert len(client.portal.call(run)) < 5000


def test_a_stream_without_events_is_kept_open(client):
    async def run():
        streams = EventStreams()
        answer = streams.open(lambda push: lambda: None, lambda: [], seconds=0.01)
        return await anext(aiter(answer.body_iterator))

    assert client.portal.call(run).startswith(":")


def test_the_http_process_does_not_import_keras():
    code = (
        "import sys, json, deeplab_gygo.server.serving, deeplab_gygo.server.client; "
        "print(json.dumps(sorted({'keras', 'tensorflow', 'jax', 'scipy'} & set(sys.modules))))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert json.loads(done.stdout) == [], done.stderr
