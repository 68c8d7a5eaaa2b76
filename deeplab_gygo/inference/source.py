"""What the Python interface takes as a clip and its masks."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path

import numpy as np

from deeplab_gygo.errors import UsageError
from deeplab_gygo.io.array_sequence import ArraySequence, StreamSequence
from deeplab_gygo.io.scratch import held
from deeplab_gygo.io.sequence import MaskSource, Sequence
from deeplab_gygo.io.video import open_input

Source = str | Path | Sequence | np.ndarray | Iterable[np.ndarray]
"""A video file, a folder of frames, a sequence, or frames uint8 [H, W, 3] RGB: an array
[N, H, W, 3], a list, or an iterator that is read once."""

Masks = str | Path | np.ndarray | Mapping[int, MaskSource]
"""A mask file or array uint8 [H, W] of the first frame, or {frame index: mask}."""


def open_source(source: Source, masks: Masks | None = None) -> Sequence:
    """Opens a clip with masks of some frames.

    Args:
        source: The clip.
        masks: The masks; None keeps those of a sequence.

    Raises:
        InputError: The source is absent or damaged, or a mask is of no frame.
        UsageError: It is nothing of that kind.
    """
    if masks is not None and not isinstance(masks, Mapping):
        masks = {0: masks}
    if isinstance(masks, Mapping):
        masks = {i: held(m) if isinstance(m, str) else m for i, m in masks.items()}
    if isinstance(source, Sequence):
        return source if masks is None else source.with_annotations(masks)
    if isinstance(source, (str, Path)):
        return open_input(source, annotations=masks)
    if isinstance(source, (np.ndarray, list, tuple)):
        return ArraySequence(source, annotations=masks)
    if isinstance(source, Iterable):
        return StreamSequence(source, annotations=masks)
    raise UsageError(
        "A source is a video, a folder of frames, or frames uint8 [H, W, 3]",
        met=type(source).__name__,
    )
