from __future__ import annotations

import json
import threading
import zipfile
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest
from fake_engine import FakeEngine
from served_app import served

from deeplab_gygo.errors import DeepLabGygoError, UsageError
from deeplab_gygo.server.app import create_app
from deeplab_gygo.server.client import Client, ServerError
from deeplab_gygo.server.settings import ServerSettings
from deeplab_gygo.server.states import Stroke

TOKEN = "token-of-the-tests"


@pytest.fixture
def files(tmp_path, video, mask):
    """A video and a mask."""
    (tmp_path / 'my "clip".mp4').write_bytes(video)
    (tmp_path / "mask.png").write_bytes(mask)
    return tmp_path / 'my "clip".mp4', tmp_path / "mask.png"


@pytest.fixture
def engine(tmp_path):
    return FakeEngine(tmp_path / "data")


@pytest.fixture
def client(engine):
    """A client of a server with a token."""
    settings = ServerSettings(engine.data, token=TOKEN)
    with served(create_app(engine, settings)) as address:
        yield Client(address, token=TOKEN, patience=0)


def test_a_clip_becomes_a_result(client, files, tmp_path):
    seen = []
    job = client.start_job(*files, preset="fast", outputs=["masks", "overlay"])
    status = client.wait(job.id, progress=seen.append, interval=0.01)
    assert status.state == "done" and seen[-1] == status and client.jobs() == [status]
    path = client.save_result(job.id, tmp_path / "result.zip")
    with zipfile.ZipFile(path) as archive:
        assert "masks/00003.png" in archive.namelist()
    found = json.loads(client.save_result(job.id, tmp_path / "rle.json", "rle").read_text())
    assert len(found["frames"]) == 4
    client.cancel(job.id)
    assert client.jobs() == [] and client.clips() == []


def test_a_session_is_annotated_and_exported(client, files, mask):
    clip = client.upload(files[0])
    assert clip.frames == 4 and client.frame(clip.id, 2, 10).startswith(b"\xff\xd8")
    session = client.create_session(clip, preset="fast")
    assert session.strokes(0, [Stroke(True, ((3.0, 4.0),))]).startswith(b"\x89PNG")
    assert session.annotate(0, mask) == 1 and session.mask(0) == mask
    assert session.annotate(1, files[1]) == 2 and session.annotate(1, None) == 3
    session.run()
    session.stop()
    assert session.wait().annotated == [0]
    assert client.wait(session.export(["masks"]).id, interval=0.01).state == "done"
    with pytest.raises(ServerError):
        session.export(["masks"], unknown=True)


def test_refusals_are_errors_with_the_words_of_the_server(client, files):
    with pytest.raises(ServerError, match="one of the server") as caught:
        client.delete_clip("unknown")
    assert caught.value.status == 404 and isinstance(caught.value, DeepLabGygoError)
    with pytest.raises(ServerError) as caught:
        client.fetch("http://example.com/a.mp4")
    assert caught.value.status == 403 and "--allow" in str(caught.value)
    with pytest.raises(DeepLabGygoError):
        client.upload(files[0].with_name("absent.mp4"))
    with pytest.raises(ServerError):
        Client(client._requests._parts.geturl(), token="a-wrong-token-of-20").info()
    assert client.info()["limits"]["frames"] == 20_000


def test_an_address_that_is_none_is_refused():
    with pytest.raises(UsageError):
        Client("127.0.0.1:8000")
    with pytest.raises(ServerError, match="answers") as caught:
        Client("http://127.0.0.1:9", token="", patience=0).info()
    assert caught.value.status == 0


@pytest.fixture
def stub():
    """A server that drops its first answers; returns its address and what it was asked."""
    asked, drops = [], [2]

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self):
            self.rfile.read(int(self.headers["Content-Length"]))
            asked.append(self.headers["Idempotency-Key"])
            if drops[0]:
                drops[0] -= 1
                self.close_connection = True
                return
            self.answer(202)

        def do_GET(self):
            asked.append(None)
            self.answer(200, 100 if self.path.endswith("=zip") else 0)

        def answer(self, status, missing=0):
            body = json.dumps(
                {
                    "id": "a", "kind": "segment", "state": "done", "clip": "c", "session": None,
                    "outputs": [], "progress": None, "error": None, "created": 0.0,
                    "started": None, "finished": None, "attempts": 1,
                }
            ).encode()  # fmt: skip
            self.send_response(status)
            self.send_header("Content-Length", str(len(body) + missing))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *words):
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{server.server_address[1]}", asked
    server.shutdown()
    server.server_close()


def test_a_job_is_asked_for_again_under_the_same_key(stub, files):
    address, asked = stub
    assert Client(address, token="", patience=5).start_job(*files).id == "a"
    assert len(asked) == 3 and len(set(asked)) == 1 and asked[0]


def test_a_result_that_is_cut_off_is_an_error_and_leaves_no_file(stub, tmp_path):
    with pytest.raises(ServerError):
        Client(stub[0], token="").save_result("a", tmp_path / "result.zip")
    assert not list(tmp_path.iterdir())
