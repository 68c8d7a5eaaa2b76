"""What segmenters share that carry every object of a sequence by itself, one frame at a time."""

from __future__ import annotations

import time
from abc import ABC, abstractmethod
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import islice
from typing import Any

import numpy as np

from deeplab_gygo.errors import InputError, UsageError
from deeplab_gygo.inference.aggregation import soft_aggregate
from deeplab_gygo.inference.confidence import expected_overlap
from deeplab_gygo.inference.prediction import Adaptation, Prediction, Report
from deeplab_gygo.io.masks import VOID, check_first_mask
from deeplab_gygo.io.sequence import Frame, Sequence


@dataclass
class Carried:
    """One object on its way through a sequence.

    Attributes:
        label: Its id in masks.
        probability: float32 [H, W] in 0..1 of the last frame, after objects competed.
        state: What its segmenter keeps of it.
    """

    label: int
    probability: np.ndarray
    state: Any = None


class ObjectSegmenter(ABC):
    """A segmenter whose objects know nothing of each other but in their masks.

    Holds the state of one sequence at a time; `begin` starts another. Memory does not grow with
    the length of a sequence. Several objects compete by soft aggregation.

    Args:
        threshold: Probability above which a pixel is object.
        sees_mask: Whether sequences start from a mask; otherwise one salient object is segmented.

    Attributes:
        adaptation: What fine-tuning did on the sequence of the moment.
        warnings: What a person should know about it.
    """

    def __init__(self, threshold: float = 0.5, *, sees_mask: bool = True):
        self._threshold, self._sees_mask = threshold, sees_mask
        self._size: tuple[int, int] | None = None
        self._objects: list[Carried] = []
        self.adaptation = Adaptation()
        self.warnings: list[str] = []

    # === What a method does itself ===

    @abstractmethod
    def _start(self, image: np.ndarray) -> None:
        """Prepares for frames of the size of an image, uint8 [H, W, 3] RGB: the first one."""

    @abstractmethod
    def _meet(
        self, image: np.ndarray, mask: np.ndarray | None, label: int, report: Report | None
    ) -> tuple[Any, Adaptation]:
        """Meets an object in the annotated frame.

        Args:
            image: uint8 [H, W, 3] RGB.
            mask: uint8 [H, W], 0 or 1, 255 where it is void; None where no mask is seen.
            label: Id of the object.
            report: Called after every step of fine-tuning.

        Returns:
            The state to keep of the object, and what was done.
        """

    @abstractmethod
    def _look(self, image: np.ndarray) -> Any:
        """Computes what all objects need of a frame, uint8 [H, W, 3] RGB."""

    @abstractmethod
    def _probability(self, seen: Any, carried: Carried) -> np.ndarray:
        """Predicts an object.

        Args:
            seen: Of `_look`.
            carried: The object, as it was left by the frame before.

        Returns:
            float32 [H, W] in 0..1 at the size of the frames.
        """

    # === The protocol ===

    def begin(
        self, frame: Frame, mask: np.ndarray | None, report: Report | None = None
    ) -> Adaptation:
        """Starts a sequence.

        Args:
            frame: Annotated frame; the first one, where the segmenter sees no mask.
            mask: uint8 [H, W] of object ids, 0 background; not looked at by a segmenter that sees
                none.
            report: Called after every step of fine-tuning.

        Returns:
            Steps, losses and seconds, over all objects.

        Raises:
            InputError: The mask has another size than the frame, or is empty or full.
            UsageError: There is no mask where one is needed.
        """
        image = frame.image
        size = image.shape[:2]
        # A sequence that is refused has not begun.
        self._size, self._objects = None, []
        self.adaptation, self.warnings = Adaptation(), []
        if self._sees_mask:
            _check_mask(mask, size, frame.name)
        self._start(image)
        done = []
        for label, single in _objects_of(mask if self._sees_mask else None):
            state, adaptation = self._meet(image, single, label, report)
            first = np.zeros(size, np.float32)
            if single is not None:
                first[single == 1] = 1.0
            self._objects.append(Carried(label, first, state))
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
        if self._size is None:
            raise UsageError("A sequence begins before its frames are segmented", met="no begin()")
        image = frame.image
        if image.shape[:2] != self._size:
            raise InputError(
                "All frames of a sequence have the size of the first, "
                f"{self._size[0]}x{self._size[1]} pixels",
                met=f"{image.shape[0]}x{image.shape[1]}",
                where=frame.name,
            )
        started = time.monotonic()
        seen = self._look(image)
        planes = [self._probability(seen, carried) for carried in self._objects]
        confidence = min(expected_overlap(plane, self._threshold) for plane in planes)
        probability, mask = self._merge(planes)
        seconds = time.monotonic() - started
        return Prediction(frame.index, frame.name, probability, mask, seconds, confidence)

    def run(self, sequence: Sequence, report: Report | None = None) -> Iterator[Prediction]:
        """Segments a sequence, annotated frame included (whose mask is returned as it is).

        Args:
            sequence: Frames and at least one annotation; propagation starts at the first. A
                segmenter that sees no mask does without, and then starts at the first frame.
            report: Called after every step of fine-tuning.

        Yields:
            One prediction a frame, from the annotated frame on.
        """
        sees = self._sees_mask
        start = sequence.first_annotated if sees or sequence.annotations else 0
        frames = islice(iter(sequence), start, None)
        first = next(frames)
        mask = sequence.annotation(start) if sees else None
        self.begin(first, mask, report)
        yield self.step(first) if mask is None else self._given(first, mask)
        for frame in frames:
            yield self.step(frame)

    # === Masks ===

    def _given(self, frame: Frame, mask: np.ndarray) -> Prediction:
        planes = np.stack([carried.probability for carried in self._objects])
        probability = planes[0] if len(planes) == 1 else planes
        return Prediction(frame.index, frame.name, probability, mask, 0.0)

    def _merge(self, planes: list[np.ndarray]) -> tuple[np.ndarray, np.ndarray]:
        """Makes objects compete, and remembers what became of each."""
        if len(planes) == 1:
            carried = self._objects[0]
            carried.probability = planes[0]
            mask = (planes[0] > self._threshold).astype(np.uint8) * np.uint8(carried.label)
            return planes[0], mask
        merged = soft_aggregate(np.stack(planes))
        labels = np.array([0] + [carried.label for carried in self._objects], np.uint8)
        for carried, plane in zip(self._objects, merged[1:], strict=True):
            carried.probability = plane
        return merged[1:], labels[np.argmax(merged, axis=0)]


def _check_mask(mask: np.ndarray | None, size: tuple[int, int], name: str) -> None:
    if mask is None:
        raise UsageError(
            "This method and mode start from a mask",
            met="none",
            where=name,
            remedy="Give the mask of the first frame, or use a method with --mode zero-shot",
        )
    check_first_mask(mask, size, name)


def _objects_of(mask: np.ndarray | None) -> Iterator[tuple[int, np.ndarray | None]]:
    """Takes the objects of a mask apart: uint8 [H, W], 0 or 1, void kept; by their ids."""
    if mask is None:
        yield 1, None
        return
    void = mask == VOID
    for label in (int(i) for i in np.unique(mask) if i not in (0, VOID)):
        single = (mask == label).astype(np.uint8)
        single[void] = VOID
        yield label, single
