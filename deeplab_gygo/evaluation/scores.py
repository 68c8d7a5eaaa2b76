"""Scores of sequences and datasets, and the frames that count in them.

The official protocol (davisvideochallenge/davis2017-evaluation, `evaluation.py`, and the
DAVIS-2016 code before it) leaves out the first frame, of which the mask is given, and the last
one. Statistics are computed per object of a sequence, then averaged over all objects; with one
object per sequence (DAVIS-2016, GyGO) that is the mean over sequences. An object that joins later
counts from the frame after its first mask, as in YouTube-VOS (Xu et al., "YouTube-VOS: A
Large-Scale Video Object Segmentation Benchmark", 2018).
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Collection, Iterable
from dataclasses import dataclass
from typing import Literal, NamedTuple

import numpy as np
from numpy.typing import NDArray

from deeplab_gygo.errors import UsageError
from deeplab_gygo.evaluation.measures import DECAY_BINS, Statistics, statistics

FramePolicy = Literal["official", "all", "drop-first"]
"""Counted frames: all but first and last; all; all but the first."""

FRAME_POLICIES: dict[str, str] = {
    "official": "first and last frame of every sequence left out (official DAVIS protocol)",
    "all": "all frames, the given first one included (not the official protocol)",
    "drop-first": "first frame of every sequence left out (not the official protocol)",
}
"""Description of every policy, for tables."""

FEW_FRAMES = DECAY_BINS + 1
"""Below this number of values a bin of the decay holds fewer than two frames."""


class ObjectScore(NamedTuple):
    """Statistics of one object of a sequence.

    Attributes:
        sequence: Name of the sequence.
        object_id: Id of the object, from 1.
        frame_count: Number of counted frames.
        region: Statistics of region similarity J.
        contour: Statistics of contour accuracy F.
    """

    sequence: str
    object_id: int
    frame_count: int
    region: Statistics
    contour: Statistics

    @property
    def label(self) -> str:
        """Name in the official tables, `<sequence>_<object>`."""
        return f"{self.sequence}_{self.object_id}"

    @property
    def mean(self) -> float:
        """J&F, the mean of mean J and mean F."""
        return (self.region.mean + self.contour.mean) / 2


@dataclass(frozen=True, eq=False)
class SequenceScore:
    """J and F of every frame and object of a sequence.

    Attributes:
        name: Name of the sequence.
        frame_names: Names of the annotated frames in temporal order.
        object_ids: Ids of the objects, from 1.
        region: float64 [objects, frames], J in [0, 1]; NaN if not measured.
        contour: float64 [objects, frames], F in [0, 1]; NaN if not measured.
        frames: Frames that count.
        first_frames: Index of the frame of the first mask of every object; None for 0 of all.
    """

    name: str
    frame_names: tuple[str, ...]
    object_ids: tuple[int, ...]
    region: NDArray[np.float64]
    contour: NDArray[np.float64]
    frames: FramePolicy = "official"
    first_frames: tuple[int, ...] | None = None

    @property
    def counted(self) -> range:
        """Indices of the frames in `frame_names` that count for the objects of the first one."""
        return counted_frames(len(self.frame_names), self.frames)

    def first_frame(self, row: int) -> int:
        """Returns the index of the frame of the first mask of the object in a row."""
        return self.first_frames[row] if self.first_frames else 0

    def counted_for(self, row: int) -> range:
        """Returns the indices of the frames that count for the object in a row."""
        return counted_frames(len(self.frame_names), self.frames, self.first_frame(row))

    def objects(self) -> list[ObjectScore]:
        """Returns the statistics of every object over the counted frames; NaN if none counts."""
        rows = []
        for row, object_id in enumerate(self.object_ids):
            counted = self.counted_for(row)
            columns = slice(counted.start, counted.stop)
            region, contour = (
                statistics(values[row, columns]) for values in (self.region, self.contour)
            )
            rows.append(ObjectScore(self.name, object_id, len(counted), region, contour))
        return rows

    def with_last_frame(self) -> SequenceScore | None:
        """Returns the score with the last frame counted; None if it has no prediction."""
        if np.isnan(self.region[:, -1:]).any():
            return None
        return dataclasses.replace(self, frames="drop-first")


@dataclass(frozen=True, eq=False)
class DatasetScore:
    """Scores of several sequences and their means.

    Attributes:
        dataset: Kind of the dataset, or name of a folder.
        split: Name of the split.
        sequences: Scores in the order of the split.
        frames: Frames that count.
    """

    dataset: str
    split: str
    sequences: tuple[SequenceScore, ...]
    frames: FramePolicy = "official"

    def objects(self) -> list[ObjectScore]:
        """Returns the statistics of the objects of all sequences."""
        return [row for sequence in self.sequences for row in sequence.objects()]

    @property
    def region(self) -> Statistics:
        """Statistics of J, averaged over all objects with a counted frame."""
        return _mean_statistics([row.region for row in self.objects()])

    @property
    def contour(self) -> Statistics:
        """Statistics of F, averaged over all objects with a counted frame."""
        return _mean_statistics([row.contour for row in self.objects()])

    @property
    def mean(self) -> float:
        """J&F, the mean of mean J and mean F."""
        return (self.region.mean + self.contour.mean) / 2

    @property
    def frames_statement(self) -> str:
        """Sentence on the frames that count, for tables."""
        counted = sum(len(sequence.counted) for sequence in self.sequences)
        total = sum(len(sequence.frame_names) for sequence in self.sequences)
        return f"Frames: {FRAME_POLICIES[self.frames]}; {counted} of {total} counted."

    def with_last_frame(self) -> DatasetScore | None:
        """Returns the scores with the last frames counted; None if one has no prediction."""
        measured = [sequence.with_last_frame() for sequence in self.sequences]
        sequences = tuple(sequence for sequence in measured if sequence is not None)
        if len(sequences) < len(measured):
            return None
        return dataclasses.replace(self, sequences=sequences, frames="drop-first")


def counted_frames(count: int, frames: FramePolicy, first: int = 0) -> range:
    """Returns the indices of the counted frames among `count` annotated ones.

    Args:
        count: Number of annotated frames.
        frames: Frames that count.
        first: Index of the frame of which the mask is given.

    Raises:
        UsageError: The policy is unknown.
    """
    check_frame_policy(frames)
    start = first if frames == "all" else first + 1
    return range(start, max(start, count - (frames == "official")))


def check_frame_policy(frames: str) -> None:
    """Raises `UsageError` if the frame policy is unknown."""
    if frames not in FRAME_POLICIES:
        raise UsageError(f"frames is one of {', '.join(FRAME_POLICIES)}", met=repr(frames))


def _mean_statistics(rows: Collection[Statistics]) -> Statistics:
    def mean(values: Iterable[float]) -> float:
        measured = [value for value in values if not math.isnan(value)]
        return float(np.mean(measured)) if measured else math.nan

    return Statistics(
        mean=mean(row.mean for row in rows),
        recall=mean(row.recall for row in rows),
        decay=mean(row.decay for row in rows),
    )
