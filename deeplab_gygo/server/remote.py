"""Clips from addresses: only of hosts that the server names, and never of its own network.

Every address is checked, that of a redirect too, and the connection is made to the address that was
checked: a name server that answers differently the second time gains nothing.
"""

from __future__ import annotations

import http.client
import ipaddress
import socket
import ssl
import time
from collections.abc import Iterable
from pathlib import Path
from urllib.parse import SplitResult, unquote, urljoin, urlsplit

from deeplab_gygo.datasets.space import SpaceLimit
from deeplab_gygo.errors import InputError
from deeplab_gygo.io.escaping import printable
from deeplab_gygo.server.answers import Refused
from deeplab_gygo.server.settings import split_host

MAX_REDIRECTS = 5

CONNECT_SECONDS = 10.0
"""Longest wait for a connection, and for the next bytes."""

FETCH_SECONDS = 1800.0
"""Longest download."""

_CHUNK = 1 << 20  # bytes
_PORTS = {"http": 80, "https": 443}
_NAT64 = ipaddress.ip_network("64:ff9b::/96")  # of IPv4 addresses, behind a gateway
_REDIRECTS = (301, 302, 303, 307, 308)


class RemoteClips:
    """Fetches clips from hosts that are allowed.

    Args:
        allow: Hosts, see `ServerSettings`.
    """

    def __init__(self, allow: Iterable[str]):
        self._allowed = {split_host(entry) for entry in allow}

    def fetch(self, url: str, path: Path, space: SpaceLimit) -> None:
        """Downloads a file. Blocking.

        Args:
            url: Address, http or https.
            path: File to write.
            space: Limit on its bytes.

        Raises:
            Refused: The host, or one that it redirects to, is not allowed.
            InputError: There is no such file, or it is too large.
        """
        deadline = time.monotonic() + FETCH_SECONDS
        for _ in range(MAX_REDIRECTS + 1):
            connection, target = self._connect(url)
            try:
                connection.request(
                    "GET", target, headers={"Accept-Encoding": "identity", "Connection": "close"}
                )
                answer = connection.getresponse()
                if answer.status in _REDIRECTS:
                    url = urljoin(url, answer.getheader("Location") or "")
                    continue
                if answer.status != 200:
                    raise _unreachable(url, f"status {answer.status}")
                _copy(answer, path, space, deadline)
                return
            except (OSError, http.client.HTTPException) as error:
                raise _unreachable(url, type(error).__name__) from error
            finally:
                connection.close()
        raise _unreachable(url, f"more than {MAX_REDIRECTS} redirects")

    def _connect(self, url: str) -> tuple[http.client.HTTPConnection, str]:
        """Returns a connection to the checked address of a URL's host, and what to ask it for."""
        parts, host, port = self._split(url)
        usual = port == _PORTS[parts.scheme] and (host, None) in self._allowed
        if not usual and (host, port) not in self._allowed:
            raise Refused(
                403,
                "A clip is fetched from a host that the server names",
                f"{host}:{port}",
                "Upload the file, or start the server with --allow HOST",
            )
        address = self._resolve(host, port)
        kind = _SecureConnection if parts.scheme == "https" else _Connection
        target = parts.path or "/"
        return kind(host, port, address), f"{target}?{parts.query}" if parts.query else target

    def _split(self, url: str) -> tuple[SplitResult, str, int]:
        try:
            parts = urlsplit(url)
            host, port = (parts.hostname or "").lower(), parts.port
        except ValueError:
            parts = None
        is_plain = url.isascii() and url.isprintable() and " " not in url
        if parts is None or not is_plain or parts.scheme not in _PORTS or not host:
            raise Refused(400, "A clip is fetched by http or https", url[:100])
        if parts.username is not None:
            raise Refused(400, "The address of a clip has no user name", "one")
        return parts, host, port or _PORTS[parts.scheme]

    def _resolve(self, host: str, port: int) -> str:
        """Returns an address of a host; refuses private ones that are not named themselves."""
        try:
            found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
        except (OSError, UnicodeError) as error:
            raise _unreachable(host, "no such host") from error
        addresses = [str(entry[4][0]) for entry in found]
        for address in addresses:
            if not _is_public(address) and not self._names(address, port):
                raise Refused(
                    403,
                    "A clip is fetched from a public address",
                    f"{host} leads to an address of a private network",
                    "Upload the file, or name the address itself with --allow",
                )
        return addresses[0]

    def _names(self, address: str, port: int) -> bool:
        return bool({(address, None), (address, port)} & self._allowed)


class _Connection(http.client.HTTPConnection):
    """A connection to an address that was checked, under the name of its host."""

    def __init__(self, host: str, port: int, address: str):
        super().__init__(host, port, timeout=CONNECT_SECONDS)
        self._address = address

    def connect(self) -> None:
        self.sock = socket.create_connection((self._address, self.port), self.timeout)


class _SecureConnection(_Connection):
    """The same with TLS; the certificate is checked against the name."""

    default_port = 443

    def connect(self) -> None:
        super().connect()
        context = ssl.create_default_context()
        self.sock = context.wrap_socket(self.sock, server_hostname=self.host)


def name_in_url(url: str) -> str:
    """Returns the name of the file that an address ends in."""
    return unquote(urlsplit(url).path).rpartition("/")[2]


def _copy(answer: http.client.HTTPResponse, path: Path, space: SpaceLimit, deadline: float) -> None:
    if answer.length is not None:
        space.require(answer.length)
    stated, received = answer.length, 0
    with open(path, "xb") as file:
        while block := answer.read1(_CHUNK):
            if time.monotonic() > deadline:
                raise TimeoutError
            space.count(len(block))
            file.write(block)
            received += len(block)
    if stated is not None and received < stated:
        raise http.client.IncompleteRead(b"")


def _is_public(address: str) -> bool:
    found = ipaddress.ip_address(address.partition("%")[0])
    mapped = getattr(found, "ipv4_mapped", None) or getattr(found, "sixtofour", None)
    if found in _NAT64:
        mapped = ipaddress.IPv4Address(int(found) & 0xFFFFFFFF)
    return found.is_global and not found.is_multicast and (mapped is None or mapped.is_global)


def _unreachable(url: str, met: str) -> InputError:
    return InputError(
        "The address of a clip leads to a file",
        met=f"{met} ({printable(url)[:100]})",
        remedy="Check the address, or upload the file",
    )
