"""Routes of clips: upload, list, frames, removal."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Annotated, TypeVar

from fastapi import APIRouter, Query, Request
from pydantic import BaseModel, ValidationError
from starlette.concurrency import run_in_threadpool
from starlette.datastructures import FormData, UploadFile
from starlette.formparsers import MultiPartException
from starlette.responses import JSONResponse, Response

from deeplab_gygo.io.reading import parse_json
from deeplab_gygo.server.answers import Refused, documented, without_paths
from deeplab_gygo.server.engine import Engine
from deeplab_gygo.server.metrics import Metrics
from deeplab_gygo.server.remote import RemoteClips, name_in_url
from deeplab_gygo.server.schemas import FrameIndex, Identity, UrlBody
from deeplab_gygo.server.security import BODY_BYTES
from deeplab_gygo.server.settings import Limits
from deeplab_gygo.server.states import ClipInfo, GivenUp
from deeplab_gygo.server.uploads import add_clip, copy_to

MAX_FIELDS = 16

Model = TypeVar("Model", bound=BaseModel)

_UPLOAD_SCHEMA = {
    "type": "object",
    "properties": {"file": {"type": "string", "format": "binary"}},
    "required": ["file"],
}
_CLIENT_CLOSED = 499  # as of nginx; nobody reads it
_IMMUTABLE = "private, max-age=31536000, immutable"


class ClipSource:
    """Adds clips from uploads and addresses. Its methods are blocking.

    Args:
        engine: Owner of the clips.
        remote: Fetches addresses.
        limits: Limits.
        metrics: Counts bytes.
    """

    def __init__(self, engine: Engine, remote: RemoteClips, limits: Limits, metrics: Metrics):
        self._engine, self._remote, self._limits = engine, remote, limits
        self._metrics = metrics

    def upload(self, file: UploadFile) -> ClipInfo:
        """Adds an upload."""
        self._metrics.uploaded.inc(file.size or 0)
        fill = copy_to(file.file)
        return add_clip(self._engine, self._limits, file.filename or "", fill)

    def fetch(self, url: str) -> ClipInfo:
        """Adds what an address leads to."""
        return add_clip(
            self._engine, self._limits, name_in_url(url),
            lambda path, space: self._remote.fetch(url, path, space),
        )  # fmt: skip


def clip_routes(engine: Engine, source: ClipSource) -> APIRouter:
    """Makes the routes of clips."""
    router = APIRouter(prefix="/api/clips", tags=["clips"])

    @router.post(
        "",
        status_code=201,
        responses=documented(403, 415) | {201: {"model": ClipInfo, "description": "The clip."}},
        openapi_extra={
            "requestBody": {
                "required": True,
                "content": {
                    "multipart/form-data": {"schema": _UPLOAD_SCHEMA},
                    "application/json": {"schema": UrlBody.model_json_schema()},
                },
            }
        },
    )
    async def upload_clip(request: Request) -> Response:
        """Adds a clip: a video or a zip of frames as a form, or an address as JSON."""
        if media_type(request) == "application/json":
            body = parsed(UrlBody, parse_json(await request.body(), "the body"))
            info = await run_in_threadpool(source.fetch, body.url)
        else:
            async with form_of(request) as form:
                file = form.get("file")
                if not isinstance(file, UploadFile):
                    raise Refused(422, "An upload has the field file", "none")
                info = await run_in_threadpool(source.upload, file)
        return JSONResponse(info.to_json(), 201)

    @router.get("", responses=documented())
    async def list_clips() -> list[ClipInfo]:
        """Lists the clips, newest first."""
        return engine.clips()

    @router.get("/{clip_id}", responses=documented(404))
    async def get_clip(clip_id: Identity) -> ClipInfo:
        """Returns a clip."""
        return engine.clip(clip_id)

    @router.delete("/{clip_id}", status_code=204, responses=documented(404, 409))
    def delete_clip(clip_id: Identity) -> None:
        """Removes a clip and its sessions."""
        engine.delete_clip(clip_id)

    @router.get(
        "/{clip_id}/frames/{index}",
        response_class=Response,
        responses=documented(404) | {200: {"content": {"image/jpeg": {}}, "description": "JPEG."}},
    )
    async def get_frame(
        request: Request,
        clip_id: Identity,
        index: FrameIndex,
        width: Annotated[int | None, Query(ge=1, le=16384, description="Pixels.")] = None,
    ) -> Response:
        """Returns a frame, at least as wide as asked for, at most as wide as the clip."""
        async with gone(request) as is_gone:
            try:
                content = await run_in_threadpool(engine.frame, clip_id, index, width, is_gone)
            except GivenUp:
                return Response(status_code=_CLIENT_CLOSED)
        return Response(content, media_type="image/jpeg", headers={"Cache-Control": _IMMUTABLE})

    return router


@asynccontextmanager
async def gone(request: Request) -> AsyncIterator[Callable[[], bool]]:
    """Watches whether the client closes the connection before its answer.

    Args:
        request: A request whose body is not read any more.

    Yields:
        A function that returns it, for any thread.
    """
    closed = threading.Event()

    async def watch() -> None:
        while (await request.receive())["type"] != "http.disconnect":
            pass
        closed.set()

    watcher = asyncio.create_task(watch())
    try:
        yield closed.is_set
    finally:
        watcher.cancel()


class form_of:
    """Reads a form of files and fields within limits; removes its files from the memory after it.

    Args:
        request: The request.

    Raises:
        Refused: The body is no form, or has too many fields.
    """

    def __init__(self, request: Request):
        self._request = request

    async def __aenter__(self) -> FormData:
        if media_type(self._request) != "multipart/form-data":
            raise Refused(
                415,
                "An upload is a form",
                media_type(self._request) or "no Content-Type",
                "Send multipart/form-data",
            )
        try:
            self._form = await self._request.form(
                max_files=2, max_fields=MAX_FIELDS, max_part_size=BODY_BYTES
            )
        except MultiPartException as error:
            raise Refused(400, "A form can be read", error.message) from error
        return self._form

    async def __aexit__(self, *exception: object) -> None:
        await self._form.close()


def media_type(request: Request) -> str:
    """Returns the media type of a request, without parameters."""
    return request.headers.get("content-type", "").partition(";")[0].strip().lower()


def parsed(model: type[Model], values: object) -> Model:
    """Checks plain values against a schema.

    Raises:
        Refused: They do not fit.
    """
    try:
        return model.model_validate(values)
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        place = ".".join(map(str, first["loc"]))
        met = without_paths(f"{place}: {first['msg']}" if place else first["msg"])
        raise Refused(422, "A request fits the schema", met, "See /openapi.json") from error
