"""One clip that is being worked on: annotation and propagation."""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterator
from contextlib import closing

import numpy as np

from deeplab_gygo.errors import UsageError
from deeplab_gygo.inference.config import OnlineConfig
from deeplab_gygo.inference.prediction import Adaptation, Prediction, ProgressCallback
from deeplab_gygo.io.masks import check_first_mask
from deeplab_gygo.io.sequence import MaskSource, Sequence


class Session:
    """One clip that is annotated and propagated; made by `Model.session`.

    Args:
        sequence: The frames.
        config: Online options.
        run: Segments an annotated sequence; takes the sequence and a progress callback.
        adaptation: Returns the fine-tuning of the clip in progress.

    Attributes:
        sequence: As given.
        config: As given.
        adaptation: Steps, losses and seconds of the last fine-tuning of this session.

    Example:
        >>> import deeplab_gygo
        >>> frames = np.random.default_rng(0).integers(0, 256, (3, 48, 64, 3), np.uint8)
        >>> mask = np.zeros((48, 64), np.uint8)
        >>> mask[12:36, 16:48] = 1
        >>> with deeplab_gygo.load().session(frames, mode="one-shot") as session:
        ...     session.annotate(1, mask)
        ...     print([prediction.index for prediction in session.propagate()])
        [1, 2]
    """

    def __init__(
        self,
        sequence: Sequence,
        config: OnlineConfig,
        run: Callable[[Sequence, ProgressCallback | None], Generator[Prediction]],
        adaptation: Callable[[], Adaptation],
    ):
        self.sequence, self.config, self.adaptation = sequence, config, Adaptation()
        self._run, self._current_adaptation = run, adaptation
        self._annotation: tuple[int, np.ndarray] | None = None
        self._running: Generator[Prediction] | None = None

    def __enter__(self) -> Session:
        return self

    def __exit__(self, *exception: object) -> None:
        self.close()

    def annotate(self, frame: int, mask: MaskSource) -> None:
        """Sets the annotated frame.

        Args:
            frame: Index of the frame, from 0.
            mask: File, or bool or uint8 [H, W] of object ids, of the size of the frames.

        Raises:
            InputError: The mask is absent, damaged, empty, full, or does not fit the frames.
            UsageError: There is no such frame, or another frame is annotated already.
        """
        if self._annotation is not None and self._annotation[0] != frame:
            raise UsageError(
                "A session has one annotated frame",
                met=f"frame {frame} beside frame {self._annotation[0]}",
                remedy="Open another session",
            )
        annotated = self.sequence.with_annotations({frame: mask})
        self._annotation = (frame, check_annotation(annotated, frame))

    def propagate(self, progress: ProgressCallback | None = None) -> Iterator[Prediction]:
        """Propagates the annotation to the end of the clip.

        Args:
            progress: Called as `progress(step, steps, loss)` after every fine-tuning step.

        Yields:
            One prediction per frame, from the annotated frame on.

        Raises:
            UsageError: No frame is annotated, or another clip is in progress.
        """
        if self._annotation is None:
            raise UsageError(
                "A session is annotated before it is propagated",
                met="no annotation",
                remedy="Call annotate(frame, mask) first",
            )
        self.close()
        frame, mask = self._annotation
        annotated = self.sequence.with_annotations({frame: mask})
        self._running = self._stream(self._run(annotated, progress))
        return self._running

    def _stream(self, predictions: Generator[Prediction]) -> Generator[Prediction]:
        with closing(predictions):
            for prediction in predictions:
                self.adaptation = self._current_adaptation()
                yield prediction

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
