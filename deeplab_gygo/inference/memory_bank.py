"""What a segmenter remembers of a sequence: the annotated frame, and a few later ones."""

from __future__ import annotations

from collections import deque
from typing import Any

import numpy as np

from deeplab_gygo.models.memory import Memory, remember


class FrameMemory:
    """Keys and coded masks of the annotated frame and of the last few remembered ones.

    Its size does not grow with the sequence.

    Args:
        capacity: Frames beside the annotated one.
        block: Side of a mask cell.

    Attributes:
        first: Memory of the annotated frame; None before `begin`.
    """

    def __init__(self, capacity: int, block: int):
        self._block = block
        self.first: Memory | None = None
        self._later: deque[Memory] = deque(maxlen=capacity)

    def begin(self, key: Any, coded: np.ndarray) -> None:
        """Remembers the annotated frame, which is never forgotten.

        Args:
            key: float [1, h, w, C], its keys.
            coded: float32 [h * block, w * block, 1], its mask, coded as a guide.
        """
        self.first = remember(key, coded, self._block)
        self._later.clear()

    def add(self, key: Any, coded: np.ndarray) -> None:
        """Remembers a later frame and forgets the oldest of those where there are too many."""
        if self._later.maxlen:
            self._later.append(remember(key, coded, self._block))

    def keep(self, memory: Memory) -> None:
        """Adds what another memory holds of a frame."""
        if self._later.maxlen:
            self._later.append(memory)

    def contents(self) -> Memory:
        """Returns all keys float32 [1, M, C] and values float32 [1, M, V]."""
        frames = [self.first, *self._later]
        if len(frames) == 1:
            return self.first
        keys, values = zip(*frames, strict=True)
        return np.concatenate(keys, axis=1), np.concatenate(values, axis=1)
