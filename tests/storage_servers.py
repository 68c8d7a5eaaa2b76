"""Fixtures: a server of S3 on the loopback, and a proxy before it that makes faults."""

from __future__ import annotations

import http.client
import secrets
import select
import socket
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from functools import partial
from http.server import BaseHTTPRequestHandler, SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from urllib.parse import urlsplit

import pytest

from deeplab_gygo.io import storage

ACCESS_KEY, SECRET_KEY = "AKIAQUITEHIDDEN00000", "secret/quite+hidden"

Fault = str | int | None
"""None: none; "cut": no answer; "half": half of an answer; "slow": an answer in pieces; or an HTTP
status."""


@dataclass
class FaultyProxy:
    """Passes requests on to a server, and makes faults on the way.

    Attributes:
        fault: Returns the fault of a request, given its method and path.
        requests: Method and path of every request, in the order in which they came.
    """

    upstream: str
    fault: Callable[[str, str], Fault] = lambda method, path: None
    requests: list[tuple[str, str]] = field(default_factory=list)

    def __post_init__(self):
        proxy = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def handle_one_request(self):
                try:
                    super().handle_one_request()
                except (ConnectionError, ValueError):  # the client is gone
                    self.close_connection = True

            def _pass_on(self):
                proxy._answer(self)

            do_GET = do_HEAD = do_PUT = do_POST = do_DELETE = _pass_on

            def log_message(self, *words):
                pass

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._server.daemon_threads = True
        threading.Thread(target=self._server.serve_forever, args=(0.01,), daemon=True).start()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self._server.server_address[1]}"

    def close(self):
        self._server.shutdown()
        self._server.server_close()

    def count(self, method: str, end: str) -> int:
        """Returns the number of requests with a method for paths that end so."""
        return sum(m == method and urlsplit(p).path.endswith(end) for m, p in self.requests)

    def _answer(self, handler: BaseHTTPRequestHandler) -> None:
        method, path = handler.command, handler.path
        body = _body(handler)
        self.requests.append((method, path))
        fault = self.fault(method, path)
        if _is_gone(handler.connection):  # killed meanwhile: what it sent does not count
            handler.close_connection = True
            return
        if fault == "cut":
            handler.close_connection = True
            return
        if isinstance(fault, int):
            handler.send_response(fault)
            handler.send_header("Content-Length", "0")
            handler.end_headers()
            return
        host = urlsplit(self.upstream)
        upstream = http.client.HTTPConnection(host.hostname, host.port, timeout=30)
        names = ("Host", "Connection", "Transfer-Encoding")
        headers = {k: v for k, v in handler.headers.items() if k not in names}
        upstream.request(method, path, body, headers | {"Host": handler.headers["Host"]})
        answer = upstream.getresponse()
        content = answer.read()
        upstream.close()
        handler.send_response(answer.status)
        for name, value in answer.getheaders():
            if name.lower() not in ("connection", "transfer-encoding", "server", "date"):
                handler.send_header(name, value)
        if answer.getheader("Content-Length") is None:
            handler.send_header("Content-Length", str(len(content)))
        handler.end_headers()
        if fault == "half":
            handler.wfile.write(content[: len(content) // 2])
            handler.close_connection = True
        elif fault == "slow":
            for start in range(0, len(content), max(1, len(content) // 10)):
                handler.wfile.write(content[start : start + max(1, len(content) // 10)])
                time.sleep(0.01)
        else:
            handler.wfile.write(content)


def _is_gone(connection: socket.socket) -> bool:
    """Whether the other side has closed a connection on which it waits for an answer."""
    readable, _, _ = select.select([connection], [], [], 0)
    return bool(readable) and not connection.recv(1, socket.MSG_PEEK)


def _body(handler: BaseHTTPRequestHandler) -> bytes:
    if "chunked" not in handler.headers.get("Transfer-Encoding", ""):
        size = int(handler.headers.get("Content-Length") or 0)
        body = handler.rfile.read(size)
        if len(body) < size:
            raise ConnectionError("the client ended before it had sent everything")
        return body
    body = b""
    while size := int(handler.rfile.readline(), 16):
        body += handler.rfile.read(size)
        handler.rfile.readline()
    handler.rfile.readline()
    return body


class Faults:
    """A fault for some of the first requests that fit; the others pass.

    Args:
        fault: The fault.
        times: Number of requests that meet it.
        method: Their method; empty is every one.
        end: How their paths end, without query.
    """

    def __init__(self, fault: Fault, times: int = 1, method: str = "", end: str = ""):
        self._fault, self._method, self._end = fault, method, end
        self._lock, self.left = threading.Lock(), times

    def __call__(self, method: str, path: str) -> Fault:
        fits = method.startswith(self._method) and urlsplit(path).path.endswith(self._end)
        with self._lock:
            if not fits or not self.left:
                return None
            self.left -= 1
        return self._fault


@pytest.fixture(scope="session")
def s3_server() -> Iterator[str]:
    """URL of a server of S3."""
    server = pytest.importorskip("moto.server").ThreadedMotoServer("127.0.0.1", 0, verbose=False)
    server.start()
    yield "http://{}:{}".format(*server.get_host_and_port())
    server.stop()


@pytest.fixture(scope="session")
def _proxy(s3_server) -> Iterator[FaultyProxy]:
    proxy = FaultyProxy(s3_server)
    yield proxy
    proxy.close()


@pytest.fixture
def s3_proxy(_proxy, monkeypatch) -> FaultyProxy:
    """A proxy before the server of S3, which the clients use."""
    s3fs = pytest.importorskip("s3fs")
    monkeypatch.setenv("AWS_ENDPOINT_URL", _proxy.url)
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", ACCESS_KEY)
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", SECRET_KEY)
    monkeypatch.setenv("AWS_DEFAULT_REGION", "us-east-1")
    monkeypatch.setenv("AWS_MAX_ATTEMPTS", "1")  # botocore waits for seconds
    monkeypatch.setattr(s3fs.S3FileSystem, "retries", 1)
    monkeypatch.setattr("deeplab_gygo.io.storage.PAUSE", 0.01)
    _proxy.fault = lambda method, path: None
    return _proxy


@pytest.fixture
def bucket(s3_proxy) -> str:
    """URL of an empty bucket."""
    from deeplab_gygo.io.storage import call

    url = f"s3://clips-{secrets.token_hex(6)}"
    call(url, lambda fs, path: fs.mkdir(path))
    s3_proxy.requests.clear()
    return url


@pytest.fixture
def served() -> Iterator[Callable[[Path], str]]:
    """Function that serves a folder on the web with listings of its folders; returns the URL."""

    class Quiet(SimpleHTTPRequestHandler):
        def log_message(self, *words):
            pass

    servers = []

    def serve(folder: Path) -> str:
        handler = partial(Quiet, directory=str(folder))
        servers.append(ThreadingHTTPServer(("127.0.0.1", 0), handler))
        servers[-1].daemon_threads = True
        threading.Thread(target=servers[-1].serve_forever, args=(0.01,), daemon=True).start()
        return f"http://127.0.0.1:{servers[-1].server_port}"

    yield serve
    for server in servers:
        server.shutdown()
        server.server_close()


@pytest.fixture
def scratch_folder(tmp_path, monkeypatch):
    """The scratch folder of the process, empty."""
    from deeplab_gygo.io import scratch

    monkeypatch.setattr(scratch, "_default", scratch.Scratch(tmp_path / "scratch"))
    scratch._leased.cache_clear()
    return scratch._default


def put(root: Path, url: str) -> str:
    """Copies a folder to a URL."""
    for path in filter(Path.is_file, root.rglob("*")):
        storage.upload(path, f"{url}/{path.relative_to(root).as_posix()}")
    return url
