"""Strips of a result: frames at five times with the contours of ground truth and prediction."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import cv2
import numpy as np

from deeplab_gygo.benchmark.results import CellResult
from deeplab_gygo.datasets.registry import Dataset
from deeplab_gygo.errors import InputError
from deeplab_gygo.evaluation.result_files import find_predictions
from deeplab_gygo.io.masks import read_mask
from deeplab_gygo.runs.contact_sheet import jpeg_url, mean_jaccard, outline_objects

PERCENTS = (0, 25, 50, 75, 100)  # of the sequence

# Cyan and red differ in lightness too, which helps with any color vision.
TRUTH_COLOR = (0, 235, 235)
PREDICTION_COLOR = (255, 45, 30)
_WIDTH = 360  # pixels; shown at about half, which is sharp on dense screens too


@dataclass(frozen=True)
class Tile:
    """One frame of a strip: a JPEG as a `data:` URL, its J, and whether its mask was given."""

    percent: int
    frame: str
    image: str
    J: float
    is_given: bool


@dataclass(frozen=True)
class Strip:
    """Title of a row, its mean J on a sequence, and one tile per relative time."""

    title: str
    J: float
    tiles: tuple[Tile, ...]


def chosen(order: Sequence[str], count: int) -> list[str]:
    """Chooses sequences evenly from the worst to the best.

    Args:
        order: Names, the worst first.
        count: Number of names; 0 takes all.
    """
    if not count or count >= len(order):
        return list(order)
    return [order[round(float(rank))] for rank in np.linspace(0, len(order) - 1, count)]


def make_strips(results: Sequence[CellResult], dataset: Dataset, name: str) -> list[Strip]:
    """Draws the strips of a sequence, one per measured row.

    Args:
        results: Cells of this dataset; unmeasured ones are left out.
        dataset: The data.
        name: Name of the sequence.

    Raises:
        InputError: A frame, an annotation or a mask cannot be read.
    """
    sequence = dataset.sequence(name)
    strips = []
    for result in results:
        for found in result.sequences:
            if found.name != name:
                continue
            last = len(found.frame_names) - 1
            names = [found.frame_names[round(last * percent / 100)] for percent in PERCENTS]
            folder, files = find_predictions(result.cell.folder / name, names)
            tiles = []
            for percent, frame in zip(PERCENTS, names, strict=True):
                if frame not in files:
                    raise InputError(
                        "A result has a mask of every frame", met=f"none of {frame}", where=folder
                    )
                index = sequence.frame_names.index(frame)
                truth = dataset.annotation(name, index)
                mask = read_mask(files[frame], mask_format="ids", size=truth.shape)
                image = _picture(sequence.frame(index).image, truth, mask)
                given = percent == 0 and result.row.mode != "zero-shot"
                tiles.append(Tile(percent, frame, image, mean_jaccard(mask, truth), given))
            strips.append(Strip(result.row.title, found.region.mean, tuple(tiles)))
    return strips


def _picture(image: np.ndarray, truth: np.ndarray, mask: np.ndarray) -> str:
    """Draws both contours, the narrow prediction over the wide ground truth, as a `data:` URL."""
    height, width = truth.shape
    size = (_WIDTH, max(1, round(height * _WIDTH / width)))
    picture = cv2.resize(np.ascontiguousarray(image), size, interpolation=cv2.INTER_AREA)
    outline_objects(picture, truth, TRUTH_COLOR, 2)
    outline_objects(picture, mask, PREDICTION_COLOR, 1)
    return jpeg_url(picture)
