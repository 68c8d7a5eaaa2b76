"""Who may ask: host, origin, token and page token of every request; headers of every answer.

The page names its token in the header `PAGE_TOKEN_HEADER` of every request that changes something.
It finds it in its own document: `GET /` puts it there, and sets it as a cookie for what a page
cannot give a header to, images and event streams. No page of another origin can read either.
"""

from __future__ import annotations

import asyncio
import hashlib
import hmac
import ipaddress
import os
import secrets
import socket
from collections.abc import Collection
from functools import lru_cache
from http.cookies import CookieError, SimpleCookie
from pathlib import Path
from urllib.parse import urlsplit

from starlette.datastructures import Headers
from starlette.requests import ClientDisconnect
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from deeplab_gygo.server.answers import Refused, error_response, unexpected
from deeplab_gygo.server.metrics import Metrics
from deeplab_gygo.server.settings import ServerSettings

PAGE_TOKEN_HEADER = "X-Page-Token"
PAGE_TOKEN_PLACE = 'name="page-token" content=""'
"""Attributes of the `meta` element of the page that `GET /` puts the page token into."""

COOKIE = "deeplab_gygo_page"

BODY_BYTES = 1 << 20
"""Largest body of a request that is no upload."""

MASK_BYTES = 64 << 20
"""Largest PNG of a mask."""

STALL_SECONDS = 60.0
"""Longest wait for the next bytes of a body."""

HEADERS = {
    "Content-Security-Policy": "default-src 'none'; script-src 'self'; style-src 'self'; "
    "img-src 'self' blob: data:; media-src 'self' blob:; connect-src 'self'; font-src 'self'; "
    "worker-src 'self'; manifest-src 'self'; base-uri 'none'; form-action 'none'; "
    "frame-ancestors 'none'",
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
    "Referrer-Policy": "no-referrer",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Permissions-Policy": "camera=(), microphone=(), geolocation=()",
}
"""Headers of every answer."""

_RAW_HEADERS = [(name.lower().encode(), value.encode()) for name, value in HEADERS.items()]
_SAFE_METHODS = ("GET", "HEAD", "OPTIONS")
_OPEN_PATHS = ("/", "/healthz", "/readyz")  # the route of the page checks its token itself
_SAME_SITE = ("none", "same-origin")


class Access:
    """The tokens of a server, and the checks of requests against them.

    Args:
        settings: Settings of the server.
        page_files: Paths of the files of the page, which are the same for everybody.

    Attributes:
        page_token: Word that the page names; kept in the folder of the data, so that an open page
            survives a restart.
    """

    def __init__(self, settings: ServerSettings, page_files: Collection[str] = ()):
        self._settings = settings
        self._open_paths = frozenset({*_OPEN_PATHS, *page_files})
        self._token = settings.token
        self.page_token = _kept_secret(settings.data / "page_token")
        names = {"localhost", settings.host.lower(), *map(str.lower, settings.server_names)}
        if not settings.is_local:
            names.add(socket.gethostname().lower())
        self._names = names
        self._is_known_host = lru_cache(256)(self._is_own)  # most requests name the same

    def check(self, scope: Scope, headers: Headers) -> None:
        """Checks a request.

        Raises:
            Refused: It names another host, comes from a page of another origin, or has no token.
        """
        hosts = headers.getlist("host")
        if len(hosts) != 1 or not self._is_known_host(hosts[0]):
            raise Refused(
                403,
                "A request names this server as its host",
                ", ".join(hosts) or "no host",
                "Use its IP address or localhost, or start it with --server-name",
            )
        path, method = scope["path"], scope["method"]
        self._check_origin(headers, hosts[0], is_page=path == "/" and method == "GET")
        if path in self._open_paths:
            return
        if self._has_token(headers):
            return
        has_cookie = self.has_cookie(headers)
        if self._token and not has_cookie:
            raise Refused(
                401,
                "A request names the token of the server",
                "a wrong one" if "authorization" in headers else "none",
                "Send the header Authorization: Bearer TOKEN, or open the address with the token "
                "that the server printed at its start",
                {"WWW-Authenticate": "Bearer"},
            )
        from_browser = has_cookie or "origin" in headers or "sec-fetch-site" in headers
        if method in _SAFE_METHODS or not from_browser:
            return
        if not _same(headers.get(PAGE_TOKEN_HEADER, ""), self.page_token):
            raise Refused(
                403,
                f"A page names its token in the header {PAGE_TOKEN_HEADER}",
                "a wrong one" if PAGE_TOKEN_HEADER in headers else "none",
                "Load the page anew",
            )

    def may_open_page(self, headers: Headers, token: str) -> bool:
        """Returns whether the page may be opened: with the token, or the cookie of before."""
        if not self._token:
            return True
        return _same(token, self._token) or self._has_token(headers) or self.has_cookie(headers)

    def cookie(self, headers: Headers) -> str:
        """Returns the header that sets the cookie of the page."""
        name = _cookie_name(headers)
        return f"{name}={self.page_token}; Path=/; HttpOnly; SameSite=Strict; Max-Age=31536000"

    def has_cookie(self, headers: Headers) -> bool:
        """Returns whether a request has the cookie of the page."""
        try:
            cookies = SimpleCookie(headers.get("cookie", ""))
        except CookieError:
            return False
        found = cookies.get(_cookie_name(headers))
        return found is not None and _same(found.value, self.page_token)

    def _has_token(self, headers: Headers) -> bool:
        kind, _, token = headers.get("authorization", "").partition(" ")
        return bool(self._token) and kind.lower() == "bearer" and _same(token.strip(), self._token)

    def _is_own(self, host: str) -> bool:
        """Checks a host: an own name, or an address, which no name server can lead elsewhere."""
        try:
            name = (urlsplit(f"//{host}").hostname or "").lower()
            _ = urlsplit(f"//{host}").port
        except ValueError:
            return False
        if name in self._names:
            return True
        try:
            address = ipaddress.ip_address(name)
        except ValueError:
            return False
        return address.is_loopback or not self._settings.is_local

    def _check_origin(self, headers: Headers, host: str, *, is_page: bool) -> None:
        origin = headers.get("origin")
        if origin is not None and origin.lower() not in (
            f"http://{host}".lower(),
            f"https://{host}".lower(),
        ):
            raise Refused(403, "A request comes from the page of this server", origin)
        site = headers.get("sec-fetch-site", "none")
        # A link in a mail or on another page may lead here; its frame or script may not.
        is_link = is_page and headers.get("sec-fetch-mode") == "navigate"
        if site not in _SAME_SITE and not is_link:
            raise Refused(403, "A request comes from the page of this server", f"a page {site}")


class Guard:
    """Checks and limits requests, adds headers to answers, counts both; the outermost layer.

    Args:
        app: The application.
        access: The checks.
        metrics: The counts.
        upload_bytes: Largest body of an upload.
    """

    def __init__(self, app: ASGIApp, access: Access, metrics: Metrics, upload_bytes: int):
        self._app, self._access, self._metrics = app, access, metrics
        self._upload_bytes = upload_bytes

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            if scope["type"] == "lifespan":
                await self._app(scope, receive, send)
            return
        started, status = self._metrics.begin(), 0

        async def guarded_send(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
                sent = [*message["headers"], *_RAW_HEADERS]
                if not any(name == b"cache-control" for name, _ in sent):
                    sent.append((b"cache-control", b"no-store"))
                message["headers"] = sent
            await send(message)

        try:
            try:
                headers = Headers(scope=scope)
                self._access.check(scope, headers)
                limited = self._limited(scope, headers, receive)
                await self._app(scope, limited, guarded_send)
            except Refused as error:
                refusal = error_response(
                    error.status_code, error.detail, error.met, error.remedy, headers=error.headers
                )
                await refusal(scope, receive, guarded_send)
        except ClientDisconnect:  # in the middle of its body
            pass
        except Exception as error:
            if status:  # the answer has begun: a broken connection shows that it is not whole
                raise
            answer = unexpected(error, f"{scope['method']} {scope['path']}")
            await answer(scope, receive, guarded_send)
        finally:
            self._metrics.end(scope, status, started)

    def _limited(self, scope: Scope, headers: Headers, receive: Receive) -> Receive:
        """Returns a function that receives a body of at most so many bytes, without stalling."""
        if scope["method"] in ("GET", "HEAD"):
            return receive
        limit = self._limit(scope["path"])
        stated = headers.get("content-length", "0")
        if not (stated.isascii() and stated.isdigit()) or int(stated) > limit:
            raise _too_large(limit)
        received, is_complete = 0, False

        async def limited() -> Message:
            nonlocal received, is_complete
            if is_complete:  # waits for the end of the connection
                return await receive()
            try:
                async with asyncio.timeout(STALL_SECONDS):
                    message = await receive()
            except TimeoutError:
                raise Refused(
                    400, "A body arrives without a break", f"none for {STALL_SECONDS:g} s"
                ) from None
            received += len(message.get("body", b""))
            is_complete = not message.get("more_body", False)
            if received > limit:
                raise _too_large(limit)
            return message

        return limited

    def _limit(self, path: str) -> int:
        if path in ("/api/clips", "/api/jobs"):
            return self._upload_bytes + BODY_BYTES
        return MASK_BYTES if "/masks/" in path else BODY_BYTES


def _too_large(limit: int) -> Refused:
    return Refused(413, f"A body has at most {limit} bytes", "more", "Send a smaller file")


def _same(given: str, wanted: str) -> bool:
    """Compares in a time that shows nothing of the wanted text, its length included."""
    digests = (hashlib.sha256(text.encode("utf-8", "replace")).digest() for text in (given, wanted))
    return hmac.compare_digest(*digests)


def _cookie_name(headers: Headers) -> str:
    # Cookies of all ports of a host are in one place: every server has its own.
    host = headers.get("host", "")
    port = host.rpartition(":")[2]
    return f"{COOKIE}_{port if port.isdigit() else 'default'}"


def _kept_secret(path: Path) -> str:
    """Reads the secret in a file that the owner alone can read; makes it at the first time."""
    path.parent.mkdir(parents=True, exist_ok=True)
    try:
        text = path.read_text(encoding="ascii").strip()
        if len(text) >= 32:
            return text
    except (OSError, UnicodeDecodeError):
        pass
    side = path.with_name(f".{path.name}.{secrets.token_hex(4)}")
    with open(os.open(side, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w") as file:
        file.write(secrets.token_urlsafe(32))
    os.replace(side, path)
    return path.read_text(encoding="ascii").strip()
