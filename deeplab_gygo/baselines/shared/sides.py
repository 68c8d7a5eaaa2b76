"""Side outputs of a trunk and their fusion to one logit.

In the originals every side of 16 channels is upsampled to the image by a fixed bilinear transposed
convolution, and a 1x1 convolution fuses the 64 channels. Both are linear, one over positions and
one over channels, so they commute: here every side is scored at its own stride, and the scores,
one channel each, are upsampled and added, which gives the same result at a fraction of the cost.
The result has the stride of the finest side. At the border a side is extended by its last value,
where the transposed convolution fades to zero.
"""

from __future__ import annotations

from typing import Any

import keras
from keras import layers, ops

from deeplab_gygo import backend
from deeplab_gygo.baselines.shared.trunks import SIDE_STAGES


def small_normal() -> keras.initializers.Initializer:
    """Returns a new initializer of the kernels of sides (osvos.py; OSMN's `osmn_arg_scope`)."""
    return keras.initializers.RandomNormal(stddev=0.001)


def apply_sides(stages: dict[str, Any], trunk: str, channels: int) -> dict[str, Any]:
    """Applies the 3x3 convolution of every side, which has no activation.

    Args:
        stages: Output of `trunks.build_trunk`.
        trunk: Name of the trunk.
        channels: Width of a side.

    Returns:
        `side2` and so on by the number of the stage, finest first: [B, H / s, W / s, channels].
    """
    return {
        f"side{stage}": layers.Conv2D(
            channels, 3, padding="same", kernel_initializer=small_normal(),
            name=f"side{stage}_conv",
        )(stages[f"stage{stage}"])
        for stage in SIDE_STAGES[trunk]
    }  # fmt: skip


@keras.saving.register_keras_serializable("deeplab_gygo")
class FuseSides(keras.layers.Layer):
    """Fuses sides to one logit by a 1x1 kernel over all their channels.

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
