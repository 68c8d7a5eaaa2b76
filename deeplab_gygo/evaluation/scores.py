"""The scores of sequences and sets of them, and which frames count in them.

The official protocol (davisvideochallenge/davis2017-evaluation, `evaluation.py`, and the
DAVIS-2016 code before it) leaves out the first frame, whose mask is given, and the last one.
Statistics are taken per object of a sequence, then averaged over all of them; with one object a
sequence (DAVIS-2016, GyGO) that is the mean over sequences.
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
"""Frames that count: all but first and last; all; all but the first."""

FRAME_POLICIES: dict[str, str] = {
    "official": "first and last frame of every sequence left out (official DAVIS protocol)",
    "all": "all frames, the given first one included (not the official protocol)",
    "drop-first": "first frame of every sequence left out (not the official protocol)",
}
"""Policy -> what a table says about it."""

FEW_FRAMES = DECAY_BINS + 1
"""With fewer values than this the bins of the decay no longer hold two frames each."""


class ObjectScore(NamedTuple):
    """One row of a table: an object of a sequence.

    Attributes:
        sequence: Name of the sequence.
        object_id: Id of the object, from 1.
        frame_count: Frames that count.
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
        """Name in the official tables: `<sequence>_<object>`."""
        return f"{self.sequence}_{self.object_id}"


@dataclass(frozen=True, eq=False)
class SequenceScore:
    """J and F of every frame and object of a sequence, and which frames count.

    Attributes:
        name: Name of the sequence.
        frame_names: Names of the annotated frames, in the order of time.
        object_ids: Ids of the objects, from 1.
        region: float64 [objects, frames], J in [0, 1]; NaN where not measured.
        contour: float64 [objects, frames], F in [0, 1]; NaN where not measured.
        frames: Which frames count.
    """

    name: str
    frame_names: tuple[str, ...]
    object_ids: tuple[int, ...]
    region: NDArray[np.float64]
    contour: NDArray[np.float64]
    frames: FramePolicy = "official"

    @property
    def counted(self) -> range:
        """Positions in `frame_names` of the frames that count."""
        return counted_frames(len(self.frame_names), self.frames)

    @property
    def is_short(self) -> bool:
        """Whether so few frames count that the decay says little, or nothing is left."""
        return len(self.counted) < FEW_FRAMES

    def objects(self) -> list[ObjectScore]:
        """Takes the statistics over the frames that count.

        Returns:
            One row per object; its statistics are NaN where no frame counts.
        """
        columns = slice(self.counted.start, self.counted.stop)
        return [
            ObjectScore(
                sequence=self.name,
                object_id=object_id,
                frame_count=len(self.counted),
                region=statistics(region[columns]),
                contour=statistics(contour[columns]),
            )
            for object_id, region, contour in zip(
                self.object_ids, self.region, self.contour, strict=True
            )
        ]

    def with_last_frame(self) -> SequenceScore | None:
        """Counts the last frame too.

        Returns:
            The same values with only the first frame left out; None where the last frame was
            not measured because it has no prediction.
        """
        if np.isnan(self.region[:, -1:]).any():
            return None
        return dataclasses.replace(self, frames="drop-first")


@dataclass(frozen=True, eq=False)
class DatasetScore:
    """The scores of several sequences and their means.

    Attributes:
        dataset: What was measured, for the caption: a kind of data set or a folder.
        split: Split or other name that tells this set from others.
        sequences: The scores, in the order of the split.
        frames: Which frames count.
    """

    dataset: str
    split: str
    sequences: tuple[SequenceScore, ...]
    frames: FramePolicy = "official"

    def objects(self) -> list[ObjectScore]:
        """Lists the objects of all sequences with their statistics."""
        return [row for sequence in self.sequences for row in sequence.objects()]

    @property
    def region(self) -> Statistics:
        """Mean over all objects of the statistics of J; those without a counted frame left out."""
        return _mean_statistics([row.region for row in self.objects()])

    @property
    def contour(self) -> Statistics:
        """Mean over all objects of the statistics of F; those without a counted frame left out."""
        return _mean_statistics([row.contour for row in self.objects()])

    @property
    def mean(self) -> float:
        """J&F: the mean of J's mean and F's mean."""
        return (self.region.mean + self.contour.mean) / 2

    @property
    def frames_statement(self) -> str:
        """Which and how many frames count, as a sentence for a table."""
        counted = sum(len(sequence.counted) for sequence in self.sequences)
        total = sum(len(sequence.frame_names) for sequence in self.sequences)
        return f"Frames: {FRAME_POLICIES[self.frames]}; {counted} of {total} counted."

    def with_last_frame(self) -> DatasetScore | None:
        """Counts the last frames too; None where one of them was not measured."""
        sequences = [sequence.with_last_frame() for sequence in self.sequences]
        if any(sequence is None for sequence in sequences):
            return None
        return dataclasses.replace(self, sequences=tuple(sequences), frames="drop-first")


def counted_frames(count: int, frames: FramePolicy) -> range:
    """Says which of a sequence's annotated frames count.

    Args:
        count: Number of annotated frames.
        frames: The policy.

    Returns:
        Their positions; empty where the policy leaves nothing.

    Raises:
        UsageError: There is no such policy.
    """
    check_frame_policy(frames)
    start = 0 if frames == "all" else 1
    return range(start, max(start, count - (frames == "official")))


def check_frame_policy(frames: str) -> None:
    """Raises `UsageError` unless there is a frame policy of this name."""
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
