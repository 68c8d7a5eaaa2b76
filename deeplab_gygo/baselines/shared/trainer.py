"""Offline training of OSMN and OSVOS; `training.trainer` has the loop."""

from __future__ import annotations

import math
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

import keras
import numpy as np

from deeplab_gygo.baselines.osmn.config import TrainOsmn
from deeplab_gygo.baselines.osmn.network import Osmn
from deeplab_gygo.baselines.osvos.config import TrainOsvos
from deeplab_gygo.baselines.osvos.network import Osvos
from deeplab_gygo.baselines.shared.config import BaselineTrainConfig
from deeplab_gygo.baselines.shared.examples import (
    STRIDE,
    GuidedClipMaker,
    PlainClipMaker,
    examples_per_clip,
    source_opener,
)
from deeplab_gygo.baselines.shared.steps import OsmnStep, OsvosStep
from deeplab_gygo.baselines.shared.trunks import trunk_stage
from deeplab_gygo.baselines.shared.validation import OsmnValidation, OsvosValidation
from deeplab_gygo.errors import UsageError
from deeplab_gygo.io.config_file import to_plain
from deeplab_gygo.models.weight_file import load_parent
from deeplab_gygo.synthesis.clips import FRAMES_PER_CLIP, ClipSource
from deeplab_gygo.training.batches import batches
from deeplab_gygo.training.examples import Batch, start_pool
from deeplab_gygo.training.trainer import Trainer


class BaselineTrainer(Trainer):
    """What the trainers of both methods have in common; see `Trainer` for files and resuming.

    Args:
        config: What to train on what.
        folder: Where to write; an unfinished training in it is resumed.
        progress: Show a progress bar.

    Raises:
        InputError: Material or first weights are missing, damaged or of another layout.
        UsageError: The folder holds a training of another configuration, or a value is out of
            range.
    """

    network: type[Osmn] | type[Osvos]

    def __init__(self, config: BaselineTrainConfig, folder: str | Path, *, progress: bool = True):
        _check(config)
        super().__init__(config, folder, progress)

    def _open_source(self) -> ClipSource:
        opener = source_opener(self.config)
        return opener(self.config.sources, str(self.root), self.config.cache_gb)

    def _build_parent(self) -> Osmn | Osvos:
        if not self.config.initial:
            weights = self.config.trunk_weights
            return self.network(self.config.model, None if weights == "none" else weights)
        parent, _ = load_parent(self.config.initial)
        if parent.config != self.config.model:
            raise UsageError(
                "A parent to start from has the method and architecture of the configuration",
                met=to_plain(parent.config),
                where=self.config.initial,
                remedy="Correct `model` or `initial`",
            )
        return parent

    def _freeze(self) -> None:
        for part in self.parent.parts:
            for layer in _layers_of(part):
                stage = trunk_stage(layer.name)
                if stage is not None and stage <= self.config.frozen_stages > 0:
                    layer.trainable = False
                if self.config.fix_bn and isinstance(layer, keras.layers.BatchNormalization):
                    layer.trainable = False

    def _feed(self) -> Iterator[Batch]:
        config = self.config
        maker = GuidedClipMaker if isinstance(config, TrainOsmn) else PlainClipMaker
        return batches(
            start_pool(
                config, self.source, self.root, partial(maker, config=config),
                source_opener(config),
            ),
            first_step=self.step,
            last_step=config.steps,
            batch=config.batch,
            per_clip=examples_per_clip(config),
        )  # fmt: skip

    def _rate_factor(self) -> float:
        config = self.config
        warm = min(1.0, (self.step + 1) / max(1, config.warmup))
        if config.rate_stairs.values:
            return warm * config.rate_stairs.at(self.progress_fraction())
        return warm * 0.5 * (1.0 + math.cos(math.pi * self.progress_fraction()))


class OsmnTrainer(BaselineTrainer):
    """Trains OSMN; see `BaselineTrainer`."""

    network = Osmn

    def _build_step(self) -> OsmnStep:
        return OsmnStep(self.parent, self.config)

    def _build_validation(self) -> OsmnValidation:
        config = self.config
        return OsmnValidation(self.parent, config.validation, str(self.root), config.threshold)


class OsvosTrainer(BaselineTrainer):
    """Trains OSVOS's parent network; see `BaselineTrainer`."""

    network = Osvos

    def _build_step(self) -> OsvosStep:
        return OsvosStep(self.parent, self.config)

    def _build_validation(self) -> OsvosValidation:
        config = self.config
        return OsvosValidation(self.parent, config.validation, str(self.root), config.threshold)

    def _step_targets(self, targets: np.ndarray) -> dict[str, Any]:
        weight = self.config.side_stairs.at(self.progress_fraction())
        return {"mask": targets, "side_weight": np.array(weight, np.float32)}


def build_trainer(
    config: BaselineTrainConfig, folder: str | Path, *, progress: bool
) -> BaselineTrainer:
    """Builds the trainer of the method that a configuration is of; see `BaselineTrainer`."""
    trainer = OsmnTrainer if isinstance(config, TrainOsmn) else OsvosTrainer
    return trainer(config, folder, progress=progress)


def _layers_of(model: keras.Model) -> Iterator[keras.layers.Layer]:
    """Yields the layers of a model and of the models in it."""
    for layer in model.layers:
        yield layer
        if isinstance(layer, keras.Model):
            yield from _layers_of(layer)


def _check(config: BaselineTrainConfig) -> None:
    """Raises `UsageError` where a value is out of range."""
    rules: list[tuple[str, bool, str]] = [
        ("crop", all(s > 0 and s % STRIDE == 0 for s in config.crop), f"a multiple of {STRIDE}"),
        ("scales", bool(config.scales) and min(config.scales, default=0) > 0, "above 0"),
        ("average", config.average >= 1, "1 or more"),
        ("threshold", 0.0 < config.threshold < 1.0, "between 0 and 1"),
        ("frozen_stages", config.frozen_stages >= 0, "0 or more"),
    ]
    if isinstance(config, TrainOsmn):
        whole = config.batch >= FRAMES_PER_CLIP and config.batch % FRAMES_PER_CLIP == 0
        rules.append(("batch", whole, f"a multiple of {FRAMES_PER_CLIP}, the frames of a clip"))
        rules.append(("spread_perturbation", config.spread_perturbation >= 1.0, "1 or more"))
    for name, holds, rule in rules:
        if not holds:
            raise UsageError(f"{name} is {rule}", met=getattr(config, name), where=name)
    stairs = [config.rate_stairs] if config.rate_stairs.values else []
    if isinstance(config, TrainOsvos):
        stairs.append(config.side_stairs)
    for stair in stairs:
        stair.at(0.0)
