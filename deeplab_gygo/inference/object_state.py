"""State of one object of DeepLabV3+: weights, memory, target model, last probability."""

from __future__ import annotations

from collections import deque
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from deeplab_gygo.inference.prediction import State
from deeplab_gygo.inference.tracked_object import TrackedObject
from deeplab_gygo.models.memory import Memory
from deeplab_gygo.models.target_model import TargetModel

AREA_GROWTH, AREA_SHRINKAGE = 0.2, 0.04
"""Momentum of the running area of an object towards a larger and a smaller one. Shrinking is
slower: an object that is being occluded must not make its visible remainder the usual size."""


class MemoryBank:
    """Keys and masks of the annotated frames and of the newest confident ones; bounded.

    Args:
        annotated: Memories of the annotated frames (`models.memory.remember`), which stay.
        capacity: Number of frames beside them.

    Attributes:
        annotated: As given.
        later: Memories of later frames, oldest first.
    """

    def __init__(self, annotated: list[Memory], capacity: int):
        self.annotated = annotated
        self.later: deque[Memory] = deque(maxlen=capacity)

    def add(self, memory: Memory) -> None:
        """Stores the memory of a later frame; the oldest is dropped beyond the capacity."""
        if self.later.maxlen:
            self.later.append(memory)

    def contents(self) -> Memory:
        """Returns all keys float32 [1, M, C] and values float32 [1, M, V]."""
        frames = [*self.annotated, *self.later]
        if len(frames) == 1:
            return frames[0]
        keys, values = zip(*frames, strict=True)
        return np.concatenate(keys, axis=1), np.concatenate(values, axis=1)

    def slots(self) -> tuple[list[Any], list[Any], np.ndarray]:
        """Returns the memory as a fixed number of frames, for a program compiled once.

        Returns:
            Keys [1, m, C] and values [1, m, V] of every frame, as they were stored, and bool [N],
            the frames that are not stand-ins for those to come; N is the capacity and the number of
            annotated frames.
        """
        frames = [*self.annotated, *self.later]
        missing = (self.later.maxlen or 0) + len(self.annotated) - len(frames)
        keys, values = zip(*frames, *[frames[0]] * missing, strict=True)
        return list(keys), list(values), np.arange(len(keys)) < len(frames)


@dataclass
class ObjectState(TrackedObject):
    """State of one object of DeepLabV3+.

    Attributes:
        memory: Memory bank; None where the architecture has none, or nothing is stored yet.
        target_model: Linear target model; None without one, or where the object is too small.
        usual_area: Running area of its mask, pixels.
        age: Frames since the annotated one.
        close_memory: Memory bank of the close-ups, of annotated frames alone; None without any.
    """

    memory: MemoryBank | None = None
    target_model: TargetModel | None = None
    usual_area: float = 0.0
    age: int = 0
    close_memory: MemoryBank | None = None

    def initial_arrays(self) -> State:
        """Returns what the annotated frames gave: weights, target model, memories."""
        arrays = super().initial_arrays()
        if self.target_model is not None:
            arrays["target"] = self.target_model.values
        if self.memory is not None:
            arrays |= _memory_arrays("annotated", self.memory.annotated)
        if self.close_memory is not None:
            arrays |= _memory_arrays("close", self.close_memory.annotated)
        return arrays

    def set_initial_arrays(self, arrays: Mapping[str, np.ndarray], capacity: int) -> None:
        """Sets what `initial_arrays` returned; `capacity` is that of the memory."""
        self.set_weights(arrays)
        if "target" in arrays:
            values = arrays["target"][0]
            self.target_model = TargetModel(values[:-1], float(values[-1]))
        annotated, close = (_memories(name, arrays) for name in ("annotated", "close"))
        self.memory = MemoryBank(annotated, capacity) if annotated else None
        self.close_memory = MemoryBank(close, capacity) if close else None

    def arrays(self) -> State:
        """Returns what the newest frame left."""
        numbers = np.array([self.confidence, self.usual_area, self.age], np.float64)
        later = [] if self.memory is None else list(self.memory.later)
        return super().arrays() | {"numbers": numbers} | _memory_arrays("later", later)

    def set_arrays(self, arrays: Mapping[str, np.ndarray]) -> None:
        """Sets what `arrays` returned."""
        super().set_arrays(arrays)
        self.confidence, self.usual_area = (float(value) for value in arrays["numbers"][:2])
        self.age = int(arrays["numbers"][2])
        if self.memory is not None:
            self.memory.later.clear()
            self.memory.later.extend(_memories("later", arrays))

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


def _memory_arrays(name: str, memories: list[Memory]) -> State:
    """Returns keys and values of memories as named arrays."""
    kinds = ("keys", "values")
    return {
        f"{name}/{i}/{kind}": np.asarray(array)
        for i, memory in enumerate(memories)
        for kind, array in zip(kinds, memory, strict=True)
    }


def _memories(name: str, arrays: Mapping[str, np.ndarray]) -> list[Memory]:
    """Returns the memories of `_memory_arrays`."""
    count = sum(key.startswith(f"{name}/") for key in arrays) // 2
    return [(arrays[f"{name}/{i}/keys"], arrays[f"{name}/{i}/values"]) for i in range(count)]
