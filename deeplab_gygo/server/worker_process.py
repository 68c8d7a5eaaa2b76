"""The parent's side of the worker process: it starts it, asks it, and starts it anew."""

from __future__ import annotations

import itertools
import logging
import multiprocessing
import threading
from collections.abc import Callable
from concurrent.futures import Future
from contextlib import suppress
from multiprocessing import connection
from typing import Any

from deeplab_gygo import errors
from deeplab_gygo.errors import DeepLabGygoError
from deeplab_gygo.server.states import Problem, Unavailable
from deeplab_gygo.server.worker import Task, WorkerSettings, main

logger = logging.getLogger(__name__)

MAX_FAILED_STARTS = 3
"""Ends of the process in a row, before it was ready, after which it is not started again."""

_END_SECONDS = 5.0


class WorkerProcess:
    """A worker process that is started anew when it ends.

    Args:
        settings: Settings of the worker.
        on_task: Called in a thread with the id of a task, the kind of the message and its values.
        on_ready: Called when the network is loaded; after a restart again. Tasks that had not ended
            are to be started then.
        target: Function of the process.
    """

    def __init__(
        self,
        settings: WorkerSettings,
        on_task: Callable[..., None],
        on_ready: Callable[[], None],
        target: Callable[..., None] = main,
    ):
        self._settings, self._target = settings, target
        self._on_task, self._on_ready = on_task, on_ready
        self._context = multiprocessing.get_context("spawn")
        self._numbers = itertools.count()
        self._lock = threading.Lock()
        self._asked: dict[int, Future[Any]] = {}
        self._link: connection.Connection | None = None
        self._process: Any = None
        self._thread: threading.Thread | None = None
        self._later: tuple[Any, ...] | None = None
        self._closed = False
        self.ready = False
        self.problem: Problem | None = None

    def start(self) -> None:
        """Starts the process; returns at once."""
        with self._lock:
            if self._thread is None:
                self._spawn()
                self._thread = threading.Thread(target=self._listen, name="worker", daemon=True)
                self._thread.start()

    @property
    def pid(self) -> int | None:
        """Number of the process; None without one."""
        return None if self._process is None else self._process.pid

    def ask(self, question: str, values: dict[str, Any], seconds: float = 60.0) -> Any:
        """Asks about a frame and waits for the answer.

        Raises:
            Unavailable: The network is not loaded, or the process ended, or does not answer.
        """
        answer: Future[Any] = Future()
        number = next(self._numbers)
        with self._lock:
            if not self.ready:
                raise self._unavailable()
            self._asked[number] = answer
        self._send("ask", number, question, values)
        try:
            return answer.result(seconds)
        except TimeoutError as error:
            raise Unavailable("The network answers", met="it is busy", remedy="Again") from error
        finally:
            self._asked.pop(number, None)

    def send(self, question: str, values: dict[str, Any]) -> None:
        """Asks without waiting; the newest question is kept until the network is loaded."""
        message = "ask", next(self._numbers), question, values
        self._later = None if self.ready else message
        if self.ready:
            self._send(*message)

    def begin(self, task: Task) -> None:
        """Starts a task."""
        self._send("start", task)

    def end(self, task_id: str) -> None:
        """Stops a task after the frame in progress."""
        self._send("stop", task_id)

    def close(self) -> None:
        """Ends the process. A task in progress keeps what it did."""
        with self._lock:  # none is started from now on
            self._closed, self.ready = True, False
        process, thread = self._process, self._thread
        if process is not None:
            process.terminate()
            process.join(_END_SECONDS)
            if process.is_alive():
                process.kill()
                process.join(_END_SECONDS)
        if thread is not None and thread is not threading.current_thread():
            thread.join(_END_SECONDS)

    def _spawn(self) -> None:
        self._link, theirs = self._context.Pipe()
        self._process = self._context.Process(
            target=self._target, args=(theirs, self._settings), name="network", daemon=True
        )
        self._process.start()
        theirs.close()

    def _send(self, *message: Any) -> None:
        with self._lock, suppress(OSError):  # the thread notices that the process ended
            if self._link is not None:
                self._link.send(message)

    def _listen(self) -> None:
        failed = 0
        while True:
            was_ready = self._receive()
            failed = 0 if was_ready else failed + 1
            with self._lock:
                if self._closed or failed >= MAX_FAILED_STARTS or self.problem is not None:
                    self.problem = self.problem or Problem("The network is loaded", "it cannot be")
                    return
                self._spawn()
            logger.warning("the worker process ended and is started anew")

    def _receive(self) -> bool:
        """Takes messages until the process ends; returns whether it was ready."""
        link, was_ready = self._link, False
        assert link is not None
        with suppress(EOFError, OSError):
            while True:
                kind, *rest = link.recv()
                if kind == "ready":
                    was_ready = self.ready = True
                    later, self._later = self._later, None
                    if later is not None:
                        self._send(*later)
                    self._on_ready()
                elif kind == "failed":
                    self.problem = Problem(**rest[0])
                elif kind == "task":
                    self._on_task(*rest)
                else:
                    self._answered(kind, *rest)
        with self._lock:
            self.ready = False
            asked, self._asked = list(self._asked.values()), {}
        link.close()
        for answer in asked:
            answer.set_exception(self._unavailable())
        if self._process is not None:
            self._process.join(_END_SECONDS)
        return was_ready

    def _answered(self, kind: str, number: int, *values: Any) -> None:
        answer = self._asked.pop(number, None)
        if answer is None:
            return
        if kind == "answer":
            answer.set_result(values[0])
        else:
            answer.set_exception(error_of(*values))

    def _unavailable(self) -> Unavailable:
        if self.problem is not None:
            return Unavailable(
                self.problem.rule, met=self.problem.met or None, remedy=self.problem.remedy or None
            )
        return Unavailable(
            "The network is loaded", met="it is loading", remedy="Try again in some seconds"
        )


def error_of(kind: str, problem: dict[str, str]) -> DeepLabGygoError:
    """Returns an error of the worker as an exception."""
    known = getattr(errors, kind, None)
    if not (isinstance(known, type) and issubclass(known, DeepLabGygoError)):
        known = DeepLabGygoError
    if known is errors.DependencyError:  # it is made from other arguments
        known = errors.UsageError
    return known(problem["rule"], met=problem["met"] or None, remedy=problem["remedy"] or None)
