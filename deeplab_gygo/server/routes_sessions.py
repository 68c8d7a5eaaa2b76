"""Routes of sessions: annotations, smart strokes, propagation, export."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Annotated, Any

from fastapi import APIRouter, Body, Query, Request
from starlette.concurrency import run_in_threadpool
from starlette.responses import JSONResponse, Response

from deeplab_gygo.server.answers import Refused, documented, plain_problem
from deeplab_gygo.server.engine import Engine
from deeplab_gygo.server.events import DOCUMENTED, EventStreams, Push
from deeplab_gygo.server.routes_clips import media_type
from deeplab_gygo.server.schemas import (
    MAX_OBJECTS,
    Accepted,
    ExportBody,
    FrameBody,
    FrameIndex,
    Identity,
    JobStarted,
    ObjectBody,
    Revision,
    SessionBody,
    StrokesBody,
)
from deeplab_gygo.server.states import Event, ObjectInfo, Problem, SessionState, Stroke

_PNG: dict[int | str, dict[str, Any]] = {
    200: {"content": {"image/png": {}}, "description": "PNG of object ids."}
}
_PNG_BODY = {
    "requestBody": {
        "required": True,
        "content": {"image/png": {"schema": {"type": "string", "format": "binary"}}},
    }
}
_STATE: dict[int | str, dict[str, Any]] = {
    200: {"model": SessionState, "description": "The session."}
}


def session_routes(
    engine: Engine, streams: EventStreams, export: Callable[[Request, str, ExportBody], str]
) -> APIRouter:
    """Makes the routes of sessions.

    Args:
        engine: Owner of the sessions.
        streams: Streams of events.
        export: Begins an export and returns the id of its job.
    """
    router = APIRouter(prefix="/api/sessions", tags=["sessions"])

    @router.post(
        "",
        status_code=201,
        responses=documented(404) | {201: {"model": SessionState, "description": "The session."}},
    )
    def create_session(body: SessionBody) -> Response:
        """Makes a session of a clip."""
        state = engine.create_session(body.clip, body.preset, body.mode)
        return JSONResponse(_described(state), 201)

    @router.get(
        "",
        responses=documented(404)
        | {200: {"model": list[SessionState], "description": "The sessions."}},
    )
    async def list_sessions(
        clip: Annotated[str | None, Query(max_length=64)] = None,
    ) -> Response:
        """Lists the sessions, of a clip or all, newest first."""
        return JSONResponse([_described(state) for state in engine.sessions(clip)])

    @router.get("/{session_id}", responses=documented(404) | _STATE)
    async def get_session(session_id: Identity) -> Response:
        """Returns a session."""
        return JSONResponse(_described(engine.session(session_id)))

    @router.delete("/{session_id}", status_code=204, responses=documented(404, 409))
    def delete_session(session_id: Identity) -> None:
        """Removes a session with its annotations and results."""
        engine.delete_session(session_id)

    @router.put("/{session_id}/objects", responses=documented(404))
    def set_objects(
        session_id: Identity, body: Annotated[list[ObjectBody], Body(max_length=MAX_OBJECTS)]
    ) -> Revision:
        """Sets names and colors of the objects."""
        objects = [ObjectInfo(each.id, each.name, each.color) for each in body]
        if len({each.id for each in objects}) < len(objects):
            raise Refused(422, "Every object has an id of its own", "an id twice")
        return Revision(revision=engine.set_objects(session_id, objects))

    @router.post("/{session_id}/run", status_code=202, responses=documented(404, 409))
    def run_session(session_id: Identity, anew: bool = False) -> Accepted:
        """Propagates what was annotated since the last time, or goes on; `anew`: everything."""
        engine.run(session_id, anew=anew)
        return Accepted(state="running")

    @router.post("/{session_id}/stop", status_code=202, responses=documented(404))
    def stop_session(session_id: Identity) -> Accepted:
        """Stops the propagation after the frame in progress."""
        engine.stop(session_id)
        return Accepted(state=engine.session(session_id).state)

    @router.get(
        "/{session_id}/events", response_class=Response, responses=documented(404) | DOCUMENTED
    )
    async def session_events(session_id: Identity) -> Response:
        """Streams `state` (first with the whole session), `progress`, `frame` and `error`."""

        def listen(push: Push) -> Callable[[], None]:
            def received(event: Event) -> None:
                problem = event.kind == "error"
                push(
                    (
                        event.kind,
                        vars(plain_problem(Problem(**event.data))) if problem else event.data,
                    )
                )

            return engine.listen(session_id, received)

        engine.session(session_id)
        return streams.open(listen, lambda: [("state", _described(engine.session(session_id)))])

    @router.post("/{session_id}/export", status_code=202, responses=documented(404, 409))
    async def export_session(
        session_id: Identity, body: ExportBody, request: Request
    ) -> JobStarted:
        """Writes the results of a session; its job has them."""
        return JobStarted(job=await run_in_threadpool(export, request, session_id, body))

    _add_mask_routes(router, engine)
    _add_drawing_routes(router, engine)
    return router


def _described(state: SessionState) -> dict[str, Any]:
    return replace(state, error=plain_problem(state.error)).to_json()


def _add_mask_routes(router: APIRouter, engine: Engine) -> None:
    @router.put(
        "/{session_id}/masks/{index}",
        responses=documented(404, 415) | {200: {"model": Revision, "description": "Saved."}},
        openapi_extra=_PNG_BODY,
    )
    async def put_mask(session_id: Identity, index: FrameIndex, request: Request) -> Response:
        """Annotates a frame: 8-bit gray or palette PNG of object ids, of the clip's size."""
        if media_type(request) != "image/png":
            met = media_type(request) or "no Content-Type"
            raise Refused(415, "A mask is image/png", met, "Send a PNG")
        png = await request.body()
        revision = await run_in_threadpool(engine.annotate, session_id, index, png)
        return JSONResponse({"revision": revision})

    @router.delete("/{session_id}/masks/{index}", responses=documented(404))
    def delete_mask(session_id: Identity, index: FrameIndex) -> Revision:
        """Removes the annotation of a frame."""
        return Revision(revision=engine.annotate(session_id, index, None))

    @router.get(
        "/{session_id}/masks/{index}",
        response_class=Response,
        responses=documented(404) | _PNG | {304: {"description": "Not changed."}},
    )
    def get_mask(session_id: Identity, index: FrameIndex, request: Request) -> Response:
        """Returns the annotation of a frame, or else its result; X-Source names which."""
        png, source, version = engine.mask(session_id, index)
        headers = {
            "ETag": f'"{source[0]}{version}"', "X-Source": source, "Cache-Control": "no-cache",
        }  # fmt: skip
        if headers["ETag"] in request.headers.get("if-none-match", ""):
            return Response(status_code=304, headers=headers)
        return Response(png, media_type="image/png", headers=headers)


def _add_drawing_routes(router: APIRouter, engine: Engine) -> None:
    @router.post(
        "/{session_id}/proposal", response_class=Response, responses=documented(404) | _PNG
    )
    def propose(session_id: Identity, body: FrameBody) -> Response:
        """Returns a mask of the most salient object of a frame, with id 1."""
        return Response(engine.propose(session_id, body.frame), media_type="image/png")

    @router.post("/{session_id}/prefetch", status_code=202, responses=documented(404))
    def prefetch(session_id: Identity, body: FrameBody) -> Accepted:
        """Encodes a frame ahead, so that strokes on it are fast."""
        engine.prefetch(session_id, body.frame)
        return Accepted(state=engine.session(session_id).state)

    @router.post("/{session_id}/strokes", response_class=Response, responses=documented(404) | _PNG)
    def draw(session_id: Identity, body: StrokesBody) -> Response:
        """Returns the mask, 0 and 1, that strokes inside and outside an object, or a box, show."""
        strokes = [Stroke(each.inside, tuple(each.points), each.width) for each in body.strokes]
        png = engine.strokes(session_id, body.frame, body.object, strokes, body.box)
        return Response(png, media_type="image/png")
