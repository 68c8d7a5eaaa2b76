"""Zero-shot on a clip: what the parent is surest of tells it what to look for everywhere else.

A salient object is found with more certainty on some frames than on others. A first pass segments
every frame by itself; a few of the surest frames are then remembered with their masks, as an
annotated frame would be, and a second pass carries the surest mask to both ends of the clip. No
annotation is used and no weight is changed.

A clip has one object: of parts that lie apart in a frame the largest is it. What lies apart on some
frames may touch the object on others, where the two look like one larger thing; so frames are
preferred on which they are seen apart.
"""

from __future__ import annotations

import time
import zlib
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field, replace
from itertools import islice

import numpy as np

from deeplab_gygo.inference.aggregation import main_part
from deeplab_gygo.inference.config import OnlineConfig
from deeplab_gygo.inference.geometry import Geometry
from deeplab_gygo.inference.memory_bank import FrameMemory
from deeplab_gygo.inference.network import Features, OnlineNetwork, one_of
from deeplab_gygo.inference.object_state import Target
from deeplab_gygo.inference.policies import OneShot, ZeroShot
from deeplab_gygo.inference.prediction import Prediction
from deeplab_gygo.inference.propagation import Propagation
from deeplab_gygo.io.sequence import Frame

LEAST_AREA = 0.002
"""Part of the frame that an object must cover to be remembered: less is mostly a mistake."""

BESIDE = 0.1
"""Area beside the object, as a part of the object's, from which something lies apart from it."""

SEEN_APART = 0.05
"""Confidence that a frame gains by showing the object apart from something else."""

CLEAR = 0.95
"""Confidence that a frame must have for that: a doubtful one shows scattered parts of anything."""

APART = 4
"""Least distance of remembered frames, frames: neighbors say the same."""

Images = list[np.ndarray]
"""One frame as every look wants it, uint8 [H', W', 3] each."""


@dataclass
class Passage:
    """Consecutive frames of a clip after the first pass.

    Attributes:
        images: The frames, small, for the second pass.
        confidence: Of every frame segmented by itself, 0..1.
        area: Part of every frame that the largest thing covers, 0..1.
        beside: What else is predicted in every frame, as a part of that thing's area.
        alone: What every frame says by itself, probabilities as `_packed` makes them.
    """

    images: list[Images] = field(default_factory=list)
    confidence: list[float] = field(default_factory=list)
    area: list[float] = field(default_factory=list)
    beside: list[float] = field(default_factory=list)
    alone: list[bytes] = field(default_factory=list)


class SalientObject:
    """Segments a clip in two passes, passage by passage, so that memory stays bounded.

    Args:
        network: Compiled parts of the parent.
        config: All numbers.
        geometry: Sizes of the clip's frames.

    Attributes:
        seconds: Time spent on first passes so far, decoding included.
    """

    def __init__(self, network: OnlineNetwork, config: OnlineConfig, geometry: Geometry):
        self._network, self._config, self._geometry = network, config, geometry
        self._alone = Propagation(network, config, ZeroShot(), geometry)
        # Masks that nobody drew make no better target model than they make a memory (held back: J
        # .763 without, .765 with one): without one, the guide `target` is a blend.
        # A second look steadies what is found alone, and adds nothing where the object is known.
        once = replace(config, second=0.0)
        self._told = Propagation(network, once, OneShot(guide=config.shot_guide), geometry)
        self._anchor: Target | None = None
        self.seconds = 0.0

    def run(
        self,
        frames: Iterable[Frame],
        preview: Iterable[Frame],
        read: Callable[[Frame], np.ndarray],
    ) -> Iterator[Prediction]:
        """Segments a clip.

        Args:
            frames: The frames, in order.
            preview: The same frames once more: they are read ahead of the results.
            read: Gives a frame's image uint8 [H, W, 3], or raises `InputError`.

        Yields:
            One prediction a frame, in order.
        """
        frames, preview = iter(frames), iter(preview)
        while True:
            started = time.monotonic()
            passage = self._look_over(preview, read)
            self.seconds += time.monotonic() - started
            if not passage.images:
                return
            yield from self._second_pass(passage, islice(frames, len(passage.images)))

    # === First pass ===

    def _look_over(self, preview: Iterator[Frame], read: Callable[[Frame], np.ndarray]) -> Passage:
        """Segments the frames of a passage, each by itself."""
        passage, target = Passage(), self._new_target()
        threshold = self._config.threshold
        rest = islice(preview, self._config.passage)
        while window := list(islice(rest, self._config.window)):
            batches = self._alone.images([read(frame) for frame in window])
            features = [self._network.encode(batch) for batch in batches]
            for position in range(len(window)):
                seen = [one_of(each, position) for each in features]
                probability = self._alone.probability(seen, target)
                passage.images.append([batch[position] for batch in batches])
                passage.confidence.append(target.confidence)
                area = float(np.mean(main_part(probability, threshold) > threshold))
                passage.area.append(area)
                passage.beside.append(float(np.mean(probability > threshold)) / max(area, 1e-9) - 1)
                passage.alone.append(_packed(probability))
        return passage

    def _new_target(self) -> Target:
        """An object that nothing is known of yet, but for what an earlier passage found."""
        size = self._geometry.frame
        memory = self._anchor.memory if self._anchor is not None else None
        return Target(1, None, np.zeros(size, np.float32), memory)

    # === Second pass ===

    def _second_pass(self, passage: Passage, frames: Iterator[Frame]) -> Iterator[Prediction]:
        chosen = surest(passage.confidence, passage.area, self._config.agree, passage.beside)
        start = time.monotonic()
        best = chosen[0] if chosen else 0
        forward = self._remembering(passage, chosen)
        backward = replace(forward, distractors=forward.distractors.copy())
        told = self._told if chosen or forward.memory is not None else self._alone
        results = []
        for index in reversed(range(best)):
            probability = self._predicted(told, passage, index, backward)
            results.append((_packed(probability), backward.confidence))
        # The frames before the surest one were segmented last to first: they share the time.
        each = (time.monotonic() - start) / max(1, best)
        for index, frame in enumerate(frames):
            clock = time.monotonic()
            if index < best:
                packed, confidence = results.pop()
                probability, seconds = self._unpacked(packed), each
            else:
                probability = self._predicted(told, passage, index, forward)
                confidence, seconds = forward.confidence, time.monotonic() - clock
            passage.images[index], passage.alone[index] = [], b""  # no longer needed
            mask = (probability > self._config.threshold).astype(np.uint8)
            yield Prediction(frame.index, frame.name, probability, mask, seconds, confidence)

    def _remembering(self, passage: Passage, chosen: list[int]) -> Target:
        """Makes an object that remembers the chosen frames and was last seen on the first one."""
        target = self._new_target()
        if not chosen:
            return target
        threshold = self._config.threshold
        memory = FrameMemory(self._config.agree, self._network.parent.cell)
        for position, index in enumerate(chosen):
            alone = self._new_target()
            features = self._features(passage.images[index])
            found = self._alone.probability(features, alone)
            probability = main_part(found, threshold)
            coded = self._geometry.guide((probability > threshold).astype(np.float32))
            if position == 0:
                target.previous = probability
                target.usual_area = float(np.count_nonzero(probability > threshold))
                self._told.part(target, passage.images[index][0], found)
                memory.begin(features[0]["key"], coded)
            else:
                memory.add(features[0]["key"], coded)
        if self._anchor is not None and self._anchor.memory is not None:
            # What later passages take for the object must still look like it.
            memory.keep(self._anchor.memory.first)
        target.memory = memory
        self._anchor = self._anchor or target
        return target

    def _features(self, images: Images) -> list[Features]:
        return [self._network.encode(image[None]) for image in images]

    def _predicted(
        self, told: Propagation, passage: Passage, index: int, target: Target
    ) -> np.ndarray:
        # The looks of the second pass are the first ones of the first pass.
        features = self._features(passage.images[index][: len(told.looks)])
        # What the frame says by itself keeps its voice: the surest frames may be wrong for it.
        alone = self._unpacked(passage.alone[index])
        known = np.log(alone / (1 - alone))
        probability = told.probability(features, target, known, passage.images[index][0])
        target.update(probability, self._config.threshold)
        return probability

    def _unpacked(self, packed: bytes) -> np.ndarray:
        """Gives back probabilities float32 [H, W], off by half a level at most."""
        plane = np.frombuffer(zlib.decompress(packed), np.uint8).astype(np.float32)
        return (plane.reshape(self._geometry.frame) + np.float32(0.5)) / np.float32(256)


def _packed(probability: np.ndarray) -> bytes:
    """Keeps probabilities in 256 levels, none of them 0 or 1, compressed."""
    levels = np.minimum(probability * 256, 255).astype(np.uint8)
    return zlib.compress(levels.tobytes(), 1)


def surest(
    confidence: list[float], area: list[float], count: int, beside: list[float] | None = None
) -> list[int]:
    """Chooses the frames to go by.

    Args:
        confidence: Of every frame, 0..1.
        area: Part of every frame that the object covers, 0..1.
        count: Frames to choose.
        beside: Area of what lies apart from the object in every frame, as a part of the object's;
            None for nothing.

    Returns:
        Indices, surest first, at least `APART` from each other; fewer where there are no more.
    """
    sure = np.array(confidence)
    apart = (np.array(beside or [0.0] * len(area)) >= BESIDE) & (sure >= CLEAR)
    worth = sure + SEEN_APART * apart
    chosen: list[int] = []
    for index in sorted(range(len(confidence)), key=lambda i: -worth[i]):
        if len(chosen) == count:
            break
        if area[index] >= LEAST_AREA and all(abs(index - other) >= APART for other in chosen):
            chosen.append(index)
    return chosen
