"""The base of all segmenters: objects that are propagated frame by frame and compete by odds."""

from __future__ import annotations

import time
from abc import ABC, abstractmethod
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import islice
from typing import Any, ClassVar

import numpy as np

from deeplab_gygo.errors import InputError, UsageError
from deeplab_gygo.inference.confidence import expected_jaccard
from deeplab_gygo.inference.prediction import Adaptation, Prediction, ProgressCallback
from deeplab_gygo.io.masks import VOID, check_first_mask
from deeplab_gygo.io.sequence import Frame, Sequence


@dataclass
class TrackedObject:
    """State of one object.

    Attributes:
        label: Its id in masks.
        probability: float32 [H, W] in 0..1 of the last frame, after the objects competed.
        confidence: Expected J of the last prediction, 0..1.
        state: State that the method keeps of it.
    """

    label: int
    probability: np.ndarray
    confidence: float = 1.0
    state: Any = None

    def update(self, probability: np.ndarray, threshold: float) -> None:
        """Stores the probability of the newest frame."""
        self.probability = probability


class SegmenterBase(ABC):
    """A segmenter that predicts every object independently and merges by soft aggregation.

    Holds the state of one sequence at a time; `begin` starts another. Memory does not grow with
    the length of a sequence.

    Args:
        threshold: Probability above which a pixel is object.
        needs_mask: Whether a sequence starts from a mask; otherwise one salient object is
            segmented.

    Attributes:
        adaptation: Fine-tuning of the current sequence.
        warnings: Notes on the current sequence for the user.
    """

    batch_size: ClassVar[int] = 1

    def __init__(self, threshold: float = 0.5, *, needs_mask: bool = True):
        self._threshold, self._needs_mask = threshold, needs_mask
        self._size: tuple[int, int] | None = None
        self._objects: list[Any] = []
        self.adaptation = Adaptation()
        self.warnings: list[str] = []

    @abstractmethod
    def _start(self, image: np.ndarray) -> None:
        """Prepares for frames of the size of the first one, uint8 [H, W, 3] RGB."""

    def _seen_as(
        self, image: np.ndarray, mask: np.ndarray | None
    ) -> tuple[np.ndarray, np.ndarray | None]:
        """Returns the annotated frame and its mask as objects see them: here unchanged."""
        return image, mask

    def _whole(self, probability: np.ndarray) -> np.ndarray:
        """Returns what objects predicted, float32 [H', W'], at the size of the frame."""
        return probability

    @abstractmethod
    def _add_object(
        self,
        image: np.ndarray,
        mask: np.ndarray | None,
        label: int,
        progress: ProgressCallback | None,
    ) -> tuple[TrackedObject, Adaptation]:
        """Initializes an object from the annotated frame.

        Args:
            image: uint8 [H, W, 3] RGB.
            mask: uint8 [H, W], 0 or 1, 255 where it is void; None without an annotation.
            label: Id of the object.
            progress: Called after every fine-tuning step.

        Returns:
            The object and a summary of its fine-tuning.
        """

    @abstractmethod
    def _encode(self, images: list[np.ndarray]) -> Any:
        """Computes the features that all objects share, of uint8 [H, W, 3] RGB frames."""

    @abstractmethod
    def _predict_object(self, features: Any, position: int, tracked: Any) -> np.ndarray:
        """Predicts an object on one frame.

        Args:
            features: Of `_encode`.
            position: Index of the frame in the batch that was encoded.
            tracked: The object, as the previous frame left it.

        Returns:
            float32 [H, W] in 0..1 at the size of the frames.
        """

    def _finish_frame(self, position: int) -> None:
        """Updates the state of the objects after they competed on a frame of the batch."""
        return

    def begin(
        self, frame: Frame, mask: np.ndarray | None, progress: ProgressCallback | None = None
    ) -> Adaptation:
        """Starts a sequence: initializes, and where the mode asks for it fine-tunes, every object.

        Args:
            frame: Annotated frame; the first one, where the segmenter needs no mask.
            mask: uint8 [H, W] of object ids, 0 background, 255 void; None, or ignored, where the
                segmenter needs none.
            progress: Called after every fine-tuning step.

        Returns:
            Steps, losses and seconds over all objects.

        Raises:
            InputError: The mask has another size than the frame, or is empty or full.
            UsageError: There is no mask where one is needed.
        """
        image = frame.image
        size = image.shape[:2]
        # A sequence that is refused has not begun.
        self._size, self._objects = None, []
        self.adaptation, self.warnings = Adaptation(), []
        if self._needs_mask:
            if mask is None:
                raise UsageError(
                    "This method and mode start from a mask",
                    met="none",
                    where=frame.name,
                    remedy="Give the mask of the first frame, or use --mode zero-shot",
                )
            check_first_mask(mask, size, frame.name)
        self._start(image)
        image, mask = self._seen_as(image, mask)
        done = []
        labels = (
            [int(i) for i in np.unique(mask) if i not in (0, VOID)] if self._needs_mask else [1]
        )
        for label in labels:
            single = None
            if self._needs_mask:
                single = (mask == label).astype(np.uint8)
                single[mask == VOID] = VOID
            tracked, adaptation = self._add_object(image, single, label, progress)
            self._objects.append(tracked)
            done.append(adaptation)
        self._size = size
        self.adaptation = Adaptation(
            sum(a.steps for a in done),
            [loss for a in done for loss in a.losses],
            sum(a.seconds for a in done),
        )
        return self.adaptation

    def step(self, frame: Frame) -> Prediction:
        """Segments the next frame.

        Args:
            frame: A frame of the size of the annotated one.

        Returns:
            Probability and mask.

        Raises:
            UsageError: No sequence was begun.
            InputError: The frame has another size.
        """
        return self._predict([frame])[0]

    def run(
        self, sequence: Sequence, progress: ProgressCallback | None = None
    ) -> Iterator[Prediction]:
        """Segments a sequence, annotated frame included (whose mask is returned unchanged).

        Args:
            sequence: Frames and at least one annotation; propagation starts at the first. A
                segmenter that needs no mask starts at the first annotated frame, or else at the
                first one.
            progress: Called after every fine-tuning step.

        Yields:
            One prediction per frame, from the annotated frame on.
        """
        start = sequence.first_annotated if self._needs_mask or sequence.annotations else 0
        frames = islice(iter(sequence), start, None)
        first = next(frames)
        mask = sequence.annotation(start) if self._needs_mask else None
        self.begin(first, mask, progress)
        yield from self._propagate(sequence, start, first, mask, frames)

    def _propagate(
        self,
        sequence: Sequence,
        start: int,
        first: Frame,
        mask: np.ndarray | None,
        frames: Iterator[Frame],
    ) -> Iterator[Prediction]:
        """Yields the predictions of the first frame and of those that follow it."""
        if mask is None:
            yield self.step(first)
        else:
            planes = np.stack([self._whole(tracked.probability) for tracked in self._objects])
            probability = planes[0] if len(planes) == 1 else planes
            yield Prediction(first.index, first.name, probability, mask, 0.0)
        # A stream is segmented as its frames arrive.
        size = 1 if sequence.read_once else self.batch_size
        yield from self._segmented(frames, size)

    def _segmented(self, frames: Iterator[Frame], size: int) -> Iterator[Prediction]:
        """Yields the predictions of frames, segmented in batches of a size."""
        while batch := list(islice(frames, size)):
            yield from self._predict(batch)

    def _predict(self, frames: list[Frame], encoded: Any = None) -> list[Prediction]:
        """Segments a batch of frames, whose features may have been computed before."""
        if self._size is None:
            raise UsageError("A sequence begins before its frames are segmented", met="no begin()")
        images = [self._checked_image(frame) for frame in frames] if encoded is None else []
        started = time.monotonic()
        features = self._encode(images) if encoded is None else encoded
        encoding = (time.monotonic() - started) / len(frames)
        predictions = []
        for position, frame in enumerate(frames):
            started = time.monotonic()
            planes = []
            for tracked in self._objects:
                planes.append(self._predict_object(features, position, tracked))
                tracked.confidence = expected_jaccard(planes[-1], self._threshold)
            probability, mask = self._merge(planes)
            self._finish_frame(position)
            seconds = encoding + time.monotonic() - started
            confidence = min(tracked.confidence for tracked in self._objects)
            predictions.append(
                Prediction(frame.index, frame.name, probability, mask, seconds, confidence)
            )
        return predictions

    def _checked_image(self, frame: Frame) -> np.ndarray:
        image, size = frame.image, self._size
        if image.shape[:2] != size:
            raise InputError(
                f"All frames of a sequence have the size of the first, {size[0]}x{size[1]} pixels",
                met=f"{image.shape[0]}x{image.shape[1]}",
                where=frame.name,
            )
        return image

    def _merge(self, planes: list[np.ndarray]) -> tuple[np.ndarray, np.ndarray]:
        """Lets the objects compete and stores the result of each."""
        if len(planes) == 1:
            tracked = self._objects[0]
            tracked.update(planes[0], self._threshold)
            probability = self._whole(planes[0])
            mask = (probability > self._threshold).astype(np.uint8) * np.uint8(tracked.label)
            return probability, mask
        merged = soft_aggregate(np.stack(planes))
        labels = np.array([0] + [tracked.label for tracked in self._objects], np.uint8)
        for tracked, plane in zip(self._objects, merged[1:], strict=True):
            tracked.update(plane, self._threshold)
        whole = np.stack([self._whole(plane) for plane in merged[1:]])
        background = 1 - whole.sum(axis=0, keepdims=True)
        return whole, labels[np.argmax(np.concatenate([background, whole]), axis=0)]


def soft_aggregate(probabilities: np.ndarray) -> np.ndarray:
    r"""Merges the probabilities of several objects (Oh et al., STM, ICCV 2019, eq. 5).

    With $p_0 = \prod_k (1 - p_k)$ for the background, the merged probability is the share of the
    odds, $\frac{p_k / (1 - p_k)}{\sum_j p_j / (1 - p_j)}$ over $j = 0 \dots N$.

    Args:
        probabilities: float32 [N, H, W] in 0..1, one plane per object.

    Returns:
        float32 [N + 1, H, W]; plane 0 is the background, and the planes sum to 1.
    """
    bounded = np.clip(probabilities.astype(np.float32), 1e-5, 1.0 - 1e-5)
    background = np.clip(np.prod(1.0 - bounded, axis=0, keepdims=True), 1e-5, 1.0 - 1e-5)
    stacked = np.concatenate([background, bounded])
    odds = stacked / (1.0 - stacked)
    return odds / odds.sum(axis=0, keepdims=True)


def low_jaccard_warning(jaccard: float, label: int) -> list[str]:
    """Returns a warning where fine-tuning left a low J on the annotated frame, else none.

    Args:
        jaccard: J on the annotated frame, 0..1.
        label: Id of the object.
    """
    if jaccard >= LOW_JACCARD:
        return []
    return [
        f"object {label}: fine-tuning reached J {jaccard:.2f} only on the first frame; check the "
        "mask, or give more --steps"
    ]


LOW_JACCARD = 0.6
"""J on the annotated frame below which a fine-tuning is warned about."""
