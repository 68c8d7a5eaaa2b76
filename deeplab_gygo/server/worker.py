"""The worker process: it holds the network, and does one task at a time.

Between two frames of a task, and between two steps of fine-tuning, it answers what a person waits
for: strokes, proposals, and stops.
"""

from __future__ import annotations

import logging
import os
import signal
import threading
import time
from collections import OrderedDict, deque
from collections.abc import Callable
from contextlib import suppress
from dataclasses import asdict, dataclass
from multiprocessing import connection, parent_process
from pathlib import Path
from typing import Any

from deeplab_gygo.errors import DeepLabGygoError
from deeplab_gygo.server.states import Phase, Problem, Progress

logger = logging.getLogger(__name__)

_RECENT = 16  # frames of which the speed is shown


class Stopped(Exception):
    """The task in progress is to end; what it did is kept."""


@dataclass(frozen=True)
class WorkerSettings:
    """Settings of the worker.

    Attributes:
        weights: Parent file; None takes the shipped one.
        precision: Numeric policy.
        seed: Seed of fine-tuning.
    """

    weights: Path | None = None
    precision: str = "auto"
    seed: int = 0


@dataclass(frozen=True)
class Task:
    """Something that is computed frame by frame.

    Attributes:
        id: Name in messages.
        kind: `propagate`, `export` or `job`.
        values: Arguments.
    """

    id: str
    kind: str
    values: dict[str, Any]


def main(link: connection.Connection, settings: WorkerSettings) -> None:
    """Runs the worker until its parent ends or closes the link."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # of the terminal: the parent ends this process
    with suppress(AttributeError, OSError):
        os.nice(5)  # answers of the server come first
    threading.Thread(target=_end_with_parent, daemon=True).start()
    try:
        from deeplab_gygo.server.tasks import Tasks  # imports Keras

        worker = Worker(link, settings)
        tasks = Tasks(worker, settings)
    except DeepLabGygoError as error:
        link.send(("failed", asdict(Problem.of(error))))
        return
    link.send(("ready",))
    with suppress(EOFError, OSError):
        worker.serve(tasks)


def _end_with_parent() -> None:
    parent = parent_process()
    if parent is not None:
        connection.wait([parent.sentinel])
        os._exit(1)


class Worker:
    """The worker's side of the link.

    Args:
        link: Messages from and to the parent.
        settings: Settings.
    """

    def __init__(self, link: connection.Connection, settings: WorkerSettings):
        self._link, self._settings = link, settings
        self._sending = threading.Lock()
        self._waiting: deque[Task] = deque()
        self._stopped: set[str] = set()
        self._task: Task | None = None
        self._tasks: Any = None

    def serve(self, tasks: Any) -> None:
        """Does tasks and answers questions until the link is closed."""
        self._tasks = tasks
        while True:
            if self._waiting:
                self._do(self._waiting.popleft())
            else:
                self._take(self._link.recv())

    def between(self) -> None:
        """Answers what came meanwhile; raises `Stopped` where the task in progress is to end."""
        while self._link.poll(0):
            self._take(self._link.recv())
        if self._task is not None and self._task.id in self._stopped:
            raise Stopped

    def send(self, *message: Any) -> None:
        """Sends a message about the task in progress."""
        task = self._task
        if task is not None:
            self._send("task", task.id, *message)

    def _send(self, *message: Any) -> None:
        with self._sending:
            self._link.send(message)

    def _take(self, message: tuple[Any, ...]) -> None:
        kind, *rest = message
        if kind == "start":
            self._waiting.append(rest[0])
        elif kind == "stop":
            self._stopped.add(rest[0])
        elif kind == "ask":
            number, question, values = rest
            try:
                answer = self._tasks.answer(question, values)
            except Exception as error:
                self._send("refused", number, *described(error))
            else:
                self._send("answer", number, answer)

    def _do(self, task: Task) -> None:
        self._task = task
        try:
            self.between()
            self._tasks.do(task)
        except Stopped:
            end: tuple[Any, ...] = ("stopped",)
        except EOFError:
            raise
        except Exception as error:
            end = ("failed", described(error))
        else:
            end = ("done",)
        self._stopped.discard(task.id)
        self.send(*end)
        self._task = None


def described(error: Exception) -> tuple[str, dict[str, str]]:
    """Returns the kind and the problem of an error, as they travel to the parent."""
    if not isinstance(error, DeepLabGygoError):
        logger.error("an error in the worker", exc_info=error)
    return type(error).__name__, asdict(Problem.of(error))


class Pace:
    """Progress of a task, sent to the parent.

    Args:
        report: Sends a message about the task.
        total: Number of frames.
        phase: What is done with them.
    """

    def __init__(self, report: Callable[..., None], total: int, phase: Phase):
        self._report, self._total, self._phase = report, total, phase
        self._begun, self._done = time.monotonic(), 0
        self._moments: deque[float] = deque(maxlen=_RECENT)

    def tuned(self, step: int, steps: int, _loss: float) -> None:
        """Notes a step of fine-tuning."""
        self._send(step, steps, 0.0, None, "fine-tuning")

    def framed(self) -> None:
        """Notes a frame."""
        self._done += 1
        self._moments.append(time.monotonic())
        span = self._moments[-1] - self._moments[0]
        speed = (len(self._moments) - 1) / span if span > 0 else 0.0
        eta = (self._total - self._done) / speed if speed else None
        self._send(self._done, self._total, speed, eta, self._phase)

    def _send(self, done: int, total: int, speed: float, eta: float | None, phase: Phase) -> None:
        seconds = time.monotonic() - self._begun
        self._report("progress", Progress(done, total, seconds, speed, eta, phase))


class Kept(OrderedDict[Any, Any]):
    """The newest values of a mapping.

    Args:
        most: Number that is kept.
    """

    def __init__(self, most: int):
        super().__init__()
        self._most = most

    def of(self, key: Any, make: Callable[[], Any]) -> Any:
        """Returns the value of a key, made where it is not kept."""
        if key not in self:
            self[key] = make()
            while len(self) > self._most:
                self.popitem(last=False)
        self.move_to_end(key)
        return self[key]
