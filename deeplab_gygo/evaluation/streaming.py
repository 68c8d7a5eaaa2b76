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
    ids are measured one by one and 255 is background. By default all ids of the ground truth are
    measured, each from its first mask on; with `object_ids` these alone, in every frame, and others
    are background, as in the official semi-supervised DAVIS-2017 code.

    Args:
        predictions: Masks uint8 [H, W] of object ids, 0 = background, one per ground-truth mask;
            None for an uncounted frame without a prediction.
        truths: Ground-truth masks uint8 [H, W] of the annotated frames in temporal order.
        name: Name of the sequence.
        frame_names: Names of the annotated frames; by default their indices in five digits.
        frames: Frames that count; uncounted frames with a prediction are measured too.
        multi_object: Whether mask values are object ids.
        object_ids: Objects to measure; None takes all that the ground-truth masks show.
        void_label: Ground-truth value of ignored pixels; None, as in the official code, for no
            such value.

    Returns:
        The score.

    Raises:
        InputError: There is no frame; the numbers of masks and names differ; a counted frame has
            no prediction; sizes differ; a prediction holds unknown ids; no truth shows an object.
        UsageError: The frame policy is unknown.
    """
    check_frame_policy(frames)
    names = None if frame_names is None else list(frame_names)
    met: list[str] = []
    rows: list[dict[int, tuple[float, float]]] = []
    joins = multi_object and not object_ids
    # Frame of the first mask of every object.
    first = dict.fromkeys(sorted(object_ids or ()) if multi_object else (1,), 0)
    unknown: dict[int, str] = {}  # ids in predictions before they are in a truth, and where
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
        if joins:
            for label in np.setdiff1d(truth, [0, VOID, *first]).tolist():
                first[label] = index
        if prediction is not None:
            _check_size(prediction, truth, where)
            if multi_object:
                extra = np.setdiff1d(prediction, [0, *first]).tolist()
                unknown |= {label: where for label in extra if label not in unknown}
                if extra and (not joins or VOID in extra):
                    raise _extra_ids(extra, first, where, joins)
            void = None if void_label is None else truth == void_label
            rows.append(_measure(prediction, truth, void, tuple(first) if multi_object else None))
        elif frames == "all" or (frames == "drop-first" and index):
            raise InputError("Every counted frame needs a prediction", where=where)
        else:
            absent = where if index else ""
            rows.append({})
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
    if not first:
        raise InputError("The annotations of a sequence show an object", met="none", where=name)
    if extra := [label for label in unknown if label not in first]:
        raise _extra_ids(extra, first, unknown[extra[0]], joins)
    ids = tuple(sorted(first))
    if joins and ids[-1] != len(ids):
        _logger.warning("%s: the ids of the objects have gaps: %s", name, ids)
    unmeasured = (math.nan, math.nan)
    values = np.array([[row.get(label, unmeasured) for row in rows] for label in ids])
    region, contour = values.transpose(2, 0, 1)
    starts = tuple(first[label] for label in ids)
    return SequenceScore(name, tuple(met), ids, region, contour, frames, starts)


def _unequal(what: str, name: str) -> InputError:
    rule = "A sequence has as many predictions as annotations"
    return InputError(rule, met=f"too few {what}", where=name)


def _measure(
    prediction: NDArray[np.uint8],
    truth: NDArray[np.uint8],
    void: NDArray[np.bool_] | None,
    ids: tuple[int, ...] | None,
) -> dict[int, tuple[float, float]]:
    """Computes (J, F) of each object of a frame; all ids are object 1 if `ids` is None."""
    if ids is None:
        return {1: (jaccard(prediction, truth, void), boundary_measure(prediction, truth, void))}
    values = {}
    for object_id in ids:
        predicted, true = prediction == object_id, truth == object_id
        values[object_id] = (
            jaccard(predicted, true, void),
            boundary_measure(predicted, true, void),
        )
    return values


def _check_size(prediction: NDArray[np.uint8], truth: NDArray[np.uint8], where: str) -> None:
    """Raises `InputError` if a prediction has another size than its truth."""
    if prediction.shape != truth.shape:
        raise InputError(
            "A prediction has the size of its annotation, "
            + " x ".join(str(side) for side in truth.shape[::-1]),
            met=" x ".join(str(side) for side in prediction.shape[::-1]),
            where=where,
            remedy="Write the predictions at the size of the annotations",
        )


def _extra_ids(extra: list[int], known: Collection[int], where: str, joins: bool) -> InputError:
    annotations = "annotations" if joins else "first annotation"
    remedy = f"Write the ids of the {annotations}, background as 0"
    if extra == [VOID]:
        remedy += "; a mask of 0 and 255 is one for a single object"
    return InputError(
        f"A prediction holds no ids but those of the {annotations}, {sorted(known)}",
        met=f"extra ids {sorted(extra)}",
        where=where,
        remedy=remedy,
    )
