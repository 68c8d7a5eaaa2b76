"""One row of the ablation table: sequences thinned out, segmented and measured."""

from __future__ import annotations

import math
import statistics
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

from ablation_rows import Row, Selection
from update_results import rounded, worst_of

from deeplab_gygo.cli.options import start_runner
from deeplab_gygo.datasets.registry import Dataset
from deeplab_gygo.errors import BatchFailed
from deeplab_gygo.evaluation import DatasetScore, Statistics
from deeplab_gygo.io.sequence import Frame, Sequence
from deeplab_gygo.runs.batch import Batch, BatchResult
from deeplab_gygo.runs.clip import Clip
from deeplab_gygo.runs.plan import Item
from deeplab_gygo.runs.settings import RunSettings


class ThinnedSequence(Sequence):
    """Every so many frames of a sequence, from its first annotated one on.

    Args:
        sequence: The whole sequence.
        stride: Every how many frames are taken.

    Attributes:
        indices: Indices of the frames in the whole sequence.
    """

    def __init__(self, sequence: Sequence, stride: int):
        self._whole = sequence
        self.indices = range(sequence.first_annotated, len(sequence), stride)
        names = [sequence.frame_names[index] for index in self.indices]
        first = {0: sequence.annotations[self.indices[0]]}
        super().__init__(sequence.name, sequence.source, sequence.size, names, first)

    def __iter__(self) -> Iterator[Frame]:
        return (self.frame(index) for index in range(len(self)))

    def frame(self, index: int) -> Frame:
        """Gives one frame, see `Sequence.frame`."""
        self._require(index)
        frame = self._whole.frame(self.indices[index])
        return Frame(index, frame.name, frame.time, decode=lambda: frame.image)


def open_thinned(dataset: Dataset, name: str, stride: int) -> Clip:
    """Opens every so many frames of a sequence with the mask of the first and all annotations."""
    whole = dataset.sequence(name)
    thinned = ThinnedSequence(whole, stride)
    return Clip(
        thinned,
        0,
        whole.annotation(thinned.indices[0]),
        whole.annotations[thinned.indices[0]],
        truth=lambda index: dataset.annotation(name, thinned.indices[index]),
        multi_object=dataset.multi_object,
    )


def measure(
    row: Row,
    dataset: Dataset,
    selection: Selection,
    out: Path,
    make_runner: Callable[[RunSettings], Any] | None = None,
) -> dict[str, Any]:
    """Segments all sequences with the settings of a row and measures the masks.

    Args:
        row: The row.
        dataset: The data set of the selection.
        selection: The frames.
        out: Folder of the masks; what is finished in it is not segmented again.
        make_runner: Makes what segments a clip, see `Batch`; None makes the network.

    Returns:
        What is kept of it, as plain values.

    Raises:
        BatchFailed: A sequence failed.
        InputError: A sequence lacks annotations.
    """
    settings = RunSettings(
        online=row.config,
        weights=row.weights_path,
        seed=selection.seed,
        outputs=("masks",),
        preset=row.preset,
    )
    items = [
        Item(name, partial(open_thinned, dataset, name, selection.stride))
        for name in selection.sequences
    ]
    make_runner = make_runner or partial(start_runner, debug=False)
    result = Batch(items, settings, out, make_runner=make_runner).run()
    if result.failures_file is not None:
        raise BatchFailed(
            "Every sequence of a row is segmented", met=row.name, where=result.failures_file
        )
    return {
        "name": row.name,
        "weights_sha256": settings.weights_hash,
        **rounded(_figures(result, selection)),
    }


def _figures(result: BatchResult, selection: Selection) -> dict[str, Any]:
    score = DatasetScore(selection.dataset, selection.split, tuple(result.scores))
    mean, first = result.mean_row(), result.outcomes[0].record
    decays = {part.name: _decay([row.region for row in part.objects()]) for part in result.scores}
    rows = [outcome.row() for outcome in result.outcomes]
    keep = ("sequence", "J", "F", "adaptation_seconds", "amortized_fps")
    return {
        "J": mean["J"],
        "F": mean["F"],
        "J_decay": _decay([score.region]),
        "adaptation_seconds": mean["adaptation_seconds"],
        "amortized_fps": mean["amortized_fps"],
        "worst": worst_of(rows),
        "sequences": [
            {**{key: row[key] for key in keep}, "J_decay": decays[row["sequence"]]} for row in rows
        ],
        "frames": score.frames_statement,
        "hardware": first.hardware,
        "versions": first.versions,
    }


def _decay(rows: list[Statistics]) -> float | None:
    """Returns the mean decay; None where no frame was counted."""
    known = [row.decay for row in rows if not math.isnan(row.decay)]
    return statistics.fmean(known) if known else None
