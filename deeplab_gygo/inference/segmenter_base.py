"""The base of all segmenters: objects that are propagated frame by frame and compete by odds."""

from __future__ import annotations

import json
import time
from abc import ABC, abstractmethod
from collections.abc import Collection, Generator, Iterator, Mapping
from contextlib import closing
from itertools import chain, islice
from typing import Any, ClassVar

import numpy as np

from deeplab_gygo.errors import InputError, UsageError
from deeplab_gygo.inference.confidence import expected_jaccard
from deeplab_gygo.inference.correction import Correction
from deeplab_gygo.inference.frame_store import FrameStore, StoreWriter
from deeplab_gygo.inference.passes import ClipRun, first_of, most_probable
from deeplab_gygo.inference.prediction import (
    Adaptation,
    Prediction,
    ProgressCallback,
    State,
    joined,
    of_object,
)
from deeplab_gygo.inference.tracked_object import Annotated, TrackedObject, soft_aggregate, views_of
from deeplab_gygo.io.masks import check_first_mask, object_ids
from deeplab_gygo.io.sequence import Frame, Sequence


class SegmenterBase(ABC):
    """A segmenter that predicts every object independently and merges by soft aggregation.

    Holds the state of one sequence at a time; `begin_all` starts another. Memory does not grow with
    the length of a sequence.

    Args:
        threshold: Probability above which a pixel is object.
        needs_mask: Whether a sequence starts from a mask; otherwise one salient object is
            segmented.

    Attributes:
        threshold: As given.
        adaptation: Fine-tuning of the current sequence.
        warnings: Notes on the current sequence for the user.
    """

    batch_size: ClassVar[int] = 1

    def __init__(self, threshold: float = 0.5, *, needs_mask: bool = True):
        self.threshold, self._needs_mask = threshold, needs_mask
        self._size: tuple[int, int] | None = None
        self._known: list[Any] = []
        self._objects: list[Any] = []
        self._interrupted: State | None = None
        self._former: State = {}
        self.adaptation = Adaptation()
        self.warnings: list[str] = []

    @abstractmethod
    def _start(self, image: np.ndarray) -> None:
        """Prepares for frames of the size of the first one, uint8 [H, W, 3] RGB."""

    def _seen_as(self, annotated: list[Annotated]) -> list[Annotated]:
        """Returns the annotated frames and their masks as objects see them: here unchanged."""
        return annotated

    def _whole(self, probability: np.ndarray) -> np.ndarray:
        """Returns what objects predicted, float32 [H', W'], at the size of the frame."""
        return probability

    @abstractmethod
    def _add_object(
        self, seen: list[Annotated], label: int, progress: ProgressCallback | None
    ) -> tuple[TrackedObject, Adaptation]:
        """Initializes an object from the frames in which it is annotated.

        Args:
            seen: Their images, uint8 [H, W, 3] RGB, and masks, uint8 [H, W], 0 or 1, 255 where it
                is void; None without an annotation.
            label: Id of the object.
            progress: Called after every fine-tuning step.

        Returns:
            The object and a summary of its fine-tuning.
        """

    def _resume_object(
        self, seen: list[Annotated], label: int, arrays: Mapping[str, np.ndarray]
    ) -> TrackedObject:
        """Initializes an object by what an interrupted run computed; here by computing it again.

        Args:
            seen: As in `_add_object`.
            label: Id of the object.
            arrays: Its `initial_arrays`.
        """
        return self._add_object(seen, label, None)[0]

    def _place(self, tracked: Any, mask: np.ndarray) -> None:
        """Puts an object where a mask, bool [H, W], shows it."""
        tracked.probability = mask.astype(np.float32)

    def _move_to(self, image: np.ndarray, mask: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Prepares for a propagation from an annotated frame.

        Returns:
            The image and its mask as objects see them.
        """
        return image, mask

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

    def _refined(self, features: Any, position: int, planes: list[np.ndarray]) -> list[np.ndarray]:
        """Returns the probabilities of a frame's objects after all were predicted."""
        return planes

    def _finish_frame(self, position: int) -> None:
        """Updates the state of the objects after they competed on a frame of the batch."""
        return

    @property
    def labels(self) -> list[int]:
        """Ids of all objects of the sequence, ascending."""
        return [tracked.label for tracked in self._known]

    @property
    def active(self) -> list[int]:
        """Ids of the objects that are known at the newest frame."""
        return [tracked.label for tracked in self._objects]

    def begin(
        self, frame: Frame, mask: np.ndarray | None, progress: ProgressCallback | None = None
    ) -> Adaptation:
        """Starts a sequence with one annotated frame, see `begin_all`."""
        return self.begin_all({frame.index: (frame.image, mask)}, frame.name, progress)

    def begin_all(
        self,
        annotated: Mapping[int, Annotated],
        name: str,
        progress: ProgressCallback | None = None,
    ) -> Adaptation:
        """Starts a sequence: initializes, and where the mode asks for it fine-tunes, every object.

        The next frame to segment is the one after the first that shows an object.

        Args:
            annotated: Images and masks of the annotated frames by index, uint8 [H, W, 3] RGB and
                uint8 [H, W] of object ids, 0 background, 255 void. A mask annotates the objects
                in it; an empty one is of absent objects, and not all are empty. Where the
                segmenter needs no mask, the first frame and anything.
            name: What the first of them is called in messages.
            progress: Called after every fine-tuning step.

        Returns:
            Steps, losses and seconds over all objects.

        Raises:
            InputError: A mask has another size than the frames, or is full, or all are empty.
            UsageError: There is no mask where one is needed.
        """
        frames = [annotated[index] for index in sorted(annotated)]
        image, mask = next(((i, m) for i, m in frames if m is not None and m.any()), frames[0])
        # A sequence that is refused has not begun.
        self._size, self._known, self._objects = None, [], []
        interrupted, self._interrupted = self._interrupted, None
        self.adaptation, self.warnings = Adaptation(), []
        if self._needs_mask:
            if mask is None:
                raise UsageError(
                    "This method and mode start from a mask",
                    met="none",
                    where=name,
                    remedy="Give the mask of the first frame, or use --mode zero-shot",
                )
            check_first_mask(mask, image.shape[:2], name)
        self._start(image)
        seen = self._seen_as(frames) if self._needs_mask else [(image, None)]
        done = []
        masks = [mask for _, mask in seen if mask is not None]
        for label in object_ids(*masks) if self._needs_mask else [1]:
            views = views_of(label, seen)
            if interrupted is not None:
                self._known.append(self._resume_object(views, label, of_object(label, interrupted)))
                continue
            tracked, adaptation = self._add_object(views, label, progress)
            self._known.append(tracked)
            done.append(adaptation)
        self._size, self._former = image.shape[:2], {}
        if self._needs_mask:
            self.place(image, mask)
        else:
            self._objects = list(self._known)
        self.adaptation = Adaptation(
            sum(a.steps for a in done),
            [loss for a in done for loss in a.losses],
            sum(a.seconds for a in done),
        )
        if interrupted is not None:
            steps, seconds, *losses = (float(value) for value in interrupted["adaptation"])
            self.adaptation = Adaptation(int(steps), losses, seconds)
            self.warnings = json.loads(interrupted["warnings"].tobytes())
        return self.adaptation

    def initial_state(self) -> State:
        """Returns what the beginning of the sequence computed, for `resume`."""
        done = self.adaptation
        state = {
            "adaptation": np.array([done.steps, done.seconds, *done.losses]),
            "warnings": np.frombuffer(json.dumps(self.warnings).encode(), np.uint8),
        }
        return state | joined({t.label: t.initial_arrays() for t in self._known})

    def resume(self, state: State) -> None:
        """Makes the next beginning of the sequence take what an interrupted run computed."""
        self._interrupted = state

    def go_on_from(self, state: State) -> None:
        """Lets the next beginning of the sequence go on from what a former one computed.

        Args:
            state: Of `initial_state`, with other masks of the same objects.
        """
        self._former = state

    def state(self) -> State:
        """Returns the state that the newest frame left, for `restore`."""
        return joined({t.label: t.arrays() for t in self._objects})

    def restore(self, state: State, image: np.ndarray) -> None:
        """Restores the state that a frame left.

        Args:
            state: Of `state`.
            image: uint8 [H, W, 3] RGB, the frame before the next batch.
        """
        self._objects = []
        for tracked in self._known:
            if arrays := of_object(tracked.label, state):
                tracked.set_arrays(arrays)
                self._objects.append(tracked)

    def place(self, image: np.ndarray, mask: np.ndarray, *, anew: bool = False) -> None:
        """Puts the objects of a mask where it shows them, and the others nowhere if it is empty.

        Objects that are not in the mask stay as they are.

        Args:
            image: uint8 [H, W, 3] RGB, an annotated frame.
            mask: uint8 [H, W] of object ids.
            anew: Whether a propagation begins here: the other objects are not known yet.
        """
        if anew:
            self._objects = []
        _, mask = self._move_to(image, mask)
        shown = object_ids(mask)
        for tracked in self._known:
            if tracked.label in shown or not shown:
                self._place(tracked, mask == tracked.label)
                tracked.confidence = 1.0
        known = {*shown, *self.active} if shown else set(self.labels)
        self._objects = [tracked for tracked in self._known if tracked.label in known]

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
        return next(iter(self.predict([frame])))

    def run(
        self,
        sequence: Sequence,
        progress: ProgressCallback | None = None,
        *,
        backwards: bool = False,
        store: FrameStore | None = None,
        span: range | None = None,
        known: FrameStore | None = None,
        corrected: Collection[int] = (),
    ) -> Generator[Prediction]:
        """Segments a sequence, annotated frames included (whose masks are returned unchanged).

        Args:
            sequence: Frames and at least one annotation. A segmenter that needs no mask starts at
                the first annotated frame unless `backwards`, or else at the first one.
            progress: Called after every fine-tuning step.
            backwards: Whether every annotation is also propagated to the frames before it; then
                all frames are segmented, else those from the first annotated one on.
            store: Results and state on disk, of a run that may be interrupted: what it holds is
                not segmented again.
            span: Indices of the frames to segment, see `ClipRun`.
            known: What a propagation of other masks kept, to be corrected; see `Correction`.
            corrected: Indices of the masks that are new since.

        Yields:
            One prediction per frame, in order; those of a correction from each mask outwards.
        """
        if self._needs_mask:
            if known is not None and store is not None:
                clip = Correction(
                    self, sequence, progress, known=known, corrected=corrected, store=store
                )
            else:
                clip = ClipRun(
                    self, sequence, progress, backwards=backwards, store=store, span=span
                )
            yield from clip.run()
            return
        start = sequence.first_annotated if sequence.annotations and not backwards else 0
        frames = islice(iter(sequence), start, None)
        first = first_of(frames, sequence)
        self.begin(first, None, progress)
        yield from self._without_mask(sequence, start, chain([first], frames), store)

    def _without_mask(
        self,
        sequence: Sequence,
        start: int,
        frames: Iterator[Frame],
        store: FrameStore | None,
    ) -> Iterator[Prediction]:
        """Yields the predictions of a segmenter that needs no mask, of independent frames."""
        done = set() if store is None else store.indices()
        # A stream is segmented as its frames arrive.
        size = 1 if sequence.read_once else self.batch_size

        with closing(StoreWriter(store)) as writer:

            def keep(prediction: Prediction) -> Prediction:
                if store is not None:
                    writer.put(prediction, {})
                return prediction

            while done and (batch := list(islice(frames, size))):
                # Segmented by an interrupted run; batches are those of an undisturbed one.
                known = [frame for frame in batch if frame.index in done]
                for frame in known:
                    done.remove(frame.index)
                    yield store.prediction(frame.index, frame.name)
                if len(known) < len(batch):
                    yield from map(keep, self.predict(batch, skip=len(known)))
            yield from map(keep, self.segmented(frames, size))

    def segmented(self, frames: Iterator[Frame], size: int) -> Iterator[Prediction]:
        """Yields the predictions of frames, segmented in batches of a size."""
        while batch := list(islice(frames, size)):
            yield from self.predict(batch)

    def predict(
        self, frames: list[Frame], encoded: Any = None, *, skip: int = 0
    ) -> Iterator[Prediction]:
        """Segments a batch of frames, one after the other.

        Args:
            frames: The frames.
            encoded: Their features, if they were computed before.
            skip: Number of frames that were segmented already, by an interrupted run.

        Yields:
            One prediction per frame, after those that are skipped.

        Raises:
            UsageError: No sequence was begun.
            InputError: A frame has another size.
        """
        if self._size is None:
            raise UsageError("A sequence begins before its frames are segmented", met="no begin()")
        images = [self._checked_image(frame) for frame in frames] if encoded is None else []
        started = time.monotonic()
        features = self._encode(images) if encoded is None else encoded
        encoding = (time.monotonic() - started) / len(frames)
        for position, frame in enumerate(frames[skip:], skip):
            started = time.monotonic()
            objects = self._objects
            planes = [self._predict_object(features, position, tracked) for tracked in objects]
            planes = self._refined(features, position, planes)
            for tracked, plane in zip(objects, planes, strict=True):
                tracked.confidence = expected_jaccard(plane, self.threshold)
            probability, mask = self._merge(planes)
            self._finish_frame(position)
            seconds = encoding + time.monotonic() - started
            confidence = min(tracked.confidence for tracked in objects)
            yield Prediction(frame.index, frame.name, probability, mask, seconds, confidence)

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
        """Lets the objects compete, stores the result of each, and returns that of all."""
        if len(planes) == 1:
            tracked = self._objects[0]
            tracked.update(planes[0], self.threshold)
            probability = self._whole(planes[0])
            mask = (probability > self.threshold).astype(np.uint8) * np.uint8(tracked.label)
            return self.of_all(probability[None]), mask
        merged = soft_aggregate(np.stack(planes))
        for tracked, plane in zip(self._objects, merged[1:], strict=True):
            tracked.update(plane, self.threshold)
        whole = np.stack([self._whole(plane) for plane in merged[1:]])
        return self.of_all(whole), most_probable(whole, self.active)

    def of_all(self, planes: np.ndarray) -> np.ndarray:
        """Returns the probability of a prediction: [H, W] of a single object, else [N, H, W].

        Args:
            planes: float32 [n, H, W] of the objects that are known at the frame.
        """
        if len(self._known) == 1:
            return planes[0]
        if len(planes) == len(self._known):
            return planes
        at = {tracked.label: plane for tracked, plane in zip(self._objects, planes, strict=True)}
        blank = np.zeros(planes.shape[1:], np.float32)
        return np.stack([at.get(tracked.label, blank) for tracked in self._known])
