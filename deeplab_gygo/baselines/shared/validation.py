"""J of a baseline on held-out sequences during its training."""

from __future__ import annotations

from abc import ABC, abstractmethod
from pathlib import Path
from typing import Any

import numpy as np

from deeplab_gygo.baselines.shared.config import BaselineTrainConfig
from deeplab_gygo.datasets.registry import Dataset, open_dataset
from deeplab_gygo.inference.geometry import Geometry


class BaselineValidation(ABC):
    """Evaluates every set of a configuration.

    Args:
        parent: Network to evaluate; its weights may change between runs.
        config: `validation` and `threshold`.
        root: Folder that relative roots start at.
        short_side: Short side of the frames as the network sees them, pixels.

    Attributes:
        modes: Names of the scores.
    """

    modes: tuple[str, ...]

    def __init__(self, parent: Any, config: BaselineTrainConfig, root: Path, short_side: int):
        self._sets = [(s, open_dataset(s.kind, root / s.root)) for s in config.validation]
        self._short_side, self._stride = short_side, parent.stride
        # Logits are compared with the logit of the threshold, which saves the sigmoid.
        self._min_logit = float(np.log(config.threshold) - np.log1p(-config.threshold))

    def run(self) -> dict[str, float]:
        """Returns mean J over the sequences by `<root>/<mode>`."""
        scores = {}
        for config, dataset in self._sets:
            names = config.sequences or dataset.names(config.split)
            rows = [self._sequence(dataset, name, config.stride) for name in names]
            label = config.root or config.kind
            scores |= {
                f"{label}/{mode}": float(np.mean([row[mode] for row in rows]))
                for mode in self.modes
            }
        return scores

    @abstractmethod
    def _sequence(self, dataset: Dataset, name: str, stride: int) -> dict[str, float]:
        """Returns mean J of every mode over a sequence."""

    def _geometry(self, sequence: Any) -> Geometry:
        return Geometry.fit(sequence.size, self._short_side, self._stride)
