"""The engine of the server: clips, sessions and jobs, and the process that holds the network."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Sequence
from contextlib import ExitStack, suppress
from dataclasses import asdict
from pathlib import Path
from typing import Any

from deeplab_gygo.errors import UsageError
from deeplab_gygo.inference.config import Mode, check_preset
from deeplab_gygo.io.locking import InUse, locked
from deeplab_gygo.io.output_folder import resolved
from deeplab_gygo.runs.result_files import RECORD_NAME
from deeplab_gygo.server.checks import check_outputs, check_strokes
from deeplab_gygo.server.clips import ClipStore, new_id
from deeplab_gygo.server.sessions import SessionStore, StoredSession, check_objects
from deeplab_gygo.server.states import (
    ClipInfo,
    Conflict,
    Event,
    ExportRequest,
    JobChange,
    JobRequest,
    MaskOrigin,
    ObjectInfo,
    Problem,
    Progress,
    SessionState,
    Stroke,
)
from deeplab_gygo.server.task_queue import Entry, JobReporter, TaskQueue
from deeplab_gygo.server.worker import Task, WorkerSettings
from deeplab_gygo.server.worker_process import WorkerProcess

logger = logging.getLogger(__name__)

MODES: tuple[Mode, ...] = ("one-shot", "fine-tune")
"""Modes of sessions."""


class Engine:
    """Clips, sessions and jobs in a data folder; a worker process computes.

    All methods may be called from any thread. Those marked as blocking wait for the worker or for
    the decoding of a video, the others return within a fraction of a second. This process does not
    import Keras.

    Args:
        data: Folder of the data; made where it is absent. What it holds is opened again.
        weights: Parent file; None takes the shipped one.
        preset: Preset of sessions that name none.
        precision: Numeric policy of the network.

    Raises:
        StorageError: The folder cannot be written.
        Conflict: Another server uses the folder.
    """

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
        for session in self._sessions.all():
            if session.wanted:
                self._propagate(session)

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

    # Clips

    def open_clip(self, path: Path, name: str, *, clip_id: str | None = None) -> ClipInfo:
        """Adds a clip. Blocking: a video is read once, without decoding.

        Args:
            path: A video, or a folder of frames. It stays where it is; an upload is in the folder
                of `new_clip_folder` and is removed with the clip.
            name: Name for people.
            clip_id: Of `new_clip_folder`; None makes one.

        Raises:
            InputError: The file is damaged, or no video.
        """
        return self._clips.add(path, name, clip_id)

    def new_clip_folder(self) -> tuple[str, Path]:
        """Returns a new id and the folder into which its upload is written before `open_clip`."""
        clip_id = new_id()
        folder = self._clips.folder(clip_id)
        folder.mkdir()
        return clip_id, folder

    def clips(self) -> list[ClipInfo]:
        """Returns all clips, newest first."""
        return self._clips.all()

    def clip(self, clip_id: str) -> ClipInfo:
        """Returns a clip; raises `NotFound`."""
        return self._clips.info(clip_id)

    def delete_clip(self, clip_id: str) -> None:
        """Removes a clip and its sessions.

        Raises:
            NotFound: There is no such clip.
            Conflict: One of its sessions is being propagated or exported, or a job reads it.
        """
        self._clips.info(clip_id)
        path = self._clips.source(clip_id)
        if self._queue.uses(path):
            raise Conflict(
                "A clip that is removed is not in use",
                met="a propagation, an export or a job of it",
                remedy="Stop it first",
            )
        for session in self._sessions.all():
            if session.clip.id == clip_id:
                self._sessions.remove(session.folder.name)
        self._clips.remove(clip_id)

    def frame(self, clip_id: str, index: int, width: int | None = None) -> bytes:
        """Returns a frame as JPEG. Blocking: it may be decoded.

        Args:
            clip_id: Id of the clip.
            index: Index of the frame, from 0.
            width: Pixels; at most that of the clip, which None is. The picture is at least as wide
                as asked for, in a few sizes, so that it can be kept.

        Raises:
            NotFound: There is no such clip or frame.
            InputError: The frame is damaged.
        """
        self._clips.check_index(clip_id, index)
        return self._clips.frames(clip_id).jpeg(index, width)

    # Sessions

    def create_session(
        self, clip_id: str, preset: str | None = None, mode: str | None = None
    ) -> SessionState:
        """Makes a session of a clip.

        Args:
            clip_id: Id of the clip.
            preset: `fast`, `balanced` or `best`.
            mode: `one-shot` or `fine-tune`, the default.

        Raises:
            NotFound: There is no such clip.
            UsageError: There is no such preset or mode.
        """
        preset, mode = preset or self._preset, mode or "fine-tune"
        check_preset(preset)
        if mode not in MODES:
            raise UsageError(f"The mode of a session is one of {', '.join(MODES)}", met=mode)
        return self._sessions.make(new_id(), self._clips.info(clip_id), preset, mode).state

    def sessions(self, clip_id: str | None = None) -> list[SessionState]:
        """Returns the sessions, of a clip or all, newest first."""
        sessions = self._sessions.all()
        return [each.state for each in sessions if clip_id in (None, each.clip.id)]

    def session(self, session_id: str) -> SessionState:
        """Returns a session; raises `NotFound`."""
        return self._sessions.get(session_id).state

    def delete_session(self, session_id: str) -> None:
        """Removes a session; raises `NotFound`, or `Conflict` while it is propagated."""
        folder = self._sessions.get(session_id).folder
        if self._queue.uses(folder):
            raise Conflict(
                "A session that is removed is idle",
                met="a propagation or an export of it",
                remedy="Stop it first",
            )
        self._sessions.remove(session_id)

    def annotate(self, session_id: str, index: int, png: bytes | None) -> int:
        """Sets, replaces or removes the mask of a frame, at any time.

        A propagation in progress goes on with the annotations that it began with; the next `run`
        takes the new ones.

        Args:
            session_id: Id of the session.
            index: Index of the frame.
            png: 8-bit gray or palette PNG of object ids, of the size of the frames; None removes.

        Returns:
            The revision.

        Raises:
            NotFound: There is no such session or frame, or no annotation to remove.
            InputError: The mask is damaged, of another size, or full.
        """
        session = self._indexed(session_id, index)
        revision = session.annotate(index, png)
        self._emit_state(session)
        return revision

    def mask(self, session_id: str, index: int) -> tuple[bytes, MaskOrigin, int]:
        """Returns the annotation of a frame, or its result.

        Returns:
            8-bit palette PNG of object ids, where it is from, and a number that changes with it,
            for ETag.

        Raises:
            NotFound: There is none.
        """
        return self._indexed(session_id, index).mask(index)

    def set_objects(self, session_id: str, objects: Sequence[ObjectInfo]) -> int:
        """Sets names and colors of objects and returns the revision.

        Raises:
            NotFound: There is no such session.
            UsageError: An id or a color is out of range.
        """
        check_objects(objects)
        session = self._sessions.get(session_id)
        revision = session.set_objects(objects)
        self._emit_state(session)
        return revision

    def propose(self, session_id: str, index: int) -> bytes:
        """Returns the zero-shot mask of one frame: PNG of 0 and 1. Blocking.

        Raises:
            NotFound: There is no such session or frame.
            Unavailable: The network is not loaded yet.
        """
        return self._worker.ask("propose", self._question(session_id, index))

    def prefetch(self, session_id: str, index: int) -> None:
        """Encodes the frame in view in the background, so that strokes on it are fast."""
        self._worker.send("prefetch", self._question(session_id, index))

    def strokes(
        self,
        session_id: str,
        index: int,
        label: int,
        strokes: Sequence[Stroke],
        box: tuple[float, float, float, float] | None = None,
    ) -> bytes:
        """Returns the mask of the object that strokes or a box show. Blocking: tenths of a second.

        Where the frame has a mask of the object, annotated or propagated, that is corrected.

        Args:
            session_id: Id of the session.
            index: Index of the frame.
            label: Id of the object, 1..254.
            strokes: All strokes on this frame and object so far, in their order.
            box: x0, y0, x1, y1 around the object, pixels.

        Returns:
            PNG of 0 and 1, of the size of the frames. Nothing is saved; `annotate` does that.

        Raises:
            NotFound: There is no such session or frame.
            UsageError: There is neither a stroke inside nor a box nor a mask to correct, or a value
                is out of range.
            Unavailable: The network is not loaded yet.
        """
        question = self._question(session_id, index)
        start = self._sessions.get(session_id).object_mask(index, label)
        check_strokes(label, strokes, box, corrects=start is not None)
        values = {**question, "strokes": tuple(strokes), "box": box, "start": start}
        return self._worker.ask("strokes", values)

    def run(self, session_id: str) -> None:
        """Begins to propagate the annotations, or goes on; returns at once.

        Raises:
            NotFound: There is no such session.
            UsageError: Nothing is annotated.
            Conflict: It is being propagated already.
        """
        session = self._sessions.get(session_id)
        if not session.state.annotated:
            raise UsageError(
                "A session is annotated before it is run",
                met="no annotation",
                remedy="Draw the object on a frame first",
            )
        with self._lock:
            if self._queue.uses(session.folder):
                raise Conflict(
                    "A session is propagated once at a time",
                    met="a propagation or an export of it",
                    remedy="Wait for its end, or stop it",
                )
            self._propagate(session)

    def stop(self, session_id: str) -> None:
        """Stops a propagation after the frame in progress; nothing where none runs."""
        self._sessions.get(session_id)
        self._queue.cancel(session_id)

    # Jobs and events

    def start_job(
        self,
        job_id: str,
        request: JobRequest | ExportRequest,
        on_change: Callable[[JobChange], None],
    ) -> None:
        """Queues a job. Jobs run in order, one at a time; propagations of sessions go first.

        The result is in `job_folder(job_id)`. A job that was begun before a restart goes on after
        its last whole frame, with the same id; one whose folder is complete is `done` at once.

        Args:
            job_id: Id of the job.
            request: What is done.
            on_change: Called from a thread of the engine at every change; it must be quick.

        Raises:
            NotFound: There is no such clip or session.
            UsageError: An output or an option is unknown or out of range.
        """
        target = self.job_folder(job_id)
        check_outputs(request.outputs, request.options)
        values: dict[str, Any] = {
            "out": target, "outputs": request.outputs, "options": dict(request.options)
        }  # fmt: skip
        if isinstance(request, ExportRequest):
            session = self._sessions.get(request.session)
            state = session.state
            values |= {
                "clip": self._clips.source(state.clip), "folder": session.folder,
                "preset": state.preset, "mode": state.mode,
            }  # fmt: skip
            task = Task(job_id, "export", values)
        else:
            check_preset(request.preset)
            self._clips.check_index(request.clip, request.frame)
            values |= {
                "clip": self._clips.source(request.clip), "mask": request.mask,
                "frame": request.frame, "preset": request.preset, "mode": request.mode,
            }  # fmt: skip
            task = Task(job_id, "job", values)
        job = JobReporter(job_id, on_change, self._emit, target)
        if (target / RECORD_NAME).exists():  # made before a restart
            job.ended("done", None)
            return
        self._queue.add(
            Entry(
                task, 1 if task.kind == "export" else 2, job.progressed, lambda *_: None, job.ended
            )
        )

    def cancel_job(self, job_id: str) -> None:
        """Cancels a job, which is then `cancelled`, and removes what it wrote."""
        self._queue.cancel(job_id)

    def job_folder(self, job_id: str) -> Path:
        """Returns the folder of the result of a job, complete where it exists."""
        return self._data / "jobs" / job_id / "result"

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

    # Within

    def _emit(self, topic: str, event: Event) -> None:
        with self._listening:
            callbacks = list(self._listeners.get(topic, ()))
        for callback in callbacks:
            try:
                callback(event)
            except Exception:
                logger.exception("a listener failed")

    def _indexed(self, session_id: str, index: int) -> StoredSession:
        session = self._sessions.get(session_id)
        self._clips.check_index(session.clip.id, index)
        return session

    def _question(self, session_id: str, index: int) -> dict[str, Any]:
        session = self._indexed(session_id, index)
        return {"clip": self._clips.source(session.clip.id), "index": index}

    def _emit_state(self, session: StoredSession) -> None:
        state = session.state
        values = {"state": state.state, "revision": state.revision, "annotated": state.annotated}
        self._emit(state.id, Event("state", values))

    def _propagate(self, session: StoredSession) -> None:
        state = session.state
        topic = state.id

        def progressed(progress: Progress) -> None:
            session.running(progress)
            self._emit(topic, Event("progress", asdict(progress)))

        def found(index: int, confidence: float) -> None:
            session.found(index, confidence)
            self._emit(topic, Event("frame", {"index": index, "confidence": confidence}))

        def ended(_end: str, problem: Problem | None) -> None:
            session.ended(problem)
            if problem is not None:
                self._emit(topic, Event("error", asdict(problem)))
            self._emit_state(session)

        values = {
            "clip": self._clips.source(state.clip), "folder": session.folder,
            "preset": state.preset, "mode": state.mode,
        }  # fmt: skip
        session.running(Progress())
        self._emit_state(session)
        self._queue.add(Entry(Task(topic, "propagate", values), 0, progressed, found, ended))
