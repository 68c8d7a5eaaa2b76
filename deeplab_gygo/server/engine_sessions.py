"""Sessions of the engine: annotation, strokes, propagation."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict
from typing import Any

from deeplab_gygo.errors import UsageError
from deeplab_gygo.inference.config import Mode, check_preset
from deeplab_gygo.server.checks import check_strokes
from deeplab_gygo.server.clips import new_id
from deeplab_gygo.server.engine_base import EngineBase
from deeplab_gygo.server.sessions import StoredSession, check_objects
from deeplab_gygo.server.states import (
    Conflict,
    Event,
    MaskOrigin,
    ObjectInfo,
    Problem,
    Progress,
    SessionState,
    Stroke,
)
from deeplab_gygo.server.task_queue import Entry
from deeplab_gygo.server.worker import Task

MODES: tuple[Mode, ...] = ("one-shot", "fine-tune")
"""Modes of sessions."""


class SessionEngine(EngineBase):
    """The sessions of the engine; those that ran when the folder was closed go on."""

    def __init__(self, *arguments: Any, **options: Any):
        super().__init__(*arguments, **options)
        for session in self._sessions.all():
            if session.wanted:
                self._propagate(session)

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

    def run(self, session_id: str, *, anew: bool = False) -> None:
        """Begins to propagate the annotations, or goes on; returns at once.

        Args:
            session_id: Id of the session.
            anew: Whether all frames are segmented anew, not only what new annotations change.

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
            if anew:
                session.files.forget()
            self._propagate(session)

    def stop(self, session_id: str) -> None:
        """Stops a propagation after the frame in progress; nothing where none runs."""
        self._sessions.get(session_id)
        self._queue.cancel(session_id)

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
