"""Measuring the cells that are missing, one batch each; what is finished is left alone."""

from __future__ import annotations

import gc
import logging
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from deeplab_gygo.benchmark.availability import dataset_root, find_dataset, missing_weights
from deeplab_gygo.benchmark.loading import keep_scores, read_scores
from deeplab_gygo.benchmark.plan import BenchmarkConfig, BenchmarkRow, Cell
from deeplab_gygo.errors import DeepLabGygoError, StorageError, WeightsError
from deeplab_gygo.evaluation import DatasetScore
from deeplab_gygo.runs.batch import Batch
from deeplab_gygo.runs.plan import Item, plan_dataset
from deeplab_gygo.runs.sequence_record import finished_record, hashes_of, identity_config
from deeplab_gygo.runs.settings import RunSettings

logger = logging.getLogger(__name__)

OUTPUTS = ("masks",)
"""What a cell writes: scores, strips and the curves of J need no more."""

MakeRunner = Callable[[RunSettings], Any]


@dataclass(frozen=True)
class Trouble:
    """Why a cell has not been measured, whole.

    Attributes:
        cell: The cell.
        message: What happened.
        failed: Whether a sequence failed; else something that the cell needs is not there.
    """

    cell: Cell
    message: str
    failed: bool


def settings_of(row: BenchmarkRow, config: BenchmarkConfig, progress: bool = False) -> RunSettings:
    """Makes the settings of a row.

    Args:
        row: The row.
        config: The benchmark.
        progress: Whether progress bars are shown.

    Returns:
        The settings.

    Raises:
        UsageError: A value is out of range.
        WeightsError: The weights are not there, or those of another method.
    """
    return RunSettings(
        method=row.method,
        online=row.online_config(),
        weights=row.weights or None,
        precision=config.precision,
        seed=config.seed,
        outputs=OUTPUTS,
        progress=progress,
        preset=row.preset,
    )


def run_missing(
    cells: Iterable[Cell],
    config: BenchmarkConfig,
    data_root: str | Path | None,
    *,
    progress: bool = False,
    make_runner: MakeRunner | None = None,
) -> list[Trouble]:
    """Measures the cells that are not finished; a cell that cannot be is passed over.

    Args:
        cells: The cells.
        config: The benchmark.
        data_root: Folder that roots of data sets start at; None for no data.
        progress: Whether progress bars are shown.
        make_runner: Makes what segments a clip; by default a `SequenceRunner`. It is called for
            cells that are not finished only.

    Returns:
        The cells that are not whole, and why.

    Raises:
        InputError: A folder is not the data set it should be.
        StorageError: The results cannot be written: no other cell could be finished either.
    """
    troubles = []
    for cell in cells:
        trouble = _run_cell(cell, config, data_root, progress, make_runner)
        if trouble is not None:
            logger.warning("%s: %s", cell.name, trouble.message)
            troubles.append(trouble)
    return troubles


def _run_cell(
    cell: Cell,
    config: BenchmarkConfig,
    data_root: str | Path | None,
    progress: bool,
    make_runner: MakeRunner | None,
) -> Trouble | None:
    dataset = find_dataset(cell.dataset, data_root)
    if dataset is None:
        return Trouble(cell, f"no data at {dataset_root(cell.dataset, data_root)}", failed=False)
    missing = missing_weights(cell.row)
    if missing:
        return Trouble(cell, missing, failed=False)
    try:
        settings = settings_of(cell.row, config, progress)
    except WeightsError as error:  # damaged, or of another method; the other rows can be run
        return Trouble(cell, str(error), failed=True)
    items = plan_dataset(dataset, cell.dataset.split)
    if _is_finished(cell, items, settings):
        logger.info("%s: finished before", cell.name)
        return None
    logger.info("%s: %d sequences", cell.name, len(items))
    result = Batch(items, settings, cell.folder, make_runner=make_runner).run()
    # Its network goes before the next one is built: the originals have hundreds of megabytes.
    gc.collect()
    if result.failures_file is not None:
        count = f"{result.count('failed')} of {len(items)} sequences"
        return Trouble(cell, f"{count} failed, see {result.failures_file}", failed=True)
    if len(result.scores) < len(items):
        return Trouble(cell, "sequences without annotations cannot be measured", failed=True)
    split = Path(cell.dataset.split).stem
    keep_scores(cell, DatasetScore(dataset.kind, split, tuple(result.scores)))
    return None


def _is_finished(cell: Cell, items: list[Item], settings: RunSettings) -> bool:
    """Tells whether a cell has all its results and their scores, without measuring them again."""
    config = identity_config(settings)
    try:
        for item in items:
            record = finished_record(cell.folder / item.name)
            if record is None:
                return False
            if not record.matches(hashes_of(item.open(), settings), config, settings.seed):
                return False
        return read_scores(cell, [item.name for item in items]) is not None
    except StorageError:
        raise
    except DeepLabGygoError:  # the batch says what is wrong with a sequence
        return False
