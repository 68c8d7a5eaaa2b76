from __future__ import annotations

import socket
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

from deeplab_gygo.datasets.space import SpaceLimit
from deeplab_gygo.errors import InputError
from deeplab_gygo.server import remote
from deeplab_gygo.server.answers import Refused
from deeplab_gygo.server.remote import RemoteClips, name_in_url


@pytest.fixture
def site(video):
    """An HTTP server on this machine; returns its port, and the paths that were asked for."""
    asked = []

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self):
            asked.append(self.path)
            if self.path.startswith("/to/"):
                self.send_response(302)
                self.send_header("Location", self.path[4:])
                self.end_headers()
            elif self.path == "/missing":
                self.send_error(404)
            elif self.path == "/short":
                self.send_response(200)
                self.send_header("Content-Length", "100000")
                self.end_headers()
                self.wfile.write(b"short")
            elif self.path == "/endless":
                self.send_response(200)
                self.end_headers()
                try:
                    while True:
                        self.wfile.write(bytes(10_000))
                except OSError:
                    pass
            else:
                self.send_response(200)
                self.send_header("Content-Length", str(len(video)))
                self.end_headers()
                self.wfile.write(video)

        def log_message(self, *words):
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    yield server.server_address[1], asked
    server.shutdown()
    server.server_close()


@pytest.fixture
def fetch(tmp_path):
    """Function that fetches an address into a file: `(url, *allowed hosts)`."""

    def run(url, *allow, limit=1 << 20):
        path = tmp_path / "clip"
        path.unlink(missing_ok=True)
        RemoteClips(allow).fetch(url, path, SpaceLimit(tmp_path, limit, "the upload", "A clip has"))
        return path.read_bytes()

    return run


def test_a_clip_of_an_allowed_host_is_added(start, site, video):
    port, _ = site
    client = start(allow=(f"127.0.0.1:{port}",))
    answer = client.post("/api/clips", json={"url": f"http://127.0.0.1:{port}/media/shoe.mp4?x=1"})
    assert answer.status_code == 201 and answer.json()["name"] == "shoe.mp4"
    refused = client.post("/api/clips", json={"url": "http://example.com/a.mp4"})
    assert refused.status_code == 403
    missing = client.post("/api/clips", json={"url": f"http://127.0.0.1:{port}/missing"})
    assert missing.status_code == 422
    job = client.post("/api/jobs", files={"x": b""}, data={"url": f"http://127.0.0.1:{port}/a.mp4"})
    assert job.status_code == 202


def test_without_allowed_hosts_nothing_is_fetched(fetch, site):
    port, asked = site
    with pytest.raises(Refused):
        fetch(f"http://127.0.0.1:{port}/a.mp4")
    assert not asked


@pytest.mark.parametrize(
    "url",
    [
        "file:///etc/passwd", "ftp://a.example/x", "gopher://a.example/", "//a.example/x", "x",
        "http:///x", "http://user:word@a.example/x", "http://a.example:99999/", "http://[::1/x",
        "http://a.example/\r\nHost: b", "http://a.example/ x", "http://a.example\\@b.example/",
        "http://b.example/", "http://a.example.b.example/", "http://a.example:8080/",
        "http://b.example#a.example", "http://b.example?a.example", "https://xa.example/",
    ],
)  # fmt: skip
def test_addresses_of_other_hosts_and_forms_are_refused(fetch, url):
    with pytest.raises(Refused):
        fetch(url, "a.example")


@pytest.mark.parametrize(
    "address",
    [
        "127.0.0.1", "10.0.0.1", "192.168.0.1", "172.16.0.1", "169.254.169.254", "0.0.0.0",
        "100.64.0.1", "::1", "fe80::1", "fd00::1", "::ffff:127.0.0.1", "::ffff:10.0.0.1",
        "224.0.0.1", "2002:7f00:1::", "64:ff9b::7f00:1",
    ],
)  # fmt: skip
def test_a_name_that_leads_to_a_private_address_is_refused(fetch, monkeypatch, address):
    family = socket.AF_INET6 if ":" in address else socket.AF_INET
    public = (socket.AF_INET, socket.SOCK_STREAM, 6, "", ("93.184.216.34", 80))
    answers = [public, (family, socket.SOCK_STREAM, 6, "", (address, 80))]
    monkeypatch.setattr(remote.socket, "getaddrinfo", lambda *a, **k: answers)
    with pytest.raises(Refused, match="public address"):
        fetch("http://a.example/clip.mp4", "a.example")


def test_a_private_address_that_is_named_itself_is_fetched_from(fetch, site, video, monkeypatch):
    port, _ = site
    found = [(socket.AF_INET, socket.SOCK_STREAM, 6, "", ("127.0.0.1", port))]
    monkeypatch.setattr(remote.socket, "getaddrinfo", lambda *a, **k: found)
    url = f"http://media.example:{port}/clip.mp4"
    assert fetch(url, f"media.example:{port}", "127.0.0.1") == video
    with pytest.raises(Refused):
        fetch(url, f"media.example:{port}", "127.0.0.2")


def test_the_connection_is_to_the_address_that_was_checked(fetch, site, monkeypatch):
    """A name server that answers with another address the second time changes nothing."""
    port, asked = site
    answers = iter(
        [
            [(socket.AF_INET, socket.SOCK_STREAM, 6, "", ("192.0.2.1", port))],
            [(socket.AF_INET, socket.SOCK_STREAM, 6, "", ("127.0.0.1", port))],
        ]
    )
    monkeypatch.setattr(remote.socket, "getaddrinfo", lambda *a, **k: next(answers))
    monkeypatch.setattr(remote, "_is_public", lambda address: address == "192.0.2.1")
    connected = []

    def connect(address, timeout):
        connected.append(address)
        raise OSError("no network")

    monkeypatch.setattr(remote.socket, "create_connection", connect)
    with pytest.raises(InputError):
        fetch(f"http://a.example:{port}/", f"a.example:{port}")
    assert connected == [("192.0.2.1", port)] and not asked


def test_redirects_are_checked_again(fetch, site, video):
    port, asked = site
    here = f"127.0.0.1:{port}"
    assert fetch(f"http://{here}/to//media/a.mp4", here) == video
    for target in (
        "http://b.example/", f"http://localhost:{port}/x", "file:///etc/passwd",
        f"http://127.0.0.1:{port + 1}/",
    ):  # fmt: skip
        asked.clear()
        with pytest.raises(Refused):
            fetch(f"http://{here}/to/{target}", here)
        assert len(asked) == 1
    endless = f"http://{here}/to//to//to//to//to//to//to//x"
    with pytest.raises(InputError, match="redirects"):
        fetch(endless, here)


@pytest.mark.parametrize("path", ["missing", "short"])
def test_a_file_that_is_not_whole_is_refused(fetch, site, path):
    port, _ = site
    with pytest.raises(InputError):
        fetch(f"http://127.0.0.1:{port}/{path}", f"127.0.0.1:{port}")


def test_an_endless_file_is_given_up_at_the_limit(fetch, site):
    port, _ = site
    with pytest.raises(InputError, match="at most 100000 bytes"):
        fetch(f"http://127.0.0.1:{port}/endless", f"127.0.0.1:{port}", limit=100_000)


def test_a_download_ends_after_its_time(fetch, site, monkeypatch):
    port, _ = site
    monkeypatch.setattr(remote, "FETCH_SECONDS", 0.0)
    with pytest.raises(InputError):
        fetch(f"http://127.0.0.1:{port}/endless", f"127.0.0.1:{port}")


def test_the_name_of_a_file_is_that_in_its_address():
    assert name_in_url("https://a.example/x/my%20shoe.mp4?b=c") == "my shoe.mp4"
