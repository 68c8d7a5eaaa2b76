"""The data folder of the server, the process that holds the network, and the events of both."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable
from contextlib import ExitStack, suppress
from pathlib import Path

from deeplab_gygo.inference.config import check_preset
from deeplab_gygo.io.locking import InUse, locked
from deeplab_gygo.io.output_folder import resolved
from deeplab_gygo.server.clips import ClipStore
from deeplab_gygo.server.sessions import SessionStore
from deeplab_gygo.server.states import Conflict, Event, Problem
from deeplab_gygo.server.task_queue import TaskQueue
from deeplab_gygo.server.worker import WorkerSettings
from deeplab_gygo.server.worker_process import WorkerProcess

logger = logging.getLogger(__name__)


class EngineBase:
    """What all parts of the engine share; see `engine.Engine`."""

    def __init__(
        self,
        data: Path,
        *,
        weights: Path | None = None,
        preset: str = "balanced",
        precision: str = "auto",
    ):
        check_preset(preset)
        self._data, self._preset = resolved(data), preset
        self._opened = ExitStack()
        self._data.mkdir(parents=True, exist_ok=True)
        try:
            self._opened.enter_context(locked(self._data / "server"))
        except InUse as error:
            raise Conflict(
                "A data folder belongs to one server",
                met="another server uses it",
                where=self._data,
                remedy="Choose another --data, or end the other server",
            ) from error
        self._clips = ClipStore(self._data / "clips")
        known = {info.id: info for info in self._clips.all()}
        self._sessions = SessionStore(self._data / "sessions", known)
        self._queue = TaskQueue()
        self._worker = WorkerProcess(
            WorkerSettings(weights, precision), self._queue.received, self._queue.ready
        )
        self._queue.worker = self._worker
        self._lock, self._listening = threading.Lock(), threading.Lock()
        self._listeners: dict[str, list[Callable[[Event], None]]] = {}

    def start(self) -> None:
        """Starts the worker process, which loads the network; returns at once."""
        self._worker.start()

    @property
    def ready(self) -> bool:
        """Whether the network is loaded."""
        return self._worker.ready

    @property
    def problem(self) -> Problem | None:
        """Why the network cannot be loaded; None otherwise."""
        return self._worker.problem

    def close(self) -> None:
        """Ends the worker; what runs goes on when the folder is opened again. Blocks briefly."""
        self._queue.close()
        self._worker.close()
        self._clips.close()
        self._opened.close()

    def listen(self, topic: str, callback: Callable[[Event], None]) -> Callable[[], None]:
        """Calls a function at every event of a session or a job.

        Args:
            topic: Id of a session or a job.
            callback: Called from a thread of the engine; it must be quick, such as
                `loop.call_soon_threadsafe(queue.put_nowait, event)`.

        Returns:
            A function that ends it.
        """
        with self._listening:
            self._listeners.setdefault(topic, []).append(callback)

        def end() -> None:
            with self._listening, suppress(KeyError, ValueError):
                self._listeners[topic].remove(callback)
                if not self._listeners[topic]:
                    del self._listeners[topic]

        return end

    def _is_heard(self, topic: str) -> bool:
        """Returns whether somebody listens to a session or a job."""
        with self._listening:
            return topic in self._listeners

    def _emit(self, topic: str, event: Event) -> None:
        with self._listening:
            callbacks = list(self._listeners.get(topic, ()))
        for callback in callbacks:
            try:
                callback(event)
            except Exception:
                logger.exception("a listener failed")
