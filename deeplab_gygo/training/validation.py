"""J of a parent during its training, zero-shot and guided, on sequences held back."""

from __future__ import annotations

import numpy as np

from deeplab_gygo import backend
from deeplab_gygo.config import ValidationConfig
from deeplab_gygo.data import material
from deeplab_gygo.data.datasets import open_dataset
from deeplab_gygo.evaluation.measures import jaccard
from deeplab_gygo.models.deeplab import DeepLabV3Plus
from deeplab_gygo.models.geometry import Geometry

GUIDE_SHIFT = 0.05
"""Displacement of the true mask that stands for a previous one, as a part of its root area."""


class Validation:
    """Measures every set of a configuration.

    Guided J gives the true mask, displaced, as a guide; it says whether the network uses guides at
    all, not what a propagation would reach.

    Args:
        parent: Network to measure; its weights may change between runs.
        sets: What to measure on.
        data_root: Folder that relative roots start at.
        short_side: Working size, pixels.
    """

    def __init__(
        self,
        parent: DeepLabV3Plus,
        sets: list[ValidationConfig],
        data_root: str,
        short_side: int = 360,
    ):
        self._parent, self._short_side = parent, short_side
        self._encode = backend.compiled(parent.encoder)
        self._decode = backend.compiled(parent.head)
        root = material.data_root(data_root)
        self._sets = [(s, open_dataset(s.kind, root / s.root)) for s in sets]

    def run(self) -> dict[str, float]:
        """Returns mean J over the sequences by `<root>/zero-shot` and `<root>/guided`."""
        scores = {}
        for config, dataset in self._sets:
            values: dict[str, list[float]] = {"zero-shot": []}
            if self._parent.config.guide:
                values["guided"] = []
            for name in config.sequences or dataset.names(config.split):
                for mode, value in self._sequence(dataset, name, config.stride).items():
                    values[mode].append(value)
            label = config.root or config.kind
            scores |= {f"{label}/{mode}": float(np.mean(v)) for mode, v in values.items()}
        return scores

    def _sequence(self, dataset, name: str, stride: int) -> dict[str, float]:
        sequence = dataset.sequence(name)
        geometry = Geometry.fit(sequence.size, self._short_side, self._parent.stride)
        collected: dict[str, list[float]] = {}
        for index in range(0, len(sequence), stride):
            truth = dataset.annotation(name, index)
            features = self._encode(geometry.image(sequence.frame(index).image)[None])
            guides = {"zero-shot": None}
            if self._parent.config.guide:
                guides["guided"] = displaced(truth)
            for mode, guide in guides.items():
                inputs = dict(features)
                if self._parent.config.guide:
                    inputs["guide"] = geometry.guide(guide)[None]
                logits = backend.to_numpy(self._decode(inputs))[0, ..., 0]
                collected.setdefault(mode, []).append(jaccard(geometry.logits(logits) > 0, truth))
        return {mode: float(np.mean(values)) for mode, values in collected.items()}


def displaced(mask: np.ndarray, part: float = GUIDE_SHIFT) -> np.ndarray:
    """Moves a mask to the right and down by a part of its root area.

    Args:
        mask: uint8 [H, W].
        part: Displacement relative to the square root of the mask's area.

    Returns:
        uint8 [H, W]; what leaves the picture is lost.
    """
    shift = round(part * float(np.sqrt(np.count_nonzero(mask))))
    moved = np.zeros_like(mask)
    height, width = mask.shape
    moved[shift:, shift:] = mask[: height - shift, : width - shift]
    return moved
