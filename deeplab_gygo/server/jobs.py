"""The store of jobs: one table of SQLite, which a process that is killed leaves whole."""

from __future__ import annotations

import json
import sqlite3
import threading
import time
from collections.abc import Mapping
from contextlib import closing
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Literal, cast

from deeplab_gygo.errors import StorageError
from deeplab_gygo.server.states import JobState, Problem

MAX_UNFINISHED = 1000
"""Most jobs that wait or run, of all clients."""

MAX_LISTED = 1000
"""Most jobs of a list."""

UNFINISHED: tuple[JobState, ...] = ("queued", "running")
FINISHED: tuple[JobState, ...] = ("done", "failed", "cancelled")

_SCHEMA = 1
_TABLE = """
CREATE TABLE IF NOT EXISTS jobs (
    number INTEGER PRIMARY KEY AUTOINCREMENT,
    id TEXT NOT NULL UNIQUE,
    client TEXT NOT NULL,
    key TEXT,
    kind TEXT NOT NULL,
    spec TEXT NOT NULL,
    owns_clip INTEGER NOT NULL,
    state TEXT NOT NULL CHECK (state IN ('queued', 'running', 'done', 'failed', 'cancelled')),
    attempts INTEGER NOT NULL DEFAULT 0,
    created REAL NOT NULL,
    started REAL,
    finished REAL,
    error TEXT,
    UNIQUE (client, key)
)
"""


class QueueFull(Exception):
    """A client, or all of them, have as many jobs as they may."""


@dataclass(frozen=True)
class Job:
    """A job as it is stored.

    Attributes:
        id: Random, safe in URLs.
        client: Address of who asked for it.
        kind: Whether a clip is segmented or the results of a session are exported.
        spec: What is done: the fields of `JobRequest` or `ExportRequest`; paths are relative to the
            folder of the data.
        key: Word that the client gave, so that a repeated request makes no second job.
        owns_clip: Whether its clip was sent with it, and is removed with it.
        state: Its state.
        attempts: How often it was begun.
        created: Seconds since 1970; so are the next two.
        started: Of the last attempt.
        finished: When it came into its last state.
        error: Why it failed.
    """

    id: str
    client: str
    kind: Literal["segment", "export"]
    spec: dict[str, Any]
    key: str | None = None
    owns_clip: bool = False
    state: JobState = "queued"
    attempts: int = 0
    created: float = field(default_factory=time.time)
    started: float | None = None
    finished: float | None = None
    error: Problem | None = None


class JobStore:
    """The jobs of a server. All methods may be called from any thread.

    Args:
        path: Database; made where it is absent.

    Raises:
        StorageError: The file cannot be written, or is no database of jobs.

    Example:
        >>> import tempfile
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     store = JobStore(Path(folder) / "jobs.sqlite")
        ...     _ = store.add(Job("a1", "127.0.0.1", "segment", {"clip": "c1"}), limit=5)
        ...     store.begin("a1"), store.finish("a1", "done"), store.finish("a1", "failed")
        ...     store.get("a1").state
        ...     store.close()
        (True, True, False)
        'done'
    """

    def __init__(self, path: Path):
        self._lock = threading.Lock()
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            self._connection = sqlite3.connect(
                path, timeout=10, check_same_thread=False, isolation_level=None
            )
            self._connection.row_factory = sqlite3.Row
            # A commit is on the disk when it returns: an accepted job survives a power cut too.
            for pragma in ("journal_mode=WAL", "synchronous=FULL"):
                self._connection.execute(f"PRAGMA {pragma}")
            version = self._connection.execute("PRAGMA user_version").fetchone()[0]
            if version not in (0, _SCHEMA):
                raise sqlite3.DatabaseError(f"version {version} of its form")
            self._connection.execute(_TABLE)
            self._connection.execute(f"PRAGMA user_version={_SCHEMA}")
        except (sqlite3.Error, OSError) as error:
            raise StorageError(
                "The jobs of a server are in a database that can be written",
                met=error,
                where=path,
                remedy="Choose another folder with --data",
            ) from error

    def close(self) -> None:
        """Closes the database."""
        with self._lock:
            self._connection.close()

    def add(self, job: Job, *, limit: int) -> Job:
        """Stores a new job; it is accepted when this returns.

        Args:
            job: The job.
            limit: Most unfinished jobs of its client.

        Returns:
            The job, or the one that its client stored under the same key before.

        Raises:
            QueueFull: The client, or all together, have too many.
        """
        with self._lock, self._transaction():
            if job.key is not None and (found := self._find(job.client, job.key)) is not None:
                return found
            own, total = self._execute(
                "SELECT SUM(client = ?), COUNT(*) FROM jobs WHERE state IN ('queued', 'running')",
                job.client,
            ).fetchone()
            if (own or 0) >= limit or total >= MAX_UNFINISHED:
                raise QueueFull
            self._execute(
                "INSERT INTO jobs (id, client, key, kind, spec, owns_clip, state, created) "
                "VALUES (?, ?, ?, ?, ?, ?, 'queued', ?)",
                job.id, job.client, job.key, job.kind, json.dumps(job.spec), job.owns_clip,
                job.created,
            )  # fmt: skip
        return job

    def find(self, client: str, key: str) -> Job | None:
        """Returns the job that a client stored under a key."""
        with self._lock:
            return self._find(client, key)

    def get(self, job_id: str) -> Job | None:
        """Returns a job; None where there is none."""
        with self._lock:
            return _job(self._execute("SELECT * FROM jobs WHERE id = ?", job_id).fetchone())

    def newest(self, limit: int = MAX_LISTED) -> list[Job]:
        """Returns the newest jobs, newest first."""
        return self._jobs("ORDER BY number DESC LIMIT ?", limit)

    def unfinished(self) -> list[Job]:
        """Returns the jobs that wait or were begun, in the order of their acceptance."""
        return self._jobs("WHERE state IN ('queued', 'running') ORDER BY number")

    def finished(self) -> list[Job]:
        """Returns the jobs in their last state, oldest first."""
        return self._jobs("WHERE state NOT IN ('queued', 'running') ORDER BY finished, number")

    def counts(self) -> dict[str, int]:
        """Returns the number of jobs by state."""
        with self._lock:
            rows = self._execute("SELECT state, COUNT(*) FROM jobs GROUP BY state").fetchall()
        return dict.fromkeys((*UNFINISHED, *FINISHED), 0) | {row[0]: row[1] for row in rows}

    def begin(self, job_id: str) -> bool:
        """Makes a queued job a running one; returns False where it was none."""
        with self._lock:
            return self._changes(
                "UPDATE jobs SET state = 'running', attempts = attempts + 1, started = ? "
                "WHERE id = ? AND state = 'queued'",
                time.time(), job_id,
            )  # fmt: skip

    def requeue(self) -> None:
        """Makes the jobs that a former process had begun wait again."""
        with self._lock:
            self._execute("UPDATE jobs SET state = 'queued' WHERE state = 'running'")

    def finish(self, job_id: str, state: JobState, error: Problem | None = None) -> bool:
        """Brings a job into its last state; returns False where it was in one already."""
        text = None if error is None else json.dumps(vars(error))
        with self._lock:
            return self._changes(
                "UPDATE jobs SET state = ?, finished = ?, error = ? "
                "WHERE id = ? AND state IN ('queued', 'running')",
                state, time.time(), text, job_id,
            )  # fmt: skip

    def remove(self, job_id: str) -> None:
        """Forgets a job."""
        with self._lock:
            self._execute("DELETE FROM jobs WHERE id = ?", job_id)

    def _transaction(self) -> sqlite3.Connection:
        # As a context manager a connection commits, or rolls back where the body fails.
        self._connection.execute("BEGIN IMMEDIATE")
        return self._connection

    def _execute(self, text: str, *values: object) -> sqlite3.Cursor:
        return self._connection.execute(text, values)

    def _changes(self, text: str, *values: object) -> bool:
        return self._execute(text, *values).rowcount > 0

    def _find(self, client: str, key: str) -> Job | None:
        row = self._execute("SELECT * FROM jobs WHERE client = ? AND key = ?", client, key)
        return _job(row.fetchone())

    def _jobs(self, rest: str, *values: object) -> list[Job]:
        with self._lock, closing(self._execute(f"SELECT * FROM jobs {rest}", *values)) as rows:
            return [cast(Job, _job(row)) for row in rows]


def _job(row: Mapping[str, Any] | None) -> Job | None:
    if row is None:
        return None
    job = Job(
        row["id"], row["client"], row["kind"], json.loads(row["spec"]), row["key"],
        bool(row["owns_clip"]), row["state"], row["attempts"], row["created"], row["started"],
        row["finished"],
    )  # fmt: skip
    return replace(job, error=Problem(**json.loads(row["error"]))) if row["error"] else job
