"""Jobs between clients, store and engine: acceptance, restarts, cancellation, timeouts, removal."""

from __future__ import annotations

import logging
import secrets
import shutil
import threading
import time
from collections import defaultdict
from collections.abc import Callable
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import Any

from starlette.responses import JSONResponse

from deeplab_gygo.errors import DeepLabGygoError
from deeplab_gygo.server.answers import Refused, plain_problem
from deeplab_gygo.server.engine import Engine
from deeplab_gygo.server.expiry import remove_old
from deeplab_gygo.server.jobs import FINISHED, MAX_UNFINISHED, Job, JobStore, QueueFull
from deeplab_gygo.server.metrics import Metrics
from deeplab_gygo.server.results import DOWNLOADS, download_files, folder_bytes
from deeplab_gygo.server.settings import Limits
from deeplab_gygo.server.states import (
    ExportRequest,
    JobChange,
    JobRequest,
    NotFound,
    Problem,
    Progress,
)

logger = logging.getLogger(__name__)

MAX_ATTEMPTS = 25
"""Most times that a job is begun, for one that ends the whole server every time."""

MAX_ANSWERS = 1000
"""Jobs whose state is kept as it is answered."""

INPUTS = "inputs"
"""Folder below the data, of the masks of jobs."""

Listener = Callable[[], None]


class JobQueue:
    """The jobs of a server. All methods may be called from any thread.

    Args:
        engine: Does the jobs.
        store: Keeps them.
        data: Folder of the data.
        limits: Limits.
        metrics: Counts the seconds of jobs.
    """

    def __init__(
        self,
        engine: Engine,
        store: JobStore,
        data: Path,
        limits: Limits,
        metrics: Metrics | None = None,
    ):
        self._engine, self._store, self._limits = engine, store, limits
        self._data = data
        self._progress: dict[str, Progress] = {}
        self._listeners: dict[str, list[Listener]] = defaultdict(list)
        self._lock = threading.Lock()
        self._answers: dict[str, bytes] = {}
        self._changes = 0
        self._metrics = metrics

    def restart(self) -> None:
        """Gives the engine what a former process accepted and did not finish."""
        self._sweep()
        self._store.requeue()
        for job in self._store.unfinished():
            if job.attempts >= MAX_ATTEMPTS:
                problem = Problem(
                    f"A job ends within {MAX_ATTEMPTS} attempts",
                    "the server ended every time",
                    "Send a shorter clip, or give the server more memory",
                )
                self._finish(job.id, "failed", problem)
                continue
            try:
                self._engine.start_job(job.id, self._request(job), self._changed)
            except DeepLabGygoError as error:
                self._finish(job.id, "failed", Problem.of(error))

    def add(self, job: Job) -> Job:
        """Accepts a job: it is stored and given to the engine.

        Returns:
            The job, or the one that its client sent with the same key before.

        Raises:
            Refused: The client has too many.
            DeepLabGygoError: As `Engine.start_job`; the job is not accepted.
        """
        try:
            stored = self._store.add(job, limit=self._limits.queued_jobs)
        except QueueFull as error:
            raise _too_many() from error
        if stored.id != job.id:
            return stored
        try:
            self._engine.start_job(job.id, self._request(job), self._changed)
        except BaseException:
            self._store.remove(job.id)
            raise
        return self.get(job.id)

    def find(self, client: str, key: str) -> Job | None:
        """Returns the job that a client sent with a key."""
        return self._store.find(client, key)

    def check_room(self, client: str) -> None:
        """Checks that a client may start a job, before its clip is received; see `add`."""
        unfinished = self._store.unfinished()
        own = sum(job.client == client for job in unfinished)
        if own >= self._limits.queued_jobs or len(unfinished) >= MAX_UNFINISHED:
            raise _too_many()

    def newest(self) -> list[Job]:
        """Returns the newest jobs, newest first."""
        return self._store.newest()

    def describe(self, job: Job) -> dict[str, Any]:
        """Returns a job as it is answered, see `JobAnswer`."""
        progress = self._progress.get(job.id)
        return {
            "id": job.id, "kind": job.kind, "state": job.state, "clip": job.spec.get("clip"),
            "session": job.spec.get("session"), "outputs": job.spec["outputs"],
            "progress": None if progress is None else vars(progress),
            "error": None if job.error is None else vars(job.error),
            "created": job.created, "started": job.started, "finished": job.finished,
            "attempts": job.attempts,
        }  # fmt: skip

    def status(self, job_id: str) -> bytes | None:
        """Returns a job as JSON, see `describe`, from the memory if it is there; None for none."""
        with self._lock:
            content, changes = self._answers.get(job_id), self._changes
        if content is not None:
            return content
        job = self._store.get(job_id)
        if job is None:
            return None
        content = JSONResponse(self.describe(job)).body
        with self._lock:
            if changes == self._changes:  # what was read is still true
                if len(self._answers) >= MAX_ANSWERS:
                    self._answers.clear()
                self._answers[job_id] = bytes(content)
        return bytes(content)

    def get(self, job_id: str) -> Job:
        """Returns a job; raises `NotFound`."""
        job = self._store.get(job_id)
        if job is None:
            raise NotFound("There is no such job", remedy="List the jobs; old ones are removed")
        return job

    def cancel(self, job_id: str) -> Job:
        """Cancels a job; one that ended is removed with its result.

        Returns:
            The job, cancelled, or as it was.

        Raises:
            NotFound: There is no such job.
        """
        job = self.get(job_id)
        if job.state in FINISHED:
            self._remove(job)
            return job
        self._finish(job_id, "cancelled")
        self._engine.cancel_job(job_id)
        return self.get(job_id)

    def listen(self, job_id: str, listener: Listener) -> Callable[[], None]:
        """Calls a function after every change of a job, from any thread; returns what ends it."""
        with self._lock:
            self._listeners[job_id].append(listener)

        def end() -> None:
            with self._lock, suppress(ValueError, KeyError):
                self._listeners[job_id].remove(listener)
                if not self._listeners[job_id]:
                    del self._listeners[job_id]

        return end

    def check_times(self) -> None:
        """Ends the jobs that run for too long."""
        for job in self._store.unfinished():
            ran = time.time() - job.started if job.state == "running" and job.started else 0.0
            if ran > self._limits.job_seconds:
                problem = Problem(
                    f"A job runs for at most {self._limits.job_seconds:g} s",
                    f"{ran:.0f} s",
                    "Send a shorter clip, or choose the preset fast",
                )
                self._finish(job.id, "failed", problem)
                self._engine.cancel_job(job.id)

    def expire(self) -> None:
        """Removes old results, and clips with their sessions, see `expiry.remove_old`."""
        remove = partial(self._remove, keep_used=True)
        remove_old(self._engine, self._store.finished(), self._limits, self._bytes, remove)

    def _changed(self, change: JobChange) -> None:
        """Stores a change that the engine reports."""
        try:
            if change.progress is not None:
                self._progress[change.job] = change.progress
            if change.state == "running":
                self._store.begin(change.job)
            elif change.state in FINISHED:
                self._finish(change.job, change.state, change.error)
                return
            self._notify(change.job)
        except Exception:  # the thread of the engine goes on
            logger.exception("a change of the job %s was not stored", change.job)

    def _finish(self, job_id: str, state: Any, problem: Problem | None = None) -> None:
        started, problem = self._store.get(job_id), plain_problem(problem)
        if self._store.finish(job_id, state, problem):
            logger.info("job %s: %s%s", job_id, state, f", {problem.rule}" if problem else "")
            if self._metrics is not None and started is not None and started.started:
                seconds = time.time() - started.started
                self._metrics.job_seconds.labels(state).observe(seconds)
        self._progress.pop(job_id, None)
        self._notify(job_id)

    def _notify(self, job_id: str) -> None:
        with self._lock:
            self._changes += 1
            self._answers.pop(job_id, None)
            listeners = list(self._listeners.get(job_id, ()))
        for listener in listeners:
            listener()

    def _request(self, job: Job) -> JobRequest | ExportRequest:
        spec = {**job.spec, "outputs": tuple(job.spec["outputs"])}
        if job.kind == "export":
            return ExportRequest(**spec)
        mask = spec.pop("mask", None)
        return JobRequest(**spec, mask=None if mask is None else self._data / mask)

    def _bytes(self, job_id: str) -> int:
        return folder_bytes(self._engine.job_folder(job_id)) + sum(
            folder_bytes(path) for path in download_files(self._data, job_id)
        )

    def _sweep(self) -> None:
        """Removes what a process that was killed left: uploads and masks of no clip and no job."""
        for folder in (self._data / "clips").glob("*/"):
            if not (folder / "clip.json").exists():
                shutil.rmtree(folder, ignore_errors=True)
        for place in (INPUTS, DOWNLOADS):
            for path in (self._data / place).glob("*"):
                if self._store.get(path.name.partition(".")[0]) is None:
                    path.unlink(missing_ok=True)

    def _remove(self, job: Job, *, keep_used: bool = False) -> None:
        """Removes a finished job, its files, and a clip that came with it.

        Args:
            job: The job.
            keep_used: Whether a clip of which there are sessions stays.
        """
        for path in (self._data / "jobs" / job.id, *download_files(self._data, job.id)):
            shutil.rmtree(path, ignore_errors=True)
            with suppress(OSError):
                path.unlink()
        if job.spec.get("mask"):
            with suppress(OSError):
                (self._data / job.spec["mask"]).unlink()
        if job.owns_clip and not (keep_used and self._engine.sessions(job.spec["clip"])):
            with suppress(DeepLabGygoError):  # in use by another job, or removed already
                self._engine.delete_clip(job.spec["clip"])
        self._store.remove(job.id)
        self._notify(job.id)


def _too_many() -> Refused:
    return Refused(
        429,
        "A client has a limited number of jobs that wait or run",
        "all in use",
        "Wait until one has ended, or cancel one",
        {"Retry-After": "10"},
    )


def new_job_id() -> str:
    """Returns a random id, 96 bits."""
    return secrets.token_urlsafe(12)
