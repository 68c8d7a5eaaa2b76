"""The queue of what the worker computes, and the reports of its jobs."""

from __future__ import annotations

import shutil
import threading
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from deeplab_gygo.io.locking import side_path
from deeplab_gygo.runs.output_directory import partial_folder
from deeplab_gygo.server.states import Conflict, Event, JobChange, JobState, Problem, Progress
from deeplab_gygo.server.worker import Task
from deeplab_gygo.server.worker_process import WorkerProcess, error_of

MAX_DEATHS = 3
"""Ends of the worker during a task after which the task has failed."""


@dataclass
class Entry:
    """A task of the queue, until it has ended.

    Attributes:
        task: The task.
        priority: 0 of propagations, 1 of exports, 2 of jobs.
        on_progress: Called with its progress.
        on_frame: Called with the index and the confidence of a frame.
        on_end: Called with `done`, `stopped` or `failed`, and the problem.
        deaths: Ends of the worker during the task.
        is_cancelled: Whether it is to end.
        is_interrupted: Whether it is to make room for another and goes on afterwards.
        order: When it was added.
    """

    task: Task
    priority: int
    on_progress: Callable[[Progress], None]
    on_frame: Callable[[int, float], None]
    on_end: Callable[[str, Problem | None], None]
    deaths: int = 0
    is_cancelled: bool = False
    is_interrupted: bool = False
    order: int = 0


class JobReporter:
    """Passes the changes of a job on.

    Args:
        job_id: Id of the job.
        on_change: Called at every change.
        emit: Sends an event to the listeners of a topic.
        target: Folder of the result.
    """

    def __init__(
        self,
        job_id: str,
        on_change: Callable[[JobChange], None],
        emit: Callable[[str, Event], None],
        target: Path,
    ):
        self._id, self._on_change, self._emit, self._target = job_id, on_change, emit, target

    def progressed(self, progress: Progress) -> None:
        """Tells of its progress."""
        self._on_change(JobChange(self._id, "running", progress))
        self._emit(self._id, Event("progress", asdict(progress)))

    def ended(self, end: str, problem: Problem | None) -> None:
        """Tells of its end; a cancelled job leaves nothing."""
        states: dict[str, JobState] = {"done": "done", "stopped": "cancelled", "failed": "failed"}
        if end != "done":
            for left in (partial_folder(self._target), side_path(self._target, "state")):
                shutil.rmtree(left, ignore_errors=True)
        self._on_change(JobChange(self._id, states[end], None, problem))
        if problem is not None:
            self._emit(self._id, Event("error", asdict(problem)))
        self._emit(self._id, Event("state", {"state": states[end]}))


class TaskQueue:
    """Tasks in the order of their priority; the worker has one of them at a time.

    A propagation interrupts a job, which goes on afterwards.
    """

    def __init__(self) -> None:
        self.worker: WorkerProcess | None = None
        self._lock = threading.RLock()
        self._entries: list[Entry] = []
        self._running: Entry | None = None
        self._count = 0
        self._closed = False

    def add(self, entry: Entry) -> None:
        """Adds a task."""
        with self._lock:
            if any(each.task.id == entry.task.id for each in self._entries):
                raise Conflict("A task is queued once", met="it is queued or runs")
            self._count += 1
            entry.order = self._count
            self._entries.append(entry)
            self._next()

    def uses(self, path: Any) -> bool:
        """Checks whether a task reads a clip or the folder of a session."""
        with self._lock:
            used = [each.task.values for each in self._entries]
            return any(path in (values["clip"], values.get("folder")) for values in used)

    def cancel(self, task_id: str) -> None:
        """Ends a task; nothing where there is none."""
        with self._lock:
            entry = next((each for each in self._entries if each.task.id == task_id), None)
            if entry is None:
                return
            entry.is_cancelled = True
            if entry is self._running:
                self._worker.end(task_id)
                return
            self._entries.remove(entry)
        entry.on_end("stopped", None)

    def ready(self) -> None:
        """Starts what was running when the worker ended."""
        failed = None
        with self._lock:
            entry, self._running = self._running, None
            if entry is not None:
                entry.deaths += 1
                if entry.is_cancelled or entry.deaths >= MAX_DEATHS:
                    self._entries.remove(entry)
                    failed = entry
            self._next()
        if failed is not None and failed.is_cancelled:
            failed.on_end("stopped", None)
        elif failed is not None:
            failed.on_end("failed", Problem("The worker lives", "it ended during this task"))

    def received(self, task_id: str, kind: str, *values: Any) -> None:
        """Takes a message of the worker."""
        with self._lock:
            entry = self._running
            if entry is None or entry.task.id != task_id or self._closed:
                return
            if kind in ("done", "stopped", "failed"):
                self._running = None
                if kind == "stopped" and entry.is_interrupted and not entry.is_cancelled:
                    entry.is_interrupted = False
                    self._next()
                    return
                self._entries.remove(entry)
                self._next()
        if kind == "progress":
            entry.on_progress(values[0])
        elif kind == "frame":
            entry.on_frame(*values)
        else:
            problem = Problem.of(error_of(*values[0])) if kind == "failed" else None
            entry.on_end(kind, problem)

    def close(self) -> None:
        """Takes no messages any more."""
        with self._lock:
            self._closed = True

    @property
    def _worker(self) -> WorkerProcess:
        assert self.worker is not None
        return self.worker

    def _next(self) -> None:
        if self._closed or not self._worker.ready or not self._entries:
            return
        first = min(self._entries, key=lambda each: (each.priority, each.order))
        running = self._running
        if running is None:
            self._running = first
            self._worker.begin(first.task)
        elif first.priority == 0 and running.priority == 2 and not running.is_interrupted:
            running.is_interrupted = True
            self._worker.end(running.task.id)
