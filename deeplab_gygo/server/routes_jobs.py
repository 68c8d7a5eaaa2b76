"""Routes of jobs: start, state, cancellation, results."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Any, Literal

from fastapi import APIRouter, Header, Query, Request
from starlette.concurrency import run_in_threadpool
from starlette.datastructures import FormData, UploadFile
from starlette.responses import FileResponse, JSONResponse, Response

from deeplab_gygo.errors import DeepLabGygoError
from deeplab_gygo.io.reading import parse_json
from deeplab_gygo.server.answers import Refused, documented
from deeplab_gygo.server.engine import Engine
from deeplab_gygo.server.events import DOCUMENTED, EventStreams, Message, Push
from deeplab_gygo.server.job_queue import INPUTS, JobQueue, new_job_id
from deeplab_gygo.server.jobs import FINISHED, Job
from deeplab_gygo.server.results import MEDIA_TYPES, result_file
from deeplab_gygo.server.routes_clips import ClipSource, form_of, parsed
from deeplab_gygo.server.schemas import (
    ExportBody,
    Identity,
    JobAnswer,
    JobFields,
    RunLengthAnswer,
)
from deeplab_gygo.server.security import MASK_BYTES
from deeplab_gygo.server.uploads import mask_suffix

_JOB_FORM = {
    "type": "object",
    "properties": {
        "clip": {"type": "string", "format": "binary", "description": "Video or zip of frames."},
        "clip_id": {"type": "string", "description": "Id of a clip, instead."},
        "url": {"type": "string", "description": "Address of a clip, instead."},
        "mask": {"type": "string", "format": "binary", "description": "None is zero-shot."},
        "frame": {"type": "integer", "minimum": 0, "description": "Frame of the mask."},
        "preset": {"type": "string"},
        "mode": {"type": "string"},
        "outputs": {"type": "string", "description": "Kinds of results, separated by commas."},
        "options": {"type": "string", "description": "JSON object of options of the kinds."},
    },
}
_FORM_BODY = {
    "requestBody": {"required": True, "content": {"multipart/form-data": {"schema": _JOB_FORM}}}
}
_JOB: dict[int | str, dict[str, Any]] = {200: {"model": JobAnswer, "description": "The job."}}
_FILES: dict[int | str, dict[str, Any]] = {
    200: {
        "model": RunLengthAnswer,
        "description": "The result, whole.",
        "content": {kind: {} for kind in sorted(set(MEDIA_TYPES.values()) - {"application/json"})},
    },
    206: {"description": "A part of it."},
    416: {"description": "There is no such part."},
}

Key = Annotated[
    str | None,
    Header(
        alias="Idempotency-Key",
        pattern=r"^[!-~]{1,100}$",
        description="A repeated request with the same key makes no second job.",
    ),
]


class JobStarter:
    """Accepts jobs of requests. Its methods are blocking.

    Args:
        engine: Owner of clips and sessions.
        queue: The jobs.
        source: Adds clips.
        data: Folder of the data.
    """

    def __init__(self, engine: Engine, queue: JobQueue, source: ClipSource, data: Path):
        self._engine, self._queue, self._source, self._data = engine, queue, source, data

    def segment(self, request: Request, form: FormData, key: str | None) -> Job:
        """Begins the segmentation that a form asks for."""
        client = _client(request)
        if key is not None and (known := self._queue.find(client, key)) is not None:
            return known
        fields = _fields(form)
        clip_file, mask = _file(form, "clip"), _file(form, "mask")
        given = [part for part in (clip_file, fields.clip_id, fields.url) if part is not None]
        if len(given) != 1:
            met = "none" if not given else "several"
            raise Refused(422, "A job has a clip: one of clip, clip_id, url", met)
        self._queue.check_room(client)
        job_id, owns_clip = new_job_id(), fields.clip_id is None
        if clip_file is not None:
            clip = self._source.upload(clip_file)
        else:
            clip = (
                self._source.fetch(fields.url) if fields.url is not None
                else self._engine.clip(fields.clip_id or "")
            )  # fmt: skip
        mask_path = None
        try:
            mask_path = None if mask is None else self._keep(mask, job_id)
            spec = fields.model_dump(exclude={"clip_id", "url"}) | {
                "clip": clip.id,
                "mask": mask_path,
                "options": fields.options.model_dump(exclude_unset=True),
            }
            return self._queue.add(Job(job_id, client, "segment", spec, key, owns_clip))
        except BaseException:
            if mask_path is not None:
                (self._data / mask_path).unlink(missing_ok=True)
            if owns_clip:
                self._engine.delete_clip(clip.id)
            raise

    def export(self, request: Request, session_id: str, body: ExportBody) -> str:
        """Begins the export of a session; returns the id of its job."""
        self._engine.session(session_id)
        options = body.options.model_dump(exclude_unset=True)
        spec = {"session": session_id, "outputs": body.outputs, "options": options}
        return self._queue.add(Job(new_job_id(), _client(request), "export", spec)).id

    def _keep(self, file: UploadFile, job_id: str) -> str:
        """Writes a mask; returns its path below the data."""
        content = file.file.read(MASK_BYTES + 1)
        if len(content) > MASK_BYTES:
            raise Refused(413, f"A mask has at most {MASK_BYTES} bytes", "more")
        path = self._data / INPUTS / f"{job_id}{mask_suffix(file.filename or '')}"
        path.parent.mkdir(exist_ok=True)
        path.write_bytes(content)
        return f"{INPUTS}/{path.name}"


def job_routes(
    engine: Engine, queue: JobQueue, starter: JobStarter, streams: EventStreams, data: Path
) -> APIRouter:
    """Makes the routes of jobs."""
    router = APIRouter(prefix="/api/jobs", tags=["jobs"])

    @router.post(
        "",
        status_code=202,
        responses=documented(404, 415) | {202: {"model": JobAnswer, "description": "Accepted."}},
        openapi_extra=_FORM_BODY,
    )
    async def start_job(request: Request, key: Key = None) -> Response:
        """Begins the segmentation of a clip from a mask, or without one in the mode zero-shot."""
        async with form_of(request) as form:
            job = await run_in_threadpool(starter.segment, request, form, key)
        return JSONResponse(queue.describe(job), 202)

    @router.get(
        "", responses=documented() | {200: {"model": list[JobAnswer], "description": "Jobs."}}
    )
    async def list_jobs() -> Response:
        """Lists the newest jobs, newest first."""
        return JSONResponse([queue.describe(job) for job in queue.newest()])

    @router.get("/{job_id}", responses=documented(404) | _JOB)
    async def get_job(job_id: Identity) -> Response:
        """Returns the state of a job."""
        return JSONResponse(queue.describe(queue.get(job_id)))

    @router.delete("/{job_id}", responses=documented(404) | _JOB)
    def delete_job(job_id: Identity) -> Response:
        """Cancels a job; removes one that has ended, with its result."""
        return JSONResponse(queue.describe(queue.cancel(job_id)))

    @router.get("/{job_id}/events", response_class=Response, responses=documented(404) | DOCUMENTED)
    async def job_events(job_id: Identity) -> Response:
        """Streams `state`, the whole job at every change; ends when the job does."""

        def state() -> list[Message]:
            job = queue.get(job_id)
            end: list[Message] = [None] if job.state in FINISHED else []
            return [("state", queue.describe(job)), *end]

        def listen(push: Push) -> Callable[[], None]:
            def changed() -> None:
                try:
                    messages = state()
                except DeepLabGygoError:  # removed
                    messages = [None]
                for message in messages:
                    push(message)

            return queue.listen(job_id, changed)

        queue.get(job_id)
        return streams.open(listen, state)

    @router.get(
        "/{job_id}/result", response_class=Response, responses=documented(404, 409) | _FILES
    )
    def get_result(
        job_id: Identity, format: Annotated[Literal["zip", "video", "rle"], Query()] = "zip"
    ) -> Response:
        """Returns the result of a finished job: all files as a zip, a video, or masks as RLE."""
        job = queue.get(job_id)
        if job.state != "done":
            met = f"{job.state}"
            raise Refused(409, "A result is of a job that is done", met, "Wait for its end")
        folder = engine.job_folder(job_id)
        if not folder.is_dir():
            raise Refused(404, "The result is kept for a time", "it was removed", "Start it again")
        path = result_file(data, folder, job_id, format)
        kind = MEDIA_TYPES[path.suffix]
        return FileResponse(path, media_type=kind, filename=f"{job_id}{path.suffix}")

    return router


def _client(request: Request) -> str:
    return request.client.host if request.client is not None else "local"


def _file(form: FormData, name: str) -> UploadFile | None:
    found = form.get(name)
    if isinstance(found, str):
        raise Refused(422, f"The field {name} is a file", "text", "Send it with a file name")
    return found


def _fields(form: FormData) -> JobFields:
    values: dict[str, Any] = {
        key: value for key, value in form.items() if isinstance(value, str) and value != ""
    }
    if "outputs" in values:
        texts = [text for text in form.getlist("outputs") if isinstance(text, str)]
        values["outputs"] = [name.strip() for text in texts for name in text.split(",")]
    if "options" in values:
        values["options"] = parse_json(values["options"], "options")
    return parsed(JobFields, values)
