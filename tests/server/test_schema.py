"""Requests that schemathesis makes from the server's own OpenAPI schema."""

from __future__ import annotations

import re

import pytest
import requests
import schemathesis
from fake_engine import FakeEngine, no_path, png_of
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis.strategies import booleans, one_of
from numpy import ones
from schemathesis import GenerationMode, checks
from served_app import served

from deeplab_gygo.server.app import create_app
from deeplab_gygo.server.client import Client
from deeplab_gygo.server.settings import Limits, ServerSettings

CHECKS = [
    checks.not_a_server_error,
    checks.status_code_conformance,
    checks.content_type_conformance,
    checks.response_schema_conformance,
]


@pytest.fixture(scope="module")
def engine(tmp_path_factory):
    """The engine of the server."""
    return FakeEngine(tmp_path_factory.mktemp("schema") / "data")


@pytest.fixture(scope="module")
def address(engine):
    """The address of the server."""
    limits = Limits(upload_bytes=100_000)
    with served(create_app(engine, ServerSettings(engine.data, limits=limits))) as address:
        yield address


@pytest.fixture(scope="module")
def api_schema(address):
    """The schema of the server."""
    return schemathesis.openapi.from_url(f"{address}/openapi.json")


def test_answers_are_as_documented(api_schema, engine, address, video):
    operations = [found.ok() for found in api_schema.get_all_operations()]
    streams = [each for each in operations if each.path.endswith("/events")]
    assert len(operations) > 25 and len(streams) == 2
    for operation in operations:
        if operation not in streams:  # which do not end
            _check(operation, lambda: _present(engine, address, video))


def _check(operation, present):
    """Sends requests that fit the schema, and some that do not."""
    modes = [GenerationMode.POSITIVE, GenerationMode.NEGATIVE]

    @settings(
        max_examples=12, deadline=None, derandomize=True, database=None,
        phases=[Phase.explicit, Phase.generate], suppress_health_check=list(HealthCheck),
    )  # fmt: skip
    @given(
        case=one_of(*(operation.as_strategy(generation_mode=mode) for mode in modes)),
        is_known=booleans(),
    )
    def check(case, is_known):
        if is_known:
            known = present()
            names = set(case.path_parameters or {}) & set(known)
            case.path_parameters.update({name: known[name] for name in names})
        response = case.call()
        case.validate_response(response, checks=CHECKS)
        assert no_path(response.text)

    check()


def _present(engine, address, video):
    """Returns ids of a clip, a session and a job that are there."""
    client = Client(address, token="")
    if not engine.clips():
        clip_id, folder = engine.new_clip_folder()
        (folder / "clip.mp4").write_bytes(video)
        engine.open_clip(folder / "clip.mp4", "clip.mp4", clip_id=clip_id)
    clip = engine.clips()[0]
    if not engine.sessions(clip.id):
        session = engine.create_session(clip.id).id
        engine.annotate(session, 0, png_of(ones((clip.height, clip.width))))
    jobs = client.jobs() or [client.start_job(clip, mode="zero-shot")]
    return {
        "clip_id": clip.id, "session_id": engine.sessions(clip.id)[0].id, "job_id": jobs[0].id,
    }  # fmt: skip


def test_the_schema_names_no_address_outside(address):
    assert not re.search(r"https?://", requests.get(f"{address}/openapi.json", timeout=10).text)
