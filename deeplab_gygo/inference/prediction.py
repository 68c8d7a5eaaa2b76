"""The `Segmenter` protocol and its result types."""

from __future__ import annotations

from collections.abc import Callable, Generator, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Protocol

import numpy as np

from deeplab_gygo.io.sequence import Frame, Sequence

if TYPE_CHECKING:
    from deeplab_gygo.inference.frame_store import FrameStore

ProgressCallback = Callable[[int, int, float], None]
"""`progress(step, steps, loss)`, called after every fine-tuning step."""


@dataclass(frozen=True)
class Adaptation:
    """Summary of one fine-tuning.

    Attributes:
        steps: Optimizer steps.
        losses: Loss before every step.
        seconds: Wall time, augmentation and encoding of views included.
    """

    steps: int = 0
    losses: list[float] = field(default_factory=list)
    seconds: float = 0.0


@dataclass(frozen=True)
class Prediction:
    """The result for one frame.

    Attributes:
        index: Position of the frame in its sequence, from 0.
        name: Name of the frame.
        probability: float32 [H, W] in 0..1 for one object, [N, H, W] for several.
        mask: uint8 [H, W], object ids, 0 background.
        seconds: Time of network and post-processing, without decoding.
        confidence: Expected J of the mask, 0..1; of several objects the lowest.
    """

    index: int
    name: str
    probability: np.ndarray
    mask: np.ndarray
    seconds: float
    confidence: float = 1.0


class Segmenter(Protocol):
    """A video object segmentation method: one sequence at a time.

    Attributes:
        adaptation: Fine-tuning of the current sequence.
        warnings: Notes on the current sequence for the user.
        batch_size: Number of frames that are segmented together.
    """

    adaptation: Adaptation
    warnings: list[str]
    batch_size: int

    def begin(
        self, frame: Frame, mask: np.ndarray | None, progress: ProgressCallback | None = None
    ) -> Adaptation:
        """Starts a sequence with an annotated frame; mask uint8 [H, W] of object ids."""
        ...

    def step(self, frame: Frame) -> Prediction:
        """Segments the next frame."""
        ...

    def run(
        self,
        sequence: Sequence,
        progress: ProgressCallback | None = None,
        *,
        backwards: bool = False,
        store: FrameStore | None = None,
        span: range | None = None,
    ) -> Generator[Prediction]:
        """Segments a sequence from its annotated frames, as a stream.

        Args:
            sequence: Frames and annotations.
            progress: Called after every fine-tuning step.
            backwards: Whether annotations are propagated to the frames before them too.
            store: Results and state of a run that may be resumed; None for none.
            span: Indices of the frames to segment; None for all.

        Yields:
            One prediction per frame, in order.
        """
        ...


State = dict[str, np.ndarray]
"""State of a segmenter as named arrays."""


def joined(arrays: Mapping[int, State]) -> State:
    """Joins the arrays of objects, by the id of each."""
    return {f"{i}/{name}": value for i, of_one in arrays.items() for name, value in of_one.items()}


def of_object(label: int, state: Mapping[str, np.ndarray]) -> State:
    """Returns the arrays of one object."""
    prefix = f"{label}/"
    return {k.removeprefix(prefix): v for k, v in state.items() if k.startswith(prefix)}
