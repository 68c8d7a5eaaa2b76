"""State of one object of DeepLabV3+: weights, memory, target model, last probability."""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass
from typing import Any

import numpy as np

from deeplab_gygo.inference.segmenter_base import TrackedObject
from deeplab_gygo.models.memory import Memory, remember
from deeplab_gygo.models.target_model import TargetModel

AREA_GROWTH, AREA_SHRINKAGE = 0.2, 0.04
"""Momentum of the running area of an object towards a larger and a smaller one. Shrinking is
slower: an object that is being occluded must not make its visible remainder the usual size."""


class MemoryBank:
    """Keys and masks of the annotated frame and of the newest confident ones; bounded.

    Args:
        capacity: Number of frames beside the annotated one.
        block: Side of the block of mask values at one position of the keys.

    Attributes:
        first: Memory of the annotated frame; None before `begin`.
    """

    def __init__(self, capacity: int, block: int):
        self._block = block
        self.first: Memory | None = None
        self._later: deque[Memory] = deque(maxlen=capacity)

    def begin(self, key: Any, coded: np.ndarray) -> None:
        """Stores the annotated frame, which stays.

        Args:
            key: float [1, h, w, C], the encoder's keys.
            coded: float32 [h * block, w * block, 1], its mask coded as a guide.
        """
        self.first = remember(key, coded, self._block)
        self._later.clear()

    def add(self, key: Any, coded: np.ndarray) -> None:
        """Stores a later frame; the oldest one is dropped beyond the capacity."""
        self.extend(remember(key, coded, self._block))

    def extend(self, memory: Memory) -> None:
        """Stores the entries of a frame from another bank."""
        if self._later.maxlen:
            self._later.append(memory)

    def contents(self) -> Memory:
        """Returns all keys float32 [1, M, C] and values float32 [1, M, V]."""
        if self.first is None:
            raise ValueError("a memory is read after its first frame is stored")
        frames = [self.first, *self._later]
        if len(frames) == 1:
            return self.first
        keys, values = zip(*frames, strict=True)
        return np.concatenate(keys, axis=1), np.concatenate(values, axis=1)


@dataclass
class ObjectState(TrackedObject):
    """State of one object of DeepLabV3+.

    Attributes:
        weights: Fine-tuned variables; None for the parent's.
        memory: Memory bank; None where the architecture has none, or nothing is stored yet.
        target_model: Linear target model; None without one, or where the object is too small.
        usual_area: Running area of its mask, pixels.
        age: Frames since the annotated one.
    """

    weights: list[np.ndarray] | None = None
    memory: MemoryBank | None = None
    target_model: TargetModel | None = None
    usual_area: float = 0.0
    age: int = 0

    def update(self, probability: np.ndarray, threshold: float) -> None:
        """Stores the probability of the newest frame and updates the running area."""
        self.probability = probability
        self.age += 1
        area = float(np.count_nonzero(probability > threshold))
        momentum = AREA_GROWTH if area > self.usual_area else AREA_SHRINKAGE
        self.usual_area += momentum * (area - self.usual_area)

    def is_lost(self, threshold: float, fraction: float) -> bool:
        """Returns whether the last mask covers less than a fraction of the running area."""
        return np.count_nonzero(self.probability > threshold) < fraction * self.usual_area
