"""Offline training of a DeepLabV3+ parent."""

from __future__ import annotations

import math
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import keras

from deeplab_gygo.errors import UsageError
from deeplab_gygo.io.config_file import to_plain
from deeplab_gygo.models.backbones import layers_up_to
from deeplab_gygo.models.config import DECODER_STRIDE
from deeplab_gygo.models.deeplab import KEY_LAYER, DeepLabV3Plus
from deeplab_gygo.models.weight_file import assign, file_hash, load_parent, read_parent_file
from deeplab_gygo.synthesis.clips import FRAMES_PER_CLIP, ClipSource
from deeplab_gygo.synthesis.sources import build_source
from deeplab_gygo.training.batches import batches
from deeplab_gygo.training.config import TrainConfig
from deeplab_gygo.training.examples import Batch, open_pool
from deeplab_gygo.training.parallel import distribute
from deeplab_gygo.training.steps import ParentStep
from deeplab_gygo.training.trainer import Trainer
from deeplab_gygo.training.validation import Validation


class ParentTrainer(Trainer):
    """Trains a parent; see `Trainer` for the files and for how it resumes.

    Args:
        config: What to train on what.
        folder: Where to write; an unfinished training in it is resumed.
        backbone_weights: `imagenet`, a path, or None for random ones.
        progress: Show a progress bar.

    Raises:
        InputError: Material is missing, damaged or of another layout.
        UsageError: The folder holds a training of another configuration, or a value is out of
            range.
    """

    def __init__(
        self,
        config: TrainConfig,
        folder: str | Path,
        *,
        backbone_weights: str | None = "imagenet",
        progress: bool = True,
    ):
        if config.batch < FRAMES_PER_CLIP or config.batch % FRAMES_PER_CLIP:
            raise UsageError(
                f"A batch holds whole clips of {FRAMES_PER_CLIP} moments", met=config.batch, where="batch"
            )
        if config.trained == "refinement" and not config.model.refine:
            raise UsageError(
                "Only an architecture with a refinement can train it alone",
                met="model.refine false",
                where="trained",
                remedy="Set model.refine, or trained: all",
            )
        self._backbone_weights = backbone_weights
        self._origin = _origin(config.initial)
        super().__init__(config, folder, progress)

    def _open_source(self) -> ClipSource:
        return build_source(self.config.sources, str(self.root), self.config.cache_gb)

    def _choose_devices(self) -> None:
        self.devices = distribute(self.config.batch) if self.config.data_parallel else 1

    def _build_parent(self) -> DeepLabV3Plus:
        if not self.config.initial:
            return DeepLabV3Plus(self.config.model, self._backbone_weights)
        if self.config.grow:
            parent = DeepLabV3Plus(self.config.model)
            _, arrays, _ = read_parent_file(self.config.initial)
            assign(parent, arrays, self.config.initial, grow=True)
            return parent
        parent, _ = load_parent(self.config.initial)
        if parent.config != self.config.model:
            raise UsageError(
                "A parent to start from has the architecture of the configuration",
                met=to_plain(parent.config),
                where=self.config.initial,
                remedy="Correct `model` or `initial`, or set `grow` where only parts are new",
            )
        return parent

    def _freeze(self) -> None:
        if self.config.trained == "refinement":
            self.parent.encoder.trainable = self.parent.head.trainable = False
            return
        if self.config.frozen_stages >= 0:
            for layer in layers_up_to(self.parent.encoder, self.config.frozen_stages):
                layer.trainable = layer.name == KEY_LAYER  # new, however much is frozen beside it
        for layer in self.parent.encoder.layers:
            if isinstance(layer, keras.layers.BatchNormalization):
                layer.trainable = False

    def _build_step(self) -> ParentStep:
        return ParentStep(self.parent, self.config)

    def _build_validation(self) -> Validation:
        return Validation(self.parent, self.config.validation, str(self.root))

    def _card(self) -> dict[str, Any]:
        return self._origin

    def _feed(self) -> Iterator[Batch]:
        return batches(
            open_pool(self.config, self.source, self.root, DECODER_STRIDE),
            first_step=self.step,
            last_step=self.config.steps,
            batch=self.config.batch,
        )

    def _rate_factor(self) -> float:
        warm = min(1.0, (self.step + 1) / max(1, self.config.warmup))
        return warm * 0.5 * (1.0 + math.cos(math.pi * self.progress_fraction()))

    @property
    def _peak_rate(self) -> float:
        return self.config.head_rate


def _origin(initial: str) -> dict[str, Any]:
    """Returns which parent a training starts from, and what that one's own card says of it."""
    if not initial:
        return {}
    _, _, card = read_parent_file(initial)
    told = {key: card[key] for key in ("step", "seconds", "averaged") if key in card}
    return {"initial": {"sha256": file_hash(initial), **told}}
