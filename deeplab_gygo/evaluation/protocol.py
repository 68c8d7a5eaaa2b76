"""Evaluates masks on disk against a dataset split or against a folder of ground-truth masks.

The masks of a sequence are at `<results>/<sequence>/<frame>.png`, as in the DAVIS benchmark, or at
`<results>/<sequence>/masks/<frame>.png`, as the segment command writes them.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from deeplab_gygo.datasets.registry import Dataset, open_dataset
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

Progress = Callable[[SequenceScore], None]


@dataclass(frozen=True)
class _Task:
    """One sequence to evaluate.

    Attributes:
        name: Name of the sequence.
        frame_names: Names of the annotated frames in temporal order.
        truths: One reader of a ground-truth mask uint8 [H, W] per annotated frame.
        folder: Folder of the predictions, present or expected.
        predictions: Prediction files by frame name.
        multi_object: Whether mask values are object ids.
        object_ids: Objects to measure; None takes those of the first ground-truth mask.
        void_label: Ground-truth value of ignored pixels; None for no such value.
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
        """Returns the names of the counted frames without a prediction."""
        names = (self.frame_names[index] for index in counted_frames(len(self.truths), frames))
        return [name for name in names if name not in self.predictions]


def evaluate(
    results: str | Path,
    ground_truth: str | Path | Dataset,
    *,
    dataset: str | None = None,
    split: str | Path = "val",
    frames: FramePolicy = "official",
    multi_object: bool | None = None,
    ignore_void: bool = False,
    jobs: int = 1,
    progress: Progress | None = None,
) -> DatasetScore:
    """Computes J and F of a folder of masks by the official DAVIS protocol.

    Args:
        results: Folder of the predicted masks: one folder per sequence, or the masks of a single
            sequence. Frames are paired with the ground truth by name.
        ground_truth: A folder of ground-truth masks of the same form; the root of a dataset if
            `dataset` is given; or an opened dataset.
        dataset: Kind of the dataset at `ground_truth`: "gygo", "davis2016" or "davis2017".
        split: Split of the dataset, or path of a list file; unused with a folder of masks.
        frames: Frames that count. The last frame is measured too if it has a prediction.
        multi_object: Whether mask values are object ids; a dataset defines this itself. None
            decides per sequence: ids if the first mask holds a value above 1 that is not void.
        ignore_void: Whether void pixels (255 beside ids) are ignored; by default they are
            background, as in the official code.
        jobs: Number of sequences evaluated in parallel, in threads.
        progress: Called with the score of each sequence, in order.

    Returns:
        The scores of all sequences. With a folder of masks the dataset is named after the folder
        and the split is "all".

    Raises:
        InputError: Predictions or ground truth are absent or unusable; the message lists all
            incomplete sequences.
        UsageError: The dataset or the frame policy is unknown, or `jobs` is below 1.

    Example:
        >>> import tempfile
        >>> from pathlib import Path
        >>> import cv2
        >>> import numpy as np
        >>> mask = np.zeros((20, 20), np.uint8)
        >>> mask[5:15, 5:15] = 255
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     for name in ("truth", "found"):
        ...         (Path(folder) / name).mkdir()
        ...     for index in range(4):
        ...         _ = cv2.imwrite(f"{folder}/truth/{index:05d}.png", mask)
        ...         _ = cv2.imwrite(f"{folder}/found/{index:05d}.png", np.roll(mask, index))
        ...     score = evaluate(f"{folder}/found", f"{folder}/truth")
        >>> print(f"J {score.region.mean:.3f}  F {score.contour.mean:.3f}")
        J 0.742  F 0.775
    """
    check_frame_policy(frames)
    if jobs < 1:
        raise UsageError("jobs is at least 1", met=jobs)
    results = _existing_folder(results, "predictions")
    if isinstance(ground_truth, str | Path) and dataset is None:
        truth = _existing_folder(ground_truth, "ground-truth masks")
        tasks = [
            _folder_task(truth, folder, results, multi_object, ignore_void)
            for folder in folders_with_masks(truth)
        ]
        if not tasks:
            raise InputError("A folder of ground-truth masks holds images", met="none", where=truth)
        title, split = truth.resolve().name, "all"
    else:
        if isinstance(ground_truth, str | Path):
            ground_truth = open_dataset(str(dataset), ground_truth)
        tasks = [
            _dataset_task(ground_truth, name, results, ignore_void)
            for name in ground_truth.names(split)
        ]
        title, split = ground_truth.kind, Path(split).name.removesuffix(".txt")
    _check_complete(tasks, frames)
    measure = partial(_measure, frames=frames)
    scores = []
    # PNG decoding and dilation release the interpreter lock, so threads are enough.
    with ThreadPoolExecutor(max_workers=jobs) as pool:
        for score in map(measure, tasks) if jobs == 1 else pool.map(measure, tasks):
            scores.append(score)
            if progress:
                progress(score)
    return DatasetScore(title, split, tuple(scores), frames)


def _dataset_task(dataset: Dataset, name: str, results: Path, ignore_void: bool) -> _Task:
    sequence = dataset.sequence(name)
    indices = sorted(sequence.annotations)
    if not indices:
        raise InputError(
            "A sequence to evaluate has annotations",
            met="none",
            where=name,
            remedy="Choose a split with published annotations",
        )
    frame_names = [sequence.frame_names[index] for index in indices]
    object_ids = None
    if dataset.multi_object:
        # The official DAVIS-2017 code takes every id up to the highest of the first frame.
        object_ids = range(1, 1 + _highest_id(dataset.annotation(name, indices[0])))
    folder, predictions = find_predictions(results / name, frame_names)
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
    truth: Path,
    truth_folder: Path,
    results: Path,
    multi_object: bool | None,
    ignore_void: bool,
) -> _Task:
    relative = truth_folder.relative_to(truth)
    files = list_masks(truth_folder)
    if multi_object is None:
        multi_object = _highest_id(read_mask(next(iter(files.values())))) > 1
    read = partial(read_mask, mask_format="ids" if multi_object else "auto", keep_void=ignore_void)
    folder, predictions = find_predictions(results / relative, list(files))
    return _Task(
        name=relative.as_posix() if relative.parts else truth.resolve().name,
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
            # The first mask was given: unless the frame counts, a file for it is not read.
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
    """Reads a predicted mask; the values of a PNG are ids as stored, as in the official code."""
    return read_mask(path, mask_format="ids" if path.suffix.lower() == ".png" else "auto")


def _check_complete(tasks: Sequence[_Task], frames: FramePolicy) -> None:
    incomplete = []
    for task in tasks:
        missing = task.missing(frames)
        if missing and not task.predictions:
            incomplete.append((task, "no masks"))
        elif missing:
            incomplete.append((task, f"{len(missing)} frames missing, first {missing[0]}"))
    if incomplete:
        listed = "; ".join(f"{task.name}: {text}" for task, text in incomplete[:5])
        raise InputError(
            "Every counted frame has a prediction <results>/<sequence>/<frame>.png or "
            f"<results>/<sequence>/{MASK_SUBFOLDER}/<frame>.png",
            met=f"{len(incomplete)} of {len(tasks)} sequences incomplete: {listed}"
            + ("; ..." if len(incomplete) > 5 else ""),
            where=incomplete[0][0].folder,
            remedy="Segment these sequences first, or give the folder that holds their folders",
        )


def _highest_id(mask: NDArray[np.uint8]) -> int:
    return int(np.where(mask == VOID, 0, mask).max(initial=0))


def _existing_folder(folder: str | Path, what: str) -> Path:
    folder = Path(folder)
    if not os.path.isdir(folder):
        raise InputError(f"The folder of the {what} must exist", met="no folder", where=folder)
    return folder
