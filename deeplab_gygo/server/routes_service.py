"""Routes of the server itself: health, metrics, what it can do, and the page."""

from __future__ import annotations

import dataclasses
import hashlib
from pathlib import Path

from fastapi import APIRouter, Request
from starlette.datastructures import Headers
from starlette.responses import JSONResponse, RedirectResponse, Response

from deeplab_gygo import __version__
from deeplab_gygo.inference.config import OnlineConfig
from deeplab_gygo.runs.output_kinds import OUTPUTS
from deeplab_gygo.server.answers import Refused, documented
from deeplab_gygo.server.engine import Engine
from deeplab_gygo.server.metrics import CONTENT_TYPE, Metrics
from deeplab_gygo.server.schemas import Health, Info
from deeplab_gygo.server.security import PAGE_TOKEN_PLACE, Access
from deeplab_gygo.server.settings import Limits

PAGE_FOLDER = Path(__file__).parent / "page"

MODES = ("zero-shot", "one-shot", "fine-tune")

_TYPES = {
    ".html": "text/html; charset=utf-8", ".js": "text/javascript; charset=utf-8",
    ".css": "text/css; charset=utf-8", ".svg": "image/svg+xml", ".png": "image/png",
    ".ico": "image/x-icon", ".woff2": "font/woff2", ".json": "application/json",
    ".webmanifest": "application/manifest+json",
}  # fmt: skip


def service_routes(engine: Engine, metrics: Metrics, limits: Limits) -> APIRouter:
    """Makes the routes of health, metrics and information."""
    router = APIRouter(tags=["service"])
    info = Info(
        version=__version__, presets=list(OnlineConfig.PRESETS), modes=list(MODES),
        outputs=list(OUTPUTS), limits=dataclasses.asdict(limits),
    )  # fmt: skip

    @router.get("/healthz", responses=documented())
    async def get_health() -> Health:
        """Answers while the server works."""
        return Health(status="ok")

    @router.get(
        "/readyz",
        responses=documented()
        | {503: {"model": Health, "description": "The network is not loaded."}},
    )
    async def get_readiness() -> Health:
        """Answers 200 when the network is loaded, 503 before."""
        if not engine.ready:
            status = "loading" if engine.problem is None else "failed"
            return JSONResponse({"status": status}, 503)  # type: ignore[return-value]
        return Health(status="ok")

    @router.get(
        "/metrics", response_class=Response,
        responses=documented() | {200: {"content": {"text/plain": {}}, "description": "Metrics."}},
    )  # fmt: skip
    def get_metrics() -> Response:
        """Returns counts and times in the format of Prometheus."""
        return Response(metrics.text(), headers={"Content-Type": CONTENT_TYPE})

    @router.get("/api/info", responses=documented())
    async def get_info() -> Info:
        """Returns the version, and what requests may name."""
        return info

    return router


def page_files() -> dict[str, Path]:
    """Returns the files of the page by their addresses, all but the page itself."""
    return {
        f"/page/{path.relative_to(PAGE_FOLDER).as_posix()}": path
        for path in sorted(PAGE_FOLDER.rglob("*"))
        if path.suffix in _TYPES and path.name != "index.html"
    }


def page_routes(access: Access) -> APIRouter:
    """Makes the routes of the page, which are not part of the API."""
    router = APIRouter(include_in_schema=False)
    files = page_files()

    @router.get("/")
    def get_page(request: Request, token: str = "") -> Response:
        if not access.may_open_page(request.headers, token):
            raise Refused(
                401,
                "The page is opened with the token of the server",
                "a wrong one" if token else "none",
                "Open the address that the server printed at its start",
                {"WWW-Authenticate": "Bearer"},
            )
        cookie = {"Set-Cookie": access.cookie(request.headers)}
        if token:  # not kept in the history of the browser
            return RedirectResponse("./", 303, cookie)
        text = (PAGE_FOLDER / "index.html").read_text(encoding="utf-8")
        filled = PAGE_TOKEN_PLACE.replace('content=""', f'content="{access.page_token}"')
        text = text.replace(PAGE_TOKEN_PLACE, filled, 1)
        return Response(text, media_type="text/html", headers=cookie)

    @router.get("/page/{name:path}")
    def get_file(name: str, request: Request) -> Response:
        path = files.get(f"/page/{name}")
        if path is None:
            raise Refused(404, "There is no such file of the page")
        content = path.read_bytes()
        tag = f'"{hashlib.sha256(content).hexdigest()[:20]}"'
        headers = {"ETag": tag, "Cache-Control": "no-cache", "Content-Type": _TYPES[path.suffix]}
        if _knows(request.headers, tag):
            return Response(status_code=304, headers=headers)
        return Response(content, headers=headers)

    return router


def _knows(headers: Headers, tag: str) -> bool:
    return tag in headers.get("if-none-match", "")
