"""Evaluates masks on disk against a dataset split or against a folder of ground-truth masks.

`result_files` has the layouts of the folders, `sequence_masks` the encodings of the masks.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import replace
from functools import partial
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from deeplab_gygo.datasets.registry import Dataset, open_dataset
from deeplab_gygo.errors import InputError, UsageError
from deeplab_gygo.evaluation.remote_masks import RemoteMasks, open_folder
from deeplab_gygo.evaluation.result_files import check_names, note_unmeasured
from deeplab_gygo.evaluation.scores import (
    DatasetScore,
    FramePolicy,
    SequenceScore,
    check_frame_policy,
)
from deeplab_gygo.evaluation.sequence_masks import SequenceMasks, match_ids, open_masks
from deeplab_gygo.evaluation.streaming import evaluate_sequence
from deeplab_gygo.evaluation.tasks import Task, check_complete, dataset_task, folder_tasks
from deeplab_gygo.io.listing import shorten
from deeplab_gygo.io.masks import VOID

Progress = Callable[[SequenceScore], None]
_logger = logging.getLogger(__name__)


def evaluate(
    results: str | Path,
    ground_truth: str | Path | Dataset,
    *,
    dataset: str | None = None,
    split: str | Path = "val",
    frames: FramePolicy = "official",
    multi_object: bool | None = None,
    ignore_void: bool = False,
    mask_format: str = "auto",
    truth_format: str = "auto",
    jobs: int = 1,
    progress: Progress | None = None,
) -> DatasetScore:
    """Computes J and F of a folder of masks by the official DAVIS protocol.

    Args:
        results: Folder of the predicted masks, or its URL: one folder per sequence, or the masks of
            a single sequence; or a folder with these in `Annotations`. Frames are paired with the
            ground truth by name.
        ground_truth: A folder of ground-truth masks of the same form, where objects may join later
            and then count from the frame after their first mask; the root of a dataset if
            `dataset` is given; or an opened dataset.
        dataset: Kind of the dataset at `ground_truth`: "gygo", "davis2016" or "davis2017".
        split: Split of the dataset, or path of a list file; unused with a folder of masks.
        frames: Frames that count. The last frame is measured too if it has a prediction.
        multi_object: Whether mask values are object ids; a dataset defines this itself. None
            decides per sequence: ids if the ground truth shows several objects in all its frames.
        ignore_void: Whether void pixels (255 beside ids) are ignored; by default they are
            background, as in the official code.
        mask_format: Encoding of the results, as in `read_mask`; "auto" detects it per sequence.
        truth_format: Encoding of a folder of ground-truth masks, likewise.
        jobs: Number of sequences evaluated in parallel, in threads.
        progress: Called with the score of each sequence, in order.

    Returns:
        The scores of all sequences. With a folder of masks the dataset is named after the folder
        and the split is "all".

    Raises:
        InputError: Predictions or ground truth are absent or unusable; the message lists all
            incomplete sequences.
        StorageError: What is at a URL cannot be read, or does not fit into the scratch folder.
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
    remotes: list[RemoteMasks] = []
    results = open_folder(results, "predictions", remotes)
    if isinstance(ground_truth, str | Path) and dataset is None:
        truth = open_folder(ground_truth, "ground-truth masks", remotes)
        tasks = folder_tasks(truth, results, multi_object, ignore_void, mask_format, truth_format)
        title, split = truth.resolve().name, "all"
    else:
        if isinstance(ground_truth, str | Path):
            ground_truth = open_dataset(str(dataset), ground_truth)
        tasks = [
            dataset_task(ground_truth, name, results, ignore_void, mask_format)
            for name in ground_truth.names(split)
        ]
        title, split = ground_truth.kind, Path(split).name.removesuffix(".txt")
    check_complete(tasks, frames)
    for task in tasks:
        check_names(task.name, task.folder, task.frame_names)
    note_unmeasured(results, [task.folder for task in tasks])
    measure = partial(_measure_local, remotes=remotes, frames=frames)
    scores = []
    # PNG decoding and dilation release the interpreter lock, so threads are enough.
    with ThreadPoolExecutor(max_workers=jobs) as pool:
        for score in map(measure, tasks) if jobs == 1 else pool.map(measure, tasks):
            scores.append(score)
            if progress:
                progress(score)
    return DatasetScore(title, split, tuple(scores), frames)


def _measure_local(task: Task, remotes: list[RemoteMasks], frames: FramePolicy) -> SequenceScore:
    """Measures a sequence; what is at URLs is in the scratch folder meanwhile."""
    with ExitStack() as stack:
        for remote in remotes:
            predictions = stack.enter_context(remote.copied(task.predictions))
            truth = stack.enter_context(remote.copied(task.truth_files))
            task = replace(task, predictions=predictions, truth_files=truth)
        return _measure(task, frames)


def _measure(task: Task, frames: FramePolicy) -> SequenceScore:
    truth = task.open_truth(task.truth_files)
    multi_object = task.multi_object
    if multi_object is None:
        multi_object = max(truth.first, default=1) > 1
    if not multi_object:
        truth = truth.merged()
    elif truth.kind == "numbered":
        names = (f"{truth.listed([label])} is {label}" for label in sorted(truth.first))
        _logger.warning(
            "%s: the objects are numbered for the whole sequence: %s", truth.where, shorten(names)
        )
    found = _open_predictions(task, truth, frames, multi_object)
    late: set[int] = set()

    def truths() -> Iterator[NDArray[np.uint8]]:
        for name in task.frame_names:
            mask = truth.read(name)
            if task.object_ids is not None and multi_object:
                late.update(np.setdiff1d(mask, [0, VOID, *task.object_ids]).tolist())
            yield mask

    def predictions() -> Iterator[NDArray[np.uint8] | None]:
        for index, name in enumerate(task.frame_names):
            # The first mask was given: unless the frame counts, a file for it is not read.
            is_given = index == 0 and frames != "all"
            yield None if is_given or name not in task.predictions else found.read(name)

    score = evaluate_sequence(
        predictions(),
        truths(),
        name=task.name,
        frame_names=task.frame_names,
        frames=frames,
        multi_object=True,
        object_ids=task.object_ids,
        void_label=task.void_label,
    )
    if late:
        _logger.warning(
            "%s: objects that join later are background in the official protocol: %s; measured "
            "against a folder of ground truth they count", task.name, shorten(map(str, late)),
        )  # fmt: skip
    return score


def _open_predictions(
    task: Task, truth: SequenceMasks, frames: FramePolicy, multi_object: bool
) -> SequenceMasks:
    """Opens the predictions, with the ids of the ground truth."""
    first, files = task.frame_names[0], dict(task.predictions)
    given = {first: files.pop(first)} if first in files and frames != "all" else {}
    found = open_masks(
        f"{task.name}, results",
        files,
        mask_format=task.mask_format,
        expected=truth.first,
        given=given,
    )
    if multi_object and found.kind == "single" and found.first:
        raise InputError(
            f"Results for several objects hold their ids, {sorted(truth.first)}",
            met="masks for a single object: 0 and 255, gray edges, or transparency",
            where=f"{task.name}, frame {found.first[1]}",
            remedy="Write the ids of the annotations, background as 0; a mask of 0 and 255 is one "
            "for a single object",
        )
    if multi_object:
        return match_ids(found, truth)
    if len(found.first) > 1:
        _logger.warning(
            "%s: the objects are taken as one, for the ground truth has one: %s",
            found.where, found.listed(found.first),
        )  # fmt: skip
    return found.merged()
