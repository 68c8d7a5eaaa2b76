"""Running of the application on an address until a signal ends the process."""

from __future__ import annotations

import logging
import socket
from collections.abc import Callable
from typing import Any

import uvicorn

from deeplab_gygo.errors import UsageError
from deeplab_gygo.server.app import create_app
from deeplab_gygo.server.engine import Engine
from deeplab_gygo.server.settings import ServerSettings

logger = logging.getLogger(__name__)

SHUTDOWN_SECONDS = 3
"""Longest wait for requests in progress at the end."""

MAX_CONNECTIONS = 1000


class _Server(uvicorn.Server):
    """Ends the streams of events first, which never end by themselves."""

    def __init__(self, config: uvicorn.Config, on_start: Callable[[], None]):
        super().__init__(config)
        self._on_start = on_start

    async def startup(self, *args: Any, **options: Any) -> None:
        await super().startup(*args, **options)
        if self.started:
            self._on_start()

    async def shutdown(self, *args: Any, **options: Any) -> None:
        self.config.app.state.streams.close()  # type: ignore[union-attr]
        await super().shutdown(*args, **options)


def serve(
    engine: Engine, settings: ServerSettings, *, on_start: Callable[[str], None] | None = None
) -> None:
    """Serves the API and the page until Ctrl-C or SIGTERM.

    Args:
        engine: The engine on the folder of the settings; it is started, and closed at the end.
        settings: Address, access, limits.
        on_start: Called with the address of the page when it answers, the token included.

    Raises:
        UsageError: The address is in use, or is none of this machine.
        StorageError: The folder of the data cannot be written.
    """
    try:
        listener = _listener(settings)
        app = create_app(engine, settings)
    except BaseException:
        engine.close()
        raise
    address = page_address(settings, listener.getsockname()[1])
    config = uvicorn.Config(
        app,
        log_config=None,
        access_log=False,  # addresses may have the token
        server_header=False,
        proxy_headers=False,  # whom a request comes from is never what it claims
        ws="none",
        lifespan="on",
        limit_concurrency=MAX_CONNECTIONS,
        timeout_keep_alive=30,
        timeout_graceful_shutdown=SHUTDOWN_SECONDS,
    )
    logging.getLogger("uvicorn").setLevel(logging.WARNING)
    server = _Server(config, lambda: on_start(address) if on_start is not None else None)
    with listener:
        server.run(sockets=[listener])


def page_address(settings: ServerSettings, port: int) -> str:
    """Returns the address of the page on this machine, with the token where there is one.

    Example:
        >>> from pathlib import Path
        >>> page_address(ServerSettings(Path("data")), 8000)
        'http://127.0.0.1:8000/'
    """
    host = {"0.0.0.0": "127.0.0.1", "::": "[::1]"}.get(settings.host, settings.host)
    host = f"[{host}]" if ":" in host and not host.startswith("[") else host
    query = f"?token={settings.token}" if settings.token else ""
    return f"http://{host}:{port}/{query}"


def _listener(settings: ServerSettings) -> socket.socket:
    """Returns a socket that listens, so that the port is known before anything is loaded."""
    family = socket.AF_INET6 if ":" in settings.host else socket.AF_INET
    try:
        listener = socket.socket(family, socket.SOCK_STREAM)
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind((settings.host, settings.port))
        listener.listen(512)
    except (OSError, OverflowError) as error:
        raise UsageError(
            "A server listens at a free port of an address of this machine",
            met=getattr(error, "strerror", None) or error,
            where=f"--host {settings.host} --port {settings.port}",
            remedy="Choose another --port; 0 takes a free one",
        ) from error
    return listener
