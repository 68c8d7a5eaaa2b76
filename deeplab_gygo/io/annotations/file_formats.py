"""Writing of CVAT XML, label files of YOLO and archives of NumPy."""

from __future__ import annotations

import re
import zipfile
from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path
from xml.sax.saxutils import escape, quoteattr

import numpy as np

from deeplab_gygo.errors import UsageError
from deeplab_gygo.io.annotations.run_lengths import object_runs
from deeplab_gygo.io.annotations.writer_base import (
    CATEGORY,
    ClipNames,
    object_boxes,
    open_text,
    picture_name,
)
from deeplab_gygo.io.escaping import printable
from deeplab_gygo.io.polygons import joined, outlines

_NOT_OF_XML = re.compile("[\0-\x08\x0b\x0c\x0e-\x1f\ud800-\udfff\ufffe\uffff]")
_EARLIEST = (1980, 1, 1, 0, 0, 0)  # of a zip archive; the same masks give the same file


class Cvat:
    """One file of annotated images; `group_id` has the id of the object."""

    holds_clips = False
    _NAME = "annotations.xml"

    def __init__(self, folder: Path, clips: Sequence[ClipNames], stack: ExitStack) -> None:
        (clip,) = clips
        for text in (clip.clip, *clip.frame_names):
            if _NOT_OF_XML.search(text):
                raise UsageError(
                    "Names in XML have no control characters",
                    met=printable(text[:80]),
                    remedy="Choose the format coco",
                )
        self._numbers = {name: number for number, name in enumerate(clip.frame_names)}
        self._file = open_text(folder, self._NAME, stack)
        self._file.write(
            '<?xml version="1.0" encoding="utf-8"?>\n<annotations>\n  <version>1.1</version>\n'
            f"  <meta>\n    <task>\n      <name>{escape(clip.clip)}</name>\n"
            f"      <size>{len(clip.frame_names)}</size>\n      <mode>annotation</mode>\n"
            f"      <labels>\n        <label>\n          <name>{CATEGORY}</name>\n"
            "          <attributes></attributes>\n        </label>\n      </labels>\n"
            "    </task>\n  </meta>\n"
        )

    @staticmethod
    def files(clips: Sequence[ClipNames]) -> list[str]:
        return [Cvat._NAME]

    def write(self, clip: ClipNames, name: str, mask: np.ndarray) -> None:
        picture = quoteattr(picture_name([clip], clip, name))
        self._file.write(
            f'  <image id="{self._numbers[name]}" name={picture} width="{mask.shape[1]}" '
            f'height="{mask.shape[0]}">\n'
        )
        for object_id, rows, columns in object_boxes(mask):
            area = (mask[rows, columns] == object_id).astype(np.uint8)
            ((_, counts),) = object_runs(area, by_column=False)
            self._file.write(
                f'    <mask label="{CATEGORY}" source="file" occluded="0" '
                f'rle="{", ".join(map(str, counts.tolist()))}" left="{columns.start}" '
                f'top="{rows.start}" width="{area.shape[1]}" height="{area.shape[0]}" '
                f'z_order="0" group_id="{object_id}">\n    </mask>\n'
            )
        self._file.write("  </image>\n")

    def finish(self) -> None:
        self._file.write("</annotations>\n")


class Yolo:
    """A label file per frame and a description of the classes; the class is the id less one.

    The parts and holes of an object are one outline, with sides that are there and back.
    """

    holds_clips = False

    def __init__(self, folder: Path, clips: Sequence[ClipNames], stack: ExitStack) -> None:
        self._folder = folder / "labels"
        self._folder.mkdir(parents=True, exist_ok=True)
        names = "".join(
            f"  {number}: {CATEGORY} {number + 1}\n"
            for number in range(max(clips[0].object_ids, default=1))
        )
        with ExitStack() as own:
            file = open_text(folder, "data.yaml", own)
            file.write(f"path: .\ntrain: images\nval: images\nnames:\n{names}")

    @staticmethod
    def files(clips: Sequence[ClipNames]) -> list[str]:
        return ["data.yaml", *(f"labels/{name}.txt" for name in clips[0].frame_names)]

    def write(self, clip: ClipNames, name: str, mask: np.ndarray) -> None:
        lines = []
        for object_id, rows, columns in object_boxes(mask):
            outline = joined(outlines(mask[rows, columns] == object_id))
            points = (outline + (columns.start, rows.start)) / (mask.shape[1], mask.shape[0])
            # A thousandth of a pixel of the largest image, and pixels are decided by their centers.
            lines.append(" ".join([str(object_id - 1), *(f"{v:.8g}" for v in points.ravel())]))
        text = "".join(f"{line}\n" for line in lines)
        (self._folder / f"{name}.txt").write_text(text, encoding="ascii")

    def finish(self) -> None:
        pass


class Npz:
    """One archive with an array per frame, int16 [H, W], of the name of the frame.

    Values of 8 bits may be brightness; those of int16 are ids.
    """

    holds_clips = False
    _NAME = "masks.npz"

    def __init__(self, folder: Path, clips: Sequence[ClipNames], stack: ExitStack) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self._archive = stack.enter_context(zipfile.ZipFile(folder / self._NAME, "w"))

    @staticmethod
    def files(clips: Sequence[ClipNames]) -> list[str]:
        return [Npz._NAME]

    def write(self, clip: ClipNames, name: str, mask: np.ndarray) -> None:
        entry = zipfile.ZipInfo(f"{name}.npy", _EARLIEST)
        entry.compress_type = zipfile.ZIP_DEFLATED
        with self._archive.open(entry, "w") as file:
            np.lib.format.write_array(file, mask.astype(np.int16), allow_pickle=False)

    def finish(self) -> None:
        pass
