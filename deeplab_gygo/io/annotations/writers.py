"""Writing of masks in the formats of annotation tools and benchmarks, a frame at a time.

What is written has ids, so that every mask read back by `read_annotation` is the mask written.
Nothing grows with the length of a clip but the names of its frames.
"""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import AbstractContextManager, ExitStack
from pathlib import Path
from typing import Any

import numpy as np

from deeplab_gygo.errors import UsageError
from deeplab_gygo.io.annotations.file_formats import Cvat, Npz, Yolo
from deeplab_gygo.io.annotations.json_formats import Coco, Labelme, LabelStudio
from deeplab_gygo.io.annotations.mask_trees import Davis, DavisResults, YouTubeVos
from deeplab_gygo.io.annotations.writer_base import ClipNames, Format

_FORMATS: dict[str, type[Format]] = {
    "coco": Coco,
    "cvat": Cvat,
    "yolo": Yolo,
    "labelme": Labelme,
    "label-studio": LabelStudio,
    "davis": Davis,
    "youtube-vos": YouTubeVos,
    "npz": Npz,
    "davis-results": DavisResults,
}

ANNOTATION_KINDS = tuple(_FORMATS)
"""The formats. `davis-results` is the tree that evaluation tools read: `<clip>/<frame>.png`."""

DATASET_KINDS = tuple(kind for kind, made in _FORMATS.items() if made.holds_clips)
"""Those of them that hold several clips."""


class DatasetWriter(AbstractContextManager):
    """Writes the masks of several clips as one dataset.

    Args:
        kind: One of `DATASET_KINDS`, or of `ANNOTATION_KINDS` for one clip.
        folder: A folder for these files alone; made where it is absent.
        clips: The clips, in the order in which they are written.

    Raises:
        UsageError: There is no such format, or it has one clip.
    """

    def __init__(self, kind: str, folder: str | Path, clips: Sequence[ClipNames]):
        _check_kind(kind, clips)
        self.files = dataset_files(kind, clips)
        """Paths of the files, relative to the folder, complete when the context is left."""
        self._folder, self._stack = Path(folder), ExitStack()
        self._clips = {clip.clip: clip for clip in clips}
        self._format = _FORMATS[kind](self._folder, list(clips), self._stack)

    def __enter__(self) -> DatasetWriter:
        return self

    def write(self, clip: str, name: str, mask: np.ndarray) -> None:
        """Writes a mask; every frame is written once, in order.

        Args:
            clip: Name of the clip.
            name: Name of the frame.
            mask: uint8 [H, W] of object ids; pixels of other ids are background.
        """
        known = self._clips[clip]
        if mask.shape != tuple(known.size) or mask.dtype != np.uint8:
            raise UsageError(
                f"A mask is uint8 {list(known.size)}",
                met=f"{mask.dtype} {list(mask.shape)}",
                where=f"{clip}, {name}",
            )
        kept = np.zeros(256, np.uint8)
        kept[list(known.object_ids)] = list(known.object_ids)
        self._format.write(known, name, kept[mask])

    def __exit__(self, kind: type[BaseException] | None, *problem: Any) -> None:
        try:
            if kind is None:
                self._format.finish()
        finally:
            self._stack.close()


class AnnotationWriter(AbstractContextManager):
    """Writes the masks of a clip in a format of annotation tools.

    Args:
        kind: One of `ANNOTATION_KINDS`.
        folder: A folder for these files alone; made where it is absent. Two formats never share
            one.
        clip: Name of the clip.
        size: Height and width of the frames in pixels.
        frame_names: Names of the frames without suffix, in order.
        object_ids: Ids of the objects, 1..254.

    Attributes:
        files: Paths of the files, relative to the folder, complete when the context is left.

    Raises:
        UsageError: There is no such format.

    Example:
        >>> import tempfile
        >>> from deeplab_gygo.io.annotations import read_annotation
        >>> folder, mask = Path(tempfile.mkdtemp()), np.array([[0, 2]], np.uint8)
        >>> clip = {"clip": "shoe", "size": (1, 2), "frame_names": ["00000"], "object_ids": [2]}
        >>> with AnnotationWriter("coco", folder, **clip) as writer:
        ...     writer.write("00000", mask)
        >>> writer.files
        ['annotations.json']
        >>> read_annotation(folder / "annotations.json", frame="00000")[0].tolist()
        [[0, 2]]
    """

    def __init__(
        self,
        kind: str,
        folder: str | Path,
        *,
        clip: str,
        size: tuple[int, int],
        frame_names: Sequence[str],
        object_ids: Sequence[int],
    ):
        self._clip = clip
        self._writer = DatasetWriter(
            kind, folder, [ClipNames(clip, size, list(frame_names), list(object_ids))]
        )
        self.files = self._writer.files

    def __enter__(self) -> AnnotationWriter:
        return self

    def write(self, name: str, mask: np.ndarray) -> None:
        """Writes a mask; every frame is written once, in order.

        Args:
            name: Name of the frame.
            mask: uint8 [H, W] of object ids; pixels of other ids are background.
        """
        self._writer.write(self._clip, name, mask)

    def __exit__(self, *problem: Any) -> None:
        self._writer.__exit__(*problem)


def annotation_files(
    kind: str, clip: str, frame_names: Sequence[str], object_ids: Sequence[int]
) -> list[str]:
    """Returns the files that `AnnotationWriter` writes, by paths relative to its folder, sorted.

    Example:
        >>> annotation_files("youtube-vos", "shoe", ["00000", "00005"], [1])
        ['Annotations/shoe/00000.png', 'Annotations/shoe/00005.png', 'meta.json']
    """
    return dataset_files(kind, [ClipNames(clip, (0, 0), frame_names, object_ids)])


def dataset_files(kind: str, clips: Sequence[ClipNames]) -> list[str]:
    """Returns the files that `DatasetWriter` writes, by paths relative to its folder, sorted."""
    _check_kind(kind, clips)
    return sorted(_FORMATS[kind].files(clips))


def _check_kind(kind: str, clips: Sequence[ClipNames]) -> None:
    if kind not in ANNOTATION_KINDS:
        raise UsageError(f"An annotation format is one of {', '.join(ANNOTATION_KINDS)}", met=kind)
    if len(clips) > 1 and kind not in DATASET_KINDS:
        known = ", ".join(DATASET_KINDS)
        raise UsageError(f"A format of several clips is one of {known}", met=kind)
