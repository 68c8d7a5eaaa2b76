"""Refinement of logits at stride 2: thin parts and edges that the decoder's stride-4 grid loses.

It sees the logits and the encoder's early features, nothing that knows one object from another:
it learns where edges run, not whose they are, and is left as it is by online fine-tuning.
"""

from __future__ import annotations

import keras
from keras import layers, ops

from deeplab_gygo import backend
from deeplab_gygo.config import ModelConfig

REFINED_STRIDE = 2
"""Stride of the refined logits."""


@keras.saving.register_keras_serializable("deeplab_gygo")
class Double(keras.layers.Layer):
    """Bilinear resize to twice the height and width, [B, h, w, C] -> [B, 2h, 2w, C]."""

    def call(self, inputs):
        shape = ops.shape(inputs)
        return backend.resize(inputs, 2 * shape[1], 2 * shape[2])

    def compute_output_shape(self, input_shape):
        sizes = [None if side is None else 2 * side for side in input_shape[1:3]]
        return (input_shape[0], *sizes, input_shape[3])

    def compute_output_spec(self, inputs):
        return keras.KerasTensor(self.compute_output_shape(inputs.shape), dtype=inputs.dtype)


@keras.saving.register_keras_serializable("deeplab_gygo")
class Squash(keras.layers.Layer):
    """Brings logits to -1..1, so that how sure the decoder is does not drown the features."""

    def call(self, inputs):
        return ops.tanh(0.25 * inputs)

    def compute_output_shape(self, input_shape):
        return input_shape


def build_refiner(config: ModelConfig, low_channels: int, fine_channels: int) -> keras.Model:
    """Builds the refinement.

    Args:
        config: Architecture.
        low_channels: Channels of the stride-4 features.
        fine_channels: Channels of the stride-2 features.

    Returns:
        {"logits" [B, H/4, W/4, 1], "low", "fine"} -> logits float32 [B, H/2, W/2, 1]. With its
        first weights it is a bilinear resize.
    """
    width = config.refine_channels
    logits = keras.Input((None, None, 1), name="logits")
    low = keras.Input((None, None, low_channels), name="low")
    fine = keras.Input((None, None, fine_channels), name="fine")
    coarse = layers.Concatenate(name="refine_coarse")(
        [layers.Conv2D(width - 1, 1, activation="relu", name="refine_low")(low),
         Squash(name="refine_squash")(logits)]
    )  # fmt: skip
    coarse = layers.Conv2D(width, 3, padding="same", activation="relu", name="refine_mix")(coarse)
    doubled = Double(name="refine_double", dtype="float32")(logits)
    features = layers.Concatenate(name="refine_concat")(
        [Double(name="refine_double_features")(coarse), fine, Squash(name="refine_fine")(doubled)]
    )
    for number in (1, 2):
        features = layers.DepthwiseConv2D(
            3, padding="same", use_bias=False, name=f"refine{number}_depthwise"
        )(features)
        features = layers.Conv2D(width, 1, activation="relu", name=f"refine{number}_pointwise")(
            features
        )
    change = layers.Conv2D(1, 1, kernel_initializer="zeros", dtype="float32", name="refine_change")(
        features
    )
    refined = layers.Add(name="refine_add", dtype="float32")([doubled, change])
    return keras.Model({"logits": logits, "low": low, "fine": fine}, refined, name="refiner")
