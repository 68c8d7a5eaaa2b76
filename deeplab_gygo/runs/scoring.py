"""J and F of a finished result, where every frame has an annotation."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np

from deeplab_gygo.runs.clip import Clip
from deeplab_gygo.io.masks import (VOID, read_mask)
from deeplab_gygo.evaluation import (SequenceScore, evaluate_sequence)
from deeplab_gygo.evaluation.result_files import MASK_SUBFOLDER


def score_result(clip: Clip, folder: Path) -> SequenceScore | None:
    """Measures the masks of a result by the official protocol.

    Args:
        clip: The sequence; a score needs its annotations.
        folder: Folder of the result.

    Returns:
        The score; None where there are no annotations, or the masks were not written.

    Raises:
        InputError: An annotation or a mask cannot be used.
    """
    masks = folder / MASK_SUBFOLDER
    if clip.truth is None or not masks.is_dir():
        return None
    sequence = clip.sequence
    indices = range(clip.start, len(sequence))

    def predictions() -> Iterator[np.ndarray]:
        for index in indices:
            yield read_mask(masks / f"{sequence.frame_names[index]}.png", mask_format="ids")

    return evaluate_sequence(
        predictions(),
        (clip.truth(index) for index in indices),
        name=clip.name,
        frame_names=[sequence.frame_names[index] for index in indices],
        multi_object=clip.multi_object,
        object_ids=_object_ids(clip),
    )


def _object_ids(clip: Clip) -> range | None:
    """The ids to measure: the official DAVIS-2017 code takes every one up to the highest."""
    if not clip.multi_object:
        return None
    first = clip.truth(clip.start)
    return range(1, int(np.where(first == VOID, 0, first).max(initial=0)) + 1)
