"""Offline training of a DeepLabV3+ parent, or of a decoder of strokes on the encoder of one."""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

import keras
import numpy as np

from deeplab_gygo.io.scratch import held
from deeplab_gygo.models.backbones import layers_up_to
from deeplab_gygo.models.config import KEY_LAYER
from deeplab_gygo.models.deeplab import DeepLabV3Plus
from deeplab_gygo.models.stroke_decoder import Decoder, encoder_digest
from deeplab_gygo.models.weight_file import (
    assign,
    dropout_states,
    file_hash,
    load_parent,
    read_parent_file,
    variables_by_name,
)
from deeplab_gygo.synthesis.sources import build_source
from deeplab_gygo.training.config import TrainConfig
from deeplab_gygo.training.examples import Batch, ClipMaker, StrokeMaker, batches, start_pool
from deeplab_gygo.training.steps import ParentStep, distribute
from deeplab_gygo.training.trainer import Trainer, prepare_training
from deeplab_gygo.training.validation import ParentValidation, StrokeValidation


class ParentTrainer(Trainer):
    """Trains a parent; see `Trainer` for its files and for resuming.

    Of a decoder of strokes (`trainable: strokes`) the files have the weights of the decoder alone.

    Args:
        config: Configuration of the training.
        folder: Output folder; an unfinished training in it is resumed.
        backbone_weights: `imagenet`, a path, or None for random ones.

    Raises:
        InputError: A source is missing, damaged or of another layout.
        UsageError: The folder contains a training of another configuration, or the network to
            start from has another architecture.
    """

    def __init__(
        self,
        config: TrainConfig,
        folder: str | Path,
        *,
        backbone_weights: str | None = "imagenet",
    ):
        self.root = prepare_training(config, folder)
        self.source = build_source(config.sources, self.root, config.cache_gb)
        self.devices = distribute(config.batch) if config.data_parallel else 1
        parent = _initial_parent(config, backbone_weights)
        _freeze(parent, config)
        network, validation, card = parent, ParentValidation, _origin(config.init_from)
        if config.trainable == "strokes":
            network, validation = Decoder(parent.config, parent.decoder), StrokeValidation
            values = variables_by_name(parent).items()
            arrays = {name: np.asarray(variable.numpy()) for name, variable in values}
            card["encoder_sha256"] = encoder_digest(arrays)
        super().__init__(
            config,
            folder,
            parent=network,
            step=ParentStep(parent, config),
            validation=validation(parent, config.validation, self.root),
            learning_rate=config.head_learning_rate,
            card=card,
        )

    def batches(self) -> Iterator[Batch]:
        """Starts the batches from the current step on."""
        config = self.config
        maker = StrokeMaker if config.trainable == "strokes" else ClipMaker
        return batches(
            start_pool(config, self.source, self.root, partial(maker, config=config)),
            first_step=self.step,
            last_step=config.steps,
            batch=config.batch,
        )


def _initial_parent(config: TrainConfig, backbone_weights: str | None) -> DeepLabV3Plus:
    """Builds the network on ImageNet weights, or on those of another parent."""
    if not config.init_from:
        return DeepLabV3Plus(config.model, backbone_weights)
    if config.allow_missing:
        parent = DeepLabV3Plus(config.model)
        _, arrays, _ = read_parent_file(config.init_from)
        assign(parent, arrays, config.init_from, allow_missing=True)
        return parent
    parent: DeepLabV3Plus = load_parent(config.init_from, inference_only=False)[0]
    for number, state in enumerate(dropout_states(parent.parts)):
        state.assign(np.array([config.seed, number], state.dtype))
    return parent


def _freeze(parent: DeepLabV3Plus, config: TrainConfig) -> None:
    """Marks the layers that are not trained; BatchNorm of the encoder never is."""
    if config.trainable == "refinement":
        parent.encoder.trainable = parent.head.trainable = False
        return
    if config.trainable == "strokes":
        parent.encoder.trainable = False
        return
    if config.frozen_stages >= 0:
        for layer in layers_up_to(parent.encoder, config.frozen_stages):
            layer.trainable = layer.name == KEY_LAYER  # it has no pretrained weights
    for layer in parent.encoder.layers:
        if isinstance(layer, keras.layers.BatchNormalization):
            layer.trainable = False


def _origin(init_from: str) -> dict[str, Any]:
    """Returns hash and training record of the parent that a training starts from."""
    if not init_from:
        return {}
    _, _, card = read_parent_file(init_from)
    record = {key: card[key] for key in ("step", "seconds", "averaged") if key in card}
    return {"initial": {"sha256": file_hash(held(init_from)), **record}}
