"""Gradient steps of offline training: parameter groups, moving average, data parallelism."""

from __future__ import annotations

from typing import Any, NamedTuple

import keras
import numpy as np
from keras import ops

from deeplab_gygo import backend
from deeplab_gygo.errors import UsageError
from deeplab_gygo.models.config import KEY_LAYER
from deeplab_gygo.models.deeplab import DeepLabV3Plus
from deeplab_gygo.models.losses import segmentation_loss
from deeplab_gygo.synthesis.clips import FRAMES_PER_CLIP
from deeplab_gygo.training.config import TrainConfig
from deeplab_gygo.training.network import build_training_network, clip_loss
from deeplab_gygo.training.stroke_network import build_stroke_network

UPDATE_EVERY = 10
"""Steps between updates: on the host, an update per step would cost more than it changes."""


class ParamGroup(NamedTuple):
    """Variables with an optimizer and a peak learning rate of their own."""

    learning_rate: float
    optimizer: keras.optimizers.Optimizer
    variables: list[keras.Variable]


class TrainStep:
    """A gradient step over parameter groups, at scheduled learning rates.

    Args:
        groups: Parameter groups.
        step: Compiled step over the same groups.
    """

    def __init__(self, groups: list[ParamGroup], step: backend.GradientStep):
        self._groups, self._step = groups, step

    def __call__(self, inputs: dict[str, np.ndarray], targets: Any, factor: float) -> Any:
        """Runs one step; a device may not have finished it on return.

        Args:
            inputs: Inputs of the trained network, by name.
            targets: Second argument of its loss: an array, or several by name.
            factor: Factor of the peak learning rates, 0..1.

        Returns:
            The loss before the update, a scalar of the backend; `float` waits for it.
        """
        for group in self._groups:
            group.optimizer.learning_rate = group.learning_rate * factor
        return self._step.launch(_shard(inputs), _shard(targets))

    def prepare(self, inputs: dict[str, np.ndarray], targets: Any) -> dict[str, int]:
        """Compiles the step without running it; see `backend.GradientStep.prepare`."""
        return self._step.prepare(_shard(inputs), _shard(targets))

    def state(self) -> dict[str, np.ndarray]:
        """Returns the optimizers' variables by position."""
        return {name: np.asarray(variable.numpy()) for name, variable in self._variables()}

    def set_state(self, state: dict[str, np.ndarray]) -> None:
        """Sets the optimizers' variables as returned by `state`."""
        for name, variable in self._variables():
            variable.assign(state[name])

    def _variables(self) -> list[tuple[str, keras.Variable]]:
        return [
            (f"{number}.{index}", variable)
            for number, group in enumerate(self._groups)
            for index, variable in enumerate(group.optimizer.variables)
        ]


class ParentStep(TrainStep):
    """AdamW on head and encoder, on the refinement alone, or on the decoder of strokes.

    Inputs are those of `build_training_network` or `build_stroke_network`, targets uint8
    [B, H, W, 1], 0, 1 or 255 for void.

    Args:
        parent: Network with the trainable variables.
        config: Learning rates, weight decay, clipping and loss.
    """

    def __init__(self, parent: DeepLabV3Plus, config: TrainConfig):
        refiner = parent.refiner.trainable_variables if parent.refiner is not None else []
        encoder = parent.encoder.trainable_variables
        keys = [v for v in encoder if KEY_LAYER in v.path]
        backbone = [v for v in encoder if KEY_LAYER not in v.path]
        only_refiner = config.trainable == "refinement"
        # The head group are the variables without pretrained weights.
        head = refiner if only_refiner else [*parent.head.trainable_variables, *refiner, *keys]
        groups = [
            ParamGroup(rate, _optimizer(rate, config, variables), variables)
            for rate, variables in (
                (config.head_learning_rate, head),
                (config.backbone_learning_rate, [] if only_refiner else backbone),
            )
            if variables
        ]
        weighs_coarse = parent.refiner is not None and not only_refiner
        build = build_stroke_network if config.trainable == "strokes" else build_training_network
        step = backend.GradientStep(
            build(parent),
            clip_loss(
                segmentation_loss(config.dice_weight, config.edge_weight),
                config.COARSE_WEIGHT if weighs_coarse else 0.0,
            ),
            [(group.optimizer, group.variables) for group in groups],
            clip=config.grad_clip_norm,
            training=not (config.freeze_batch_norm or only_refiner),
            donate=True,
        )
        super().__init__(groups, step)


def _optimizer(
    learning_rate: float, config: TrainConfig, variables: list[keras.Variable]
) -> keras.optimizers.Optimizer:
    # No decay of scales, biases and depthwise filters (official implementation).
    excluded = [v for v in variables if len(v.shape) < 2 or "depthwise" in v.path]

    def make(rate: float) -> keras.optimizers.Optimizer:
        optimizer = keras.optimizers.AdamW(rate, weight_decay=config.weight_decay)
        optimizer.exclude_from_weight_decay(var_list=excluded)
        return optimizer

    (optimizer,) = backend.make_optimizers(make, [(learning_rate, variables)])
    if config.precision == "float16":
        return keras.optimizers.LossScaleOptimizer(optimizer)
    return optimizer


class MovingAverage:
    """An exponential moving average of variables, updated every `UPDATE_EVERY` steps.

    On an accelerator it stays there: fetching the weights would make the device finish its queue
    and then be idle until the transfer ends.

    Args:
        variables: Variables by name.
        momentum: Weight of the average per step; 0 disables it.
        on_device: Whether it is stored on the device of the variables.
    """

    def __init__(self, variables: dict[str, keras.Variable], momentum: float, on_device: bool):
        self._variables = dict(variables) if momentum else {}
        self._momentum, self._on_device = momentum, on_device
        self._blend = backend.compiled_function(_blended) if on_device else _blended
        self._averages: list[Any] = []
        self.set_values({n: v.numpy() for n, v in self._variables.items()})

    def update(self, step: int) -> None:
        """Updates the average if it is due after `step` steps."""
        if step % UPDATE_EVERY or not self._variables:
            return
        # A lower momentum at first, or the average would keep the initial weights.
        momentum = min(self._momentum, (1 + step) / (10 + step)) ** UPDATE_EVERY
        fetch = ops.convert_to_tensor if self._on_device else ops.convert_to_numpy
        values = [fetch(variable) for variable in self._variables.values()]
        self._averages = self._blend(self._averages, values, np.float32(1.0 - momentum))

    def values(self) -> dict[str, np.ndarray]:
        """Returns the averages by name, float32; empty if it is disabled."""
        arrays = (np.array(ops.convert_to_numpy(average)) for average in self._averages)
        return dict(zip(self._variables, arrays, strict=True))

    def set_values(self, values: dict[str, np.ndarray]) -> None:
        """Sets averages as returned by `values`."""
        # Copies: a step may overwrite the memory of a variable.
        arrays = [np.array(values[name], np.float32) for name in self._variables]
        self._averages = [ops.convert_to_tensor(a) for a in arrays] if self._on_device else arrays


def _blended(averages: list[Any], values: list[Any], weight: Any) -> list[Any]:
    return [a + weight * (v - a) for a, v in zip(averages, values, strict=True)]


def distribute(batch: int) -> int:
    """Distributes everything built from now on in this process over all devices.

    `keras.distribution.DataParallel` copies the variables to every device, shards the batch along
    its first axis, and sums the gradients in the compiled step. It works on the JAX backend; on
    TensorFlow Keras accepts it as a prototype and trains on one device without a warning.

    Args:
        batch: Examples per step.

    Returns:
        Number of devices.

    Raises:
        UsageError: The backend is not JAX, or the batch is not divisible into whole clips.
    """
    if backend.name() != "jax":
        raise UsageError(
            "Data-parallel training needs the JAX backend",
            met=backend.name(),
            where="data_parallel",
            remedy="Set KERAS_BACKEND=jax, or data_parallel to false",
        )
    devices = keras.distribution.list_devices()
    divisor = FRAMES_PER_CLIP * len(devices)
    if batch % divisor:
        raise UsageError(
            f"A batch is divided over {len(devices)} devices in clips of {FRAMES_PER_CLIP} frames",
            met=batch,
            where="batch",
            remedy=f"Use a multiple of {divisor}",
        )
    keras.distribution.set_distribution(keras.distribution.DataParallel(devices=devices))
    return len(devices)


def _shard(values: Any) -> Any:
    """Shards an array, or a dict of arrays, along the first axis if there is a distribution."""
    distribution = keras.distribution.distribution()
    if distribution is None:
        return values
    if isinstance(values, dict):
        return {name: _shard(value) for name, value in values.items()}
    return keras.distribution.distribute_tensor(values, distribution.get_data_layout(values.shape))
