"""J of a parent during its training, on sequences held back, with and without being told."""

from __future__ import annotations

import numpy as np

from deeplab_gygo import backend
from deeplab_gygo.datasets.registry import open_dataset
from deeplab_gygo.evaluation.measures import jaccard
from deeplab_gygo.inference.geometry import Geometry
from deeplab_gygo.models.deeplab import DeepLabV3Plus
from deeplab_gygo.models.memory import build_reader, remember
from deeplab_gygo.synthesis.sources import data_root as resolve_root
from deeplab_gygo.training.config import ValidationConfig

GUIDE_SHIFT = 0.05
"""Displacement of the true mask that stands for a previous one, as a part of its root area."""


class Validation:
    """Measures every set of a configuration.

    Guided J gives the true mask, displaced, as a guide; remembered J gives the first frame and its
    mask as the memory. They say whether the network uses what it is told, not what a propagation
    would reach. The first frame, which the memory knows, counts as any other.

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
        self._refiner = backend.compiled(parent.refiner) if parent.refiner is not None else None
        self._read = parent.config.memory and backend.compiled(
            build_reader(parent.config.key_channels, parent.cell)
        )
        root = resolve_root(data_root)
        self._sets = [(s, open_dataset(s.kind, root / s.root)) for s in sets]

    @property
    def _modes(self) -> list[str]:
        config = self._parent.config
        return ["zero-shot"] + ["guided"] * config.guide + ["remembered"] * config.memory

    def run(self) -> dict[str, float]:
        """Returns mean J over the sequences by `<root>/<mode>`."""
        scores = {}
        for config, dataset in self._sets:
            values: dict[str, list[float]] = {mode: [] for mode in self._modes}
            for name in config.sequences or dataset.names(config.split):
                for mode, value in self._sequence(dataset, name, config.stride).items():
                    values[mode].append(value)
            label = config.root or config.kind
            scores |= {f"{label}/{mode}": float(np.mean(v)) for mode, v in values.items()}
        return scores

    def _sequence(self, dataset, name: str, stride: int) -> dict[str, float]:
        sequence = dataset.sequence(name)
        geometry = Geometry.fit(sequence.size, self._short_side, self._parent.stride)
        collected: dict[str, list[float]] = {mode: [] for mode in self._modes}
        memory = None
        for index in range(0, len(sequence), stride):
            truth = dataset.annotation(name, index)
            features = self._encode(geometry.image(sequence.frame(index).image)[None])
            if memory is None and self._parent.config.memory:
                memory = remember(features["key"], geometry.guide(truth), self._parent.cell)
            for mode, values in collected.items():
                guide = geometry.guide(displaced(truth))[None] if mode == "guided" else None
                recall = self._recall(features, memory) if mode == "remembered" else None
                coarse = self._decode(self._parent.head_inputs(features, guide, recall))
                logits = backend.to_numpy(self._refine(features, coarse))[0, ..., 0]
                values.append(jaccard(geometry.logits(logits) > 0, truth))
        return {mode: float(np.mean(values)) for mode, values in collected.items()}

    def _recall(self, features, memory):
        keys, values = memory
        return self._read({"query": features["key"], "keys": keys, "values": values})

    def _refine(self, features, coarse):
        if self._refiner is None:
            return coarse
        return self._refiner({"logits": coarse, "low": features["low"], "fine": features["fine"]})


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
