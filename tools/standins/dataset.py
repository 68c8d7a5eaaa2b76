"""Writes clips with masks in the layout of DAVIS-2016."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from deeplab_gygo.datasets.layout import ANNOTATION_FOLDER, IMAGE_FOLDER, LIST_FOLDER

RESOLUTION = "480p"
FRAME_RATE = 5.0  # Frames per second, as in GyGO.
SIZES = ((480, 854), (480, 640), (854, 480), (480, 854), (640, 480))  # (H, W) by clip number.
_QUALITY = 92  # JPEG.


@dataclass(frozen=True)
class Clip:
    """A clip to write.

    Attributes:
        name: Name of the sequence.
        frames: Pairs of an image, uint8 [H, W, 3] RGB, and a mask, uint8 [H, W], 0 or 1.
        notes: What makes the clip hard.
    """

    name: str
    frames: Iterator[tuple[np.ndarray, np.ndarray]]
    notes: dict[str, Any]


def write_dataset(root: Path, split: str, clips: Iterable[Clip]) -> None:
    """Writes clips and the list of a split that names them.

    Args:
        root: Folder; made when absent. Files of the same names are replaced.
        split: Name of the list in `ImageSets/480p`; what makes each clip hard is beside the folders
            in `<split>.json`.
        clips: The clips.
    """
    notes = {}
    for clip in clips:
        images = root / IMAGE_FOLDER / RESOLUTION / clip.name
        masks = root / ANNOTATION_FOLDER / RESOLUTION / clip.name
        images.mkdir(parents=True, exist_ok=True)
        masks.mkdir(parents=True, exist_ok=True)
        shares = []
        for index, (image, mask) in enumerate(clip.frames):
            quality = [cv2.IMWRITE_JPEG_QUALITY, _QUALITY]
            _write(images / f"{index:05d}.jpg", np.ascontiguousarray(image[..., ::-1]), quality)
            _write(masks / f"{index:05d}.png", mask * np.uint8(255), [])
            shares.append(round(float(mask.mean()), 4))
        notes[clip.name] = {**clip.notes, "visible_area": shares}
        print(clip.name, json.dumps(notes[clip.name]), flush=True)
    lists = root / LIST_FOLDER / RESOLUTION
    lists.mkdir(parents=True, exist_ok=True)
    (lists / f"{split}.txt").write_text("".join(f"{name}\n" for name in notes), encoding="utf-8")
    (root / f"{split}.json").write_text(json.dumps(notes, indent=1) + "\n", encoding="utf-8")


def _write(path: Path, image: np.ndarray, parameters: list[int]) -> None:
    """Encodes an image, uint8 [H, W] or [H, W, 3] BGR, by the suffix of its path."""
    _, encoded = cv2.imencode(path.suffix, image, parameters)
    path.write_bytes(encoded.tobytes())
