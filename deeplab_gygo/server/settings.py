"""Settings of the server: where it listens, what it keeps, whom it serves, its limits."""

from __future__ import annotations

import ipaddress
import re
import secrets
from dataclasses import dataclass, field
from pathlib import Path

from deeplab_gygo.errors import UsageError

TOKEN_VARIABLE = "DEEPLAB_GYGO_TOKEN"
"""Environment variable of the token; unlike an option, other users of the machine do not see it."""

MIN_TOKEN = 16
"""Fewest characters of a token."""

_HOST = re.compile(r"[A-Za-z0-9._-]{1,253}")


@dataclass(frozen=True)
class Limits:
    """Limits on what clients may send and keep.

    Attributes:
        upload_bytes: Largest upload or download of a clip.
        pixels: Most pixels of a frame.
        frames: Most frames of a clip.
        queued_jobs: Most jobs of one client that wait or run.
        job_seconds: Longest run of a job.
        keep_days: Age at which finished jobs are removed; 0 keeps them.
        keep_clip_days: Days without use after which clips are removed with their sessions; 0 keeps
            them.
        keep_bytes: Bytes of results and clips above which those used longest ago are removed; 0
            keeps them.

    Raises:
        UsageError: A limit is out of range.
    """

    upload_bytes: int = 4 << 30
    pixels: int = 4096 * 2304
    frames: int = 20_000
    queued_jobs: int = 20
    job_seconds: float = 6 * 3600.0
    keep_days: float = 7.0
    keep_clip_days: float = 30.0
    keep_bytes: int = 0

    def __post_init__(self) -> None:
        for name in ("upload_bytes", "pixels", "frames", "queued_jobs", "job_seconds"):
            if getattr(self, name) <= 0:
                raise UsageError(
                    "A limit of the server is above 0", met=getattr(self, name), where=name
                )
        for name in ("keep_days", "keep_clip_days", "keep_bytes"):
            if getattr(self, name) < 0:
                raise UsageError("A limit is 0 or more", met=getattr(self, name), where=name)


@dataclass(frozen=True)
class ServerSettings:
    """What `create_app` and `serve` need to know.

    Attributes:
        data: Folder of clips, sessions and jobs.
        host: Address to listen at.
        port: Port to listen at; 0 takes a free one.
        token: Word that every request must name; empty where only this machine can connect.
        server_names: Names of the server in addresses, beside `localhost` and IP addresses.
        allow: Hosts that clips may be fetched from, as `HOST` or `HOST:PORT`. An IP address also
            permits names that lead to it, though it is of a private network.
        limits: Limits.

    Raises:
        UsageError: A value is out of range, or other machines can connect and there is no token.

    Example:
        >>> ServerSettings(Path("data")).is_local
        True
        >>> ServerSettings(Path("data"), host="0.0.0.0")
        Traceback (most recent call last):
            ...
        deeplab_gygo.errors.UsageError: A server that other machines reach has a token; met: none \
(--host 0.0.0.0). Give --token, or leave --host out.
    """

    data: Path
    host: str = "127.0.0.1"
    port: int = 8000
    token: str = field(default="", repr=False)
    server_names: tuple[str, ...] = ()
    allow: tuple[str, ...] = ()
    limits: Limits = field(default_factory=Limits)

    def __post_init__(self) -> None:
        if not 0 <= self.port <= 65535:
            raise UsageError("A port is in 0..65535", met=self.port, where="--port")
        if not self.is_local and not self.token:
            raise UsageError(
                "A server that other machines reach has a token",
                met="none",
                where=f"--host {self.host}",
                remedy="Give --token, or leave --host out",
            )
        if self.token and not re.fullmatch(rf"[A-Za-z0-9._~+/=-]{{{MIN_TOKEN},200}}", self.token):
            raise UsageError(
                f"A token has {MIN_TOKEN} to 200 letters, digits and . _ ~ + / = -",
                met=f"{len(self.token)} characters",
                where="--token",
                remedy="Leave --token out: one is made",
            )
        for name in self.server_names:
            if not _HOST.fullmatch(name):
                raise UsageError("A server name is a host name", met=name, where="--server-name")
        for entry in self.allow:
            split_host(entry)

    @property
    def is_local(self) -> bool:
        """Whether only this machine can connect."""
        return is_local(self.host)


def is_local(host: str) -> bool:
    """Returns whether only this machine can connect to an address."""
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def new_token() -> str:
    """Returns a random token of 192 bits."""
    return secrets.token_urlsafe(24)


def split_host(entry: str) -> tuple[str, int | None]:
    """Splits `HOST` or `HOST:PORT`; an IPv6 address with a port is in brackets.

    Returns:
        The host in lower case, without brackets, and the port; None where none is named.

    Raises:
        UsageError: It is neither.

    Example:
        >>> split_host("media.example.com:8443"), split_host("[::1]:80"), split_host("::1")
        (('media.example.com', 8443), ('::1', 80), ('::1', None))
    """
    try:
        return str(ipaddress.ip_address(entry.strip("[]"))), None
    except ValueError:
        pass
    host, colon, port = entry.rpartition(":") if ":" in entry else (entry, "", "")
    host = host.strip("[]").lower()
    is_host = _HOST.fullmatch(host) or _is_address(host)
    if not is_host or (colon and not (port.isascii() and port.isdigit() and int(port) < 65536)):
        raise UsageError(
            "A host to fetch clips from is HOST or HOST:PORT",
            met=entry,
            where="--allow",
            remedy="Write it like --allow media.example.com",
        )
    return host, int(port) if colon else None


def _is_address(text: str) -> bool:
    try:
        ipaddress.ip_address(text)
    except ValueError:
        return False
    return True
