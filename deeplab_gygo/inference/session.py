"""One clip that is being worked on: annotation, propagation, correction."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Generator, Iterator
from contextlib import closing

import numpy as np

from deeplab_gygo.errors import UsageError
from deeplab_gygo.inference.config import OnlineConfig
from deeplab_gygo.inference.frame_store import FrameStore
from deeplab_gygo.inference.prediction import Adaptation, Prediction, ProgressCallback
from deeplab_gygo.io.masks import check_first_mask, object_ids
from deeplab_gygo.io.sequence import MaskSource, Sequence


class Session:
    """One clip that is annotated, propagated and corrected; made by `Model.session`.

    After a correction only the frames up to the next annotated ones are segmented again: those
    further away keep their results.

    Args:
        sequence: The frames.
        config: Online options.
        run: Segments a part of an annotated sequence; takes the sequence, a progress callback and
            `span`, the indices of its frames.
        adaptation: Returns the fine-tuning of the clip in progress.

    Attributes:
        sequence: As given.
        config: As given.
        adaptation: Steps, losses and seconds of the last fine-tuning of this session.

    Example:
        >>> import deeplab_gygo
        >>> frames = np.random.default_rng(0).integers(0, 256, (5, 48, 64, 3), np.uint8)
        >>> mask = np.zeros((48, 64), np.uint8)
        >>> mask[12:36, 16:48] = 1
        >>> with deeplab_gygo.load().session(frames, mode="one-shot") as session:
        ...     session.annotate(1, mask)
        ...     print([prediction.index for prediction in session.propagate()])
        ...     session.annotate(3, mask)
        ...     print([prediction.index for prediction in session.propagate()])
        [0, 1, 2, 3, 4]
        [2, 3, 4]
    """

    def __init__(
        self,
        sequence: Sequence,
        config: OnlineConfig,
        run: Callable[..., Generator[Prediction]],
        adaptation: Callable[[], Adaptation],
    ):
        self.sequence, self.config, self.adaptation = sequence, config, Adaptation()
        self._run, self._current_adaptation = run, adaptation
        self._masks: dict[int, np.ndarray] = {}
        self._changed: set[int] = set()
        self._running: Generator[Prediction] | None = None
        self._scratch = tempfile.TemporaryDirectory(prefix="deeplab_gygo-")
        self._results = FrameStore(self._scratch.name)

    def __enter__(self) -> Session:
        return self

    def __exit__(self, *exception: object) -> None:
        self.close()
        self._scratch.cleanup()

    @property
    def annotated(self) -> list[int]:
        """Indices of the annotated frames, ascending."""
        return sorted(self._masks)

    def annotate(self, frame: int, mask: MaskSource | None) -> None:
        """Sets, replaces or removes the mask of a frame.

        Args:
            frame: Index of the frame, from 0.
            mask: File, or bool or uint8 [H, W] of object ids, of the size of the frames. It
                annotates the objects in it; an empty one is of absent objects. None removes the
                mask of the frame.

        Raises:
            InputError: The mask is absent, damaged, full, or does not fit the frames.
            UsageError: There is no such frame.
        """
        if mask is None:
            if self._masks.pop(frame, None) is not None:
                self._changed.add(frame)
            return
        annotated = self.sequence.with_annotations({frame: mask})
        given = annotated.annotation(frame)
        if given.any():
            given = check_annotation(annotated, frame)
        self._masks[frame] = given
        self._changed.add(frame)

    def propagate(self, progress: ProgressCallback | None = None) -> Iterator[Prediction]:
        """Segments the frames that the annotations set since the last time can change.

        The first time these are all frames; later those from the annotated frame before a new one
        to the annotated frame after it. Fine-tuning learns from all annotated frames.

        Args:
            progress: Called as `progress(step, steps, loss)` after every fine-tuning step.

        Yields:
            One prediction per frame that was segmented or annotated anew, in order.

        Raises:
            UsageError: No frame is annotated, or another clip is in progress.
        """
        if not any(mask.any() for mask in self._masks.values()):
            raise UsageError(
                "A session is annotated before it is propagated",
                met="no annotation with an object",
                remedy="Call annotate(frame, mask) first",
            )
        self.close()
        annotated = self.sequence.with_annotations(dict(self._masks))
        span = self._span()
        self._running = self._stream(self._run(annotated, progress, span=span), span)
        return self._running

    def result(self, frame: int) -> Prediction:
        """Returns the newest result of a frame, its probability in steps of 1/255.

        Raises:
            UsageError: The frame was not segmented yet.
        """
        if not self._results.holds(frame):
            raise UsageError("A result is of a frame that was segmented", met=f"frame {frame}")
        return self._results.prediction(frame, self.sequence.frame_names[frame])

    def _span(self) -> range:
        """Returns the frames that the changed annotations can change."""
        frames = len(self.sequence)
        if not all(self._results.holds(index) for index in range(frames)):
            return range(frames)
        labels = object_ids(*self._masks.values())

        def bounds(index: int) -> bool:
            shown = object_ids(self._masks[index])
            return index not in self._changed and shown in ([], labels)

        fixed = [index for index in sorted(self._masks) if bounds(index)]
        if not self._changed:
            return range(0)
        start = max((i for i in fixed if i < min(self._changed)), default=0)
        stop = min((i for i in fixed if i > max(self._changed)), default=frames - 1) + 1
        return range(start, stop)

    def _stream(self, predictions: Generator[Prediction], span: range) -> Generator[Prediction]:
        if not span:
            return
        changed = frozenset(self._changed)
        with closing(predictions):
            for prediction in predictions:
                self.adaptation = self._current_adaptation()
                self._results.put(prediction, None)
                if prediction.index not in self._masks or prediction.index in changed:
                    yield prediction
        self._changed -= changed

    def close(self) -> None:
        """Ends a propagation in progress and closes the source."""
        if self._running is not None:
            self._running.close()
            self._running = None


def check_annotation(sequence: Sequence, frame: int) -> np.ndarray:
    """Checks that a frame has a mask that can be propagated.

    Args:
        sequence: Frames and annotations.
        frame: Index of an annotated frame.

    Returns:
        The mask, uint8 [H, W] of object ids.

    Raises:
        InputError: The mask is absent, damaged, empty, full, or does not fit the frames.
    """
    mask = sequence.annotation(frame)
    check_first_mask(mask, sequence.size, f"mask of frame {frame}")
    return mask
