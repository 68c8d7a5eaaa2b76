"""Measures one row of the ablation table on temporally subsampled sequences."""

from __future__ import annotations

import math
import statistics
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from ablation_rows import Row, Selection
from update_results import rounded, worst_of

from deeplab_gygo.cli.options import start_runner
from deeplab_gygo.datasets.registry import Dataset
from deeplab_gygo.errors import BatchFailed
from deeplab_gygo.evaluation import DatasetScore, Statistics
from deeplab_gygo.io.sequence import IndexedSequence, Sequence
from deeplab_gygo.runs.batch import Batch, BatchResult
from deeplab_gygo.runs.clip import Clip
from deeplab_gygo.runs.given_masks import Annotation
from deeplab_gygo.runs.plan import Item
from deeplab_gygo.runs.settings import RunSettings


class SubsampledSequence(IndexedSequence):
    """Every n-th frame of a sequence from its first annotated one on.

    Args:
        sequence: The whole sequence.
        stride: Distance of the frames.

    Attributes:
        indices: Indices of the frames in the whole sequence.
    """

    def __init__(self, sequence: Sequence, stride: int):
        self._whole = sequence
        self.indices = range(sequence.first_annotated, len(sequence), stride)
        names = [sequence.frame_names[index] for index in self.indices]
        first = {0: sequence.annotations[self.indices[0]]}
        super().__init__(sequence.name, sequence.source, sequence.size, names, first)

    def _read(self, index: int) -> np.ndarray:
        return self._whole.frame(self.indices[index]).image


def open_subsampled(dataset: Dataset, name: str, stride: int) -> Clip:
    """Opens every n-th frame of a sequence with its first mask and all annotations."""
    whole = dataset.sequence(name)
    subsampled = SubsampledSequence(whole, stride)
    first = subsampled.indices[0]
    return Clip(
        subsampled,
        {0: Annotation(whole.annotation(first), whole.annotations[first])},
        truth=lambda index: dataset.annotation(name, subsampled.indices[index]),
        multi_object=dataset.multi_object,
    )


def measure(
    row: Row,
    dataset: Dataset,
    selection: Selection,
    out: Path,
    make_runner: Callable[[RunSettings], Any] | None = None,
) -> dict[str, Any]:
    """Segments all sequences with the options of a row and evaluates the masks.

    Args:
        row: The row.
        dataset: The dataset of the selection.
        selection: The frames.
        out: Folder of the masks; finished ones are kept.
        make_runner: Factory of the runner, see `Batch`; None loads the network.

    Returns:
        The measurement, as plain values.

    Raises:
        BatchFailed: A sequence failed.
        InputError: A sequence lacks annotations.
    """
    settings = RunSettings(
        row.config,
        weights=row.weights_path,
        seed=selection.seed,
        outputs=("masks",),
        preset=row.preset,
    )
    items = [
        Item(name, partial(open_subsampled, dataset, name, selection.stride))
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
    """Returns the mean decay; None without counted frames."""
    known = [row.decay for row in rows if not math.isnan(row.decay)]
    return statistics.fmean(known) if known else None
