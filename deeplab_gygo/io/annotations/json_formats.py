"""Writing of COCO, labelme and Label Studio."""

from __future__ import annotations

import base64
import json
from collections.abc import Sequence
from contextlib import ExitStack
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

import deeplab_gygo
from deeplab_gygo.io.annotations.run_lengths import encode_brush, encode_string, object_runs
from deeplab_gygo.io.annotations.writer_base import (
    CATEGORY,
    ClipNames,
    object_boxes,
    open_text,
    picture_name,
)

_LABELME_VERSION = "5.5.0"  # masks as shapes came with 5.2


class Coco:
    """One file: images, and annotations with run-length encodings.

    `track_id` has the id of the object, which is the same in all frames.
    """

    holds_clips = True
    _NAME = "annotations.json"

    def __init__(self, folder: Path, clips: Sequence[ClipNames], stack: ExitStack) -> None:
        self._file = open_text(folder, self._NAME, stack)
        self._images: dict[tuple[str, str], int] = {}
        self._written = 0
        described = f"deeplab_gygo {deeplab_gygo.__version__}"
        categories = [{"id": 1, "name": CATEGORY, "supercategory": ""}]
        self._file.write(f'{{"info": {_json({"description": described})},\n"licenses": [],\n')
        self._file.write(f'"categories": {_json(categories)},\n"images": [')
        for clip in clips:
            for name in clip.frame_names:
                number = self._images[clip.clip, name] = len(self._images) + 1
                values = {
                    "id": number,
                    "file_name": picture_name(clips, clip, name),
                    "height": clip.size[0],
                    "width": clip.size[1],
                }
                self._file.write(("," if number > 1 else "") + "\n" + _json(values))
        self._file.write('\n],\n"annotations": [')

    @staticmethod
    def files(clips: Sequence[ClipNames]) -> list[str]:
        return [Coco._NAME]

    def write(self, clip: ClipNames, name: str, mask: np.ndarray) -> None:
        boxes = {object_id: (rows, columns) for object_id, rows, columns in object_boxes(mask)}
        for object_id, counts in object_runs(mask, by_column=True):
            rows, columns = boxes[object_id]
            self._written += 1
            box = [columns.start, rows.start, columns.stop - columns.start, rows.stop - rows.start]
            values = {
                "id": self._written,
                "image_id": self._images[clip.clip, name],
                "category_id": 1,
                "track_id": object_id,
                "segmentation": {
                    "size": list(mask.shape),
                    "counts": encode_string(counts.tolist()),
                },
                "area": int(counts[1::2].sum()),
                "bbox": box,
                "iscrowd": 0,
            }
            self._file.write(("," if self._written > 1 else "") + "\n" + _json(values))

    def finish(self) -> None:
        self._file.write("\n]}\n")


class Labelme:
    """A file per frame; shapes of the kind "mask", labeled by the id of the object."""

    holds_clips = False

    def __init__(self, folder: Path, clips: Sequence[ClipNames], stack: ExitStack) -> None:
        self._folder = folder
        folder.mkdir(parents=True, exist_ok=True)

    @staticmethod
    def files(clips: Sequence[ClipNames]) -> list[str]:
        return [f"{name}.json" for name in clips[0].frame_names]

    def write(self, clip: ClipNames, name: str, mask: np.ndarray) -> None:
        shapes: list[dict[str, Any]] = []
        for object_id, rows, columns in object_boxes(mask):
            stamp = np.where(mask[rows, columns] == object_id, 255, 0).astype(np.uint8)
            file = BytesIO()
            Image.fromarray(stamp).save(file, "PNG")
            shapes.append(
                {
                    "label": str(object_id),
                    "points": [[columns.start, rows.start], [columns.stop - 1, rows.stop - 1]],
                    "group_id": None,
                    "description": "",
                    "shape_type": "mask",
                    "flags": {},
                    "mask": base64.b64encode(file.getvalue()).decode("ascii"),
                }
            )
        values = {
            "version": _LABELME_VERSION,
            "flags": {},
            "shapes": shapes,
            "imagePath": picture_name([clip], clip, name),
            "imageData": None,
            "imageHeight": mask.shape[0],
            "imageWidth": mask.shape[1],
        }
        text = json.dumps(values, indent=1) + "\n"
        (self._folder / f"{name}.json").write_text(text, encoding="utf-8")

    def finish(self) -> None:
        pass


class LabelStudio:
    """A file of tasks with brushes, labeled by the id of the object, and the labeling interface."""

    holds_clips = False
    _TASKS, _INTERFACE = "tasks.json", "interface.xml"

    def __init__(self, folder: Path, clips: Sequence[ClipNames], stack: ExitStack) -> None:
        labels = "".join(f'    <Label value="{label}"/>\n' for label in clips[0].object_ids)
        interface = open_text(folder, self._INTERFACE, stack)
        interface.write(
            '<View>\n  <Image name="image" value="$image"/>\n'
            f'  <BrushLabels name="label" toName="image">\n{labels}  </BrushLabels>\n</View>\n'
        )
        self._file = open_text(folder, self._TASKS, stack)
        self._written = 0

    @staticmethod
    def files(clips: Sequence[ClipNames]) -> list[str]:
        return [LabelStudio._TASKS, LabelStudio._INTERFACE]

    def write(self, clip: ClipNames, name: str, mask: np.ndarray) -> None:
        regions = [
            {
                "id": f"{name}-{object_id}",
                "type": "brushlabels",
                "from_name": "label",
                "to_name": "image",
                "original_width": mask.shape[1],
                "original_height": mask.shape[0],
                "image_rotation": 0,
                "value": {
                    "format": "rle",
                    "rle": encode_brush(counts),
                    "brushlabels": [str(object_id)],
                },
            }
            for object_id, counts in object_runs(mask, by_column=False)
        ]
        image = picture_name([clip], clip, name)
        values = {"data": {"image": image}, "annotations": [{"result": regions}]}
        self._file.write(("," if self._written else "[") + "\n" + _json(values))
        self._written += 1

    def finish(self) -> None:
        self._file.write("\n]\n" if self._written else "[]\n")


def _json(values: Any) -> str:
    return json.dumps(values, separators=(",", ":"))
