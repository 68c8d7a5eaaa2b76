"""Modulation of a trunk in OSMN: channel scales and position shifts, and the spatial modulator.

Yang et al., "Efficient Video Object Segmentation via Network Modulation", CVPR 2018.
"""

from __future__ import annotations

from typing import Any

import keras
from keras import layers, ops

from deeplab_gygo.baselines.shared.sides import small_normal
from deeplab_gygo.baselines.shared.trunks import Unit

SHIFT_MOMENTUM, SHIFT_EPSILON = 0.99, 0.001
"""BatchNorm of the spatial modulator (model_func.py:319-350)."""


@keras.saving.register_keras_serializable("deeplab_gygo")
class Modulate(keras.layers.Layer):
    """Scales and shifts the features of one unit.

    Inputs: features [B, h, w, C], scales [B, S] of all units, shifts [B, h, w, T] of the stage;
    output: [B, h, w, C].

    Args:
        first_scale: Index of the unit's first channel among the scales.
        first_shift: Index of its first channel among the shifts of the stage.
    """

    def __init__(self, first_scale: int, first_shift: int, **kwargs):
        super().__init__(**kwargs)
        self.first_scale, self.first_shift = first_scale, first_shift

    def call(self, inputs):
        features, scales, shifts = inputs
        channels = features.shape[-1]
        scale = scales[:, None, None, self.first_scale : self.first_scale + channels]
        return features * scale + shifts[..., self.first_shift : self.first_shift + channels]

    def compute_output_shape(self, input_shape):
        return input_shape[0]

    def compute_output_spec(self, inputs):
        return keras.KerasTensor(inputs[0].shape, dtype=inputs[0].dtype)

    def get_config(self):
        indices = {"first_scale": self.first_scale, "first_shift": self.first_shift}
        return {**super().get_config(), **indices}


@keras.saving.register_keras_serializable("deeplab_gygo")
class Unknown(keras.layers.Layer):
    """Returns zeros float32 [B, h, w, channels] at the size of features: an unknown guide."""

    def __init__(self, channels: int, **kwargs):
        super().__init__(**{"dtype": "float32", **kwargs})
        self.channels = channels

    def call(self, inputs):
        return ops.zeros((*ops.shape(inputs)[:3], self.channels), dtype="float32")

    def compute_output_shape(self, input_shape):
        return (*input_shape[:3], self.channels)

    def compute_output_spec(self, inputs):
        return keras.KerasTensor(self.compute_output_shape(inputs.shape), dtype="float32")

    def get_config(self):
        return {**super().get_config(), "channels": self.channels}


def spatial_modulator(spatial: Any, units: tuple[Unit, ...], relu: bool) -> dict[int, Any]:
    """Makes the shifts from the spatial guide, average-pooled to the stride of each stage.

    Args:
        spatial: float32 [B, H, W, 1] in 0..1.
        units: Modulated units.
        relu: Whether BatchNorm and ReLU follow, as in the original, so that shifts are 0 or more.
            Otherwise the initial shifts are 0.

    Returns:
        By stage: [B, h, w, channels of all its units], at the stage's stride.
    """
    stages: dict[int, tuple[int, int]] = {}
    for unit in units:
        stages[unit.stage] = (unit.stride, stages.get(unit.stage, (0, 0))[1] + unit.channels)
    guide, reached = spatial, 1
    shifts = {}
    for stage, (stride, channels) in stages.items():
        while reached < stride:
            reached *= 2
            guide = layers.AveragePooling2D(2, padding="same", name=f"spatial_pool{reached}")(guide)
        shift = layers.Conv2D(
            channels, 1, use_bias=not relu, name=f"spatial{stage}_conv",
            kernel_initializer=small_normal() if relu else "zeros",
        )(guide)  # fmt: skip
        if relu:
            shift = layers.BatchNormalization(
                momentum=SHIFT_MOMENTUM, epsilon=SHIFT_EPSILON, name=f"spatial{stage}_norm"
            )(shift)
            shift = layers.ReLU(name=f"spatial{stage}_relu")(shift)
        shifts[stage] = shift
    return shifts
