"""Runs the cells of a benchmark that are missing; finished results are kept."""

from __future__ import annotations

import gc
import logging
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path

from deeplab_gygo.benchmark.plan import BenchmarkConfig, BenchmarkRow, Cell
from deeplab_gygo.benchmark.results import read_scores, write_scores
from deeplab_gygo.errors import DeepLabGygoError, StorageError, WeightsError
from deeplab_gygo.evaluation import DatasetScore
from deeplab_gygo.runs.batch import Batch, Runner
from deeplab_gygo.runs.plan import Item, plan_dataset
from deeplab_gygo.runs.run_record import finished_record
from deeplab_gygo.runs.settings import RunSettings

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Trouble:
    """Reason for an unfinished cell.

    Attributes:
        cell: The cell.
        message: The reason.
        failed: Whether a sequence failed; otherwise data or weights are missing.
    """

    cell: Cell
    message: str
    failed: bool


def settings_of(row: BenchmarkRow, config: BenchmarkConfig, progress: bool = False) -> RunSettings:
    """Returns the run settings of a row.

    Raises:
        UsageError: A value is out of range.
        WeightsError: The weights are missing, damaged, or those of another method.
    """
    return RunSettings(
        method=row.method,
        online=row.online_config(),
        weights=row.weights or None,
        precision=config.precision,
        seed=config.seed,
        # Scores, strips and curves need masks only.
        outputs=("masks",),
        progress=progress,
        preset=row.preset,
    )


def run_missing(
    cells: Iterable[Cell],
    config: BenchmarkConfig,
    data_root: str | Path | None,
    *,
    progress: bool = False,
    make_runner: Callable[[RunSettings], Runner] | None = None,
) -> list[Trouble]:
    """Runs the unfinished cells; a cell without data or weights is skipped.

    Args:
        cells: The cells.
        config: The benchmark.
        data_root: Folder of the data; None for no data.
        progress: Whether to show progress bars.
        make_runner: Factory of the object that segments a clip; by default a `SequenceRunner`.
            It is called for unfinished cells only.

    Returns:
        The cells that are still unfinished, with the reasons.

    Raises:
        InputError: A folder is not a dataset of its kind.
        StorageError: The results cannot be written, so no other cell could be finished either.
    """
    troubles = []
    for cell in cells:
        message, failed = _run_cell(cell, config, data_root, progress, make_runner)
        if message:
            logger.warning("%s: %s", cell.name, message)
            troubles.append(Trouble(cell, message, failed))
    return troubles


def _run_cell(
    cell: Cell,
    config: BenchmarkConfig,
    data_root: str | Path | None,
    progress: bool,
    make_runner: Callable[[RunSettings], Runner] | None,
) -> tuple[str, bool]:
    """Runs a cell; returns why it is unfinished, if it is, and whether it failed."""
    dataset = cell.dataset.open(data_root)
    if dataset is None:
        return f"no data at {Path(data_root or '') / cell.dataset.root}", False
    missing = cell.row.missing_weights
    if missing:
        return missing, False
    try:
        settings = settings_of(cell.row, config, progress)
    except WeightsError as error:  # other rows can still be run
        return str(error), True
    items = plan_dataset(dataset, cell.dataset.split)
    if _is_finished(cell, items, settings):
        logger.info("%s: finished before", cell.name)
        return "", False
    logger.info("%s: %d sequences", cell.name, len(items))
    batch = Batch(items, settings, cell.folder, make_runner=make_runner, replace_changed=True)
    result = batch.run()
    # Frees its network before the next one is built: the original ones take hundreds of megabytes.
    gc.collect()
    if result.failures_file is not None:
        count = f"{result.count('failed')} of {len(items)} sequences"
        return f"{count} failed, see {result.failures_file}", True
    if len(result.scores) < len(items):
        return "sequences without annotations cannot be evaluated", True
    split = Path(cell.dataset.split).stem
    write_scores(cell, DatasetScore(dataset.kind, split, tuple(result.scores)))
    return "", False


def _is_finished(cell: Cell, items: list[Item], settings: RunSettings) -> bool:
    """Checks whether a cell has all results and their scores, without evaluating them again."""
    try:
        for item in items:
            record = finished_record(cell.folder / item.name)
            if record is None or not record.matches(item.open(), settings):
                return False
        return read_scores(cell, [item.name for item in items]) is not None
    except StorageError:
        raise
    except DeepLabGygoError:  # the batch reports the error of the sequence
        return False
