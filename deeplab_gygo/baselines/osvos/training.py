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
from deeplab_gygo.baselines.shared.trainer import BaselineTrainer
from deeplab_gygo.baselines.shared.validation import BaselineValidation
from deeplab_gygo.datasets.registry import Dataset
from deeplab_gygo.evaluation.measures import jaccard
from deeplab_gygo.models.losses import named_loss


class OsvosTrainer(BaselineTrainer):
    """Trains the parent network of OSVOS; see `BaselineTrainer`."""

    network = Osvos
    clip_maker = PlainClipMaker

    def _parameter_groups(self) -> ParameterGroups:
        config = self.config
        return self.parent.parameter_groups(
            config.learning_rate,
            {"trunk": 1.0, "score": config.side_multiplier, "fuse": config.fuse_multiplier},
            config.bias_multiplier,
            config.frozen_stages,
        )

    def _loss(self) -> Callable[[Any, Any], Any]:
        return deep_supervision(named_loss(self.config.loss, self.config.dice_weight))

    def _step_targets(self, targets: np.ndarray) -> dict[str, Any]:
        weight = self.config.side_loss_schedule.at(self.progress_fraction())
        return {"mask": targets, "side_weight": np.array(weight, np.float32)}

    def _build_validation(self) -> OsvosValidation:
        return OsvosValidation(self.parent, self.config, self.root)


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


class OsvosValidation(BaselineValidation):
    """Evaluates the parent of OSVOS without fine-tuning on every `stride`-th frame.

    Args:
        parent: Network to evaluate; its weights may change between runs.
        config: Validation sets and threshold.
        root: Folder that relative roots start at.
    """

    modes = ("zero-shot",)

    def __init__(self, parent: Osvos, config: OsvosTraining, root: Path):
        side = OsvosOnline(mode="zero-shot").short_side(parent.config.trunk)
        super().__init__(parent, config, root, side)
        self._network = backend.compiled(parent.network)

    def _sequence(self, dataset: Dataset, name: str, stride: int) -> dict[str, float]:
        sequence = dataset.sequence(name)
        geometry = self._geometry(sequence)
        values = []
        for index in sorted(sequence.annotations)[::stride]:
            image = geometry.image(sequence.frame(index).image)[None].astype(np.float32)
            logits = backend.to_numpy(self._network({"image": image})[FUSED])[0, ..., 0]
            truth = dataset.annotation(name, index)
            values.append(jaccard(geometry.logits(logits) > self._min_logit, truth))
        return {"zero-shot": float(np.mean(values))}
