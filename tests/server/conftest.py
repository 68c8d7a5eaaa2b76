"""A server on an engine without a network."""

from __future__ import annotations

import io
import sys
import zipfile
from pathlib import Path

import numpy as np
import pytest
from starlette.testclient import TestClient

sys.path.insert(0, str(Path(__file__).parent))

from fake_engine import FakeEngine, png_of  # noqa: E402
from served_app import ADDRESS, FRAMES, SIZE  # noqa: E402

from deeplab_gygo.io.video import VideoWriter  # noqa: E402
from deeplab_gygo.server.app import create_app  # noqa: E402
from deeplab_gygo.server.settings import Limits, ServerSettings  # noqa: E402


@pytest.fixture(scope="session")
def video(tmp_path_factory) -> bytes:
    """A video of four frames."""
    path = tmp_path_factory.mktemp("video") / "clip.mp4"
    with VideoWriter(path, SIZE, frame_rate=10) as writer:
        for level in range(FRAMES):
            writer.write(np.full((*SIZE, 3), 40 * level, np.uint8))
    return path.read_bytes()


@pytest.fixture(scope="session")
def mask() -> bytes:
    """A mask of its first frame."""
    mask = np.zeros(SIZE)
    mask[4:12, 6:18] = 1
    return png_of(mask)


@pytest.fixture(scope="session")
def frame_png() -> bytes:
    """An image of the size of the frames."""
    return png_of(np.full(SIZE, 90))


@pytest.fixture
def make_zip(frame_png):
    """Function that makes a zip: `(names or {name: content})`."""

    def make(members, **options) -> bytes:
        buffer = io.BytesIO()
        with zipfile.ZipFile(buffer, "w", **options) as archive:
            for name in members:
                content = members[name] if isinstance(members, dict) else frame_png
                archive.writestr(name, content)
        return buffer.getvalue()

    return make


@pytest.fixture
def start(tmp_path, request):
    """Function that starts a server: `(engine options, **settings)`; returns its client."""

    def begin(engine=None, limits=None, **settings) -> TestClient:
        settings = ServerSettings(tmp_path / "data", limits=limits or Limits(), **settings)
        engine = engine or FakeEngine(settings.data)
        client = TestClient(
            create_app(engine, settings), base_url=ADDRESS, raise_server_exceptions=False
        )
        client.engine, client.settings = engine, settings
        client.__enter__()
        request.addfinalizer(lambda: client.__exit__(None, None, None))
        return client

    return begin


@pytest.fixture
def client(start) -> TestClient:
    """A client of a server on this machine without a token."""
    return start()


@pytest.fixture
def clip_id(client, video) -> str:
    """The id of a clip of that server."""
    answer = client.post("/api/clips", files={"file": ("clip.mp4", video)})
    assert answer.status_code == 201, answer.text
    return answer.json()["id"]
