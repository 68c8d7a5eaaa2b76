"""State of one object of DeepLabV3+: weights, memory, target model, last probability."""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass
from typing import Any

import numpy as np

from deeplab_gygo.inference.segmenter_base import TrackedObject
from deeplab_gygo.models.memory import Memory
from deeplab_gygo.models.target_model import TargetModel

AREA_GROWTH, AREA_SHRINKAGE = 0.2, 0.04
"""Momentum of the running area of an object towards a larger and a smaller one. Shrinking is
slower: an object that is being occluded must not make its visible remainder the usual size."""


class MemoryBank:
    """Keys and masks of the annotated frame and of the newest confident ones; bounded.

    Args:
        first: Memory of the annotated frame (`models.memory.remember`), which stays.
        capacity: Number of frames beside it.

    Attributes:
        first: As given.
    """

    def __init__(self, first: Memory, capacity: int):
        self.first = first
        self._later: deque[Memory] = deque(maxlen=capacity)

    def add(self, memory: Memory) -> None:
        """Stores the memory of a later frame; the oldest is dropped beyond the capacity."""
        if self._later.maxlen:
            self._later.append(memory)

    def contents(self) -> Memory:
        """Returns all keys float32 [1, M, C] and values float32 [1, M, V]."""
        frames = [self.first, *self._later]
        if len(frames) == 1:
            return self.first
        keys, values = zip(*frames, strict=True)
        return np.concatenate(keys, axis=1), np.concatenate(values, axis=1)

    def slots(self) -> tuple[list[Any], list[Any], np.ndarray]:
        """Returns the memory as a fixed number of frames, for a program compiled once.

        Returns:
            Keys [1, m, C] and values [1, m, V] of every frame, as they were stored, and bool [N],
            the frames that are not stand-ins for those to come; N is the capacity and one.
        """
        frames = [self.first, *self._later]
        missing = (self._later.maxlen or 0) + 1 - len(frames)
        keys, values = zip(*frames, *[self.first] * missing, strict=True)
        return list(keys), list(values), np.arange(len(keys)) < len(frames)


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
