"""The clips of the data folder."""

from __future__ import annotations

import json
import os
import re
import secrets
import shutil
import threading
import time
from contextlib import suppress
from dataclasses import asdict
from pathlib import Path
from typing import Any

from deeplab_gygo.errors import DeepLabGygoError
from deeplab_gygo.io.atomic import replacing
from deeplab_gygo.io.reading import read_json
from deeplab_gygo.io.sequence import Sequence
from deeplab_gygo.io.video import VideoSequence, open_input
from deeplab_gygo.server.frames import ClipFrames, PictureCache
from deeplab_gygo.server.states import ClipInfo, NotFound

_NAME = "clip.json"
_ID = re.compile(r"[A-Za-z0-9_-]{8,64}")

USE_SECONDS = 60.0
"""Accuracy of the time at which a clip was last used, which is written to the disk."""


def new_id() -> str:
    """Returns a random name that is safe in URLs and paths."""
    return secrets.token_hex(8)


def is_id(text: str) -> bool:
    """Checks whether a text can be an id."""
    return _ID.fullmatch(text) is not None


class ClipStore:
    """The clips of the data folder, with random access to their frames.

    Args:
        folder: Folder of the clips, each in a folder named by its id.
    """

    def __init__(self, folder: Path):
        self._folder = folder
        folder.mkdir(parents=True, exist_ok=True)
        self._cache, self._lock = PictureCache(), threading.Lock()
        self._frames: dict[str, ClipFrames] = {}
        self._entries: dict[str, dict[str, Any]] = {}
        for path in folder.glob(f"*/{_NAME}"):
            with suppress(DeepLabGygoError, TypeError, KeyError):
                entry = read_json(path)
                ClipInfo(**entry["info"])
                self._entries[path.parent.name] = entry

    def folder(self, clip_id: str) -> Path:
        """Returns the folder of a clip."""
        return self._folder / clip_id

    def add(self, path: Path, name: str, clip_id: str | None) -> ClipInfo:
        """Opens a clip and keeps what is known of it, see `Engine.open_clip`."""
        clip_id = clip_id or new_id()
        sequence = open_input(path.absolute(), name=_plain(name))
        if isinstance(sequence, VideoSequence) and sequence.warnings:
            for _ in sequence:  # frames that cannot be decoded have no index
                pass
        height, width = sequence.size
        rate = getattr(sequence, "frame_rate", None)
        info = ClipInfo(
            clip_id, name, len(sequence), width, height,
            None if rate is None else float(rate), float(sequence.pixel_aspect),
        )  # fmt: skip
        place = self._folder / clip_id
        source = path.absolute()
        inside = source.is_relative_to(place.absolute())
        entry = {
            "info": asdict(info),
            "source": str(source.relative_to(place.absolute()) if inside else source),
            "sequence": sequence.name,
            "created": time.time(),
        }
        with replacing(place / _NAME) as side:
            side.write_text(json.dumps(entry), encoding="utf-8")
        with self._lock:
            self._entries[clip_id] = entry
            self._frames[clip_id] = ClipFrames(sequence, place / "pictures", self._cache)
        return info

    def used(self, clip_id: str) -> float:
        """Returns when frames of a clip were last asked for, seconds since 1970, to a minute."""
        try:
            return (self._folder / clip_id / _NAME).stat().st_mtime
        except OSError:
            return time.time()

    def all(self) -> list[ClipInfo]:
        """Returns all clips, newest first."""
        with self._lock:
            entries = sorted(self._entries.values(), key=lambda entry: -entry["created"])
        return [ClipInfo(**entry["info"]) for entry in entries]

    def info(self, clip_id: str) -> ClipInfo:
        """Returns a clip; raises `NotFound`."""
        return ClipInfo(**self._entry(clip_id)["info"])

    def source(self, clip_id: str) -> tuple[Path, str]:
        """Returns the video or folder of a clip and the name of its sequence."""
        entry = self._entry(clip_id)
        # A path that is absolute stays as it is.
        return (self._folder / clip_id).absolute() / entry["source"], entry["sequence"]

    def frames(self, clip_id: str) -> ClipFrames:
        """Returns the frames of a clip; raises `NotFound`, or `InputError` if it is gone."""
        path, name = self.source(clip_id)
        if time.time() - self.used(clip_id) > USE_SECONDS:
            with suppress(OSError):
                os.utime(self._folder / clip_id / _NAME)
        with self._lock:
            frames = self._frames.get(clip_id)
        if frames is None:
            folder = self._folder / clip_id / "pictures"
            frames = ClipFrames(open_sequence(path, name), folder, self._cache)
            with self._lock:
                frames = self._frames.setdefault(clip_id, frames)
        return frames

    def check_index(self, clip_id: str, index: int) -> None:
        """Raises `NotFound` where a clip has no such frame."""
        count = self.info(clip_id).frames
        if not 0 <= index < count:
            raise NotFound(f"A frame is one of 0 to {count - 1}", met=index)

    def remove(self, clip_id: str) -> None:
        """Removes a clip; a file outside the data folder stays."""
        self._entry(clip_id)
        with self._lock:
            del self._entries[clip_id]
            frames = self._frames.pop(clip_id, None)
        (self._folder / clip_id / _NAME).unlink(missing_ok=True)
        if frames is not None:
            frames.close()
        shutil.rmtree(self._folder / clip_id, ignore_errors=True)

    def close(self) -> None:
        """Closes all files."""
        with self._lock:
            opened = list(self._frames.values())
            self._frames.clear()
        for frames in opened:
            frames.close()

    def _entry(self, clip_id: str) -> dict[str, Any]:
        with self._lock:
            if clip_id not in self._entries:
                raise NotFound("A clip is one of the server", met="no such clip")
            return self._entries[clip_id]


def open_sequence(path: Path, name: str) -> Sequence:
    """Opens the frames of a clip with the indices that `ClipStore.add` counted."""
    sequence = open_input(path, name=name)
    if isinstance(sequence, VideoSequence) and sequence.warnings:
        for _ in sequence:
            pass
    return sequence


def _plain(name: str) -> str:
    """Returns a name that is a plain file name, for results."""
    stem = Path(name.replace("\\", "/")).stem
    return re.sub(r"[^\w.-]+", "-", stem).strip("-.")[:80] or "clip"
