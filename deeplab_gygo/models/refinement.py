"""Class-agnostic boundary refinement of the decoder's stride-4 logits with learned guided filters.

It sees only logits and the encoder's stride-2 and stride-4 features, and is not fine-tuned online.
Guided filters fit the logits to the features in local windows of every frame; convolutions weigh
their changes and add one of their own.
"""

from __future__ import annotations

from typing import Any

import keras
from keras import layers, ops

from deeplab_gygo import backend
from deeplab_gygo.models.config import ModelConfig
from deeplab_gygo.models.guided_filter import GuidedFilter, channels
from deeplab_gygo.models.layers import DepthwiseConvolution2D, PointwiseConv2D

REFINED_STRIDE = 1
"""Stride of the refined logits. Their change is computed at stride 2 and upsampled; the decoder's
logits are upsampled once, in one step: a resize at every stage would smooth off thin structures."""

RADII = (1, 2, 4)
"""Radii of the guided filters, in positions at stride 4."""

GUIDE_SCALE = 0.04
"""Scales stride-2 features to a standard deviation of about .5, that of an image in -1..1."""

CHANGE_SCALE = 4.0
"""Scales the change of a filter to the standard deviation of the features beside it."""

TANH_SCALE = 0.125
"""Factor of logits before `tanh`: near boundaries it is linear, confident logits saturate."""


@keras.saving.register_keras_serializable("deeplab_gygo")
class Upsample(keras.layers.Layer):
    """Bilinear resize, [B, h, w, C] -> [B, factor * h, factor * w, C].

    Args:
        factor: Factor of height and width.
        **options: Options of every layer.
    """

    def __init__(self, factor: int, **options: Any):
        super().__init__(**options)
        self.factor = factor

    def call(self, inputs):
        shape = ops.shape(inputs)
        return backend.resize(inputs, self.factor * shape[1], self.factor * shape[2])

    def get_config(self):
        return {**super().get_config(), "factor": self.factor}


@keras.saving.register_keras_serializable("deeplab_gygo")
class GatedSum(keras.layers.Layer):
    """Sum of changes, each multiplied by a gate.

    Inputs: gates [B, h, w, S + 1], the last channel of which is a change itself, and S changes
    [B, h, w, 1] of scaled tanh logits; output: the change of the logits, [B, h, w, 1].
    """

    def call(self, inputs):
        gates, *changes = inputs
        *gates, total = channels(gates)
        for gate, change in zip(gates, changes, strict=True):
            total = total + gate * change / TANH_SCALE
        return total


def build_refiner(config: ModelConfig, low_channels: int, fine_channels: int) -> keras.Model:
    """Builds the refinement.

    Args:
        config: Architecture.
        low_channels: Channels of the stride-4 features.
        fine_channels: Channels of the stride-2 features.

    Returns:
        {"logits" [B, H/4, W/4, 1], "low", "fine"} -> logits float32 [B, H, W, 1]. With its initial
        weights it is a bilinear resize.
    """
    width = config.refine_channels
    logits = keras.Input((None, None, 1), name="logits")
    low = keras.Input((None, None, low_channels), name="low")
    fine = keras.Input((None, None, fine_channels), name="fine")
    # Between -1 and 1, so that confident logits do not drown the features beside them.
    squashed = ops.tanh(TANH_SCALE * logits)
    doubled = Upsample(2, name="refine_double", dtype="float32")(logits)
    fine_squashed = ops.tanh(TANH_SCALE * doubled)
    filtered = _filtered(config, squashed, fine_squashed, fine)
    coarse = layers.Concatenate(name="refine_coarse")(
        [PointwiseConv2D(width - 1, activation="relu", name="refine_low")(low), squashed]
    )
    coarse = layers.Conv2D(width, 3, padding="same", activation="relu", name="refine_mix")(coarse)
    features = layers.Concatenate(name="refine_concat")(
        [Upsample(2, name="refine_double_features")(coarse), fine, fine_squashed]
        + [
            layers.Rescaling(CHANGE_SCALE, name=f"refine_scaled{radius}")(change)
            for radius, change in zip(RADII, filtered, strict=True)
        ]
    )
    for number in (1, 2):
        features = DepthwiseConvolution2D(3, name=f"refine{number}_depthwise")(features)
        features = PointwiseConv2D(width, activation="relu", name=f"refine{number}_pointwise")(
            features
        )
    gates = PointwiseConv2D(
        len(filtered) + 1, kernel_initializer="zeros", dtype="float32", name="refine_change"
    )(features)
    change = GatedSum(name="refine_trust", dtype="float32")([gates, *filtered])
    refined = layers.Add(name="refine_add", dtype="float32")(
        [
            Upsample(4, name="refine_logits", dtype="float32")(logits),
            Upsample(2, name="refine_enlarge", dtype="float32")(change),
        ]
    )
    return keras.Model({"logits": logits, "low": low, "fine": fine}, refined, name="refiner")


def _filtered(config: ModelConfig, coarse: Any, plain: Any, fine: Any) -> list[Any]:
    """Returns the change that the filter of every radius makes to scaled tanh logits, stride 2."""
    guide = layers.Rescaling(GUIDE_SCALE, name="refine_guide_scale", dtype="float32")(fine)
    guide = PointwiseConv2D(
        config.refine_guides,
        use_bias=False,
        kernel_initializer="orthogonal",
        dtype="float32",
        name="refine_guide",
    )(guide)
    changes = []
    for radius in RADII:
        filtered = GuidedFilter(radius, name=f"refine_filter{radius}", dtype="float32")(
            [guide, coarse]
        )
        changes.append(
            layers.Subtract(name=f"refine_by{radius}", dtype="float32")([filtered, plain])
        )
    return changes
