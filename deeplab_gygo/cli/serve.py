"""`serve`: the HTTP API and the page, until Ctrl-C."""

from __future__ import annotations

import argparse
import logging
import os
import sys
from importlib.util import find_spec
from typing import TYPE_CHECKING

from deeplab_gygo.cli.options import Request, add_common
from deeplab_gygo.errors import DependencyError
from deeplab_gygo.io.names import expanded
from deeplab_gygo.server.settings import TOKEN_VARIABLE

if TYPE_CHECKING:
    from jsonargparse import ArgumentParser, Namespace

    from deeplab_gygo.server.settings import ServerSettings

logger = logging.getLogger(__name__)

USAGE = "deeplab-gygo serve [--data DIR] [--host HOST] [--port PORT] [OPTIONS]"

_PACKAGES = {
    "fastapi": "fastapi", "uvicorn": "uvicorn", "python_multipart": "python-multipart",
    "prometheus_client": "prometheus-client",
}  # fmt: skip


def add_arguments(parser: ArgumentParser, request: Request) -> None:
    """Adds the options of the command."""
    parser.add_argument(
        "--data", type=str, default="deeplab-gygo-data", metavar="DIR",
        help="folder of clips, sessions and jobs",
    )  # fmt: skip
    parser.add_argument(
        "--host", type=str, default="127.0.0.1",
        help="address to listen at; another than of this machine requires a token",
    )  # fmt: skip
    parser.add_argument("--port", type=int, default=8000, help="port; 0 takes a free one")
    parser.add_argument(
        "--token", type=str, default=None,
        help=f"token of all requests; by default that of {TOKEN_VARIABLE}, or where one is "
        "required, a new one",
    )  # fmt: skip
    parser.add_argument(
        "--allow", type=str, nargs="+", default=[], metavar="HOST",
        help="hosts from which clips may be fetched; by default none",
    )  # fmt: skip
    parser.add_argument(
        "--server-name", type=str, nargs="+", default=[], metavar="NAME", dest="server_name",
        help="names by which the server is reached, beside localhost and addresses",
    )  # fmt: skip
    parser.add_argument("--weights", type=str, metavar="FILE", help="parent instead of the shipped")
    _add_limits(parser, request.show_all)
    add_common(parser)


def _add_limits(parser: ArgumentParser, show_all: bool) -> None:
    for flag, kind, default, text in (
        ("--max-mb", int, 4096, "largest upload of a clip, MB"),
        ("--max-pixels", int, 4096 * 2304, "most pixels of a frame"),
        ("--max-frames", int, 20_000, "most frames of a clip"),
        ("--max-jobs", int, 20, "most jobs of a client that wait or run"),
        ("--max-seconds", float, 21_600.0, "longest run of a job"),
        ("--keep-days", float, 7.0, "age at which finished jobs are removed; 0 keeps them"),
        (
            "--keep-clip-days",
            float,
            30.0,
            "days without use after which clips and their sessions are removed; 0 keeps them",
        ),
        (
            "--keep-gb",
            float,
            0.0,
            "GB of results and clips above which those used longest ago are removed; 0 for none",
        ),
    ):
        parser.add_argument(
            flag, type=kind, default=default, metavar="N", dest=flag[2:].replace("-", "_"),
            help=text if show_all else argparse.SUPPRESS,
        )  # fmt: skip


def run(options: Namespace) -> int:
    """Serves until Ctrl-C."""
    require_server_packages()
    settings = _settings(options)
    from deeplab_gygo.server.engine import Engine
    from deeplab_gygo.server.serving import serve

    weights = None if options.weights is None else expanded(options.weights)
    engine = Engine(settings.data, weights=weights)
    serve(engine, settings, on_start=_announce)
    return 0


def require_server_packages() -> None:
    """Checks that the packages of the extra `server` are installed.

    Raises:
        DependencyError: One is missing.
    """
    for module, package in _PACKAGES.items():
        if find_spec(module) is None:
            raise DependencyError(package, "server", "The server")


def _settings(options: Namespace) -> ServerSettings:
    from deeplab_gygo.server.settings import Limits, ServerSettings, is_local, new_token

    token = os.environ.get(TOKEN_VARIABLE, "") if options.token is None else options.token
    if not token and not is_local(options.host):
        token = new_token()
    limits = Limits(
        upload_bytes=options.max_mb * 1_000_000, pixels=options.max_pixels,
        frames=options.max_frames, queued_jobs=options.max_jobs, job_seconds=options.max_seconds,
        keep_days=options.keep_days, keep_clip_days=options.keep_clip_days,
        keep_bytes=int(options.keep_gb * 1e9),
    )  # fmt: skip
    return ServerSettings(
        expanded(options.data).absolute(), options.host, options.port, token,
        tuple(options.server_name), tuple(options.allow), limits,
    )  # fmt: skip


def _announce(address: str) -> None:
    """Prints the address of the page, and how it is ended."""
    print(address, flush=True)
    if sys.stderr.isatty():
        logger.info("Ctrl-C ends the server; jobs that wait go on when it is started again")
