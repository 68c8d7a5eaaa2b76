"""Propagation of corrected annotations through a clip whose other results are known.

Fine-tuning goes on from the weights of the propagation before. A corrected annotation is propagated
to the annotated frames before and after it, as far as it changes something. The other side of every
frame stays as it is known, and is trusted less towards the corrected frame, the more wrong it was
there. experiments/results/corrections_quick_video.json has the J of this and of all frames anew.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator
from contextlib import closing
from typing import TYPE_CHECKING

import numpy as np

from deeplab_gygo.evaluation.measures import jaccard
from deeplab_gygo.inference.frame_store import FrameStore
from deeplab_gygo.inference.passes import ClipRun, reversed_frames
from deeplab_gygo.inference.prediction import Prediction, ProgressCallback
from deeplab_gygo.io.masks import object_ids
from deeplab_gygo.io.sequence import Frame, Sequence

if TYPE_CHECKING:
    from deeplab_gygo.inference.segmenter_base import SegmenterBase

SAME_JACCARD = 0.985
"""J of the masks of a frame before and after a correction from which it counts as unchanged. On
five real clips .97 and 4 frames lost .007 of J against this, standard error .006
(experiments/results/corrections_quick_video.json)."""

SAME_FRAMES = 8
"""Unchanged frames in a row after which a propagation ends."""


class Correction(ClipRun):
    """The propagation of corrected annotations.

    Args:
        segmenter: The segmenter.
        sequence: Frames and annotations, each of which shows all objects or none.
        progress: Called after every fine-tuning step.
        known: What the propagation before kept: its results forwards and backwards, and what it
            computed at the annotated frames.
        corrected: Indices of the annotations that are new or changed.
        store: Where results and state are kept, for a propagation that may be resumed: one store
            for each direction from each corrected frame.
    """

    def __init__(
        self,
        segmenter: SegmenterBase,
        sequence: Sequence,
        progress: ProgressCallback | None,
        *,
        known: FrameStore,
        corrected: Collection[int],
        store: FrameStore,
    ):
        super().__init__(segmenter, sequence, progress, backwards=True, store=store)
        self._known, self._corrected = (known.backward(), known), sorted(corrected)
        self._new: tuple[list[FrameStore], list[FrameStore]] = [], []

    def run(self) -> Iterator[Prediction]:
        """Yields the predictions of the frames that change, from each corrected one outwards."""
        known = self._known[1].initial_state()
        if known is not None:
            self._segmenter.go_on_from(known)
        self._begin({})
        for index in self._corrected:
            for forward in (False, True):
                yield from self._side(index, forward=forward)

    def _side(self, index: int, *, forward: bool) -> Iterator[Prediction]:
        """Yields the results of the frames on one side of a corrected frame; its own at first."""
        store = self._store.side(index, forward=forward)
        self._new[forward].append(store)
        unchanged, trust = 0, self._trust(index, forward=forward)
        with closing(self._pass(self._outwards(index, forward=forward), store)) as predictions:
            for prediction in predictions:
                if prediction.index == index:
                    if not forward:
                        yield prediction
                    continue
                before = self._result(prediction, self._known[forward], forward=forward)
                after = self._joined(prediction, trust(prediction.index), forward=forward)
                yield after
                unchanged = 0 if before is None or _differ(before, prediction) else unchanged + 1
                if unchanged == SAME_FRAMES:
                    return

    def _outwards(self, index: int, *, forward: bool) -> Iterator[Frame]:
        """Yields a corrected frame and those after or before it up to the next annotated one."""
        if forward:
            stop = min((i for i in self._masks if i > index), default=len(self._sequence))
            with closing(self._sequence.preview(index)) as frames:
                for _ in range(index, stop):
                    yield next(frames)
            return
        start = max((i for i in self._masks if i < index), default=-1) + 1
        yield from reversed_frames(self._sequence, index, start)

    def _result(self, like: Prediction, store: FrameStore, *, forward: bool) -> Prediction | None:
        """Returns the result of a frame before the correction; None where it has none."""
        index, name = like.index, like.name
        if store.holds(index):
            return self._joined(store.prediction(index, name), 1.0, forward=forward)
        other = self._known[not forward]
        return other.prediction(index, name) if other.holds(index) else None

    def _joined(self, side: Prediction, trust: float, *, forward: bool) -> Prediction:
        """Returns the result of a frame from one side, and from the other as it is known now.

        Args:
            side: The result of one side.
            trust: Factor of the confidence of the other.
            forward: Whether the side is that from frames before.
        """
        stores = [*self._new[not forward], self._known[not forward]]
        held = next((store for store in stores if store.holds(side.index)), None)
        if held is None:
            return side
        other = held.prediction(side.index, side.name)
        if forward:
            return self._merged(side, other, (1.0, trust))
        return self._merged(other, side, (trust, 1.0))

    def _trust(self, corrected: int, *, forward: bool) -> Callable[[int], float]:
        """Returns the trust in the other side of a frame.

        At the corrected frame it is the J that this side had there, relative to its confidence, and
        1 at the annotated frame that it comes from.
        """
        store, mask = self._known[not forward], self._masks[corrected]
        beyond = [i for i in self._masks if i != corrected and (i > corrected) == forward]
        if not beyond or not store.holds(corrected):
            return lambda _: 1.0
        found = store.prediction(corrected, "")
        true = min(_jaccards(found.mask, mask), default=1.0)
        missing = 1 - min(1.0, true / max(found.confidence, 1e-3))
        source = min(beyond, key=lambda index: abs(index - corrected))
        return lambda index: 1 - missing * (index - source) / (corrected - source)


def _differ(before: Prediction, after: Prediction) -> bool:
    """Returns whether an object of two results of a frame has another mask."""
    return any(value < SAME_JACCARD for value in _jaccards(before.mask, after.mask))


def _jaccards(mask: np.ndarray, other: np.ndarray) -> list[float]:
    """Returns J of every object that one of two masks, uint8 [H, W], shows."""
    return [jaccard(mask == label, other == label) for label in object_ids(mask, other)]
