"""The gradient steps of offline training: groups of variables with rates of their own."""

from __future__ import annotations

from typing import Any

import keras
import numpy as np

from deeplab_gygo.backend import GradientStep
from deeplab_gygo.models.deeplab import KEY_LAYER, DeepLabV3Plus
from deeplab_gygo.models.losses import segmentation_loss
from deeplab_gygo.training.config import TrainConfig
from deeplab_gygo.training.network import build_training_network, clip_loss
from deeplab_gygo.training.parallel import spread


class RatedStep:
    """A gradient step over groups of variables, at peak rates of their own.

    Args:
        groups: Peak rate, optimizer and variables of every group.
        step: The compiled step over the same groups.
    """

    def __init__(
        self,
        groups: list[tuple[float, keras.optimizers.Optimizer, list[keras.Variable]]],
        step: GradientStep,
    ):
        self._groups, self._step = groups, step

    def __call__(self, inputs: dict[str, np.ndarray], targets: Any, rate_factor: float) -> Any:
        """Runs one step; a device may still be at it afterwards.

        Args:
            inputs: Inputs of the trained network, by name.
            targets: What its loss is given beside the outputs: an array, or several by name.
            rate_factor: Factor of the peak rates in 0..1.

        Returns:
            The loss before the update, a scalar of the backend; `float` waits for it.
        """
        for rate, optimizer, _ in self._groups:
            optimizer.learning_rate = rate * rate_factor
        return self._step.launch(spread(inputs), spread(targets))

    def state(self) -> dict[str, np.ndarray]:
        """Returns the optimizers' variables by position."""
        return {
            f"{group}.{index}": np.asarray(variable.numpy())
            for group, (_, optimizer, _) in enumerate(self._groups)
            for index, variable in enumerate(optimizer.variables)
        }

    def set_state(self, state: dict[str, np.ndarray]) -> None:
        """Sets what `state` returned."""
        for group, (_, optimizer, _) in enumerate(self._groups):
            for index, variable in enumerate(optimizer.variables):
                variable.assign(state[f"{group}.{index}"])


class ParentStep(RatedStep):
    """AdamW on head and encoder, or on the refinement alone, at peak rates scaled by the schedule.

    Inputs are those of `build_training_network`, targets uint8 [B, H, W, 1], 0, 1 or 255 for void.

    Args:
        parent: Network whose trainable variables are trained.
        config: Rates, decay, clipping and loss.
    """

    def __init__(self, parent: DeepLabV3Plus, config: TrainConfig):
        alone = config.trained == "refinement"
        parts = [
            (config.head_rate, _refiner_variables(parent) if alone else _head_variables(parent)),
            (config.backbone_rate, [] if alone else _backbone_variables(parent)),
        ]
        groups = [
            (rate, _optimizer(rate, config, variables), variables)
            for rate, variables in parts
            if variables
        ]
        # Refined logits carry the loss; those before them keep a part, for fine-tuning uses them.
        coarse = 0.5 if parent.refiner is not None and not alone else 0.0
        step = GradientStep(
            build_training_network(parent),
            clip_loss(segmentation_loss(config.dice, config.edge), coarse),
            [(optimizer, variables) for _, optimizer, variables in groups],
            clip=config.clip,
            training=not (config.freeze_batch_norm or alone),
            donate=True,
        )
        super().__init__(groups, step)


def _head_variables(parent: DeepLabV3Plus) -> list[keras.Variable]:
    """Returns what has no ImageNet weights to keep: head, refinement, keys of the memory."""
    return [*parent.head.trainable_variables, *_refiner_variables(parent), *_keys(parent)]


def _refiner_variables(parent: DeepLabV3Plus) -> list[keras.Variable]:
    return parent.refiner.trainable_variables if parent.refiner is not None else []


def _backbone_variables(parent: DeepLabV3Plus) -> list[keras.Variable]:
    keys = {id(variable) for variable in _keys(parent)}
    return [v for v in parent.encoder.trainable_variables if id(v) not in keys]


def _keys(parent: DeepLabV3Plus) -> list[keras.Variable]:
    return [v for v in parent.encoder.trainable_variables if KEY_LAYER in v.path]


def _optimizer(
    rate: float, config: TrainConfig, variables: list[keras.Variable]
) -> keras.optimizers.Optimizer:
    optimizer = keras.optimizers.AdamW(rate, weight_decay=config.weight_decay)
    # No decay on scales, biases and depthwise filters (official implementation).
    spared = [v for v in variables if len(v.shape) < 2 or "depthwise" in v.path]
    optimizer.exclude_from_weight_decay(var_list=spared)
    if config.precision == "float16":
        return keras.optimizers.LossScaleOptimizer(optimizer)
    return optimizer
