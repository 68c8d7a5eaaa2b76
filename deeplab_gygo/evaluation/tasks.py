"""Finds the sequences to evaluate, their ground truth and their predictions."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from deeplab_gygo.datasets.registry import Dataset
from deeplab_gygo.errors import InputError
from deeplab_gygo.evaluation.result_files import (
    MASK_SUBFOLDER,
    find_predictions,
    folders_with_masks,
    list_masks,
    sequence_root,
)
from deeplab_gygo.evaluation.scores import FramePolicy, counted_frames
from deeplab_gygo.evaluation.sequence_masks import SequenceMasks, open_masks
from deeplab_gygo.io.listing import shorten
from deeplab_gygo.io.masks import VOID


@dataclass(frozen=True)
class Task:
    """One sequence to evaluate.

    Attributes:
        name: Name of the sequence.
        frame_names: Names of the annotated frames in temporal order.
        open_truth: Opens the ground-truth masks, given `truth_files` with their contents.
        truth_files: Files of a folder of ground truth by frame name; empty for a dataset.
        folder: Folder of the predictions, present or expected.
        predictions: Prediction files by frame name.
        multi_object: Whether mask values are object ids; None: if the ground truth shows several.
        object_ids: Objects to measure; None takes those that the ground truth shows.
        void_label: Ground-truth value of ignored pixels; None for no such value.
        mask_format: Encoding of the predictions.
    """

    name: str
    frame_names: Sequence[str]
    open_truth: Callable[[Mapping[str, Path]], SequenceMasks]
    truth_files: Mapping[str, Path]
    folder: Path
    predictions: Mapping[str, Path]
    multi_object: bool | None
    object_ids: Sequence[int] | None
    void_label: int | None
    mask_format: str

    def missing(self, frames: FramePolicy) -> list[str]:
        """Returns the names of the counted frames without a prediction."""
        counted = counted_frames(len(self.frame_names), frames)
        names = (self.frame_names[index] for index in counted)
        return [name for name in names if name not in self.predictions]


def dataset_task(
    dataset: Dataset, name: str, results: Path, ignore_void: bool, mask_format: str
) -> Task:
    """Finds the predictions of a sequence of a dataset.

    Raises:
        InputError: The sequence has no annotations, or they cannot be read.
    """
    sequence = dataset.sequence(name)
    indices = {sequence.frame_names[index]: index for index in sorted(sequence.annotations)}
    if not indices:
        raise InputError(
            "A sequence to evaluate has annotations",
            met="none",
            where=name,
            remedy="Choose a split with published annotations",
        )
    given, first = next(iter(indices.items()))
    object_ids: Sequence[int] = (1,)
    if dataset.multi_object:
        # The official DAVIS-2017 code takes every id up to the highest of the first frame.
        mask = dataset.annotation(name, first)
        object_ids = range(1, 1 + int(np.where(mask == VOID, 0, mask).max(initial=0)))

    def open_truth(files: Mapping[str, Path]) -> SequenceMasks:
        sequence = dataset.sequence(name)  # of a URL: its copy stays as long as it is measured

        def read(frame: str) -> NDArray[np.uint8]:
            return sequence.annotation(indices[frame], keep_void=True)

        return SequenceMasks(f"{name}, ground truth", read, dict.fromkeys(object_ids, given))

    folder, predictions = _find(results, Path(name), list(indices))
    return Task(
        name=name,
        frame_names=list(indices),
        open_truth=open_truth,
        truth_files={},
        folder=folder,
        predictions=predictions,
        multi_object=dataset.multi_object,
        object_ids=object_ids,
        void_label=dataset.void_label if ignore_void else None,
        mask_format=mask_format,
    )


def folder_tasks(
    truth: Path,
    results: Path,
    multi_object: bool | None,
    ignore_void: bool,
    mask_format: str,
    truth_format: str,
) -> list[Task]:
    """Finds the sequences of a folder of ground-truth masks, and their predictions.

    Raises:
        InputError: There is no sequence, or a folder cannot be listed.
    """
    root = sequence_root(truth)
    folders = list(folders_with_masks(root))
    if not folders:
        raise InputError("A folder of ground-truth masks holds images", met="none", where=truth)
    tasks = []
    for truth_folder in folders:
        relative = truth_folder.relative_to(root)
        name = relative.as_posix() if relative.parts else truth.resolve().name
        files = list_masks(truth_folder)
        # A single sequence needs no folder of its name, on either side.
        others = [Path(), Path(name).name] if len(folders) == 1 else []
        folder, predictions = _find(results, relative, list(files), *others)
        tasks.append(
            Task(
                name=name,
                frame_names=list(files),
                open_truth=partial(_open_truth, name, truth_format, ignore_void),
                truth_files=files,
                folder=folder,
                predictions=predictions,
                multi_object=multi_object,
                object_ids=None,
                void_label=VOID if ignore_void else None,
                mask_format=mask_format,
            )
        )
    return tasks


def _open_truth(
    name: str, mask_format: str, keep_void: bool, files: Mapping[str, Path]
) -> SequenceMasks:
    where = f"{name}, ground truth"
    try:
        return open_masks(where, files, mask_format=mask_format, keep_void=keep_void)
    except InputError as error:
        remedy = (error.remedy or "").replace("mask_format", "truth_format")
        remedy = remedy.replace("--mask-format", "--truth-format")
        raise InputError(error.rule, met=error.met, where=error.where, remedy=remedy) from error


def _find(
    results: Path, relative: Path, frame_names: Sequence[str], *others: str | Path
) -> tuple[Path, dict[str, Path]]:
    """Finds the predictions of a sequence in the layouts of results."""
    expected = None
    for base in dict.fromkeys((results, sequence_root(results))):
        for name in (relative, *others):
            folder, predictions = find_predictions(base / name, frame_names)
            if predictions:
                return folder, predictions
            expected = expected or folder
    return expected or results, {}


def check_complete(tasks: Sequence[Task], frames: FramePolicy) -> None:
    """Raises `InputError` if a counted frame of a task has no prediction."""
    incomplete = []
    for task in tasks:
        if not (missing := task.missing(frames)):
            continue
        text = f"{len(missing)} frames missing, first {missing[0]}"
        if not task.predictions:
            there = list(list_masks(task.folder))
            text = f"frame {missing[0]} and others missing; there are {shorten(there)}"
            text = text if there else "no masks"
        incomplete.append((task, text))
    if incomplete:
        listed = "; ".join(f"{task.name}: {text}" for task, text in incomplete[:5])
        raise InputError(
            "Every counted frame has a prediction <results>/<sequence>/<frame>.png or "
            f"<results>/<sequence>/{MASK_SUBFOLDER}/<frame>.png",
            met=f"{len(incomplete)} of {len(tasks)} sequences incomplete: {listed}"
            + ("; ..." if len(incomplete) > 5 else ""),
            where=incomplete[0][0].folder,
            remedy="Segment these sequences first, give the folder that holds their folders, or "
            "name the masks as the frames of the ground truth",
        )
