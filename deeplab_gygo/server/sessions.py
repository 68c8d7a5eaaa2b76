"""The sessions of the data folder: annotations, results, and what a person named them."""

from __future__ import annotations

import json
import shutil
import threading
import time
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import asdict, replace
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from deeplab_gygo.errors import DeepLabGygoError, InputError, UsageError
from deeplab_gygo.inference.confidence import DOUBTFUL
from deeplab_gygo.inference.session_folder import SessionFolder
from deeplab_gygo.io.atomic import replacing
from deeplab_gygo.io.masks import check_first_mask, object_ids
from deeplab_gygo.io.palette import VOID, davis_palette
from deeplab_gygo.io.reading import read_json
from deeplab_gygo.server.states import (
    ClipInfo,
    MaskOrigin,
    NotFound,
    ObjectInfo,
    Problem,
    Progress,
    RunState,
    SessionState,
)

_NAME = "session.json"

COLORS = ("#e8554d", "#3d8bfd", "#2fb344", "#f2a516", "#a259d9", "#17b8c4", "#e05299", "#8a8f98")
"""Colors of objects, in turn."""

_RESTART = 1_000_000
"""Added to the revision when a folder is opened again: not every change is written at once."""


class StoredSession:
    """A session in a folder; safe to use from several threads.

    Args:
        folder: Its folder.
        clip: Its clip.
        values: What `session.json` holds.
    """

    def __init__(self, folder: Path, clip: ClipInfo, values: dict[str, Any]):
        self.folder, self.clip, self.created = folder, clip, float(values["created"])
        self.files = SessionFolder(folder)
        self._lock = threading.RLock()
        self.wanted = bool(values.get("wanted"))
        objects = [ObjectInfo(**each) for each in values.get("objects", [])]
        self._state = SessionState(
            folder.name, clip.id, values["preset"], values["mode"], objects,
            self.files.annotated(), [None] * clip.frames, [], int(values["revision"]),
        )  # fmt: skip
        for path in self.files.results.folder.glob("[0-9]*.npz"):
            with suppress(Exception), np.load(path) as stored:
                self._state.confidence[int(path.stem)] = float(stored["numbers"][0])

    @property
    def state(self) -> SessionState:
        """The state of the session now."""
        with self._lock:
            state = self._state
            review = [
                index
                for index, value in enumerate(state.confidence)
                if value is not None and value < DOUBTFUL and index not in state.annotated
            ]
            return replace(
                state,
                objects=list(state.objects),
                annotated=list(state.annotated),
                confidence=list(state.confidence),
                doubtful=review,
            )

    @property
    def used(self) -> float:
        """When it was last changed or propagated, seconds since 1970."""
        try:
            return (self.folder / _NAME).stat().st_mtime
        except OSError:
            return time.time()

    def annotate(self, index: int, png: bytes | None) -> int:
        """Sets or removes the annotation of a frame, see `Engine.annotate`."""
        with self._lock:
            if png is None:
                if index not in self._state.annotated:
                    raise NotFound("An annotation is of an annotated frame", met=index)
                self.files.annotate(index, None)
            else:
                mask = decoded_mask(png, (self.clip.height, self.clip.width))
                self.files.annotate(index, mask)
                self._name_objects(object_ids(mask))
            self._update(annotated=self.files.annotated())
            return self._saved()

    def set_objects(self, objects: Sequence[ObjectInfo]) -> int:
        """Sets the names and colors of objects; returns the revision."""
        with self._lock:
            self._update(objects=sorted(objects, key=lambda each: each.id))
            return self._saved()

    def mask(self, index: int) -> tuple[bytes, MaskOrigin, int]:
        """Returns the mask of a frame, see `Engine.mask`."""
        path = self.files.annotation_path(index)
        with suppress(FileNotFoundError):
            return path.read_bytes(), "annotation", path.stat().st_mtime_ns
        path = self.files.results.folder / f"{index:06d}.npz"
        try:
            stamp = path.stat().st_mtime_ns
            mask = self.files.results.prediction(index, "").mask
        except (FileNotFoundError, TypeError) as error:
            raise NotFound("A mask is of a frame that has one", met=f"frame {index}") from error
        return encoded_mask(mask), "result", stamp

    def object_mask(self, index: int, label: int) -> np.ndarray | None:
        """Returns where the mask of a frame shows an object, bool [H, W]; None where nowhere."""
        if index in self._state.annotated:
            mask = self.files.annotation(index)
        elif self.files.results.holds(index):
            mask = self.files.results.prediction(index, "").mask
        else:
            return None
        return mask == label if (mask == label).any() else None

    def found(self, index: int, confidence: float) -> None:
        """Notes a new result of a frame."""
        with self._lock:
            self._state.confidence[index] = confidence
            self._update()

    def running(self, progress: Progress | None) -> None:
        """Notes the progress of a propagation."""
        with self._lock:
            started = self._state.state != "running"
            self._state = replace(self._state, state="running", progress=progress, error=None)
            if started:
                self.wanted = True
                self._saved()

    def ended(self, error: Problem | None = None) -> None:
        """Notes the end of a propagation."""
        with self._lock:
            state: RunState = "idle" if error is None else "failed"
            self.wanted = False
            self._update(state=state, progress=None, error=error)
            self._saved()

    def save(self) -> None:
        """Writes `session.json`."""
        with self._lock:
            self._saved()

    def _name_objects(self, ids: list[int]) -> None:
        known = {each.id for each in self._state.objects}
        new = [
            ObjectInfo(label, f"Object {label}", COLORS[(label - 1) % len(COLORS)])
            for label in ids
            if label not in known
        ]
        if new:
            objects = sorted([*self._state.objects, *new], key=lambda each: each.id)
            self._update(objects=objects)

    def _update(self, **values: Any) -> None:
        self._state = replace(self._state, revision=self._state.revision + 1, **values)

    def _saved(self) -> int:
        state = self._state
        values = {
            "clip": state.clip,
            "preset": state.preset,
            "mode": state.mode,
            "objects": [asdict(each) for each in state.objects],
            "revision": state.revision,
            "created": self.created,
            "wanted": self.wanted,
        }
        with replacing(self.folder / _NAME) as side:
            side.write_text(json.dumps(values), encoding="utf-8")
        return state.revision


class SessionStore:
    """The sessions of the data folder.

    Args:
        folder: Folder of the sessions, each in a folder named by its id.
        clips: Clips by id; sessions of others are left out.
    """

    def __init__(self, folder: Path, clips: dict[str, ClipInfo]):
        self._folder, self._lock = folder, threading.Lock()
        folder.mkdir(parents=True, exist_ok=True)
        self._sessions: dict[str, StoredSession] = {}
        for path in folder.glob(f"*/{_NAME}"):
            with suppress(DeepLabGygoError, KeyError, TypeError, ValueError):
                values = read_json(path)
                if values["clip"] in clips:
                    values["revision"] = int(values["revision"]) + _RESTART
                    session = StoredSession(path.parent, clips[values["clip"]], values)
                    self._sessions[path.parent.name] = session

    def make(self, session_id: str, clip: ClipInfo, preset: str, mode: str) -> StoredSession:
        """Makes a session."""
        values = {"preset": preset, "mode": mode, "revision": 0, "created": time.time()}
        session = StoredSession(self._folder / session_id, clip, values)
        session.save()
        with self._lock:
            self._sessions[session_id] = session
        return session

    def all(self) -> list[StoredSession]:
        """Returns all sessions, newest first."""
        with self._lock:
            return sorted(self._sessions.values(), key=lambda each: -each.created)

    def get(self, session_id: str) -> StoredSession:
        """Returns a session; raises `NotFound`."""
        with self._lock:
            if session_id not in self._sessions:
                raise NotFound("A session is one of the server", met="no such session")
            return self._sessions[session_id]

    def remove(self, session_id: str) -> None:
        """Removes a session and its files."""
        session = self.get(session_id)
        with self._lock:
            self._sessions.pop(session_id, None)
        (session.folder / _NAME).unlink(missing_ok=True)
        shutil.rmtree(session.folder, ignore_errors=True)


def decoded_mask(png: bytes, size: tuple[int, int]) -> np.ndarray:
    """Decodes a mask that a client sent, within limits.

    Args:
        png: 8-bit gray or palette PNG of object ids.
        size: Height and width of the frames.

    Returns:
        uint8 [H, W].

    Raises:
        InputError: It is another kind of file, of another size, damaged, or full.
    """
    rule, remedy = "A mask is an 8-bit gray or palette PNG of object ids", "Send such a picture"
    try:
        with Image.open(BytesIO(png), formats=["PNG"]) as picture:
            if picture.mode not in ("L", "P", "1"):
                raise InputError(rule, met=f"a PNG of the mode {picture.mode}", remedy=remedy)
            if picture.size != size[::-1]:
                raise InputError(
                    "A mask has the size of the frames",
                    met=f"{picture.width}x{picture.height}, not {size[1]}x{size[0]}",
                    remedy="Send a mask in pixels of the clip's frames",
                )
            mask = np.array(picture, np.uint8)
    except (OSError, SyntaxError, ValueError, Image.DecompressionBombError) as error:
        raise InputError(rule, met="another file, or a damaged one", remedy=remedy) from error
    mask[mask == VOID] = 0
    if mask.any():
        check_first_mask(mask, size, "the mask")
    return mask


def encoded_mask(mask: np.ndarray) -> bytes:
    """Encodes a mask, uint8 [H, W] of object ids, as palette PNG."""
    picture = Image.fromarray(np.ascontiguousarray(mask, np.uint8))
    picture.putpalette(davis_palette().tobytes())
    buffer = BytesIO()
    picture.save(buffer, "PNG", compress_level=1)
    return buffer.getvalue()


def check_objects(objects: Sequence[ObjectInfo]) -> None:
    """Raises `UsageError` unless objects have ids of 1..254, each once, and colors."""
    ids = [each.id for each in objects]
    if len(set(ids)) != len(ids) or not all(1 <= label < VOID for label in ids):
        raise UsageError(f"The id of an object is in 1..{VOID - 1}, each once", met=str(ids[:20]))
    for each in objects:
        digits = each.color[1:]
        if len(each.color) != 7 or each.color[0] != "#" or not _is_hex(digits):
            raise UsageError("A color is #rrggbb", met=each.color[:20])
        if len(each.name) > 200:
            raise UsageError("A name has at most 200 characters", met=len(each.name))


def _is_hex(digits: str) -> bool:
    return all(digit in "0123456789abcdefABCDEF" for digit in digits)
