"""What a segmenter is and what it gives: the words that every method of the package shares."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Protocol

import numpy as np

from deeplab_gygo.io.sequence import Frame, Sequence

Report = Callable[[int, int, float], None]
"""`report(step, steps, loss)`, called after every step."""


@dataclass(frozen=True)
class Adaptation:
    """What one fine-tuning did.

    Attributes:
        steps: Optimizer steps.
        losses: Loss before every step.
        seconds: Wall time, views and cached features included.
    """

    steps: int = 0
    losses: list[float] = field(default_factory=list)
    seconds: float = 0.0


@dataclass(frozen=True)
class Prediction:
    """The result for one frame.

    Attributes:
        index: Position of the frame in its sequence.
        name: Name of the frame.
        probability: float32 [H, W] in 0..1 for one object, [N, H, W] for several.
        mask: uint8 [H, W], object ids, 0 background.
        seconds: Time spent on the frame: network and post-processing, not decoding.
        confidence: How far the mask can be trusted, 0..1: the J that is expected of the least sure
            object.
    """

    index: int
    name: str
    probability: np.ndarray
    mask: np.ndarray
    seconds: float
    confidence: float = 1.0


class Segmenter(Protocol):
    """Anything that carries masks through a sequence."""

    def begin(self, frame: Frame, mask: np.ndarray, report: Report | None = None) -> Adaptation:
        """Starts a sequence with an annotated frame; mask uint8 [H, W] of object ids."""
        ...

    def step(self, frame: Frame) -> Prediction:
        """Segments the next frame."""
        ...

    def run(self, sequence: Sequence, report: Report | None = None) -> Iterator[Prediction]:
        """Segments a sequence from its first annotated frame on, as a stream."""
        ...
