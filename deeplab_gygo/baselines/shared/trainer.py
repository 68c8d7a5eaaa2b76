"""Offline training of OSMN and OSVOS; `training.trainer` has the loop."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import keras

from deeplab_gygo.backend import GradientStep
from deeplab_gygo.baselines.shared.config import BaselineTrainConfig
from deeplab_gygo.baselines.shared.fine_tuning import ParameterGroups, kernel_decay
from deeplab_gygo.baselines.shared.trunks import trunk_stage
from deeplab_gygo.io.scratch import held
from deeplab_gygo.io.storage import is_url
from deeplab_gygo.models.weight_file import load_parent
from deeplab_gygo.synthesis.clips import FRAMES_PER_CLIP, ClipSource
from deeplab_gygo.synthesis.sources import MAX_FRAME_DISTANCE, SHORT_SIDE, build_source
from deeplab_gygo.training.examples import Batch, MakeClip, batches, start_pool
from deeplab_gygo.training.steps import ParamGroup, TrainStep
from deeplab_gygo.training.trainer import Trainer, prepare_training
from deeplab_gygo.training.validation import Validation


class BaselineTrainer(Trainer):
    """Trainer of a baseline; see `Trainer` for files and resuming.

    Args:
        config: Configuration of the training, a `BaselineTrainConfig`.
        folder: Output folder; an unfinished training in it is resumed.

    Raises:
        InputError: Training data or initial weights are missing, damaged or of another layout.
        UsageError: The folder contains a training of another configuration, or the network to
            start from has another architecture.
    """

    network: type
    """Network of the method."""

    clip_maker: Callable[[ClipSource, Any], MakeClip]
    """Makes the examples of clips, `clip_maker(source, config=config)(step, clip)`."""

    validation_class: Callable[[Any, Any, str | Path], Validation]
    """Measurement of the network, `validation_class(network, config, root)`."""

    def __init__(self, config: BaselineTrainConfig, folder: str | Path):
        self.root = prepare_training(config, folder)
        self._open_source = partial(
            build_source,
            max_frame_distance=self.max_frame_distance(config),
            # Frames keep the short side of the largest training images.
            short_side=max(SHORT_SIDE, min(config.crop)),
            follow=False,  # They propagate the previous mask where it was.
        )
        self.source = self._open_source(config.sources, self.root, config.cache_gb)
        parent = self._initial_parent(config)
        _freeze(parent, config)
        super().__init__(
            config,
            folder,
            parent=parent,
            step=self._make_step(parent, config),
            validation=self.validation_class(parent, config, self.root),
            learning_rate=config.learning_rate,
        )

    @staticmethod
    @abstractmethod
    def parameter_groups(parent: Any, config: Any) -> ParameterGroups:
        """Returns peak learning rates and their variables; no group is empty."""

    @staticmethod
    @abstractmethod
    def loss(config: Any) -> Callable[[Any, Any], Any]:
        """Returns `loss(outputs, targets)`."""

    @staticmethod
    def max_frame_distance(config: Any) -> int:
        """Returns the maximum distance between the two frames of a video clip, frames."""
        return MAX_FRAME_DISTANCE

    def batches(self) -> Iterator[Batch]:
        """Starts the batches from the current step on."""
        config = self.config
        maker = partial(self.clip_maker, config=config)
        return batches(
            start_pool(config, self.source, self.root, maker, self._open_source),
            first_step=self.step,
            last_step=config.steps,
            batch=config.batch,
            per_clip=1 if config.batch % FRAMES_PER_CLIP else FRAMES_PER_CLIP,
        )

    def learning_rate_factor(self) -> float:
        """Returns the factor of the peak learning rates: the schedule, or else a cosine decay."""
        schedule = self.config.learning_rate_schedule
        if not schedule.values:
            return super().learning_rate_factor()
        warmup = min(1.0, (self.step + 1) / max(1, self.config.warmup))
        return warmup * schedule.at(self.progress_fraction())

    def _initial_parent(self, config: BaselineTrainConfig) -> Any:
        """Builds the network on the weights of its trunk, or on those of another parent."""
        if not config.init_from:
            weights = None if config.trunk_weights == "none" else config.trunk_weights
            weights = held(weights) if is_url(weights) else weights
            return self.network(config.model, weights)
        return load_parent(config.init_from)[0]

    def _make_step(self, parent: Any, config: BaselineTrainConfig) -> TrainStep:
        groups = [
            ParamGroup(rate, _optimizer(rate, config), variables)
            for rate, variables in self.parameter_groups(parent, config)
        ]
        variables = [variable for group in groups for variable in group.variables]
        step = GradientStep(
            parent.network,
            self.loss(config),
            [(group.optimizer, group.variables) for group in groups],
            clip=config.grad_clip_norm,
            regularizer=kernel_decay(variables, config.weight_decay),
            donate=True,
        )
        return TrainStep(groups, step)


def _freeze(parent: Any, config: BaselineTrainConfig) -> None:
    """Marks the layers that are not trained."""
    for part in parent.parts:
        for layer in _all_layers(part):
            stage = trunk_stage(layer.name)
            if stage is not None and stage <= config.frozen_stages > 0:
                layer.trainable = False
            batch_norm = isinstance(layer, keras.layers.BatchNormalization)
            if config.freeze_batch_norm and batch_norm:
                layer.trainable = False


def _optimizer(rate: float, config: BaselineTrainConfig) -> keras.optimizers.Optimizer:
    # Keras averages the gradients of so many steps itself, of two or more.
    steps = config.accumulate_steps if config.accumulate_steps > 1 else None
    if config.optimizer == "adam":
        return keras.optimizers.Adam(rate, gradient_accumulation_steps=steps)
    return keras.optimizers.SGD(rate, config.momentum, gradient_accumulation_steps=steps)


def _all_layers(model: keras.Model) -> Iterator[keras.layers.Layer]:
    """Yields the layers of a model and of the models in it."""
    for layer in model.layers:
        yield layer
        if isinstance(layer, keras.Model):
            yield from _all_layers(layer)
