"""The gradient step of parent training: two groups of variables with rates of their own."""

from __future__ import annotations

import keras
import numpy as np

from deeplab_gygo.backend import GradientStep
from deeplab_gygo.config import TrainConfig
from deeplab_gygo.models.deeplab import DeepLabV3Plus
from deeplab_gygo.training.losses import segmentation_loss


class ParentStep:
    """AdamW on head and encoder, at their own peak rates, scaled by the schedule.

    Args:
        parent: Network whose trainable variables are trained.
        config: Rates, decay, clipping and loss.
    """

    def __init__(self, parent: DeepLabV3Plus, config: TrainConfig):
        parts = [
            (config.head_rate, parent.head.trainable_variables),
            (config.backbone_rate, parent.encoder.trainable_variables),
        ]
        self._groups = [
            (rate, _optimizer(rate, config, variables), variables)
            for rate, variables in parts
            if variables
        ]
        self._step = GradientStep(
            parent.network,
            segmentation_loss(config.dice),
            [(optimizer, variables) for _, optimizer, variables in self._groups],
            clip=config.clip,
            training=not config.freeze_batch_norm,
        )

    def __call__(
        self, inputs: dict[str, np.ndarray], targets: np.ndarray, rate_factor: float
    ) -> float:
        """Runs one step.

        Args:
            inputs: {"image": uint8 [B, H, W, 3], "guide": float32 [B, H/4, W/4, 1]}.
            targets: uint8 [B, H, W, 1], 0 or 1.
            rate_factor: Factor of the peak rates in 0..1.

        Returns:
            The loss before the update.
        """
        for rate, optimizer, _ in self._groups:
            optimizer.learning_rate = rate * rate_factor
        return self._step(inputs, targets)

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
