"""Bodies of requests and answers; their limits are part of the OpenAPI schema."""

from __future__ import annotations

from typing import Annotated, Literal

from fastapi import Path
from pydantic import BaseModel, ConfigDict, Field

from deeplab_gygo.runs.output_kinds import MAX_SPIN
from deeplab_gygo.server.states import JobState, Problem, Progress, RunState

MAX_FRAME = 10_000_000
MAX_STROKES = 1000
MAX_POINTS = 10_000
MAX_OBJECTS = 254

Identity = Annotated[str, Path(pattern=r"^[A-Za-z0-9_-]{1,64}$", description="Id, as answered.")]
FrameIndex = Annotated[int, Path(ge=0, le=MAX_FRAME, description="Index of the frame, from 0.")]
_Frame = Annotated[int, Field(ge=0, le=MAX_FRAME)]
_Pixels = Annotated[float, Field(ge=-1e6, le=1e6, allow_inf_nan=False)]
_Name = Annotated[str, Field(min_length=1, max_length=40, pattern=r"^[A-Za-z0-9_-]+$")]

Outputs = Annotated[list[_Name], Field(min_length=1, max_length=32)]


class _Body(BaseModel):
    model_config = ConfigDict(extra="forbid")


class UrlBody(_Body):
    """A clip to fetch."""

    url: str = Field(min_length=1, max_length=4000, description="Of a host that `--allow` names.")


class SessionBody(_Body):
    """A session to make."""

    clip: str = Field(max_length=64)
    preset: _Name | None = None
    mode: _Name | None = None


class ObjectBody(_Body):
    """An object of a session."""

    id: int = Field(ge=1, le=MAX_OBJECTS)
    name: str = Field(max_length=100)
    color: str = Field(pattern=r"^#[0-9a-fA-F]{6}$")


class FrameBody(_Body):
    """A frame."""

    frame: _Frame


class StrokeBody(_Body):
    """A click or a scribble."""

    inside: bool
    points: list[tuple[_Pixels, _Pixels]] = Field(min_length=1, max_length=MAX_POINTS)
    width: float = Field(3.0, gt=0, le=10_000, allow_inf_nan=False)


class StrokesBody(_Body):
    """All strokes on a frame for one object."""

    frame: _Frame
    object: int = Field(1, ge=1, le=MAX_OBJECTS)
    strokes: list[StrokeBody] = Field(max_length=MAX_STROKES)
    box: tuple[_Pixels, _Pixels, _Pixels, _Pixels] | None = None


class OptionsBody(_Body):
    """Options of the kinds of results; unlike on the command line, no file can be named."""

    background: str = Field(default="green", pattern=r"^(green|white|black|#[0-9a-fA-F]{6})$")
    foreground: bool = False
    smooth: bool = False
    spin: int = Field(default=36, ge=1, le=MAX_SPIN)


class ExportBody(_Body):
    """Results of a session to write."""

    outputs: Outputs = ["masks", "overlay"]
    options: OptionsBody = OptionsBody()


class JobFields(_Body):
    """The fields of a job beside its files."""

    clip_id: str | None = Field(None, max_length=64)
    url: str | None = Field(None, max_length=4000)
    frame: _Frame = 0
    preset: _Name = "balanced"
    mode: _Name | None = None
    outputs: Outputs = ["masks", "overlay"]
    options: OptionsBody = OptionsBody()


class Revision(BaseModel):
    """The revision of a session after a change."""

    revision: int


class JobStarted(BaseModel):
    """The job that a request began."""

    job: str


class Accepted(BaseModel):
    """The state of a session after a request."""

    state: RunState


class Health(BaseModel):
    """Whether the server works."""

    status: Literal["ok", "loading", "failed"]


class Info(BaseModel):
    """What the server can do."""

    version: str
    presets: list[str]
    modes: list[str]
    outputs: list[str]
    limits: dict[str, float]


class JobAnswer(BaseModel):
    """A job."""

    id: str
    kind: Literal["segment", "export"]
    state: JobState
    clip: str | None = Field(description="Id of its clip; null for the export of a session.")
    session: str | None = Field(description="Id of its session; null for a segmentation.")
    outputs: list[str]
    progress: Progress | None
    error: Problem | None
    created: float = Field(description="Seconds since 1970; so are the next two.")
    started: float | None
    finished: float | None
    attempts: int = Field(description="How often it was begun: once, and after every restart.")


class RunLengths(BaseModel):
    """The mask of an object as COCO encodes it."""

    size: tuple[int, int] = Field(description="Height and width.")
    counts: str


class RunLengthObject(BaseModel):
    """An object on a frame."""

    id: int
    segmentation: RunLengths


class RunLengthFrame(BaseModel):
    """The masks of a frame."""

    index: int
    name: str
    objects: list[RunLengthObject]


class RunLengthAnswer(BaseModel):
    """The masks of all frames."""

    frames: list[RunLengthFrame]
