"""Requests of the client over HTTP: forms with files, errors, repetitions, bodies in blocks."""

from __future__ import annotations

import http.client
import json
import secrets
import ssl
import time
from collections.abc import Iterator, Mapping
from contextlib import closing
from pathlib import Path
from typing import Any
from urllib.parse import quote, urlsplit

from deeplab_gygo.errors import DeepLabGygoError, UsageError
from deeplab_gygo.io.reading import check_regular

_CHUNK = 1 << 20  # bytes
_PAUSE = 0.2  # seconds between two attempts to connect


class ServerError(DeepLabGygoError):
    """The server refused a request, or does not answer.

    Args:
        status: HTTP status; 0 without an answer.
        rule: As in `DeepLabGygoError`; so are the others.
    """

    def __init__(self, status: int, rule: str, **details: Any):
        super().__init__(rule, **details)
        self.status = status


class Transport:
    """Requests to one server; the arguments are those of `Client`.

    Raises:
        UsageError: The address is none.
    """

    def __init__(self, address: str, token: str, timeout: float, patience: float):
        parts = urlsplit(address)
        if parts.scheme not in ("http", "https") or not parts.hostname:
            raise UsageError(
                "The address of a server begins with http:// or https://", met=address,
                remedy="Write it like http://127.0.0.1:8000",
            )  # fmt: skip
        self._parts, self._timeout, self._patience = parts, timeout, patience
        self._token = token

    def json(self, method: str, path: str, body: Any = None, **options: Any) -> Any:
        """Sends a request, with a body as JSON, and returns the JSON of its answer."""
        if body is not None:
            options["content"] = json.dumps(body).encode()
            options["headers"] = {"Content-Type": "application/json"}
        return json.loads(self.content(method, path, **options))

    def content(self, method: str, path: str, **options: Any) -> bytes:
        """Sends a request and returns the body of its answer; the options are those of `open`."""
        with closing(self.open(method, path, **options)) as answer:
            return b"".join(blocks(answer))

    def open(
        self,
        method: str,
        path: str,
        *,
        content: bytes = b"",
        form: Form | None = None,
        headers: Mapping[str, str] | None = None,
        again: bool | None = None,
    ) -> Answer:
        """Sends a request; asks again while the server does not answer, if that cannot harm."""
        again = method in ("GET", "PUT") if again is None else again
        until = time.monotonic() + (self._patience if again else 0)
        while True:
            connection = self._connection()
            try:
                sent = {"Authorization": f"Bearer {self._token}"} if self._token else {}
                sent |= headers or {}
                if form is not None:
                    sent |= form.headers
                connection.request(
                    method, self._parts.path.rstrip("/") + path,
                    content or None if form is None else form.parts(), sent,
                )  # fmt: skip
                answer = connection.getresponse()
            except (OSError, http.client.HTTPException) as error:
                connection.close()
                if time.monotonic() < until:
                    time.sleep(_PAUSE)
                    continue
                raise _unreachable(error, self._parts.netloc) from error
            if answer.status >= 300:
                with closing(connection):
                    raise _refusal(answer)
            return Answer(connection, answer)

    def _connection(self) -> http.client.HTTPConnection:
        host, port = self._parts.hostname or "", self._parts.port
        if self._parts.scheme == "https":
            context = ssl.create_default_context()
            return http.client.HTTPSConnection(host, port, timeout=self._timeout, context=context)
        return http.client.HTTPConnection(host, port, timeout=self._timeout)


class Form:
    """A form with files, which are read while they are sent."""

    def __init__(self, fields: Mapping[str, str], files: Mapping[str, Path]):
        boundary = secrets.token_hex(16)
        self._pieces: list[bytes | Path] = []
        for name, value in fields.items():
            self._pieces.append(_head(boundary, name) + f"\r\n{value}\r\n".encode())
        for name, path in files.items():
            self._pieces += [_head(boundary, name, path.name) + b"\r\n", path, b"\r\n"]
        self._pieces.append(f"--{boundary}--\r\n".encode())
        length = sum(
            check_regular(piece) if isinstance(piece, Path) else len(piece)
            for piece in self._pieces
        )
        self.headers = {
            "Content-Type": f"multipart/form-data; boundary={boundary}",
            "Content-Length": str(length),
        }

    def parts(self) -> Iterator[bytes]:
        """Yields the body."""
        for piece in self._pieces:
            if isinstance(piece, bytes):
                yield piece
                continue
            with open(piece, "rb") as file:
                while block := file.read(_CHUNK):
                    yield block


class Answer:
    """An answer whose body is read block by block."""

    def __init__(self, connection: http.client.HTTPConnection, answer: http.client.HTTPResponse):
        self._connection, self.answer = connection, answer

    def close(self) -> None:
        """Closes the connection."""
        self._connection.close()


def blocks(opened: Answer) -> Iterator[bytes]:
    """Yields a body; raises where it ends before its stated length."""
    answer = opened.answer
    left = answer.length
    try:
        while block := answer.read(_CHUNK):
            left = None if left is None else left - len(block)
            yield block
    except (OSError, http.client.HTTPException) as error:
        raise _unreachable(error, "the connection broke") from error
    if left:
        raise _unreachable(EOFError("the connection ended"), "the connection ended")


def _head(boundary: str, name: str, filename: str | None = None) -> bytes:
    text = f'--{boundary}\r\nContent-Disposition: form-data; name="{name}"'
    if filename is not None:
        text += f'; filename="{quote(filename, safe=" ()[]+,;=@!")}"\r\n'
        text += "Content-Type: application/octet-stream"
    return f"{text}\r\n".encode()


def _refusal(answer: http.client.HTTPResponse) -> ServerError:
    try:
        error = json.loads(answer.read(1 << 16))["error"]
        rule, met, remedy = error["rule"], error.get("met"), error.get("remedy")
    except (ValueError, KeyError, TypeError):
        rule, met, remedy = "The server answers a request", f"status {answer.status}", None
    return ServerError(answer.status, rule, met=met, remedy=remedy)


def _unreachable(error: Exception, where: str) -> ServerError:
    return ServerError(
        0,
        "The server answers",
        met=str(error) or type(error).__name__,
        where=where,
        remedy="Check its address, and that it runs",
    )
