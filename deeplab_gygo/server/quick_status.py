"""The state of a job, which is asked for far more often than anything else, in short time."""

from __future__ import annotations

import re
from types import SimpleNamespace

from starlette.types import ASGIApp, Receive, Scope, Send

from deeplab_gygo.server.job_queue import JobQueue

_PATH = re.compile(r"/api/jobs/([A-Za-z0-9_-]{1,64})")
_ROUTE = SimpleNamespace(path="/api/jobs/{job_id}")  # for the metrics


class QuickStatus:
    """Answers `GET /api/jobs/ID` before the routes, whose parsing takes most of such a request.

    The route describes the address, and answers where there is no such job.

    Args:
        app: The application.
        queue: The jobs.
    """

    def __init__(self, app: ASGIApp, queue: JobQueue):
        self._app, self._queue = app, queue

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        found = None
        if scope["type"] == "http" and scope["method"] == "GET":
            found = _PATH.fullmatch(scope["path"])
        content = None if found is None else self._queue.status(found[1])
        if content is None:
            await self._app(scope, receive, send)
            return
        scope["route"] = _ROUTE
        length = str(len(content)).encode()
        headers = [(b"content-type", b"application/json"), (b"content-length", length)]
        await send({"type": "http.response.start", "status": 200, "headers": headers})
        await send({"type": "http.response.body", "body": content})
