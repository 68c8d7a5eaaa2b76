"""Offline training of the OSVOS parent: learning rates, deep supervision, validation."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from keras import ops

from deeplab_gygo import backend
from deeplab_gygo.baselines.osvos.clips import PlainClipMaker
from deeplab_gygo.baselines.osvos.config import OsvosOnline, OsvosTraining
from deeplab_gygo.baselines.osvos.network import FUSED, Osvos
from deeplab_gygo.baselines.shared.fine_tuning import ParameterGroups
from deeplab_gygo.baselines.shared.losses import named_loss
from deeplab_gygo.baselines.shared.trainer import BaselineTrainer
from deeplab_gygo.datasets.registry import Dataset
from deeplab_gygo.evaluation.measures import jaccard
from deeplab_gygo.inference.geometry import Geometry
from deeplab_gygo.training.validation import Validation


class OsvosValidation(Validation):
    """Measures the parent of OSVOS without fine-tuning on every `stride`-th frame.

    Args:
        parent: Network to measure; its weights may change between runs.
        config: Validation sets and threshold.
        root: As for `Validation`.
    """

    modes = ("zero-shot",)

    def __init__(self, parent: Osvos, config: OsvosTraining, root: str | Path):
        super().__init__(config.validation, root)
        self._parent, self._min_logit = parent, config.min_logit
        self._network = backend.compiled(parent.network)

    def sequence_scores(self, dataset: Dataset, name: str, stride: int) -> dict[str, float]:
        """Returns the mean J by mode over every `stride`-th frame of a sequence."""
        sequence, parent = dataset.sequence(name), self._parent
        side = OsvosOnline(mode="zero-shot").short_side(parent.config.trunk)
        geometry = Geometry.fit(sequence.size, side, parent.stride)
        values = []
        for index in sorted(sequence.annotations)[::stride]:
            image = geometry.image(sequence.frame(index).image)[None].astype(np.float32)
            logits = backend.to_numpy(self._network({"image": image})[FUSED])[0, ..., 0]
            truth = dataset.annotation(name, index)
            values.append(jaccard(geometry.logits(logits) > self._min_logit, truth))
        return {"zero-shot": float(np.mean(values))}


class OsvosTrainer(BaselineTrainer):
    """Trains the parent network of OSVOS; see `BaselineTrainer`."""

    network = Osvos
    clip_maker = PlainClipMaker
    validation_class = OsvosValidation

    @staticmethod
    def parameter_groups(parent: Osvos, config: OsvosTraining) -> ParameterGroups:
        """Returns peak learning rates and their variables; no group is empty."""
        return parent.parameter_groups(
            config.learning_rate,
            {"trunk": 1.0, "score": config.side_multiplier, "fuse": config.fuse_multiplier},
            config.bias_multiplier,
            config.frozen_stages,
        )

    @staticmethod
    def loss(config: OsvosTraining) -> Callable[[Any, Any], Any]:
        """Returns `loss(outputs, targets)`."""
        return deep_supervision(named_loss(config.loss, config.dice_weight))

    def step_targets(self, targets: np.ndarray) -> dict[str, Any]:
        """Returns the targets of the loss with the current weight of the sides."""
        weight = self.config.side_loss_schedule.at(self.progress_fraction())
        return {"mask": targets, "side_weight": np.array(weight, np.float32)}


def deep_supervision(loss: Callable[[Any, Any], Any]) -> Callable[[Any, Any], Any]:
    """Makes OSVOS's loss: of the fused output, and of every side with a common weight.

    Args:
        loss: `loss(logits, targets) -> scalar`.

    Returns:
        `loss(outputs, {"mask", "side_weight"}) -> scalar`; outputs are those of `Osvos.network`.
    """

    def total_loss(outputs: dict[str, Any], targets: dict[str, Any]) -> Any:
        mask = targets["mask"]
        sides = [loss(logits, mask) for name, logits in outputs.items() if name != FUSED]
        weight = ops.cast(targets["side_weight"], "float32")
        return loss(outputs[FUSED], mask) + weight * sum(sides[1:], sides[0])

    return total_loss
