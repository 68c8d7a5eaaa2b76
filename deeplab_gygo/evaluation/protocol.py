"""Scores results on disk: of a data set's split, or of any folder of masks against another.

A result lies at `<results>/<sequence>/<frame>.png`, as the DAVIS benchmark has it, or at
`<results>/<sequence>/masks/<frame>.png`, where the segment command leaves it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from deeplab_gygo.errors import InputError, UsageError
from deeplab_gygo.evaluation.result_files import (
    MASK_SUBFOLDER,
    find_predictions,
    folders_with_masks,
    list_masks,
)
from deeplab_gygo.evaluation.scores import (
    DatasetScore,
    FramePolicy,
    SequenceScore,
    check_frame_policy,
    counted_frames,
)
from deeplab_gygo.evaluation.streaming import evaluate_sequence
from deeplab_gygo.io.masks import VOID, read_mask

if TYPE_CHECKING:
    from deeplab_gygo.datasets.registry import Dataset

__all__ = [
    "DatasetScore",
    "FramePolicy",
    "SequenceScore",
    "evaluate_folders",
    "evaluate_results",
    "evaluate_sequence",
]

Progress = Callable[[SequenceScore], None]


@dataclass(frozen=True)
class _Task:
    """What is needed to measure one sequence.

    Attributes:
        name: Name of the sequence.
        frame_names: Names of the annotated frames in the order of time.
        truths: One reader of a mask uint8 [H, W] per annotated frame.
        folder: Where the results of the sequence are, or were looked for.
        predictions: Files of the results by frame name.
        multi_object: Whether ids tell objects apart.
        object_ids: Objects to measure; None for those of the first truth.
        void_label: Truth value whose pixels do not count; None for no such value.
    """

    name: str
    frame_names: Sequence[str]
    truths: Sequence[Callable[[], NDArray[np.uint8]]]
    folder: Path
    predictions: dict[str, Path]
    multi_object: bool
    object_ids: Sequence[int] | None = None
    void_label: int | None = None

    def missing(self, frames: FramePolicy) -> list[str]:
        """Names of the frames that count and have no result."""
        names = (self.frame_names[index] for index in counted_frames(len(self.truths), frames))
        return [name for name in names if name not in self.predictions]


def evaluate_results(
    dataset: Dataset,
    split: str | Path,
    results_dir: str | Path,
    *,
    frames: FramePolicy = "official",
    jobs: int = 1,
    ignore_void: bool = False,
    progress: Progress | None = None,
) -> DatasetScore:
    """Measures the results of a split by the protocol of its data set.

    Args:
        dataset: The data set with the annotations.
        split: Name of one of its splits, or path of a list file.
        results_dir: Folder with one folder of masks per sequence.
        frames: Which frames count. The last frame is measured too where it has a result.
        jobs: Number of sequences that are measured at a time, in threads.
        ignore_void: Whether void pixels of the annotations do not count; the official code
            takes them for background.
        progress: Called with each score in the order of the split.

    Returns:
        The scores of all sequences of the split.

    Raises:
        InputError: Results or annotations are absent or unusable; the message lists all
            incomplete sequences.
        UsageError: There is no such frame policy, or `jobs` is below 1.
    """
    check_frame_policy(frames)
    results_dir = _existing_folder(results_dir, "results")
    tasks = [
        _dataset_task(dataset, name, results_dir, ignore_void) for name in dataset.names(split)
    ]
    scores = _measure_all(tasks, frames, jobs, progress)
    return DatasetScore(dataset.kind, Path(split).name.removesuffix(".txt"), scores, frames)


def evaluate_folders(
    truth_dir: str | Path,
    prediction_dir: str | Path,
    *,
    frames: FramePolicy = "official",
    multi_object: bool | None = None,
    jobs: int = 1,
    ignore_void: bool = False,
    progress: Progress | None = None,
) -> DatasetScore:
    """Measures a folder of masks against another, frames paired by name.

    Args:
        truth_dir: Folder of the true masks of one sequence, or a tree of such folders, whose
            paths below it are the names of the sequences.
        prediction_dir: Folder of the predictions, of the same form.
        frames: Which frames count.
        multi_object: Whether ids tell objects apart; None decides per sequence by its first
            mask: several objects where it holds an id above 1 that is not void.
        jobs: Number of sequences that are measured at a time, in threads.
        ignore_void: Whether void, the value 255 beside ids, does not count; else it is taken for
            background.
        progress: Called with each score, in the order of the names.

    Returns:
        The scores; the data set is the name of `truth_dir` and the split is "all".

    Raises:
        InputError: Folders or masks are absent or unusable.
        UsageError: There is no such frame policy, or `jobs` is below 1.
    """
    check_frame_policy(frames)
    truth_dir = _existing_folder(truth_dir, "true masks")
    prediction_dir = _existing_folder(prediction_dir, "predictions")
    tasks = [
        _folder_task(truth_dir, folder, prediction_dir, multi_object, ignore_void)
        for folder in folders_with_masks(truth_dir)
    ]
    if not tasks:
        raise InputError("A folder of true masks holds images", met="none", where=truth_dir)
    scores = _measure_all(tasks, frames, jobs, progress)
    return DatasetScore(truth_dir.resolve().name, "all", scores, frames)


def _dataset_task(dataset: Dataset, name: str, results_dir: Path, ignore_void: bool) -> _Task:
    sequence = dataset.sequence(name)
    indices = sorted(sequence.annotations)
    if not indices:
        raise InputError(
            "A sequence to be measured has annotations",
            met="none",
            where=name,
            remedy="Choose a split whose annotations are published",
        )
    frame_names = [sequence.frame_names[index] for index in indices]
    object_ids = None
    if dataset.multi_object:
        # The official DAVIS-2017 code takes every id up to the highest of the first frame.
        object_ids = range(1, 1 + _highest_id(dataset.annotation(name, indices[0])))
    folder, predictions = find_predictions(results_dir / name, frame_names)
    return _Task(
        name=name,
        frame_names=frame_names,
        truths=[partial(dataset.annotation, name, index) for index in indices],
        folder=folder,
        predictions=predictions,
        multi_object=dataset.multi_object,
        object_ids=object_ids,
        void_label=dataset.void_label if ignore_void else None,
    )


def _folder_task(
    truth_dir: Path,
    truth_folder: Path,
    prediction_dir: Path,
    multi_object: bool | None,
    ignore_void: bool,
) -> _Task:
    relative = truth_folder.relative_to(truth_dir)
    files = list_masks(truth_folder)
    if multi_object is None:
        multi_object = _highest_id(read_mask(next(iter(files.values())))) > 1
    read = partial(read_mask, mask_format="ids" if multi_object else "auto", keep_void=ignore_void)
    folder, predictions = find_predictions(prediction_dir / relative, list(files))
    return _Task(
        name=relative.as_posix() if relative.parts else truth_dir.resolve().name,
        frame_names=list(files),
        truths=[partial(read, path) for path in files.values()],
        folder=folder,
        predictions=predictions,
        multi_object=multi_object,
        void_label=VOID if ignore_void else None,
    )


def _measure(task: _Task, frames: FramePolicy) -> SequenceScore:
    def predictions() -> Iterator[NDArray[np.uint8] | None]:
        for index, name in enumerate(task.frame_names):
            # The first frame was given: unless it counts, whatever lies there is not looked at.
            is_given = index == 0 and frames != "all"
            path = None if is_given else task.predictions.get(name)
            yield None if path is None else _read_prediction(path)

    return evaluate_sequence(
        predictions(),
        (read() for read in task.truths),
        name=task.name,
        frame_names=task.frame_names,
        frames=frames,
        multi_object=task.multi_object,
        object_ids=task.object_ids,
        void_label=task.void_label,
    )


def _read_prediction(path: Path) -> NDArray[np.uint8]:
    """Reads a result: a PNG as it is stored, as the official code does; else what it means."""
    return read_mask(path, mask_format="ids" if path.suffix.lower() == ".png" else "auto")


def _measure_all(
    tasks: Sequence[_Task],
    frames: FramePolicy,
    jobs: int,
    progress: Progress | None,
) -> tuple[SequenceScore, ...]:
    """Measures all sequences, after it is sure that no result is absent."""
    if jobs < 1:
        raise UsageError("The number of jobs is at least 1", met=jobs)
    _check_complete(tasks, frames)
    measure = partial(_measure, frames=frames)
    scores = []
    # Reading PNGs and dilation release the interpreter lock, so threads are enough.
    with ThreadPoolExecutor(max_workers=jobs) as pool:
        for score in map(measure, tasks) if jobs == 1 else pool.map(measure, tasks):
            scores.append(score)
            if progress:
                progress(score)
    return tuple(scores)


def _check_complete(tasks: Sequence[_Task], frames: FramePolicy) -> None:
    complaints = []
    for task in tasks:
        missing = task.missing(frames)
        if missing and not task.predictions:
            complaints.append((task, "no masks"))
        elif missing:
            complaints.append((task, f"{len(missing)} frames missing, first {missing[0]}"))
    if complaints:
        listed = "; ".join(f"{task.name}: {text}" for task, text in complaints[:5])
        raise InputError(
            "Every frame that counts has a result <results>/<sequence>/<frame>.png or "
            f"<results>/<sequence>/{MASK_SUBFOLDER}/<frame>.png",
            met=f"{len(complaints)} of {len(tasks)} sequences incomplete: {listed}"
            + ("; ..." if len(complaints) > 5 else ""),
            where=complaints[0][0].folder,
            remedy="Segment these sequences first, or give the folder that holds their folders",
        )


def _highest_id(mask: NDArray[np.uint8]) -> int:
    return int(np.where(mask == VOID, 0, mask).max(initial=0))


def _existing_folder(folder: str | Path, what: str) -> Path:
    folder = Path(folder)
    if not folder.is_dir():
        raise InputError(f"The folder of the {what} must exist", met="no folder", where=folder)
    return folder
