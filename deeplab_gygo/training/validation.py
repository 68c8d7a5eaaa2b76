"""J of a network during its training, on sequences that are held out."""

from __future__ import annotations

from abc import ABC, abstractmethod
from pathlib import Path

import numpy as np

from deeplab_gygo.datasets.registry import Dataset, open_dataset
from deeplab_gygo.evaluation.measures import jaccard
from deeplab_gygo.inference.clicks import clicked
from deeplab_gygo.inference.geometry import Geometry
from deeplab_gygo.inference.network import ForwardPass
from deeplab_gygo.inference.strokes import StrokeSegmenter
from deeplab_gygo.models.deeplab import DeepLabV3Plus
from deeplab_gygo.models.memory import remember
from deeplab_gygo.synthesis.sources import data_place, data_root
from deeplab_gygo.training.config import ValidationConfig

GUIDE_SHIFT = 0.05
"""Displacement of the true mask that replaces a previous one, relative to the root of its area."""


class Validation(ABC):
    """Measures mean J on the sets of a configuration.

    Args:
        sets: Sets to measure on.
        root: Folder that relative roots start at; see `synthesis.sources.data_root`.
    """

    modes: tuple[str, ...]
    """Names of the values that `sequence_scores` returns."""

    def __init__(self, sets: list[ValidationConfig], root: str | Path):
        base = data_root(root)
        self._sets = [(s, open_dataset(s.kind, data_place(base, s.root))) for s in sets]
        # Of a dataset at a URL the copies stay as long as the sequences are referred to.
        self._opened = [
            dataset.sequence(name)
            for config, dataset in self._sets
            for name in config.sequences or dataset.names(config.split)
        ]

    def run(self) -> dict[str, float]:
        """Returns the mean J over the sequences of every set by `<root>/<mode>`."""
        scores = {}
        for config, dataset in self._sets:
            names = config.sequences or dataset.names(config.split)
            rows = [self.sequence_scores(dataset, name, config.stride) for name in names]
            label = config.root or config.kind
            for mode in self.modes:
                scores[f"{label}/{mode}"] = float(np.mean([row[mode] for row in rows]))
        return scores

    @abstractmethod
    def sequence_scores(self, dataset: Dataset, name: str, stride: int) -> dict[str, float]:
        """Returns the mean J by mode over every `stride`-th annotated frame of a sequence."""


class ParentValidation(Validation):
    """Measures a parent by the forward pass of inference, without propagation.

    `zero-shot` is unconditioned, `guided` takes the displaced true mask as the guide, `remembered`
    takes the first annotated frame with its mask as the memory. The latter two measure whether the
    network uses its conditioning. The first frame counts like any other.

    Args:
        parent: Network to measure; its weights may change between runs.
        sets: Sets to measure on.
        root: As for `Validation`.
        short_side: Working size, pixels.
    """

    def __init__(
        self,
        parent: DeepLabV3Plus,
        sets: list[ValidationConfig],
        root: str | Path,
        short_side: int = 360,
    ):
        super().__init__(sets, root)
        self._network, self._short_side = ForwardPass(parent), short_side
        config = parent.config
        self.modes = ("zero-shot", *["guided"] * config.guide, *["remembered"] * config.memory)

    def sequence_scores(self, dataset: Dataset, name: str, stride: int) -> dict[str, float]:
        """Returns the mean J by mode over every `stride`-th frame of a sequence."""
        sequence, parent = dataset.sequence(name), self._network.parent
        geometry = Geometry.fit(sequence.size, self._short_side, parent.stride)
        scores: dict[str, list[float]] = {mode: [] for mode in self.modes}
        memory = None
        for index in sorted(sequence.annotations)[::stride]:
            truth = dataset.annotation(name, index)
            features = self._network.encode(geometry.image(sequence.frame(index).image)[None])
            if memory is None and parent.config.memory:
                memory = remember(features["key"], geometry.guide(truth), parent.config.block_size)
            for mode, values in scores.items():
                previous = geometry.guide(displaced(truth)) if mode == "guided" else None
                guide = self._network.guide(features, None, previous)
                readout = self._network.read(features, *memory) if mode == "remembered" else None
                logits = self._network.logits(features, [guide], readout)
                values.append(jaccard(geometry.logits(logits) > 0, truth))
        return {mode: float(np.mean(values)) for mode, values in scores.items()}


class StrokeValidation(Validation):
    """Measures a decoder of strokes by simulated clicks on independent frames.

    `clicks-1` and `clicks-3` are J of the masks after that many clicks.

    Args:
        parent: Network with the decoder to measure; its weights may change between runs.
        sets: Sets to measure on.
        root: As for `Validation`.
    """

    modes = ("clicks-1", "clicks-3")

    def __init__(self, parent: DeepLabV3Plus, sets: list[ValidationConfig], root: str | Path):
        super().__init__(sets, root)
        self._segmenter = StrokeSegmenter(parent)

    def sequence_scores(self, dataset: Dataset, name: str, stride: int) -> dict[str, float]:
        """Returns the mean J by mode over every `stride`-th frame that shows the object."""
        sequence, counts = dataset.sequence(name), [int(mode[-1]) for mode in self.modes]
        rows = []
        for index in sorted(sequence.annotations)[::stride]:
            truth = dataset.annotation(name, index) == 1
            if truth.any():
                frame = self._segmenter.encode(sequence.frame(index).image)
                masks = list(clicked(self._segmenter, frame, truth, max(counts)))
                rows.append([jaccard(masks[min(n, len(masks)) - 1], truth) for n in counts])
        return dict(zip(self.modes, np.mean(rows, axis=0).tolist(), strict=True))


def displaced(mask: np.ndarray, shift: float = GUIDE_SHIFT) -> np.ndarray:
    """Displaces a mask, uint8 [H, W], right and down by a multiple of the root of its area."""
    pixels = round(shift * float(np.sqrt(np.count_nonzero(mask))))
    moved = np.zeros_like(mask)
    height, width = mask.shape
    moved[pixels:, pixels:] = mask[: height - pixels, : width - pixels]
    return moved
