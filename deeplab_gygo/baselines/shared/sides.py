"""Side outputs: what the stages of a trunk say, brought to one size and joined.

Originally every side of 16 channels is enlarged to the size of the image by a fixed bilinear
transposed convolution, and a 1x1 convolution joins all 64 channels. Enlarging and a 1x1 convolution
are both linear and one acts on places, the other on channels, so that they may change places: here
every side is scored at its own stride, and only the scores, one channel each, are enlarged and
added. The result is the same and costs a small part. It is left at the stride of the finest side;
whoever needs the size of the image enlarges it. At the border a side is continued by its last
value, where the transposed convolution fades to zero.
"""

from __future__ import annotations

from typing import Any

import keras
from keras import layers, ops

from deeplab_gygo import backend
from deeplab_gygo.baselines.shared.trunks import SIDE_STAGES, trunk_units

INITIAL_DEVIATION = 0.001
"""Standard deviation of the first kernels: osvos.py of OSVOS-TensorFlow, `osmn_arg_scope`."""


def finest_stride(trunk: str) -> int:
    """Returns the stride of the finest side of a trunk."""
    first = SIDE_STAGES[trunk][0]
    return next(unit.stride for unit in trunk_units(trunk) if unit.stage == first)


def small_normal() -> keras.initializers.Initializer:
    """Returns a new initializer of the kernels of sides."""
    return keras.initializers.RandomNormal(stddev=INITIAL_DEVIATION)


def apply_sides(ends: dict[str, Any], trunk: str, channels: int) -> dict[str, Any]:
    """Applies the 3x3 convolution of every side, which has no activation.

    Args:
        ends: Of `trunks.build_trunk`.
        trunk: Name of the trunk.
        channels: Width of a side.

    Returns:
        `side2` and so on by the number of the stage, finest first: [B, H / s, W / s, channels].
    """
    return {
        f"side{stage}": layers.Conv2D(
            channels,
            3,
            padding="same",
            kernel_initializer=small_normal(),
            name=f"side{stage}_conv",
        )(ends[f"stage{stage}"])
        for stage in SIDE_STAGES[trunk]
    }


@keras.saving.register_keras_serializable("deeplab_gygo")
class FuseSides(keras.layers.Layer):
    """Joins sides to one logit by a 1x1 kernel over all their channels.

    Inputs: n sides [B, h, w, C], finest first; output: float32 [B, H, W, 1] at the size of the
    first. The kernel has the shape (1, 1, n * C, 1) of the original's `upscore-fuse`.
    """

    def __init__(self, **kwargs):
        super().__init__(**{"dtype": "float32", **kwargs})

    def build(self, input_shape):
        channels = sum(shape[-1] for shape in input_shape)
        self.kernel = self.add_weight(
            shape=(1, 1, channels, 1), initializer=small_normal(), name="kernel"
        )
        self.bias = self.add_weight(shape=(1,), initializer="zeros", name="bias")

    def call(self, inputs):
        shape = ops.shape(inputs[0])
        kernel = ops.reshape(ops.convert_to_tensor(self.kernel), (len(inputs), -1, 1))
        total = ops.matmul(inputs[0], kernel[0]) + self.bias
        for number, side in enumerate(inputs[1:], start=1):
            total = total + backend.resize(ops.matmul(side, kernel[number]), shape[1], shape[2])
        return total

    def compute_output_shape(self, input_shape):
        return (*input_shape[0][:3], 1)

    def compute_output_spec(self, inputs):
        shape = self.compute_output_shape([side.shape for side in inputs])
        return keras.KerasTensor(shape, dtype="float32")
