"""Pictures of results: frames at five times with the true and the predicted outline."""

from __future__ import annotations

import base64
from collections.abc import Sequence
from dataclasses import dataclass

import cv2
import numpy as np

from deeplab_gygo.benchmark.results import CellResult, SequenceResult
from deeplab_gygo.datasets.registry import Dataset
from deeplab_gygo.errors import InputError
from deeplab_gygo.evaluation.result_files import find_predictions
from deeplab_gygo.io.masks import read_mask
from deeplab_gygo.runs.contact_sheet import mean_jaccard, outline_objects

PERCENTS = (0, 25, 50, 75, 100)
"""Parts of the sequence that are shown."""

# Cyan and red differ in lightness too and are told apart by people with any colour vision.
TRUTH_COLOR = (0, 235, 235)
PREDICTION_COLOR = (255, 45, 30)

_WIDTH, _HEIGHT = 360, 400  # pixels at most; shown at about half, sharp on dense screens too
_FINER = 2  # outlines are drawn on a picture so much larger, then reduced: thin and smooth
_QUALITY = 84  # of JPEG
_LEAST_VIEW = 0.35  # of the frame's width and height: what is around an object tells a lot
_MARGIN = 0.08  # of the frame, around all outlines


@dataclass(frozen=True)
class Tile:
    """One frame of a strip.

    Attributes:
        percent: Part of the sequence that is over.
        frame: Name of the frame.
        image: The picture as a `data:` address.
        J: J of the frame, 0..1.
        is_given: Whether the mask was given and not predicted.
    """

    percent: int
    frame: str
    image: str
    J: float
    is_given: bool


@dataclass(frozen=True)
class Strip:
    """What one row made of a sequence.

    Attributes:
        title: Title of the row.
        J: Mean J of the sequence.
        tiles: One a part of the sequence.
    """

    title: str
    J: float
    tiles: tuple[Tile, ...]


@dataclass(frozen=True)
class SequenceStrips:
    """The strips of one sequence.

    Attributes:
        name: Name of the sequence.
        strips: One a row.
    """

    name: str
    strips: tuple[Strip, ...]


@dataclass(frozen=True)
class _Shot:
    """A frame with its annotation: image uint8 [H, W, 3] RGB, truth uint8 [H, W] of ids."""

    percent: int
    name: str
    image: np.ndarray
    truth: np.ndarray


def chosen(order: Sequence[str], count: int) -> list[str]:
    """Chooses sequences evenly from the worst to the best.

    Args:
        order: Names, the worst first.
        count: How many; 0 takes all.

    Returns:
        Names, the worst first.
    """
    if not count or count >= len(order):
        return list(order)
    ranks = np.linspace(0, len(order) - 1, count)
    return [order[round(float(rank))] for rank in ranks]


def make_strips(
    results: Sequence[CellResult], dataset: Dataset, names: Sequence[str]
) -> list[SequenceStrips]:
    """Draws the strips of some sequences.

    Args:
        results: Cells of this data set; those that are not measured are left out.
        dataset: The data.
        names: Names of the sequences.

    Returns:
        The strips, in the order given.

    Raises:
        InputError: A frame, an annotation or a mask cannot be read.
    """
    measured = [result for result in results if result.is_measured]
    made = []
    for name in names:
        found = [
            (result, sequence)
            for result in measured
            for sequence in result.sequences
            if sequence.name == name
        ]
        if found:
            shots = _shots(dataset, name, found[0][1].frame_names)
            masks = [_masks(result, name, shots) for result, _ in found]
            views = [
                _view([shot.truth, *(of_row[index] for of_row in masks)])
                for index, shot in enumerate(shots)
            ]
            strips = [
                _strip(result, sequence, list(zip(shots, of_row, views, strict=True)))
                for (result, sequence), of_row in zip(found, masks, strict=True)
            ]
            made.append(SequenceStrips(name, tuple(strips)))
    return made


def _shots(dataset: Dataset, name: str, frame_names: Sequence[str]) -> list[_Shot]:
    """Reads the frames that are shown of a sequence, and their annotations."""
    sequence = dataset.sequence(name)
    last = len(frame_names) - 1
    shots = []
    for percent in PERCENTS:
        frame_name = frame_names[round(last * percent / 100)]
        index = sequence.frame_names.index(frame_name)
        truth = dataset.annotation(name, index)
        shots.append(_Shot(percent, frame_name, sequence.frame(index).image, truth))
    return shots


def _masks(result: CellResult, name: str, shots: Sequence[_Shot]) -> list[np.ndarray]:
    """Reads what a row made of the frames that are shown, uint8 [H, W] of ids each."""
    folder, files = find_predictions(result.cell.folder / name, [shot.name for shot in shots])
    missing = [shot.name for shot in shots if shot.name not in files]
    if missing:
        raise InputError(
            "A result has a mask of every frame", met=f"none of {', '.join(missing)}", where=folder
        )
    return [read_mask(files[s.name], mask_format="ids", size=s.truth.shape) for s in shots]


def _view(masks: Sequence[np.ndarray]) -> tuple[slice, slice]:
    """Chooses the part of a frame that is shown: all outlines, of the frame's own aspect."""
    height, width = masks[0].shape
    covered = np.zeros((height, width), bool)
    for mask in masks:
        covered |= mask != 0
    left, top, wide, high = cv2.boundingRect(covered.astype(np.uint8))
    share = min(1.0, max(wide / width + 2 * _MARGIN, high / height + 2 * _MARGIN, _LEAST_VIEW))
    size = round(share * height), round(share * width)
    first = [
        min(max(round(middle - part / 2), 0), whole - part)
        for middle, part, whole in (
            (top + high / 2, size[0], height),
            (left + wide / 2, size[1], width),
        )
    ]
    return slice(first[0], first[0] + size[0]), slice(first[1], first[1] + size[1])


def _strip(
    result: CellResult,
    sequence: SequenceResult,
    views: Sequence[tuple[_Shot, np.ndarray, tuple[slice, slice]]],
) -> Strip:
    is_told = result.row.mode_in_force != "zero-shot"
    tiles = tuple(
        Tile(
            percent=shot.percent,
            frame=shot.name,
            image=_data_address(_picture(shot, mask, view)),
            J=mean_jaccard(mask, shot.truth),
            is_given=is_told and shot.percent == 0,
        )
        for shot, mask, view in views
    )
    return Strip(result.row.title, sequence.region.mean, tiles)


def _picture(shot: _Shot, mask: np.ndarray, view: tuple[slice, slice]) -> np.ndarray:
    """Draws both outlines; where they agree the narrow one lies on the wide one."""
    height, width = shot.truth.shape
    scale = min(_WIDTH / width, _HEIGHT / height)
    size = (max(1, round(scale * width)), max(1, round(scale * height)))
    larger = (size[0] * _FINER, size[1] * _FINER)
    part = np.ascontiguousarray(shot.image[view])
    picture = cv2.resize(part, larger, interpolation=cv2.INTER_CUBIC)
    outline_objects(picture, shot.truth[view], TRUTH_COLOR, 2 * _FINER)
    outline_objects(picture, mask[view], PREDICTION_COLOR, _FINER)
    return cv2.resize(picture, size, interpolation=cv2.INTER_AREA)


def _data_address(picture: np.ndarray) -> str:
    """Encodes a picture, uint8 [H, W, 3] RGB, as a `data:` address."""
    # Colour at full resolution: the outlines are as thin as a pixel.
    full = cv2.IMWRITE_JPEG_SAMPLING_FACTOR_444
    settings = [cv2.IMWRITE_JPEG_QUALITY, _QUALITY, cv2.IMWRITE_JPEG_SAMPLING_FACTOR, full]
    _, data = cv2.imencode(".jpg", cv2.cvtColor(picture, cv2.COLOR_RGB2BGR), settings)
    return "data:image/jpeg;base64," + base64.b64encode(data.tobytes()).decode()
