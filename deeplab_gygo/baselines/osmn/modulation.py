"""What modulates a trunk in OSMN: scales of channels, shifts of places, and where shifts come from.

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
        first_scale: Place of the unit's first channel among the scales.
        first_shift: Place of its first channel among the shifts of the stage.
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
        places = {"first_scale": self.first_scale, "first_shift": self.first_shift}
        return {**super().get_config(), **places}


@keras.saving.register_keras_serializable("deeplab_gygo")
class Unknown(keras.layers.Layer):
    """Zeros float32 [B, h, w, channels] at the size of features: a guide that knows nothing."""

    def __init__(self, channels: int, **kwargs):
        super().__init__(**{"dtype": "float32", **kwargs})
        self.channels = channels

    def call(self, inputs):
        shape = ops.shape(inputs)
        return ops.zeros((*shape[:3], self.channels), dtype="float32")

    def compute_output_shape(self, input_shape):
        return (*input_shape[:3], self.channels)

    def compute_output_spec(self, inputs):
        return keras.KerasTensor(self.compute_output_shape(inputs.shape), dtype="float32")

    def get_config(self):
        return {**super().get_config(), "channels": self.channels}


def spatial_modulator(spatial: Any, units: tuple[Unit, ...], relu: bool) -> dict[int, Any]:
    """Makes the shifts from the spatial guide, halved by 2x2 averages down to each stage's size.

    Args:
        spatial: float32 [B, H, W, 1] in 0..1.
        units: Units that are modulated.
        relu: Whether BatchNorm and ReLU follow, as in the original: shifts are 0 or more then.
            Without, they are 0 with the first weights.

    Returns:
        By stage: [B, h, w, channels of all its units], at the stage's stride.
    """
    stages: dict[int, tuple[int, int]] = {}
    for unit in units:
        stages[unit.stage] = (unit.stride, stages.get(unit.stage, (0, 0))[1] + unit.channels)
    guides, reached = {1: spatial}, 1
    shifts = {}
    for stage, (stride, channels) in stages.items():
        while reached < stride:
            pool = layers.AveragePooling2D(2, padding="same", name=f"spatial_pool{2 * reached}")
            guides[2 * reached] = pool(guides[reached])
            reached *= 2
        if not relu:
            shifts[stage] = layers.Conv2D(
                channels, 1, kernel_initializer="zeros", name=f"spatial{stage}_conv"
            )(guides[stride])
            continue
        shift = layers.Conv2D(
            channels,
            1,
            use_bias=False,
            kernel_initializer=small_normal(),
            name=f"spatial{stage}_conv",
        )(guides[stride])
        shift = layers.BatchNormalization(
            momentum=SHIFT_MOMENTUM, epsilon=SHIFT_EPSILON, name=f"spatial{stage}_norm"
        )(shift)
        shifts[stage] = layers.ReLU(name=f"spatial{stage}_relu")(shift)
    return shifts
