"""Writing of palette PNG files in the trees of DAVIS and YouTube-VOS."""

from __future__ import annotations

import json
from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path

import numpy as np

from deeplab_gygo.io.annotations.writer_base import CATEGORY, ClipNames, open_text
from deeplab_gygo.io.palette import write_mask


class _Tree:
    """A folder per clip with a palette PNG file per frame."""

    holds_clips = True
    _PLACE = ""  # of the folders of the clips

    def __init__(self, folder: Path, clips: Sequence[ClipNames], stack: ExitStack) -> None:
        self._folder, self._clips, self._stack = folder, clips, stack

    @classmethod
    def files(cls, clips: Sequence[ClipNames]) -> list[str]:
        return [
            f"{cls._PLACE}{clip.clip}/{name}.png" for clip in clips for name in clip.frame_names
        ]

    def write(self, clip: ClipNames, name: str, mask: np.ndarray) -> None:
        write_mask(self._folder / f"{self._PLACE}{clip.clip}" / f"{name}.png", mask)

    def finish(self) -> None:
        pass


class DavisResults(_Tree):
    """The tree of results that the evaluation tools of DAVIS and others read."""


class Davis(_Tree):
    """The tree of annotations of DAVIS 2017, with the list of its clips."""

    _PLACE = "Annotations/480p/"  # the resolution that its tools take where nothing else is said
    _LIST = "ImageSets/2017/val.txt"

    @classmethod
    def files(cls, clips: Sequence[ClipNames]) -> list[str]:
        return [cls._LIST, *super().files(clips)]

    def finish(self) -> None:
        names = "".join(f"{clip.clip}\n" for clip in self._clips)
        open_text(self._folder, self._LIST, self._stack).write(names)


class YouTubeVos(_Tree):
    """The tree of annotations of YouTube-VOS, with the frames of every object."""

    _PLACE = "Annotations/"
    _META = "meta.json"

    def __init__(self, folder: Path, clips: Sequence[ClipNames], stack: ExitStack) -> None:
        super().__init__(folder, clips, stack)
        self._videos: dict[str, dict] = {
            clip.clip: {"objects": {str(i): _new_object() for i in clip.object_ids}}
            for clip in clips
        }

    @classmethod
    def files(cls, clips: Sequence[ClipNames]) -> list[str]:
        return [cls._META, *super().files(clips)]

    def write(self, clip: ClipNames, name: str, mask: np.ndarray) -> None:
        super().write(clip, name, mask)
        objects = self._videos[clip.clip]["objects"]
        for object_id in np.flatnonzero(np.bincount(mask.ravel())).tolist():
            if object_id:
                objects[str(object_id)]["frames"].append(name)

    def finish(self) -> None:
        text = json.dumps({"videos": self._videos}, indent=1)
        open_text(self._folder, self._META, self._stack).write(text + "\n")


def _new_object() -> dict:
    return {"category": CATEGORY, "frames": []}
