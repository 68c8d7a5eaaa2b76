"""One object that is carried through a sequence: its weights, its memory, where it was last."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import numpy as np

from deeplab_gygo.inference.memory_bank import FrameMemory
from deeplab_gygo.inference.views import View
from deeplab_gygo.models.target_model import TargetModel
from deeplab_gygo.online.distractor_track import DistractorTrack

AREA_PACE = 0.2
"""Share of a new frame in the running area of an object."""


@dataclass
class Target:
    """State of one object.

    Attributes:
        label: Its id in masks.
        weights: What the adapter needs to be adapted to it; None for the parent's.
        previous: float32 [H, W] in 0..1, its last probability.
        memory: What is remembered of it; None without a memory.
        usual_area: Running area of its mask, pixels.
        age: Frames since the annotated one.
        confidence: Of the last frame, 0..1.
        before: bool [H, W], its mask on the frame before the last; None at the beginning.
        samples: Views of the annotated frame, kept for online adaptation.
        distractors: What was taken for it and is not.
        model: What tells it from its background; None where nothing does, or nobody asks.
        views: Of the annotated frame, kept where the model must be solved for again.
    """

    label: int
    weights: list[np.ndarray] | None
    previous: np.ndarray
    memory: FrameMemory | None = None
    usual_area: float = 0.0
    age: int = 0
    confidence: float = 1.0
    before: np.ndarray | None = None
    samples: list[Any] = field(default_factory=list)
    distractors: DistractorTrack = field(default_factory=DistractorTrack)
    model: TargetModel | None = None
    views: list[View] = field(default_factory=list)

    def update(self, probability: np.ndarray, threshold: float) -> None:
        """Remembers the object's last probability and its usual area."""
        self.before, self.previous = self.previous > threshold, probability
        self.age += 1
        area = float(np.count_nonzero(probability > threshold))
        # Growth is believed slowly and shrinking more slowly: an object that is being hidden
        # must not make its own remainder the usual size.
        pace = AREA_PACE if area > self.usual_area else 0.2 * AREA_PACE
        self.usual_area += pace * (area - self.usual_area)

    def is_lost(self, threshold: float, part: float) -> bool:
        """Says whether too little of the object was seen to guide by."""
        return np.count_nonzero(self.previous > threshold) < part * self.usual_area
