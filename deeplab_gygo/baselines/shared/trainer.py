"""Offline training of OSMN and OSVOS; `training.trainer` has the loop."""

from __future__ import annotations

import math
from abc import abstractmethod
from collections.abc import Callable, Iterator
from functools import partial
from typing import Any

import keras

from deeplab_gygo.backend import GradientStep
from deeplab_gygo.baselines.shared.fine_tuning import ParameterGroups, kernel_decay
from deeplab_gygo.baselines.shared.trunks import trunk_stage
from deeplab_gygo.errors import UsageError
from deeplab_gygo.io.config_file import to_plain
from deeplab_gygo.models.weight_file import load_parent
from deeplab_gygo.synthesis.clips import FRAMES_PER_CLIP, ClipSource
from deeplab_gygo.synthesis.sources import MAX_FRAME_DISTANCE, SHORT_SIDE, build_source
from deeplab_gygo.training.batches import batches
from deeplab_gygo.training.examples import Batch, start_pool
from deeplab_gygo.training.steps import RatedStep
from deeplab_gygo.training.trainer import Trainer


class BaselineTrainer(Trainer):
    """Trainer of a baseline; see `Trainer` for files and resuming.

    Args:
        config: Training configuration, a `BaselineTrainConfig`.
        folder: Output folder; an unfinished training in it is resumed.
        progress: Show a progress bar.

    Raises:
        InputError: Training data or initial weights are missing, damaged or of another layout.
        UsageError: The folder holds a training of another configuration.
    """

    network: type
    """Network of the method."""

    clip_maker: Callable[..., Callable[[int, int], Batch]]
    """`clip_maker(source, config=config)(step, clip)` makes the examples of a clip."""

    max_frame_distance = MAX_FRAME_DISTANCE
    """Maximum distance between the two frames of a video clip, frames."""

    @abstractmethod
    def _parameter_groups(self) -> ParameterGroups:
        """Returns peak learning rates and their variables; no group is empty."""

    @abstractmethod
    def _loss(self) -> Callable[[Any, Any], Any]:
        """Returns `loss(outputs, targets)`."""

    @property
    def _opener(self) -> partial:
        # Frames keep the short side of the largest training images.
        return partial(
            build_source,
            short_side=max(SHORT_SIDE, min(self.config.crop)),
            max_frame_distance=self.max_frame_distance,
        )

    def _open_source(self) -> ClipSource:
        return self._opener(self.config.sources, str(self.root), self.config.cache_gb)

    def _build_parent(self) -> Any:
        if not self.config.init_from:
            weights = self.config.trunk_weights
            return self.network(self.config.model, None if weights == "none" else weights)
        parent, _ = load_parent(self.config.init_from)
        if parent.config != self.config.model:
            raise UsageError(
                "A parent to start from has the method and architecture of the configuration",
                met=to_plain(parent.config),
                where=self.config.init_from,
                remedy="Correct `model` or `init_from`",
            )
        return parent

    def _freeze(self) -> None:
        for part in self.parent.parts:
            for layer in _all_layers(part):
                stage = trunk_stage(layer.name)
                if stage is not None and stage <= self.config.frozen_stages > 0:
                    layer.trainable = False
                batch_norm = isinstance(layer, keras.layers.BatchNormalization)
                if self.config.freeze_batch_norm and batch_norm:
                    layer.trainable = False

    def _build_step(self) -> RatedStep:
        config = self.config
        groups = [
            (rate, self._optimizer(rate), variables) for rate, variables in self._parameter_groups()
        ]
        variables = [variable for _, _, group in groups for variable in group]
        step = GradientStep(
            self.parent.network,
            self._loss(),
            [(optimizer, group) for _, optimizer, group in groups],
            clip=config.grad_clip_norm,
            regularizer=kernel_decay(variables, config.weight_decay),
            donate=True,
        )
        return RatedStep(groups, step)

    def _optimizer(self, rate: float) -> keras.optimizers.Optimizer:
        config = self.config
        # Keras averages the gradients of so many steps itself, of two or more.
        steps = config.accumulate_steps if config.accumulate_steps > 1 else None
        if config.optimizer == "adam":
            return keras.optimizers.Adam(rate, gradient_accumulation_steps=steps)
        return keras.optimizers.SGD(rate, config.momentum, gradient_accumulation_steps=steps)

    def _feed(self) -> Iterator[Batch]:
        config = self.config
        maker = partial(self.clip_maker, config=config)
        return batches(
            start_pool(config, self.source, self.root, maker, self._opener),
            first_step=self.step,
            last_step=config.steps,
            batch=config.batch,
            per_clip=1 if config.batch % FRAMES_PER_CLIP else FRAMES_PER_CLIP,
        )

    def _rate_factor(self) -> float:
        config = self.config
        warm = min(1.0, (self.step + 1) / max(1, config.warmup))
        if config.learning_rate_schedule.values:
            return warm * config.learning_rate_schedule.at(self.progress_fraction())
        return warm * 0.5 * (1.0 + math.cos(math.pi * self.progress_fraction()))

    @property
    def _peak_rate(self) -> float:
        return self.config.learning_rate


def _all_layers(model: keras.Model) -> Iterator[keras.layers.Layer]:
    """Yields the layers of a model and of the models in it."""
    for layer in model.layers:
        yield layer
        if isinstance(layer, keras.Model):
            yield from _all_layers(layer)
