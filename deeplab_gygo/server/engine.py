"""The engine of the server: clips, sessions and jobs, and the process that holds the network."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

from deeplab_gygo.inference.config import check_preset
from deeplab_gygo.runs.result_files import RECORD_NAME
from deeplab_gygo.server.checks import check_outputs
from deeplab_gygo.server.clips import new_id
from deeplab_gygo.server.engine_sessions import SessionEngine
from deeplab_gygo.server.frame_readers import never
from deeplab_gygo.server.results import folder_bytes
from deeplab_gygo.server.states import ClipInfo, Conflict, ExportRequest, JobChange, JobRequest
from deeplab_gygo.server.task_queue import Entry, JobReporter
from deeplab_gygo.server.worker import Task


class Engine(SessionEngine):
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

    def idle_clips(self) -> dict[str, float]:
        """Returns when clips were last used that nobody works on, seconds since 1970, by id."""
        idle = {info.id: self._clips.used(info.id) for info in self._clips.all()}
        for session in self._sessions.all():
            clip, folder = session.clip.id, session.folder
            if clip in idle and (self._queue.uses(folder) or self._is_heard(folder.name)):
                del idle[clip]
            elif clip in idle:
                idle[clip] = max(idle[clip], session.used)
        in_use = [clip for clip in idle if self._queue.uses(self._clips.source(clip))]
        return {clip: used for clip, used in idle.items() if clip not in in_use}

    def clip_bytes(self, clip_id: str) -> int:
        """Returns the bytes of a clip and its sessions in the folder of the data."""
        folders = [each.folder for each in self._sessions.all() if each.clip.id == clip_id]
        return sum(map(folder_bytes, [self._clips.folder(clip_id), *folders]))

    def frame(
        self,
        clip_id: str,
        index: int,
        width: int | None = None,
        is_given_up: Callable[[], bool] = never,
    ) -> bytes:
        """Returns a frame as JPEG. Blocking: it may be decoded.

        Args:
            clip_id: Id of the clip.
            index: Index of the frame, from 0.
            width: Pixels; at most that of the clip, which None is. The picture is at least as wide
                as asked for, in a few sizes, so that it can be kept.
            is_given_up: Returns whether nobody waits for the frame any more.

        Raises:
            NotFound: There is no such clip or frame.
            InputError: The frame is damaged.
            GivenUp: Nobody waits for it any more.
        """
        self._clips.check_index(clip_id, index)
        return self._clips.frames(clip_id).jpeg(index, width, is_given_up)

    # Jobs

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
