"""An engine without a network: it keeps clips and sessions in memory and jobs in folders."""

from __future__ import annotations

import io
import json
import queue
import re
import secrets
import shutil
import threading
import time
from collections import defaultdict
from dataclasses import replace
from pathlib import Path

import numpy as np
from PIL import Image

from deeplab_gygo.errors import InputError, UsageError
from deeplab_gygo.io.video import open_input
from deeplab_gygo.runs.output_kinds import OUTPUTS
from deeplab_gygo.server.states import (
    ClipInfo,
    Conflict,
    Event,
    ExportRequest,
    JobChange,
    JobRequest,
    NotFound,
    Progress,
    SessionState,
    Unavailable,
)

_PRESETS = ("fast", "balanced", "best")


def png_of(mask: np.ndarray) -> bytes:
    """Encodes a mask of ids."""
    buffer = io.BytesIO()
    Image.fromarray(mask.astype(np.uint8)).save(buffer, "PNG")
    return buffer.getvalue()


class FakeEngine:
    """See `deeplab_gygo.server.engine.Engine`; `step` holds a job between two frames."""

    def __init__(self, data: Path, *, frame_seconds: float = 0.0, held: bool = False):
        self.data, self._seconds = data, frame_seconds
        self.ready, self.closed, self.problem = True, False, None
        self.go = threading.Event()
        self.started_jobs: list[str] = []
        if not held:
            self.go.set()
        self._lock = threading.RLock()
        self._clips: dict[str, ClipInfo] = {}
        self._sessions: dict[str, SessionState] = {}
        self._masks: dict[tuple[str, int], bytes] = {}
        self._listeners = defaultdict(list)
        self._jobs: queue.Queue = queue.Queue()
        self._cancelled: set[str] = set()
        self._thread = threading.Thread(target=self._work, daemon=True)
        for path in sorted((data / "clips").glob("*/clip.json")):
            info = ClipInfo(**json.loads(path.read_text()))
            self._clips[info.id] = info

    def clip_bytes(self, clip_id: str) -> int:
        files = (self.data / "clips" / clip_id).rglob("*")
        return sum(path.stat().st_size for path in files if path.is_file())

    def start(self) -> None:
        self._thread.start()

    def close(self) -> None:
        self.closed = True
        self.go.set()
        self._jobs.put(None)
        if self._thread.is_alive():
            self._thread.join(5)

    # Clips

    def new_clip_folder(self):
        clip_id = secrets.token_hex(8)
        folder = self.data / "clips" / clip_id
        folder.mkdir(parents=True)
        return clip_id, folder

    def open_clip(self, path, name, *, clip_id=None):
        sequence = open_input(path)
        height, width = sequence.size
        info = ClipInfo(clip_id or secrets.token_hex(8), name, len(sequence), width, height, 25.0)
        if clip_id is not None:
            (self.data / "clips" / clip_id / "clip.json").write_text(json.dumps(info.to_json()))
        with self._lock:
            self._clips[info.id] = info
        return info

    def clips(self):
        return list(self._clips.values())[::-1]

    def clip(self, clip_id):
        if clip_id not in self._clips:
            raise NotFound("A clip is one of the server")
        return self._clips[clip_id]

    def delete_clip(self, clip_id):
        with self._lock:
            self.clip(clip_id)
            del self._clips[clip_id]
            for key in [k for k, s in self._sessions.items() if s.clip == clip_id]:
                del self._sessions[key]
        shutil.rmtree(self.data / "clips" / clip_id, ignore_errors=True)

    def idle_clips(self):
        return {}

    def frame(self, clip_id, index, width=None, is_given_up=None):
        info = self._checked(clip_id, index)
        image = np.full((info.height, info.width, 3), index % 256, np.uint8)
        buffer = io.BytesIO()
        Image.fromarray(image).save(buffer, "JPEG")
        return buffer.getvalue()

    def _checked(self, clip_id, index):
        info = self.clip(clip_id)
        if not 0 <= index < info.frames:
            raise NotFound(f"A frame is one of 0 to {info.frames - 1}", met=index)
        return info

    # Sessions

    def create_session(self, clip_id, preset=None, mode=None):
        info = self.clip(clip_id)
        if (preset or "fast") not in _PRESETS or (mode or "fine-tune") not in (
            "one-shot",
            "fine-tune",
        ):
            raise UsageError("There is such a preset and mode", met=f"{preset}, {mode}")
        state = SessionState(
            secrets.token_hex(8), clip_id, preset or "balanced", mode or "fine-tune",
            confidence=[None] * info.frames,
        )  # fmt: skip
        self._sessions[state.id] = state
        return state

    def sessions(self, clip_id=None):
        return [s for s in self._sessions.values() if clip_id in (None, s.clip)][::-1]

    def session(self, session_id):
        if session_id not in self._sessions:
            raise NotFound("A session is one of the server")
        return self._sessions[session_id]

    def delete_session(self, session_id):
        self.session(session_id)
        del self._sessions[session_id]

    def annotate(self, session_id, index, png):
        state = self.session(session_id)
        info = self._checked(state.clip, index)
        if png is None:
            if self._masks.pop((session_id, index), None) is None:
                raise NotFound("There is an annotation to remove")
        else:
            try:
                with Image.open(io.BytesIO(png), formats=["PNG"]) as picture:
                    size = picture.size
            except Exception as error:
                raise InputError("A mask is a PNG", met=type(error).__name__) from error
            if size != (info.width, info.height):
                raise InputError("A mask has the size of the frames", met=f"{size[0]}x{size[1]}")
            self._masks[session_id, index] = png
        annotated = sorted(i for key, i in self._masks if key == session_id)
        return self._update(state, annotated=annotated)

    def _update(self, old, **values):
        with self._lock:
            new = replace(old, revision=old.revision + 1, **values)
            self._sessions[old.id] = new
        self._emit(old.id, Event("state", {"state": new.state, "revision": new.revision}))
        return new.revision

    def mask(self, session_id, index):
        state = self.session(session_id)
        self._checked(state.clip, index)
        if (session_id, index) not in self._masks:
            raise NotFound("The frame has a mask")
        return self._masks[session_id, index], "annotation", state.revision

    def set_objects(self, session_id, objects):
        return self._update(self.session(session_id), objects=list(objects))

    def propose(self, session_id, index):
        info = self._checked(self.session(session_id).clip, index)
        if not self.ready:
            raise Unavailable("The network is loaded", remedy="Wait")
        return png_of(np.ones((info.height, info.width)))

    def prefetch(self, session_id, index):
        self._checked(self.session(session_id).clip, index)

    def strokes(self, session_id, index, label, strokes, box=None):
        if box is None and not any(stroke.inside for stroke in strokes):
            raise UsageError("There is a stroke inside, or a box")
        return self.propose(session_id, index)

    def run(self, session_id, *, anew=False):
        state = self.session(session_id)
        if not state.annotated:
            raise UsageError("Something is annotated")
        if state.state == "running":
            raise Conflict("It is not being propagated")
        self.anew = anew
        self._update(state, state="running")
        self._emit(session_id, Event("frame", {"index": 0, "confidence": 0.9}))

    def stop(self, session_id):
        state = self.session(session_id)
        if state.state == "running":
            self._update(state, state="idle")

    # Jobs and events

    def start_job(self, job_id, request, on_change):
        unknown = set(request.outputs) - set(OUTPUTS)
        if unknown or request.options:
            raise UsageError("There are such outputs and options", met=sorted(unknown))
        if isinstance(request, ExportRequest):
            frames = len(self.session(request.session).confidence)
        else:
            assert isinstance(request, JobRequest)
            frames = self._checked(request.clip, request.frame).frames
            if request.mask is not None and not request.mask.is_file():
                raise InputError("The mask is a file", where=request.mask)
        self._jobs.put((job_id, frames, request, on_change, self.job_folder(job_id)))

    def cancel_job(self, job_id):
        self._cancelled.add(job_id)

    def job_folder(self, job_id):
        return self.data / "jobs" / job_id / "result"

    def listen(self, topic, callback):
        self._listeners[topic].append(callback)
        return lambda: self._listeners[topic].remove(callback)

    def _emit(self, topic, event):
        for callback in list(self._listeners[topic]):
            callback(event)

    def _work(self):
        while (entry := self._jobs.get()) is not None and not self.closed:
            job_id, frames, _request, on_change, folder = entry
            if not folder.exists():
                self._do(job_id, frames, on_change, folder)
            else:
                on_change(JobChange(job_id, "done"))

    def _do(self, job_id, frames, on_change, folder):
        self.started_jobs.append(job_id)
        on_change(JobChange(job_id, "running", Progress(0, frames)))
        side = folder.with_name(f".{folder.name}.part")
        (side / "masks").mkdir(parents=True, exist_ok=True)
        with open(side / "begun.txt", "a") as file:
            file.write("begun\n")
        for index in range(frames):
            self.go.wait()
            time.sleep(self._seconds)
            if self.closed:
                return
            if job_id in self._cancelled:
                shutil.rmtree(side)
                on_change(JobChange(job_id, "cancelled"))
                return
            mask = np.zeros((16, 24))
            mask[2:9, 3 : 10 + index % 10] = 1
            path = side / "masks" / f"{index:05d}.png"
            path.write_bytes(png_of(mask))
            on_change(JobChange(job_id, "running", Progress(index + 1, frames)))
        if self.problem is not None:
            on_change(JobChange(job_id, "failed", error=self.problem))
            return
        record = {"source": f"{self.data}/clips/x/clip.mp4", "masks": frames, "command": ["x"]}
        (side / "run.json").write_text(json.dumps(record))
        (side / "overlay.mp4").write_bytes(b"video" * 100)
        side.rename(folder)
        on_change(JobChange(job_id, "done", Progress(frames, frames)))


def no_path(text: str) -> bool:
    """Checks that an answer has neither a path nor a stack."""
    return not re.search(r"(?<![\w/:])/(?:tmp|work|home|root|usr|data)/|Traceback|File \"", text)
