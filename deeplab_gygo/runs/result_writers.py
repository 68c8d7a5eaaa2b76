"""The writers of one result, as one: masks, overlay, cut-outs, soft masks."""

from __future__ import annotations

from collections.abc import Collection
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING, Self

import numpy as np

from deeplab_gygo.runs.clip import Clip
from deeplab_gygo.io.sequence import Frame
from deeplab_gygo.evaluation.result_files import MASK_SUBFOLDER
from deeplab_gygo.io.cutout_writers import (CutoutWriter, SoftMaskWriter)
from deeplab_gygo.io.mask_writers import MaskWriter
from deeplab_gygo.io.overlay import OverlayWriter

if TYPE_CHECKING:
    from deeplab_gygo.inference.prediction import Prediction

OVERLAY_NAME = "overlay.mp4"
CUTOUT_FOLDER = "cutouts"
SOFT_FOLDER = "soft"


class ResultWriters:
    """Writes what was asked for of every frame, each kind in a thread of its own.

    A context manager: leaving it waits until everything is written.

    Args:
        outputs: Kinds to write, of `settings.OUTPUTS`.
        folder: Where to write.
        clip: The clip, for size, times and ids.
    """

    def __init__(self, outputs: Collection[str], folder: Path, clip: Clip):
        self._outputs, self._folder, self._clip = outputs, folder, clip
        self._ids = [int(label) for label in np.unique(clip.mask) if label]
        self._stack = ExitStack()
        self._masks: MaskWriter | None = None
        self._overlay: OverlayWriter | None = None
        self._cutouts: CutoutWriter | None = None
        self._soft: SoftMaskWriter | None = None

    def __enter__(self) -> Self:
        folder = self._folder
        with ExitStack() as stack:  # closes those already open where a later one fails
            if "masks" in self._outputs:
                self._masks = stack.enter_context(MaskWriter(folder / MASK_SUBFOLDER))
            if "overlay" in self._outputs:
                self._overlay = stack.enter_context(self._overlay_writer())
            if "cutout" in self._outputs:
                self._cutouts = stack.enter_context(CutoutWriter(folder / CUTOUT_FOLDER))
            if "soft" in self._outputs:
                self._soft = stack.enter_context(SoftMaskWriter(folder / SOFT_FOLDER))
            self._stack = stack.pop_all()
        return self

    def __exit__(self, *error: object) -> bool | None:
        return self._stack.__exit__(*error)

    def write(self, frame: Frame, prediction: Prediction) -> None:
        """Hands over one frame with its result.

        Raises:
            StorageError: An earlier one could not be written.
        """
        if self._masks is not None:
            self._masks.write(prediction.name, prediction.mask)
        if self._overlay is not None:
            self._overlay.write(frame.image, prediction.mask)
        if self._cutouts is not None:
            self._cutouts.write(prediction.name, frame.image, prediction.probability)
        if self._soft is not None:
            ids = self._ids if prediction.probability.ndim == 3 else None
            self._soft.write(prediction.name, prediction.probability, ids)

    def _overlay_writer(self) -> OverlayWriter:
        sequence, start = self._clip.sequence, self._clip.start
        times = sequence.times
        if times is not None:
            # The video begins with the annotated frame.
            times = [time - times[start] for time in times[start:]]
        return OverlayWriter(
            self._folder / OVERLAY_NAME,
            sequence.size,
            times=times,
            several=len(self._ids) > 1,
        )
