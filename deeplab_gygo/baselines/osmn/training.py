"""Offline training of OSMN: learning rates, loss, validation."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from deeplab_gygo import backend
from deeplab_gygo.baselines.osmn.clips import GuidedClipMaker
from deeplab_gygo.baselines.osmn.config import OsmnOnline, OsmnTraining
from deeplab_gygo.baselines.osmn.guides import crop_inputs, gaussian_guide
from deeplab_gygo.baselines.osmn.network import Osmn
from deeplab_gygo.baselines.shared.fine_tuning import ParameterGroups
from deeplab_gygo.baselines.shared.losses import named_loss
from deeplab_gygo.baselines.shared.trainer import BaselineTrainer
from deeplab_gygo.baselines.shared.trunks import trunk_stage
from deeplab_gygo.datasets.registry import Dataset
from deeplab_gygo.evaluation.measures import jaccard
from deeplab_gygo.inference.geometry import Geometry
from deeplab_gygo.training.validation import Validation


class OsmnValidation(Validation):
    """Measures OSMN on every `stride`-th frame after the first, the visual guide.

    The spatial guide of `true-guide` is the *true* mask of the previous frame, which a propagation
    does not have. That of `propagated` is the prediction on the last measured frame, which is older
    than in a propagation.

    Args:
        parent: Network to measure; its weights may change between runs.
        config: Validation sets and threshold.
        root: As for `Validation`.
    """

    modes = ("true-guide", "propagated")

    def __init__(self, parent: Osmn, config: OsmnTraining, root: str | Path):
        super().__init__(config.validation, root)
        self._parent, self._min_logit = parent, config.min_logit
        self._visual = backend.compiled(parent.visual)
        self._segmentation = backend.compiled(parent.segmentation)

    def sequence_scores(self, dataset: Dataset, name: str, stride: int) -> dict[str, float]:
        """Returns the mean J by mode over every `stride`-th frame of a sequence."""
        sequence, parent = dataset.sequence(name), self._parent
        annotated = sorted(sequence.annotations)
        side = OsmnOnline().short_side(parent.config.trunk)
        geometry = Geometry.fit(sequence.size, side, parent.stride)
        first = dataset.annotation(name, annotated[0]) == 1
        scales = self._visual(crop_inputs(sequence.frame(annotated[0]).image, first))
        values: dict[str, list[float]] = {mode: [] for mode in self.modes}
        predicted = first
        for position in range(min(stride, len(annotated) - 1), len(annotated), stride):
            image = geometry.image(sequence.frame(annotated[position]).image)
            truth = dataset.annotation(name, annotated[position])
            before = dataset.annotation(name, annotated[max(position - 1, 0)]) == 1
            for mode, previous in zip(self.modes, (before, predicted), strict=True):
                guide = gaussian_guide(geometry.labels(previous.astype(np.uint8)))
                inputs = {"image": image[None].astype(np.float32), "spatial": guide[None]}
                logits = self._segmentation({**inputs, "scales": scales})
                mask = geometry.logits(backend.to_numpy(logits)[0, ..., 0]) > self._min_logit
                values[mode].append(jaccard(mask, truth))
            predicted = mask
        return {mode: float(np.mean(part)) for mode, part in values.items()}


class OsmnTrainer(BaselineTrainer):
    """Trains OSMN; see `BaselineTrainer`."""

    network = Osmn
    clip_maker = GuidedClipMaker
    validation_class = OsmnValidation

    @staticmethod
    def max_frame_distance(config: OsmnTraining) -> int:
        """Returns the maximum distance between the two frames of a video clip, frames."""
        return config.guide_span or 10**6  # more frames than a video has

    @staticmethod
    def parameter_groups(parent: Osmn, config: OsmnTraining) -> ParameterGroups:
        """Returns peak learning rates and their variables; no group is empty."""
        by_role = {
            "visual": config.modulator_learning_rate,
            "spatial": config.spatial_learning_rate,
        }
        rates: dict[float, list[Any]] = {}
        for role, variables in parent.variables(config.frozen_stages).items():
            for name, variable in variables.items():
                in_trunk = trunk_stage(name.split("/")[0]) is not None
                own = 0.0 if in_trunk else by_role.get(role, 0.0)
                rates.setdefault(own or config.learning_rate, []).append(variable)
        return list(rates.items())

    @staticmethod
    def loss(config: OsmnTraining) -> Callable[[Any, Any], Any]:
        """Returns `loss(outputs, targets)`."""
        return named_loss(config.loss, config.dice_weight)
