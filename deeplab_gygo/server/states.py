"""What the engine of the server takes and returns; plain values that JSON can hold."""

from __future__ import annotations

from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Literal

from deeplab_gygo.errors import DeepLabGygoError, UsageError
from deeplab_gygo.models.stroke_marks import Stroke

__all__ = ["Stroke"]

Phase = Literal["waiting", "loading", "fine-tuning", "propagation", "export"]
RunState = Literal["idle", "running", "failed"]
JobState = Literal["queued", "running", "done", "failed", "cancelled"]
MaskOrigin = Literal["annotation", "result"]


class NotFound(UsageError):
    """A clip, a session, a frame or a mask is absent (404)."""


class Conflict(UsageError):
    """The request does not fit the state of its session or job (409)."""


class Unavailable(DeepLabGygoError):
    """The network is loading, or its process ended during the request (503)."""


class GivenUp(Exception):  # noqa: N818 - it is no error
    """Nobody waits for the answer any more."""


@dataclass(frozen=True)
class Problem:
    """An error for people: never a path or a stack.

    Attributes:
        rule: Condition that must hold.
        met: Value found instead; empty for none.
        remedy: Action for the reader; empty for none.
    """

    rule: str
    met: str = ""
    remedy: str = ""

    @classmethod
    def of(cls, error: BaseException) -> Problem:
        """Returns the problem of an error, without paths."""
        if not isinstance(error, DeepLabGygoError):
            return cls("The server works without errors", type(error).__name__, "Try again")
        met = "" if error.met is None or isinstance(error.met, Path) else str(error.met)
        return cls(error.rule, met, error.remedy or "")


@dataclass(frozen=True)
class ClipInfo:
    """A clip.

    Attributes:
        id: Random, safe in URLs.
        name: Name of its file.
        frames: Number of frames.
        width: Pixels of a frame.
        height: Likewise.
        frame_rate: Frames per second; None if unknown.
        pixel_aspect: Width of a pixel as displayed, over its height.
    """

    id: str
    name: str
    frames: int
    width: int
    height: int
    frame_rate: float | None = None
    pixel_aspect: float = 1.0

    def to_json(self) -> dict[str, Any]:
        """Returns plain values."""
        return asdict(self)


@dataclass(frozen=True)
class ObjectInfo:
    """An object of a session.

    Attributes:
        id: Value in the masks, 1..254.
        name: Name that a person gave it.
        color: `#rrggbb`.
    """

    id: int
    name: str
    color: str


@dataclass(frozen=True)
class Progress:
    """Progress of a propagation, an export or a job.

    Attributes:
        done: Frames, or steps while the phase is `fine-tuning`.
        total: Likewise.
        seconds: Since the start.
        frames_per_second: Of the newest frames; 0 before the first.
        eta: Seconds to the end; None if unknown.
        phase: What is done now.
    """

    done: int = 0
    total: int = 0
    seconds: float = 0.0
    frames_per_second: float = 0.0
    eta: float | None = None
    phase: Phase = "waiting"


@dataclass(frozen=True)
class SessionState:
    """A session.

    Attributes:
        id: Random, safe in URLs.
        clip: Id of its clip.
        preset: `fast`, `balanced` or `best`.
        mode: `one-shot` or `fine-tune`.
        objects: Its objects, by id.
        annotated: Indices of the frames annotated by hand, ascending.
        confidence: Expected J per frame, 0..1; None where there is no result yet.
        doubtful: Indices of the frames to review, ascending.
        revision: Counts the changes of annotations, results and objects.
        state: Whether it is being propagated.
        progress: Of that propagation; None when idle.
        error: Of the last propagation; None for none.
    """

    id: str
    clip: str
    preset: str
    mode: str
    objects: list[ObjectInfo] = field(default_factory=list)
    annotated: list[int] = field(default_factory=list)
    confidence: list[float | None] = field(default_factory=list)
    doubtful: list[int] = field(default_factory=list)
    revision: int = 0
    state: RunState = "idle"
    progress: Progress | None = None
    error: Problem | None = None

    def to_json(self) -> dict[str, Any]:
        """Returns plain values."""
        return asdict(self)


@dataclass(frozen=True)
class Event:
    """A change of a session or a job.

    Attributes:
        kind: `progress` (fields of `Progress`), `frame` (index, confidence), `state` (state,
            revision), or `error` (fields of `Problem`).
        data: Plain values.
    """

    kind: Literal["progress", "frame", "state", "error"]
    data: dict[str, Any]


@dataclass(frozen=True)
class JobRequest:
    """The segmentation of a clip into a result folder, as `deeplab-gygo segment` makes it.

    Attributes:
        clip: Id of the clip.
        mask: File of the mask, inside the data folder; None for zero-shot.
        frame: Index of the frame of the mask.
        preset: `fast`, `balanced` or `best`.
        mode: `zero-shot`, `one-shot` or `fine-tune`; None for the default.
        outputs: Kinds of results, of `runs.output_kinds.OUTPUTS`.
        options: Fields of `runs.output_kinds.OutputOptions`.
    """

    clip: str
    mask: Path | None = None
    frame: int = 0
    preset: str = "balanced"
    mode: str | None = None
    outputs: tuple[str, ...] = ("masks", "overlay")
    options: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class ExportRequest:
    """The results of a session in a result folder, as `deeplab-gygo segment` makes it.

    Attributes:
        session: Id of the session.
        outputs: Kinds of results, of `runs.output_kinds.OUTPUTS`.
        options: Fields of `runs.output_kinds.OutputOptions`.
    """

    session: str
    outputs: tuple[str, ...] = ("masks", "overlay")
    options: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class JobChange:
    """A change of a job; the last one has the state `done`, `failed` or `cancelled`.

    Attributes:
        job: Id of the job.
        state: Its state.
        progress: Its progress; None before the start.
        error: Why it failed; None otherwise.
    """

    job: str
    state: JobState
    progress: Progress | None = None
    error: Problem | None = None
