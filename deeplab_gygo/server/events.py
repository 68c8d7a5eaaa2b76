"""Streams of server-sent events."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Callable
from typing import Any

from starlette.responses import StreamingResponse
from starlette.types import Receive, Scope, Send

from deeplab_gygo.server.answers import Refused

MAX_STREAMS = 200
"""Most streams at a time."""

MAX_WAITING = 2000
"""Most events that wait for a slow client; then its stream ends, and it connects again."""

PING_SECONDS = 15.0
"""Longest time without a byte, for proxies that end connections without any."""

Message = tuple[str, Any] | None
"""Name and data of an event; None ends the stream."""

Push = Callable[[Message], None]

DOCUMENTED: dict[int | str, dict[str, Any]] = {
    200: {"description": "Server-sent events.", "content": {"text/event-stream": {
        "schema": {"type": "string"}}}},
}  # fmt: skip
"""The entry of a route that answers with a stream."""


class EventStreams:
    """The open streams of a server, which end when it does."""

    def __init__(self) -> None:
        self._open: set[asyncio.Queue[Message]] = set()
        self._closing = False

    def close(self) -> None:
        """Ends all streams; called on the event loop."""
        self._closing = True
        for queue in self._open:
            _put(queue, None)

    def open(
        self,
        listen: Callable[[Push], Callable[[], None]],
        first: Callable[[], list[Message]],
        seconds: float = PING_SECONDS,
    ) -> StreamingResponse:
        """Makes an answer that streams events.

        Args:
            listen: Calls the function that it is given at every event, from any thread; returns
                what ends that.
            first: Returns the state as the first events; called when no event can be missed.
            seconds: Longest time without a byte.

        Raises:
            Refused: Too many streams are open.
        """
        if self._closing or len(self._open) >= MAX_STREAMS:
            raise Refused(
                503,
                f"A server has at most {MAX_STREAMS} streams of events",
                remedy="Close others, or ask for the state from time to time",
            )
        loop, queue = asyncio.get_running_loop(), asyncio.Queue[Message](MAX_WAITING)
        self._open.add(queue)

        def push(message: Message) -> None:
            try:
                loop.call_soon_threadsafe(_put, queue, message)
            except RuntimeError:  # the server has ended
                pass

        try:
            end, messages = listen(push), first()
        except BaseException:
            self._open.discard(queue)
            raise
        for message in messages:
            _put(queue, message)
        answer = _Stream(
            self._texts(queue, seconds),
            media_type="text/event-stream",
            headers={"Cache-Control": "no-store", "X-Accel-Buffering": "no"},
        )

        def at_end() -> None:
            end()
            self._open.discard(queue)

        answer.at_end = at_end
        return answer

    async def _texts(self, queue: asyncio.Queue[Message], seconds: float) -> AsyncIterator[str]:
        while True:
            try:
                async with asyncio.timeout(seconds):
                    message = await queue.get()
            except TimeoutError:
                yield ": still there\n\n"
                continue
            if message is None:
                return
            name, data = message
            yield f"event: {name}\ndata: {json.dumps(data, separators=(',', ':'))}\n\n"


class _Stream(StreamingResponse):
    """A stream that calls a function when it has ended, however that is."""

    at_end: Callable[[], object]

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        try:
            await super().__call__(scope, receive, send)
        finally:
            self.at_end()


def _put(queue: asyncio.Queue[Message], message: Message) -> None:
    if queue.full():
        while not queue.empty():
            queue.get_nowait()
        message = None
    queue.put_nowait(message)
