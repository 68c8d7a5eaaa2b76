"""What was measured in a cell: of every sequence, and of the whole."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from deeplab_gygo.benchmark.plan import BenchmarkDataset, BenchmarkRow, Cell
from deeplab_gygo.evaluation import Statistics
from deeplab_gygo.runs.sequence_record import SequenceRecord

TRUNK_LABELS = {
    "vgg16": "VGG-16",
    "efficientnet_lite0": "EfficientNet-Lite0",
    "efficientnet_lite1": "EfficientNet-Lite1",
    "efficientnet_lite2": "EfficientNet-Lite2",
    "mobilenet_v2": "MobileNetV2",
    "resnet50": "ResNet-50",
}
"""Names of trunks in tables."""


@dataclass(frozen=True)
class SequenceResult:
    """What was measured of one sequence.

    Attributes:
        name: Name of the sequence.
        region: Statistics of J, the mean over the objects.
        contour: Statistics of F, the mean over the objects.
        frame_names: Names of the annotated frames, in the order of time.
        counted: Whether each of them counts.
        frames: J of each of them, 0..1, the mean over the objects; NaN where not measured.
        record: Record of the run.
    """

    name: str
    region: Statistics
    contour: Statistics
    frame_names: tuple[str, ...]
    counted: tuple[bool, ...]
    frames: tuple[float, ...]
    record: SequenceRecord

    @property
    def frame_count(self) -> int:
        """Number of frames that count."""
        return sum(self.counted)


@dataclass(frozen=True)
class CellResult:
    """What was measured of a row on a data set.

    Attributes:
        cell: The cell.
        reason: Why there are no means; empty where every sequence was measured.
        sequences: What was measured, in the order of the split.
        region: Statistics of J, the mean over all objects; NaN where there is a reason.
        contour: Likewise of F.
        statement: Which frames counted.
        notes: What a reader of the means must know, by the official tables.
        caveat: Why running it again could give something else; empty mostly.
        with_last: Mean J and F with the last frames counted too; NaN where not measured.
    """

    cell: Cell
    reason: str = ""
    sequences: tuple[SequenceResult, ...] = ()
    region: Statistics = Statistics(math.nan, math.nan, math.nan)
    contour: Statistics = Statistics(math.nan, math.nan, math.nan)
    statement: str = ""
    notes: tuple[str, ...] = ()
    caveat: str = ""
    with_last: tuple[float, float] = (math.nan, math.nan)

    @property
    def row(self) -> BenchmarkRow:
        """The row."""
        return self.cell.row

    @property
    def dataset(self) -> BenchmarkDataset:
        """The data set."""
        return self.cell.dataset

    @property
    def is_measured(self) -> bool:
        """Whether every sequence was measured."""
        return not self.reason

    @property
    def records(self) -> list[SequenceRecord]:
        """Records of the sequences that were measured."""
        return [sequence.record for sequence in self.sequences]

    @property
    def trunk(self) -> str:
        """Name of the network that the method stands on; empty for none, or where unknown."""
        name = next((record.trunk for record in self.records), "").partition(",")[0].strip()
        return TRUNK_LABELS.get(name, name)

    @property
    def adaptation_seconds(self) -> float:
        """Mean wall time of fine-tuning a sequence; NaN where nothing was measured."""
        return mean([record.adaptation_seconds for record in self.records])

    @property
    def seconds_per_frame(self) -> float:
        """Wall time of a frame without fine-tuning, the mean over all; NaN likewise."""
        return mean([value for record in self.records for value in record.frame_seconds])

    @property
    def fps(self) -> float:
        """Frames of all sequences by their seconds, fine-tuning included; NaN likewise."""
        seconds = sum(record.total_seconds for record in self.records)
        return sum(record.frames for record in self.records) / seconds if seconds else math.nan

    @property
    def worst_first(self) -> list[SequenceResult]:
        """The sequences by J, the lowest first; those without J last."""
        return sorted(self.sequences, key=lambda s: (math.isnan(s.region.mean), s.region.mean))


def sequence_order(results: Sequence[CellResult], dataset: BenchmarkDataset) -> list[str]:
    """Orders the sequences of a data set by their mean J over the measured rows, worst first.

    Args:
        results: The results of all cells.
        dataset: The data set.

    Returns:
        The names of the sequences that every measured row has.
    """
    cells = [result for result in results if result.dataset is dataset and result.is_measured]
    values: dict[str, list[float]] = {}
    for result in cells:
        for sequence in result.sequences:
            values.setdefault(sequence.name, []).append(sequence.region.mean)
    means = {name: mean(found) for name, found in values.items()}
    return sorted(values, key=lambda name: (math.isnan(means[name]), means[name]))


def mean(values: Iterable[float]) -> float:
    """Averages what is known; NaN where nothing is."""
    known = [value for value in values if not math.isnan(value)]
    return math.fsum(known) / len(known) if known else math.nan
