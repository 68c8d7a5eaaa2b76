"""Evaluates one sequence from two streams of masks, in constant memory."""

from __future__ import annotations

import logging
import math
from collections.abc import Collection, Iterable

import numpy as np
from numpy.typing import NDArray

from deeplab_gygo.errors import InputError
from deeplab_gygo.evaluation.measures import boundary_measure, jaccard
from deeplab_gygo.evaluation.scores import FramePolicy, SequenceScore, check_frame_policy
from deeplab_gygo.io.masks import VOID

_logger = logging.getLogger(__name__)


def evaluate_sequence(
    predictions: Iterable[NDArray[np.uint8] | None],
    truths: Iterable[NDArray[np.uint8]],
    *,
    name: str = "sequence",
    frame_names: Collection[str] | None = None,
    frames: FramePolicy = "official",
    multi_object: bool = False,
    object_ids: Collection[int] | None = None,
    void_label: int | None = None,
) -> SequenceScore:
    """Computes J and F of every frame of a sequence, with at most two frames in memory.

    With one object every nonzero value is the object, as in DAVIS-2016. With several objects the
    ids of the first ground-truth mask are measured one by one; 255 and ids that appear later are
    background, as in the official semi-supervised DAVIS-2017 code.

    Args:
        predictions: Masks uint8 [H, W] of object ids, 0 = background, one per ground-truth mask;
            None for an uncounted frame without a prediction.
        truths: Ground-truth masks uint8 [H, W] of the annotated frames in temporal order.
        name: Name of the sequence.
        frame_names: Names of the annotated frames; by default their indices in five digits.
        frames: Frames that count; uncounted frames with a prediction are measured too.
        multi_object: Whether mask values are object ids.
        object_ids: Objects to measure; None takes those of the first ground-truth mask.
        void_label: Ground-truth value of ignored pixels; None, as in the official code, for no
            such value.

    Returns:
        The score.

    Raises:
        InputError: There is no frame; the numbers of masks and names differ; a counted frame has
            no prediction; sizes differ; a prediction holds unknown ids.
        UsageError: The frame policy is unknown.
    """
    check_frame_policy(frames)
    names = None if frame_names is None else list(frame_names)
    met: list[str] = []
    rows: list[list[tuple[float, float]]] = []
    ids = tuple(sorted(object_ids or ())) if multi_object else (1,)
    absent = ""  # the last frame of the official protocol needs no prediction, others do
    truth_stream = iter(truths)
    for index, prediction in enumerate(predictions):
        truth = next(truth_stream, None)
        if truth is None:
            raise _unequal("annotations", name)
        if absent:
            raise InputError("Every counted frame needs a prediction", where=absent)
        met.append(names[index] if names and index < len(names) else f"{index:05d}")
        where = f"{name}, frame {met[-1]}"
        ids = ids or _ids_of_first(truth, where)
        if prediction is not None:
            _check_prediction(prediction, truth, ids if multi_object else None, where)
            void = None if void_label is None else truth == void_label
            rows.append(_measure(prediction, truth, void, ids if multi_object else None))
        elif frames == "all" or (frames == "drop-first" and index):
            raise InputError("Every counted frame needs a prediction", where=where)
        else:
            absent = where if index else ""
            rows.append([(math.nan, math.nan)] * len(ids))
    if next(truth_stream, None) is not None:
        raise _unequal("predictions", name)
    if not rows:
        raise InputError("A sequence to evaluate has annotated frames", met="none", where=name)
    if names is not None and len(names) != len(rows):
        raise InputError(
            "A sequence has one name per annotated frame",
            met=f"{len(names)} names for {len(rows)} frames",
            where=name,
        )
    values = np.array(rows, dtype=np.float64).transpose(2, 1, 0)
    return SequenceScore(name, tuple(met), ids, values[0], values[1], frames)


def _unequal(what: str, name: str) -> InputError:
    rule = "A sequence has as many predictions as annotations"
    return InputError(rule, met=f"too few {what}", where=name)


def _measure(
    prediction: NDArray[np.uint8],
    truth: NDArray[np.uint8],
    void: NDArray[np.bool_] | None,
    ids: tuple[int, ...] | None,
) -> list[tuple[float, float]]:
    """Computes (J, F) of each object of a frame; all ids are one object if `ids` is None."""
    if ids is None:
        return [(jaccard(prediction, truth, void), boundary_measure(prediction, truth, void))]
    values = []
    for object_id in ids:
        predicted, true = prediction == object_id, truth == object_id
        values.append((jaccard(predicted, true, void), boundary_measure(predicted, true, void)))
    return values


def _ids_of_first(truth: NDArray[np.uint8], where: str) -> tuple[int, ...]:
    ids = tuple(int(value) for value in np.unique(truth) if value not in (0, VOID))
    if not ids:
        raise InputError("The first annotation holds an object", met="none", where=where)
    if ids[-1] != len(ids):
        _logger.warning("%s: the ids of the objects have gaps: %s", where, ids)
    return ids


def _check_prediction(
    prediction: NDArray[np.uint8],
    truth: NDArray[np.uint8],
    ids: tuple[int, ...] | None,
    where: str,
) -> None:
    """Raises `InputError` if a prediction has another size or unknown ids."""
    if prediction.shape != truth.shape:
        raise InputError(
            "A prediction has the size of its annotation, "
            + " x ".join(str(side) for side in truth.shape[::-1]),
            met=" x ".join(str(side) for side in prediction.shape[::-1]),
            where=where,
            remedy="Write the predictions at the size of the annotations",
        )
    if ids is None:
        return
    extra = np.setdiff1d(prediction, [0, *ids]).tolist()
    if extra:
        remedy = "Write the ids of the first annotation, background as 0"
        if extra == [VOID]:
            remedy += "; a mask of 0 and 255 is one for a single object"
        raise InputError(
            f"A prediction holds no ids but those of the first annotation, {list(ids)}",
            met=f"extra ids {extra}",
            where=where,
            remedy=remedy,
        )
