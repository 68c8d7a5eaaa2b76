"""A client of the server, on the standard library."""

from __future__ import annotations

import json
import os
import secrets
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import closing
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal

from deeplab_gygo.io.atomic import replacing
from deeplab_gygo.server.client_requests import Form, ServerError, Transport, blocks
from deeplab_gygo.server.settings import TOKEN_VARIABLE
from deeplab_gygo.server.states import (
    ClipInfo,
    JobState,
    ObjectInfo,
    Problem,
    Progress,
    SessionState,
    Stroke,
)

__all__ = ["Client", "ClientSession", "JobStatus", "ServerError"]


@dataclass(frozen=True)
class JobStatus:
    """The state of a job.

    Attributes:
        id: Its id.
        kind: `segment` or `export`.
        state: Its state.
        clip: Id of its clip; None for an export.
        session: Id of its session; None for a segmentation.
        outputs: Kinds of results.
        progress: While it runs.
        error: Why it failed.
        created: Seconds since 1970; so are the next two.
        started: Start of the last attempt.
        finished: End.
        attempts: How often it was begun.
    """

    id: str
    kind: Literal["segment", "export"]
    state: JobState
    clip: str | None
    session: str | None
    outputs: list[str]
    progress: Progress | None
    error: Problem | None
    created: float
    started: float | None
    finished: float | None
    attempts: int

    @property
    def has_ended(self) -> bool:
        """Whether it is done, failed or cancelled."""
        return self.state not in ("queued", "running")


class Client:
    """Requests to one server.

    Args:
        address: Address of the server, such as `http://127.0.0.1:8000`.
        token: Token of the server; by default that of the environment variable
            `DEEPLAB_GYGO_TOKEN`.
        timeout: Seconds to wait for an answer.
        patience: Seconds for which an unreachable server is asked again, as while it restarts.

    Example:
        Of a server that runs:

            client = Client("http://127.0.0.1:8000")
            job = client.start_job("clip.mp4", "first.png", preset="fast")
            client.wait(job.id, progress=print)
            client.save_result(job.id, "result.zip")
    """

    def __init__(
        self,
        address: str = "http://127.0.0.1:8000",
        *,
        token: str | None = None,
        timeout: float = 300.0,
        patience: float = 10.0,
    ):
        if token is None:
            token = os.environ.get(TOKEN_VARIABLE, "")
        self._requests = Transport(address, token, timeout, patience)

    def info(self) -> dict[str, Any]:
        """Returns the version, presets, modes, outputs and limits of the server."""
        return self._requests.json("GET", "/api/info")

    # Clips

    def upload(self, path: str | Path) -> ClipInfo:
        """Uploads a clip: a video, or a zip of frames."""
        form = Form({}, {"file": Path(path)})
        return ClipInfo(**self._requests.json("POST", "/api/clips", form=form))

    def fetch(self, url: str) -> ClipInfo:
        """Makes the server fetch a clip from a host that it allows."""
        return ClipInfo(**self._requests.json("POST", "/api/clips", {"url": url}))

    def clips(self) -> list[ClipInfo]:
        """Returns the clips of the server, newest first."""
        return [ClipInfo(**values) for values in self._requests.json("GET", "/api/clips")]

    def delete_clip(self, clip_id: str) -> None:
        """Removes a clip and its sessions."""
        self._requests.content("DELETE", f"/api/clips/{clip_id}")

    def frame(self, clip_id: str, index: int, width: int | None = None) -> bytes:
        """Returns a frame as JPEG."""
        query = "" if width is None else f"?width={width}"
        return self._requests.content("GET", f"/api/clips/{clip_id}/frames/{index}{query}")

    # Jobs

    def start_job(
        self,
        clip: str | Path | ClipInfo,
        mask: str | Path | None = None,
        *,
        frame: int = 0,
        preset: str = "balanced",
        mode: str | None = None,
        outputs: Sequence[str] = ("masks", "overlay"),
        options: Mapping[str, Any] | None = None,
    ) -> JobStatus:
        """Starts the segmentation of a clip; asked again after a lost answer, it starts once.

        Args:
            clip: A file to upload, a URL, or a clip of the server.
            mask: File of the mask of a frame; None for the mode `zero-shot`.
            frame: Index of that frame.
            preset: `fast`, `balanced` or `best`.
            mode: `zero-shot`, `one-shot` or `fine-tune`; None for the default.
            outputs: Kinds of results.
            options: Options of the kinds.

        Raises:
            ServerError: The server refuses it.
        """
        fields = {"frame": str(frame), "preset": preset, "outputs": ",".join(outputs)}
        files = {} if mask is None else {"mask": Path(mask)}
        if mode is not None:
            fields["mode"] = mode
        if options:
            fields["options"] = json.dumps(dict(options))
        if isinstance(clip, ClipInfo):
            fields["clip_id"] = clip.id
        elif str(clip).startswith(("http://", "https://")):
            fields["url"] = str(clip)
        else:
            files["clip"] = Path(clip)
        headers = {"Idempotency-Key": secrets.token_urlsafe(16)}
        form = Form(fields, files)
        return _status(
            self._requests.json("POST", "/api/jobs", form=form, headers=headers, again=True)
        )

    def job(self, job_id: str) -> JobStatus:
        """Returns the state of a job."""
        return _status(self._requests.json("GET", f"/api/jobs/{job_id}"))

    def jobs(self) -> list[JobStatus]:
        """Returns the newest jobs, newest first."""
        return [_status(values) for values in self._requests.json("GET", "/api/jobs")]

    def wait(
        self,
        job_id: str,
        *,
        progress: Callable[[JobStatus], object] | None = None,
        timeout: float | None = None,
        interval: float = 0.5,
    ) -> JobStatus:
        """Waits for the end of a job.

        Args:
            job_id: Id of the job.
            progress: Called with every state that differs from the one before.
            timeout: Most seconds; None for no limit.
            interval: Seconds between two requests.

        Returns:
            The state, `done` or `cancelled`.

        Raises:
            ServerError: The job failed, or is not done in time.
        """
        until, last = None if timeout is None else time.monotonic() + timeout, None
        while True:
            status = self.job(job_id)
            if progress is not None and status != last:
                progress(status)
            last = status
            if status.error is not None:
                error = status.error
                raise ServerError(0, error.rule, met=error.met or None, remedy=error.remedy or None)
            if status.has_ended:
                return status
            if until is not None and time.monotonic() > until:
                raise ServerError(0, f"A job ends within {timeout:g} s", met=status.state)
            time.sleep(interval)

    def cancel(self, job_id: str) -> JobStatus:
        """Cancels a job; removes one that has ended."""
        return _status(self._requests.json("DELETE", f"/api/jobs/{job_id}"))

    def save_result(
        self, job_id: str, path: str | Path, kind: Literal["zip", "video", "rle"] = "zip"
    ) -> Path:
        """Downloads the result of a job; the file appears when it is complete.

        Args:
            job_id: Id of a job that is done.
            path: File to write.
            kind: A zip of all files, the video, or the masks as run lengths of COCO in JSON.
        """
        with (
            replacing(path) as side,
            closing(
                self._requests.open("GET", f"/api/jobs/{job_id}/result?format={kind}")
            ) as answer,
            open(side, "wb") as file,
        ):
            for block in blocks(answer):
                file.write(block)
        return Path(path)

    # Sessions

    def create_session(
        self, clip: ClipInfo, *, preset: str | None = None, mode: str | None = None
    ) -> ClientSession:
        """Makes a session of a clip, to annotate and correct it frame by frame."""
        body = {"clip": clip.id, "preset": preset, "mode": mode}
        return ClientSession(self, self._requests.json("POST", "/api/sessions", body)["id"])


class ClientSession:
    """A session of a server, made by `Client.create_session`.

    Args:
        client: The client.
        session_id: Id of the session.
    """

    def __init__(self, client: Client, session_id: str):
        self._client, self._requests = client, client._requests
        self.id, self._path = session_id, f"/api/sessions/{session_id}"

    def state(self) -> SessionState:
        """Returns the state: annotated frames, confidence, progress."""
        values = self._requests.json("GET", self._path)
        values["objects"] = [ObjectInfo(**each) for each in values["objects"]]
        values["progress"] = values["progress"] and Progress(**values["progress"])
        values["error"] = values["error"] and Problem(**values["error"])
        return SessionState(**values)

    def annotate(self, frame: int, png: bytes | str | Path | None) -> int:
        """Sets the mask of a frame, PNG of object ids, or removes it; returns the revision."""
        path = f"{self._path}/masks/{frame}"
        if png is None:
            return self._requests.json("DELETE", path)["revision"]
        content = png if isinstance(png, bytes) else Path(png).read_bytes()
        headers = {"Content-Type": "image/png"}
        return self._requests.json("PUT", path, content=content, headers=headers)["revision"]

    def mask(self, frame: int) -> bytes:
        """Returns the annotation of a frame or its result: PNG of object ids."""
        return self._requests.content("GET", f"{self._path}/masks/{frame}")

    def strokes(
        self,
        frame: int,
        strokes: Sequence[Stroke],
        *,
        object_id: int = 1,
        box: tuple[float, float, float, float] | None = None,
    ) -> bytes:
        """Returns the mask of the object that strokes or a box show: PNG of 0 and 1."""
        body = {
            "frame": frame, "object": object_id, "strokes": [asdict(each) for each in strokes],
            "box": box,
        }  # fmt: skip
        headers = {"Content-Type": "application/json"}
        content = json.dumps(body).encode()
        return self._requests.content(
            "POST", f"{self._path}/strokes", content=content, headers=headers
        )

    def run(self, *, anew: bool = False) -> None:
        """Begins to propagate what was annotated since the last time; `anew`: everything."""
        self._requests.content("POST", f"{self._path}/run{'?anew=true' if anew else ''}")

    def stop(self) -> None:
        """Stops after the frame in progress."""
        self._requests.content("POST", f"{self._path}/stop")

    def wait(self, *, interval: float = 0.5) -> SessionState:
        """Waits for the end of the propagation; raises `ServerError` where it failed."""
        while (state := self.state()).state == "running":
            time.sleep(interval)
        if state.error is not None:
            raise ServerError(0, state.error.rule, met=state.error.met or None)
        return state

    def export(self, outputs: Sequence[str] = ("masks", "overlay"), **options: Any) -> JobStatus:
        """Starts the job that writes the results."""
        body = {"outputs": list(outputs), "options": options}
        job = self._requests.json("POST", f"{self._path}/export", body)["job"]
        return self._client.job(job)


def _status(values: dict[str, Any]) -> JobStatus:
    progress, error = values["progress"], values["error"]
    values |= {
        "progress": None if progress is None else Progress(**progress),
        "error": None if error is None else Problem(**error),
    }
    return JobStatus(**values)
