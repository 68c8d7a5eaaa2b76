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
from deeplab_gygo.baselines.shared.trainer import BaselineTrainer
from deeplab_gygo.baselines.shared.trunks import trunk_stage
from deeplab_gygo.baselines.shared.validation import BaselineValidation
from deeplab_gygo.datasets.registry import Dataset
from deeplab_gygo.evaluation.measures import jaccard
from deeplab_gygo.models.losses import named_loss

_WHOLE_SEQUENCE = 10**6  # frames, more than a video has


class OsmnTrainer(BaselineTrainer):
    """Trains OSMN; see `BaselineTrainer`."""

    network = Osmn
    clip_maker = GuidedClipMaker

    @property
    def max_frame_distance(self) -> int:
        """Maximum distance between the two frames of a video clip, frames."""
        return self.config.guide_span or _WHOLE_SEQUENCE

    def _parameter_groups(self) -> ParameterGroups:
        config = self.config
        by_role = {
            "visual": config.modulator_learning_rate,
            "spatial": config.spatial_learning_rate,
        }
        rates: dict[float, list[Any]] = {}
        for role, variables in self.parent.variables(config.frozen_stages).items():
            for name, variable in variables.items():
                in_trunk = trunk_stage(name.split("/")[0]) is not None
                own = 0.0 if in_trunk else by_role.get(role, 0.0)
                rates.setdefault(own or config.learning_rate, []).append(variable)
        return list(rates.items())

    def _loss(self) -> Callable[[Any, Any], Any]:
        return named_loss(self.config.loss, self.config.dice_weight)

    def _build_validation(self) -> OsmnValidation:
        return OsmnValidation(self.parent, self.config, self.root)


class OsmnValidation(BaselineValidation):
    """Evaluates OSMN on every `stride`-th frame after the first, the visual guide.

    The spatial guide of `true-guide` is the *true* mask of the previous frame, which a propagation
    does not have. That of `propagated` is the prediction on the last evaluated frame, which is
    older than in a propagation.

    Args:
        parent: Network to evaluate; its weights may change between runs.
        config: Validation sets and threshold.
        root: Folder that relative roots start at.
    """

    modes = ("true-guide", "propagated")

    def __init__(self, parent: Osmn, config: OsmnTraining, root: Path):
        super().__init__(parent, config, root, OsmnOnline().short_side(parent.config.trunk))
        self._visual = backend.compiled(parent.visual)
        self._segmentation = backend.compiled(parent.segmentation)

    def _sequence(self, dataset: Dataset, name: str, stride: int) -> dict[str, float]:
        sequence = dataset.sequence(name)
        annotated = sorted(sequence.annotations)
        geometry = self._geometry(sequence)
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
