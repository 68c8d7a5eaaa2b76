"""Zero-shot segmentation of a clip in two passes: confident frames guide the others.

The first pass segments every frame independently. The masks of a few confident frames, the anchor
frames, then fill a memory, as an annotated frame would, and the second pass propagates the most
confident mask to both ends of the clip. No annotation is used and no weight is changed.

A clip has one object: of several components in a frame the largest is the object. Components that
are separate on some frames may touch on others, where they look like one larger object; so frames
that show them separately are preferred as anchors.
"""

from __future__ import annotations

import time
import zlib
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass, field, replace
from itertools import islice

import numpy as np

from deeplab_gygo.inference.close_up import CloseUp
from deeplab_gygo.inference.components import main_component
from deeplab_gygo.inference.confidence import expected_jaccard
from deeplab_gygo.inference.config import OnlineConfig
from deeplab_gygo.inference.frame_store import FrameStore, StoreWriter
from deeplab_gygo.inference.geometry import Geometry
from deeplab_gygo.inference.network import Features, ForwardPass
from deeplab_gygo.inference.object_state import MemoryBank, ObjectState
from deeplab_gygo.inference.prediction import Prediction, State, joined, of_object
from deeplab_gygo.inference.propagation import Propagation, levels_of, probability_of
from deeplab_gygo.io.sequence import Frame

MIN_ANCHOR_AREA = 0.002
"""Fraction of the frame that the object covers at least on an anchor frame."""

SEPARATE_AREA = 0.1
"""Area of other components, relative to the object, from which they count as a second object."""

SEPARATE_BONUS = 0.05
"""Bonus of the confidence of a frame that shows a second object separately."""

SEPARATE_MIN_CONFIDENCE = 0.95
"""Minimum confidence for that bonus: doubtful frames have scattered components of anything."""

ANCHOR_SPACING = 4
"""Minimum distance of anchor frames, frames: neighbors are redundant."""


Reader = Callable[[Frame], np.ndarray]
"""Returns the image of a frame, uint8 [H, W, 3] RGB."""

Encoded = tuple[list[Features], int]
"""Features of a window of frames, per view, and the position of a frame in it."""


@dataclass
class Chunk:
    """Consecutive frames of a clip after the first pass.

    Attributes:
        images: Network inputs of every frame, one uint8 [H', W', 3] per TTA view.
        confidence: Confidence of every frame segmented independently, 0..1.
        area: Fraction of every frame that the largest component covers, 0..1.
        other_area: Area of the other components relative to the largest one.
        unguided: Probabilities of every frame, compressed by `_pack`.
        best: Index of the most confident anchor frame.
        backward: Probabilities, compressed, and confidences of the frames before it, last first.
        backward_seconds: Time of each of them.
        tracked: The object in that anchor, then as the newest frame left it.
    """

    images: list[list[np.ndarray]] = field(default_factory=list)
    confidence: list[float] = field(default_factory=list)
    area: list[float] = field(default_factory=list)
    other_area: list[float] = field(default_factory=list)
    unguided: list[bytes] = field(default_factory=list)
    best: int = 0
    backward: list[tuple[bytes, float]] = field(default_factory=list)
    backward_seconds: float = 0.0
    tracked: ObjectState | None = None


class TwoPassSegmenter:
    """Segments a clip in two passes, chunk by chunk, so that memory stays bounded.

    Args:
        network: Forward pass of the parent.
        config: Online options.
        geometry: Sizes of the frames.
        close_up: Segments what the second pass found once more; None: it is the result.

    Attributes:
        seconds: Time of the first passes so far, decoding included.
    """

    def __init__(
        self,
        network: ForwardPass,
        config: OnlineConfig,
        geometry: Geometry,
        close_up: CloseUp | None = None,
    ):
        self._network, self._config, self._geometry = network, config, geometry
        self._close_up = close_up
        self._unguided = Propagation(network, config, geometry, "none", config.zero_shot_tta_scale)
        # The second view stabilizes independent frames and adds nothing with a guide. Without a
        # target model, as here, the guide `target` is `blend`: one fitted to predicted masks gains
        # nothing (held-back sequences: J .763 without, .765 with it).
        self._guided = Propagation(network, config, geometry, config.guide)
        self._anchor: ObjectState | None = None
        self._encoded: dict[int, Encoded] = {}
        self.seconds = 0.0

    def run(
        self,
        frames: Iterable[Frame],
        preview: Iterable[Frame],
        read: Reader,
        store: FrameStore | None = None,
    ) -> Iterator[Prediction]:
        """Segments a clip.

        Args:
            frames: The frames, in order.
            preview: The same frames once more, read ahead of the results.
            read: Returns the image uint8 [H, W, 3] of a frame, or raises `InputError`.
            store: Results and state of a run that may be resumed; None for none.

        Yields:
            One prediction per frame, in order.
        """
        frames, preview = iter(frames), iter(preview)
        done = set() if store is None else store.indices()
        state = None if store is None else store.initial_state()
        position = 0 if state is None else int(state["position"])
        for frame, _ in zip(islice(frames, position), preview, strict=False):
            yield store.prediction(frame.index, frame.name)
        while True:
            if state is not None:
                chunk = self._resumed(state, store.state(), preview, read, done)
                state = None
            else:
                chunk = self._first_pass(preview, read)
                if not chunk.images:
                    return
                self._propagate_backwards(chunk)
                if store is not None:
                    store.begin(self._state(chunk, position))
            position += len(chunk.images)
            with closing(StoreWriter(store)) as writer:  # All is written before the next `begin`.
                for index, frame in enumerate(islice(frames, len(chunk.images))):
                    if frame.index in done:
                        yield store.prediction(frame.index, frame.name)
                        continue
                    prediction = self._second_pass(chunk, index, frame)
                    if store is not None:
                        # Its memory stays as it was at the beginning of the chunk.
                        newest = replace(chunk.tracked, memory=None)
                        writer.put(prediction, joined({0: newest.arrays()}))
                    yield prediction

    def _first_pass(self, preview: Iterator[Frame], read: Reader) -> Chunk:
        """Segments the frames of a chunk independently."""
        started, chunk, tracked = time.monotonic(), Chunk(), self._new_object()
        threshold = self._config.threshold
        rest = islice(preview, self._config.CHUNK_SIZE)
        while batch := list(islice(rest, self._config.ENCODE_BATCH)):
            inputs = self._unguided.inputs([read(frame) for frame in batch])
            features = [self._network.encode(view) for view in inputs]
            for position in range(len(batch)):
                probability = self._unguided.probability(features, tracked, position=position)
                chunk.images.append([view[position] for view in inputs])
                chunk.confidence.append(expected_jaccard(probability, threshold))
                area = float(np.mean(main_component(probability, threshold) > threshold))
                chunk.area.append(area)
                other = float(np.mean(probability > threshold)) / max(area, 1e-9) - 1
                chunk.other_area.append(other)
                chunk.unguided.append(_pack(probability))
        self.seconds += time.monotonic() - started
        return chunk

    def _new_object(self) -> ObjectState:
        """Returns an object without a mask, with the memory of an earlier chunk."""
        memory = self._anchor.memory if self._anchor is not None else None
        return ObjectState(1, np.zeros(self._geometry.frame, np.float32), memory=memory)

    def _propagate_backwards(self, chunk: Chunk) -> None:
        """Finds the object in the anchors, and segments the frames before the best one."""
        anchors = select_anchors(
            chunk.confidence, chunk.area, self._config.zero_shot_anchor_frames, chunk.other_area
        )
        start = time.monotonic()
        chunk.best = anchors[0] if anchors else 0
        chunk.tracked = self._anchored_object(chunk, anchors)
        backward = replace(chunk.tracked)
        self._encoded = {}
        for index in reversed(range(chunk.best)):
            probability = self._predict(chunk, index, backward, step=-1)
            chunk.backward.append((_pack(probability), backward.confidence))
        # Segmented last to first: they share the time.
        chunk.backward_seconds = (time.monotonic() - start) / max(1, chunk.best)

    def _second_pass(self, chunk: Chunk, index: int, frame: Frame) -> Prediction:
        """Returns the prediction for a frame; that of the frame before it was the newest one."""
        if index < chunk.best:
            packed, confidence = chunk.backward[chunk.best - 1 - index]
            probability, seconds = probability_of(self._levels(packed)), chunk.backward_seconds
        else:
            clock = time.monotonic()
            probability = self._predict(chunk, index, chunk.tracked)
            confidence, seconds = chunk.tracked.confidence, time.monotonic() - clock
        chunk.images[index], chunk.unguided[index] = [], b""  # No longer needed.
        if self._close_up is not None:
            clock, found = time.monotonic(), [ObjectState(1, probability)]
            refined = self._close_up.refine(frame.image, [probability], found, lambda _: None)
            probability = refined[0]
            confidence = expected_jaccard(probability, self._config.threshold)
            seconds += time.monotonic() - clock
        mask = (probability > self._config.threshold).astype(np.uint8)
        return Prediction(frame.index, frame.name, probability, mask, seconds, confidence)

    def _state(self, chunk: Chunk, position: int) -> State:
        """Returns what is known of a chunk, before which the clip has `position` frames."""
        objects = {0: chunk.tracked, 1: self._anchor or chunk.tracked}
        planes = {f"unguided/{i}": packed for i, packed in enumerate(chunk.unguided)}
        planes |= {f"backward/{i}": packed for i, (packed, _) in enumerate(chunk.backward)}
        return {
            "position": np.array(position),
            "seconds": np.array([self.seconds, chunk.backward_seconds]),
            "confidence": np.array([confidence for _, confidence in chunk.backward]),
            **{name: np.frombuffer(packed, np.uint8) for name, packed in planes.items()},
            **joined({i: {**t.initial_arrays(), **t.arrays()} for i, t in objects.items()}),
        }

    def _resumed(
        self, state: State, newest: State, preview: Iterator[Frame], read: Reader, done: set[int]
    ) -> Chunk:
        """Returns the chunk of `_state`, as the newest frame left it.

        Args:
            state: Of `_state`.
            newest: State that the newest frame left, of this chunk or of the one before.
            preview: The frames from the first one of the chunk on.
            read: As in `run`.
            done: Indices of the frames that were segmented.
        """
        self.seconds, each = (float(value) for value in state["seconds"])
        confidence = state["confidence"].tolist()
        chunk = Chunk(best=len(confidence), backward_seconds=each)
        for index, value in enumerate(confidence):
            chunk.backward.append((state[f"backward/{index}"].tobytes(), value))
        chunk.tracked, first = (self._object_of(of_object(i, state)) for i in range(2))
        self._anchor = first if first.memory is not None else None
        count = sum(name.startswith("unguided/") for name in state)
        for index, frame in enumerate(islice(preview, count)):
            chunk.unguided.append(state[f"unguided/{index}"].tobytes())
            is_needed = index >= chunk.best and frame.index not in done
            views = self._unguided.inputs([read(frame)]) if is_needed else []
            chunk.images.append([view[0] for view in views])
            if frame.index == newest.get("index"):
                chunk.tracked.set_arrays(of_object(0, state) | of_object(0, newest))
        return chunk

    def _object_of(self, arrays: State) -> ObjectState:
        """Returns an object of `_state`."""
        tracked = ObjectState(1, arrays["probability"])
        tracked.set_initial_arrays(arrays, self._config.zero_shot_anchor_frames)
        tracked.set_arrays(arrays)
        return tracked

    def _anchored_object(self, chunk: Chunk, anchors: list[int]) -> ObjectState:
        """Returns an object at its place in the best anchor, with all anchors in its memory."""
        tracked = self._new_object()
        if not anchors:
            return tracked
        threshold = self._config.threshold
        memory, encoded = None, self._encode(chunk, anchors, len(self._unguided.views))
        for index in anchors:
            features, position = encoded[index]
            found = self._unguided.probability(features, self._new_object(), position=position)
            probability = main_component(found, threshold)
            coded = self._geometry.guide((probability > threshold).astype(np.float32))
            stored = self._network.remember(features[0], coded, position)
            if memory is None:
                tracked.probability = probability
                tracked.usual_area = float(np.count_nonzero(probability > threshold))
                memory = MemoryBank([stored], self._config.zero_shot_anchor_frames)
            else:
                memory.add(stored)
        if memory is not None and self._anchor is not None and self._anchor.memory is not None:
            # Objects of later chunks must still match the first one.
            memory.add(self._anchor.memory.annotated[0])
        tracked.memory = memory
        self._anchor = self._anchor or tracked
        return tracked

    def _encode(self, chunk: Chunk, indices: Sequence[int], views: int) -> dict[int, Encoded]:
        """Encodes frames of a chunk in their first views, in windows where a frame is a program."""
        size = self._network.window if self._network.fused else 1
        encoded: dict[int, Encoded] = {}
        for start in range(0, len(indices), size):
            window = indices[start : start + size]
            features = [
                self._network.encode(np.stack([chunk.images[index][view] for index in window]))
                for view in range(views)
            ]
            encoded |= {index: (features, position) for position, index in enumerate(window)}
        return encoded

    def _predict(
        self,
        chunk: Chunk,
        index: int,
        tracked: ObjectState,
        step: int = 1,
    ) -> np.ndarray:
        propagation = self._unguided if tracked.memory is None else self._guided
        if index not in self._encoded:
            size = self._network.window if self._network.fused else 1
            ahead = range(index, index + step * size, step)
            known = [i for i in ahead if 0 <= i < len(chunk.images)]
            # The views of the second pass are the first ones of the first pass.
            self._encoded = self._encode(chunk, known, len(propagation.views))
        features, position = self._encoded[index]
        # Averaged with the unguided first pass: the anchors may be wrong for this frame.
        unguided = self._levels(chunk.unguided[index])
        probability = propagation.probability(features, tracked, unguided, position)
        tracked.confidence = expected_jaccard(probability, self._config.threshold)
        tracked.update(probability, self._config.threshold)
        return probability

    def _levels(self, packed: bytes) -> np.ndarray:
        """Returns probabilities in 256 levels, uint8 [H, W]."""
        plane = np.frombuffer(zlib.decompress(packed), np.uint8)
        return plane.reshape(self._geometry.frame)


def _pack(probability: np.ndarray) -> bytes:
    """Compresses probabilities in 256 levels, none of which is 0 or 1."""
    return zlib.compress(levels_of(probability).tobytes(), 1)


def select_anchors(
    confidence: list[float], area: list[float], count: int, other_area: list[float] | None = None
) -> list[int]:
    """Selects the anchor frames.

    Args:
        confidence: Confidence of every frame, 0..1.
        area: Fraction of every frame that the object covers, 0..1.
        count: Number of frames to select.
        other_area: Area of other components relative to the object; None for none.

    Returns:
        Indices, most confident first, at least `ANCHOR_SPACING` frames from each other; fewer
        than `count` where there are no more.
    """
    scores = np.array(confidence)
    separate = np.array(other_area or [0.0] * len(area)) >= SEPARATE_AREA
    separate &= scores >= SEPARATE_MIN_CONFIDENCE
    scores = scores + SEPARATE_BONUS * separate
    chosen: list[int] = []
    for index in sorted(range(len(confidence)), key=lambda i: -scores[i]):
        if len(chosen) == count:
            break
        spaced = all(abs(index - other) >= ANCHOR_SPACING for other in chosen)
        if area[index] >= MIN_ANCHOR_AREA and spaced:
            chosen.append(index)
    return chosen
