"""One object of a sequence: its state, its annotations, and how several compete."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from deeplab_gygo.inference.prediction import State
from deeplab_gygo.io.masks import VOID

Annotated = tuple[np.ndarray, np.ndarray | None]
"""An annotated frame: image uint8 [H, W, 3] RGB and mask uint8 [H, W]."""


@dataclass
class TrackedObject:
    """State of one object.

    Attributes:
        label: Its id in masks.
        probability: float32 [H, W] in 0..1 of the last frame, after the objects competed.
        confidence: Expected J of the last prediction, 0..1.
        state: State that the method keeps of it.
        weights: Fine-tuned variables; None for the parent's.
    """

    label: int
    probability: np.ndarray
    confidence: float = 1.0
    state: Any = None
    weights: list[Any] | None = None

    def update(self, probability: np.ndarray, threshold: float) -> None:
        """Stores the probability of the newest frame."""
        self.probability = probability

    def initial_arrays(self) -> State:
        """Returns what the annotated frames gave and is not computed again by a resumed run."""
        return {f"weights/{i}": np.asarray(value) for i, value in enumerate(self.weights or [])}

    def set_weights(self, arrays: Mapping[str, np.ndarray]) -> None:
        """Sets the weights that `initial_arrays` returned."""
        count = sum(name.startswith("weights/") for name in arrays)
        self.weights = [arrays[f"weights/{i}"] for i in range(count)] or None

    def arrays(self) -> State:
        """Returns what the newest frame left."""
        return {"probability": self.probability}

    def set_arrays(self, arrays: Mapping[str, np.ndarray]) -> None:
        """Sets what `arrays` returned."""
        self.probability = arrays["probability"]


def views_of(label: int, seen: list[Annotated]) -> list[Annotated]:
    """Returns the frames in which an object is annotated, with masks of it alone.

    Args:
        label: Its id.
        seen: Annotated frames and their masks of all objects.
    """
    views: list[Annotated] = []
    for image, mask in seen:
        if mask is None:
            views.append((image, None))
        elif (mask == label).any():
            single = (mask == label).astype(np.uint8)
            single[mask == VOID] = VOID
            views.append((image, single))
    return views


def soft_aggregate(probabilities: np.ndarray) -> np.ndarray:
    r"""Merges the probabilities of several objects (Oh et al., STM, ICCV 2019, eq. 5).

    With $p_0 = \prod_k (1 - p_k)$ for the background, the merged probability is the share of the
    odds, $\frac{p_k / (1 - p_k)}{\sum_j p_j / (1 - p_j)}$ over $j = 0 \dots N$.

    Args:
        probabilities: float32 [N, H, W] in 0..1, one plane per object.

    Returns:
        float32 [N + 1, H, W]; plane 0 is the background, and the planes sum to 1.
    """
    bounded = np.clip(probabilities.astype(np.float32), 1e-5, 1.0 - 1e-5)
    background = np.clip(np.prod(1.0 - bounded, axis=0, keepdims=True), 1e-5, 1.0 - 1e-5)
    stacked = np.concatenate([background, bounded])
    odds = stacked / (1.0 - stacked)
    return odds / odds.sum(axis=0, keepdims=True)


def low_jaccard_warning(jaccard: float, label: int) -> list[str]:
    """Returns a warning where fine-tuning left a low J on the annotated frame, else none.

    Args:
        jaccard: J on the annotated frame, 0..1.
        label: Id of the object.
    """
    if jaccard >= LOW_JACCARD:
        return []
    return [
        f"object {label}: fine-tuning reached J {jaccard:.2f} only on the first frame; check the "
        "mask, or give more --steps"
    ]


LOW_JACCARD = 0.6
"""J on the annotated frame below which a fine-tuning is warned about."""
