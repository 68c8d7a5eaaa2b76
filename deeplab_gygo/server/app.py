"""The HTTP application: the API and the page."""

from __future__ import annotations

import asyncio
import errno
import logging
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress

from fastapi import FastAPI, Request
from starlette.concurrency import run_in_threadpool
from starlette.middleware import Middleware
from starlette.responses import Response

from deeplab_gygo import __version__
from deeplab_gygo.io.atomic import FULL
from deeplab_gygo.server.answers import add_handlers, error_response, unexpected
from deeplab_gygo.server.engine import Engine
from deeplab_gygo.server.events import EventStreams
from deeplab_gygo.server.job_queue import JobQueue
from deeplab_gygo.server.jobs import JobStore
from deeplab_gygo.server.metrics import Metrics
from deeplab_gygo.server.quick_status import QuickStatus
from deeplab_gygo.server.remote import RemoteClips
from deeplab_gygo.server.routes_clips import ClipSource, clip_routes
from deeplab_gygo.server.routes_jobs import JobStarter, job_routes
from deeplab_gygo.server.routes_service import page_files, page_routes, service_routes
from deeplab_gygo.server.routes_sessions import session_routes
from deeplab_gygo.server.security import Access, Guard
from deeplab_gygo.server.settings import ServerSettings

logger = logging.getLogger(__name__)

CHECK_SECONDS = 1.0
"""Time between two looks at the seconds that jobs have run."""

EXPIRY_SECONDS = 300.0
"""Time between two looks at the age and the size of results."""


def create_app(engine: Engine, settings: ServerSettings) -> FastAPI:
    """Makes the application.

    The engine is started with it and closed at its end.

    Args:
        engine: Clips, sessions and the network, in the folder of the settings.
        settings: Access and limits.

    Returns:
        The application; `app.state.streams.close()` ends its streams of events before it is shut
        down.

    Raises:
        StorageError: The folder of the data cannot be written.
    """
    data, limits = settings.data, settings.limits
    data.mkdir(parents=True, exist_ok=True)
    store = JobStore(data / "jobs.sqlite")
    metrics = Metrics(store.counts, lambda: engine.ready)
    queue = JobQueue(engine, store, data, limits, metrics)
    streams = EventStreams()
    access = Access(settings, page_files())

    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        await run_in_threadpool(engine.start)
        await run_in_threadpool(queue.restart)
        chores = asyncio.create_task(_chores(queue))
        try:
            yield
        finally:
            streams.close()
            chores.cancel()
            with suppress(asyncio.CancelledError):
                await chores
            await run_in_threadpool(engine.close)
            store.close()

    app = FastAPI(
        title="deeplab-gygo",
        version=__version__,
        summary="Video object segmentation from one mask: clips, sessions, jobs.",
        docs_url=None,  # their pages load scripts from elsewhere
        redoc_url=None,
        lifespan=lifespan,
        middleware=[
            Middleware(Guard, access=access, metrics=metrics, upload_bytes=limits.upload_bytes),
            Middleware(QuickStatus, queue=queue),
        ],
    )
    app.state.streams = streams
    add_handlers(app)
    _add_disk_handler(app)
    source = ClipSource(engine, RemoteClips(settings.allow), limits, metrics)
    starter = JobStarter(engine, queue, source, data)
    # Routes are tried in this order: those that are asked for most often come first.
    app.include_router(job_routes(engine, queue, starter, streams, data))
    app.include_router(session_routes(engine, streams, starter.export))
    app.include_router(clip_routes(engine, source))
    app.include_router(service_routes(engine, metrics, limits))
    app.include_router(page_routes(access))
    return app


async def _chores(queue: JobQueue) -> None:
    """Ends jobs that run for too long, and removes old results, from time to time."""
    loop = asyncio.get_running_loop()
    next_expiry = loop.time()
    while True:
        try:
            await run_in_threadpool(queue.check_times)
            if loop.time() >= next_expiry:
                next_expiry = loop.time() + EXPIRY_SECONDS
                await run_in_threadpool(queue.expire)
        except Exception:  # a full disk, say: the next time may be better
            logger.exception("results were not looked through")
        await asyncio.sleep(CHECK_SECONDS)


def _add_disk_handler(app: FastAPI) -> None:
    @app.exception_handler(OSError)
    async def disk(request: Request, error: OSError) -> Response:
        if error.errno not in (*FULL, errno.EFBIG):
            return unexpected(error, f"{request.method} {request.url.path}")
        logger.error("%s %s: %s", request.method, request.url.path, error)
        return error_response(
            503, "The disk of the server has room", "it is full", "Free some space, or try later"
        )
